"""Arguments of the commands on pictures: `map`, `restore`, `convert` and `split`."""

import argparse
from pathlib import Path

from isoplan.cli.options import (
    PSF_MODELS,
    add_command,
    add_device,
    add_optics,
    add_overwrite,
    add_pixel_size,
    add_plane,
    add_source,
    column_type,
    non_negative_int,
    positive_float,
)
from isoplan.config.schema import choices, schema


def add_map(commands) -> None:
    command = add_command(
        commands,
        "map",
        "isoplan.cli.picture:make_map",
        "estimates the PSF map of one picture, as a table and figures",
        "Writes psf_map.csv (a row per cell: centre in px, PSF parameters, their uncertainties as "
        "half-widths of a 90 % interval, validity, alarm, usable share, filled), and PNG figures of each parameter's "
        "map and of the local PSFs over the picture.",
    )
    _add_picture(command)
    command.add_argument(
        *("-o", "--out"),
        type=Path,
        metavar="FOLDER",
        help="for results (default: <picture>-map)",
    )
    add_overwrite(command)


def add_restore(commands) -> None:
    command = add_command(
        commands,
        "restore",
        "isoplan.cli.picture:restore",
        "restores one picture with its own PSF map",
        "Writes the picture in float32 counts above the offset, as OME-Zarr with a pyramid or as "
        "TIFF, a preview as PNG, and the map in a folder beside it.",
    )
    _add_picture(command)
    command.add_argument(
        *("-o", "--out"),
        required=True,
        type=Path,
        metavar="OUT.ome.zarr",
        help="the result; its ending says whether it is OME-Zarr (.ome.zarr) or TIFF (.tif)",
    )
    add_overwrite(command)
    command.add_argument(
        "--algorithm",
        default=schema()["properties"]["restoration"]["properties"]["algorithm"]["default"],
        choices=tuple(choices("restoration")),
        help="how the picture is restored with its PSFs (default: %(default)s)",
    )
    command.add_argument(
        "--iterations",
        default="auto",
        metavar="N",
        help="more iterations sharpen and add noise; auto (default) chooses them by held-out photons",
    )
    command.add_argument(
        "--tv-weight",
        default="auto",
        metavar="WEIGHT",
        help="weight of total variation: more is smoother; auto (default) chooses it by held-out photons; learnt lets a "
        "network tell it for every pixel",
    )
    command.add_argument(
        "--weight-network",
        default="released",
        metavar="FILE",
        help="the network that tells learnt weights (default: the released one)",
    )
    command.add_argument(
        "--psf-scale",
        default="auto",
        metavar="FACTOR",
        help="factor on the width of the estimated PSFs; 0 uses no PSF and only removes noise; auto (default) "
        "chooses it by held-out photons, so that doubtful estimates do no harm",
    )
    command.add_argument(
        "--psf-shape",
        default="auto",
        metavar="PSF",
        help="map uses the map's PSFs; 'gaussian 4.5' (width in px), 'disk 4' (radius in px) or 'motion 6.5 34' (length "
        "in px, angle in degrees from x towards y) uses this PSF everywhere; auto (default) searches for such a PSF if "
        "most of the map sees another blur than its model's",
    )
    command.add_argument(
        "--resolution-px",
        default="auto",
        metavar="PX",
        help="width of the Gaussian that the restoration is finally smoothed with, 0 for none; auto (default) "
        "chooses it together with the PSFs, up to 1.5 px",
    )
    command.add_argument(
        "--force",
        action="store_true",
        help="use the PSFs as estimated, even if held-out photons speak against them: --psf-scale 1 "
        "--resolution-px 0",
    )
    command.add_argument(
        "--gain",
        type=column_type("gain"),
        help="counts per electron, needed to count photons (default: estimated)",
    )
    command.add_argument(
        "--order",
        default="mask-blur",
        choices=("mask-blur", "blur-mask"),
        help="mask-blur for fluorescence (default), blur-mask for bright field",
    )


def add_convert(commands) -> None:
    command = add_command(
        commands,
        "convert",
        "isoplan.cli.picture:convert_picture",
        "makes an OME-Zarr of a picture that cannot be read by window, such as one huge strip",
        "Studies do this by themselves.",
    )
    add_source(command)
    add_pixel_size(command)
    command.add_argument(
        *("-o", "--out"), type=Path, required=True, metavar="FILE", help="name.ome.zarr"
    )
    add_overwrite(command)


def add_split(commands) -> None:
    command = add_command(
        commands,
        "split",
        "isoplan.cli.split:split",
        "splits exposures, photon by photon, each into a dark one and the rest",
        "The two pictures of one field have independent noise, so one can judge a restoration of the other. Writes "
        "both as float32 TIFF in counts, and pairs.tsv for config/studies/pairs.yaml, a table of mosaics in which the "
        "rest is the dark part's reference. Use raw pictures from the camera.",
    )
    command.add_argument(
        "pictures", nargs="+", metavar="PICTURE", help="as for map; of raw counts, in grey"
    )
    add_plane(command)
    command.add_argument(
        *("-o", "--out"), type=Path, required=True, metavar="FOLDER", help="for pictures and table"
    )
    add_overwrite(command)
    command.add_argument(
        "--share",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of the photons that the dark part gets, up to 0.5 (default: 0.1)",
    )
    command.add_argument(
        "--gain", type=column_type("gain"), help="counts per electron (default: estimated)"
    )
    command.add_argument(
        "--offset",
        type=column_type("offset"),
        help="the camera's counts without light (default: the level at which the noise would vanish)",
    )
    command.add_argument(
        "--read-noise",
        type=column_type("read_noise_e"),
        metavar="E",
        help="read noise in electrons (default: estimated together with the gain)",
    )
    add_pixel_size(command)
    command.add_argument(
        "--seed", type=non_negative_int, default=1, help="seed of the random split (default: 1)"
    )


def _add_picture(command: argparse.ArgumentParser) -> None:
    add_source(command)
    command.add_argument(
        "--psf-model",
        choices=PSF_MODELS,
        help="use the released network of this PSF model (default: gaussian-2)",
    )
    command.add_argument(
        "--network",
        metavar="FILE",
        help="use this network instead, such as results/<study>/networks/<name>/network.safetensors",
    )
    command.add_argument(
        "--offset",
        type=column_type("offset"),
        default=0.0,
        help="the camera's counts without light (default: 0)",
    )
    add_pixel_size(command)
    add_optics(command, "; for zernike models (default: from the file)")
    command.add_argument(
        "--cutoff",
        type=positive_float,
        metavar="CYCLES",
        help="replaces the three: NA * pixel size / wavelength, in cycles/px",
    )
    command.add_argument(
        "--stride-px",
        type=int,
        metavar="PX",
        help="distance between two estimates, a multiple of 32 (default: half the network's window)",
    )
    command.add_argument(
        "--alarm-threshold",
        type=float,
        metavar="P",
        help="cells whose alarm is above this take the PSF of their neighbours (default: 0.5); 1 trusts "
        "every cell, even of a JPEG or a denoised picture",
    )
    add_device(command)
