"""Arguments of `superresolve`."""

from pathlib import Path

from isoplan.cli.options import (
    add_command,
    add_optics,
    add_overwrite,
    add_pixel_size,
    channel,
    column_type,
    positive_float,
)

FACTORS = (2, 3, 4, 5, 6)


def add_superresolve(commands) -> None:
    command = add_command(
        commands,
        "superresolve",
        "isoplan.applications.fluctuation.run:run",
        "makes one picture on a finer grid from hundreds of frames of blinking or fluctuating fluorophores",
        "It first looks whether neighbouring pixels fluctuate together in the shape of the PSF. If they do not, it says so, "
        "and the picture is the deconvolved mean. Writes the picture as OME-Zarr, and a folder beside it with the mean, the "
        "deconvolved mean, where fluctuations carry information, and figures in facts.csv.",
    )
    command.add_argument(
        "picture",
        metavar="FRAMES",
        help="frames of one field: TIFF, ImageJ's hyperstack, OME-TIFF, OME-Zarr; at least 50, better 500",
    )
    command.add_argument(
        *("-o", "--out"), required=True, type=Path, metavar="OUT.ome.zarr", help="the result"
    )
    psf = command.add_argument_group("the PSF: its width, or the optics")
    psf.add_argument(
        "--psf-fwhm-nm",
        type=positive_float,
        metavar="NM",
        help="full width at half maximum, as measured on beads; without the pixel's own width",
    )
    add_optics(psf)
    psf.add_argument(
        "--psf-shape",
        default="gaussian",
        choices=("gaussian", "airy"),
        help="gaussian (default) or airy, with its rings",
    )
    add_pixel_size(command)
    command.add_argument(
        "--factor",
        type=int,
        default=4,
        choices=FACTORS,
        help="fine pixels per pixel (default: %(default)s)",
    )
    command.add_argument("--channel", type=channel, help="channel, by number from 0 or by name")
    camera = command.add_argument_group("the camera")
    camera.add_argument(
        "--offset",
        type=float,
        help="counts without light; a sequence tells it only roughly (default: estimated)",
    )
    camera.add_argument(
        "--gain", type=column_type("gain"), help="counts per electron (default: estimated)"
    )
    camera.add_argument(
        "--read-noise",
        type=column_type("read_noise_e"),
        metavar="E",
        help="standard deviation in electrons (default: estimated)",
    )
    camera.add_argument(
        "--emccd",
        action="store_true",
        help="an electron-multiplying camera: its register doubles the shot noise's variance",
    )
    command.add_argument(
        "--halves",
        action="store_true",
        help="make pictures of both halves of the frames too, and compare them; takes three times as long",
    )
    add_overwrite(command)
