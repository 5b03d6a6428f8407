"""The command line for one picture or one network, without Snakemake.

Only arguments, files and words: what is computed is the library's. The commands are imported once
they are asked for: threads are set before torch is loaded, and `train`, `evaluate`, `release` and
`verify` also run where zarr, tifffile and Snakemake are not installed (a borrowed GPU machine).
"""

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path

from isoplan import __version__
from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.config.entries import MODELS
from isoplan.config.schema import choices, schema
from isoplan.config.validation import load
from isoplan.mosaic.table import SLICES, number_of

PSF_MODELS = [model for model, told in choices("psfs").items() if told["parameters"]]


def main(arguments: list[str] | None = None) -> int:
    """Runs one command. Returns its exit code: 0 done, 1 wrong input, 3 training to be gone on with."""
    args = _parser().parse_args(arguments)
    try:
        if "config" in args:
            load(args.config)  # first: to load torch takes seconds
        _set_threads()
        return load_named(f"isoplan.cli.{args.run}")(args) or 0
    except UserError as error:
        print(f"isoplan: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # no rights, no space, no such folder
        print(f"isoplan: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nisoplan: stopped; the same command begins or goes on again", file=sys.stderr)
        return 130


def _set_threads() -> None:
    # Threads that wait by spinning slow everything down where others share the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    count = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    from isoplan.base.device import set_threads

    set_threads(count)


# Arguments -----------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isoplan",
        description="Finds the local PSF of one picture and restores it, with networks that come "
        "with isoplan, or trains one. Whole studies run through Snakemake (see README.md).",
    )
    parser.add_argument("--version", action="version", version=f"isoplan {__version__}")
    with suppress(ImportError):  # a borrowed machine may lack it
        import shtab

        shtab.add_argument_to(parser, help="print what completes commands in a shell")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_map(commands)
    _add_restore(commands)
    _add_convert(commands)
    _add_split(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_release(commands)
    _add_verify(commands)
    return parser


def _add(commands, name: str, run: str, summary: str, more: str = "") -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {more}".strip(),
    )
    command.set_defaults(run=run)
    return command


def _add_picture(command: argparse.ArgumentParser) -> None:
    _add_source(command)
    command.add_argument(
        "--psf-model",
        choices=PSF_MODELS,
        help="take the released network of this PSF model (gaussian-2 if not given)",
    )
    command.add_argument(
        "--network",
        metavar="FILE",
        help="take this network instead, such as results/<study>/networks/<name>/network.safetensors",
    )
    command.add_argument(
        "--offset",
        type=_of("offset"),
        default=0.0,
        help="the camera's counts without light (0 if not given)",
    )
    command.add_argument(
        "--pixel-size-um",
        type=_of("pixel_size_um"),
        metavar="UM",
        help="pixel size at the sample, in um",
    )
    command.add_argument(
        "--na", type=_of("na"), help="the objective's numerical aperture; for zernike models"
    )
    command.add_argument(
        "--wavelength-um",
        type=_of("wavelength_um"),
        metavar="UM",
        help="wavelength of the light that is seen, in um; for zernike models",
    )
    command.add_argument(
        "--cutoff",
        type=_positive,
        metavar="CYCLES",
        help="instead of the three: NA * pixel size / wavelength, in cycles/px",
    )
    command.add_argument(
        "--stride-px",
        type=int,
        metavar="PX",
        help="distance between two estimates, a multiple of 32; half the network's window if not given",
    )
    command.add_argument(
        "--alarm-threshold",
        type=float,
        metavar="P",
        help="cells whose alarm is above this take the PSF of their neighbours (0.5); 1 takes every "
        "cell as it comes, of a JPEG or a denoised picture too",
    )
    _add_device(command)


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "picture",
        help="TIFF, OME-TIFF, LSM, OME-Zarr, PNG, JPEG, scikit-image:NAME, or a folder of tiles with a "
        "table of their positions",
    )
    _add_plane(command)


def _add_plane(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--channel", type=_channel, help="channel to read, from 0 or by its name in the file"
    )
    command.add_argument(
        "--slice",
        type=_slice,
        metavar="N",
        help="slice of a stack to read, from 0; or sharpest (if not given), or brightest",
    )
    command.add_argument(
        "--series",
        type=_count,
        metavar="N",
        help="which of several pictures in a file, from 0; the largest if not given",
    )


def _add_overwrite(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace earlier results of isoplan that bear these names; nothing else is ever replaced",
    )


def _add_retrain(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a network or checkpoint of isoplan's that was trained with other settings or code",
    )


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto takes a GPU"
    )


def _add_map(commands) -> None:
    command = _add(
        commands,
        "map",
        "picture:make_map",
        "PSF map of one picture, as table and figures",
        "Writes psf_map.csv (a row per cell: centre in px, PSF parameters, their uncertainties as "
        "half-widths of a 90 %% interval, validity, alarm, usable share, filled), and as PNG each parameter's map "
        "and the local PSFs over the picture.",
    )
    _add_picture(command)
    command.add_argument(
        *("-o", "--out"),
        type=Path,
        metavar="FOLDER",
        help="for results (<picture>-map if not given)",
    )
    _add_overwrite(command)


def _add_restore(commands) -> None:
    command = _add(
        commands,
        "restore",
        "picture:restore",
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
    _add_overwrite(command)
    command.add_argument(
        "--algorithm",
        default=schema()["properties"]["restoration"]["properties"]["algorithm"]["default"],
        choices=tuple(choices("restoration")),
        help="how the picture is restored with its PSFs (%(default)s if not given)",
    )
    command.add_argument(
        "--iterations",
        default="auto",
        metavar="N",
        help="more sharpen and add noise; auto (if not given) chooses them from photons held out",
    )
    command.add_argument(
        "--tv-weight",
        default="auto",
        metavar="WEIGHT",
        help="total variation: more is smoother; auto (if not given) chooses it as the iterations are",
    )
    command.add_argument(
        "--psf-scale",
        default="auto",
        metavar="FACTOR",
        help="how many times as wide as estimated the PSFs are that restore, 0 for none, which takes noise away "
        "alone; auto (if not given) chooses it from photons held out, so that no harm is done where the "
        "estimate is in doubt",
    )
    command.add_argument(
        "--psf-shape",
        default="auto",
        metavar="PSF",
        help="map for the map's PSFs; a PSF of your own, the same everywhere, as in 'gaussian 4.5' (width), 'disk 4' "
        "(radius) or 'motion 6.5 34' (length in px, angle in degrees from x towards y); auto (if not given) searches for "
        "one of these where most of the map sees another blur than its model's",
    )
    command.add_argument(
        "--resolution-px",
        default="auto",
        metavar="PX",
        help="width of the Gaussian that the restoration is shown through, 0 for none; auto (if not given) "
        "chooses it with the PSFs, up to 1.5 px",
    )
    command.add_argument(
        "--force",
        action="store_true",
        help="take the PSFs as they were estimated, whatever the picture says of them: --psf-scale 1 "
        "--resolution-px 0",
    )
    command.add_argument(
        "--gain",
        type=_of("gain"),
        help="counts per electron, which auto counts photons by (if not given, estimated)",
    )
    command.add_argument(
        "--order",
        default="mask-blur",
        choices=("mask-blur", "blur-mask"),
        help="mask-blur for fluorescence (so if not given), blur-mask for bright field",
    )


def _add_convert(commands) -> None:
    command = _add(
        commands,
        "convert",
        "picture:make_store",
        "OME-Zarr of a picture that cannot be read by window, such as one huge strip",
        "Studies do that by themselves.",
    )
    _add_source(command)
    command.add_argument(
        "--pixel-size-um",
        type=_of("pixel_size_um"),
        metavar="UM",
        help="pixel size at the sample, in um",
    )
    command.add_argument(
        *("-o", "--out"), type=Path, required=True, metavar="FILE", help="name.ome.zarr"
    )
    _add_overwrite(command)


def _add_split(commands) -> None:
    command = _add(
        commands,
        "split",
        "split:split",
        "splits exposures, photon by photon, each into a dark one and the rest",
        "Two independent pictures of one field come of it, to judge a restoration by. Writes both as float32 TIFF "
        "in counts, and pairs.tsv, a table of mosaics in which the rest is the dark part's reference, for "
        "config/studies/pairs.yaml. Take pictures as the camera gave them.",
    )
    command.add_argument(
        "pictures", nargs="+", metavar="PICTURE", help="as for map; of raw counts, in grey"
    )
    _add_plane(command)
    command.add_argument(
        *("-o", "--out"), type=Path, required=True, metavar="FOLDER", help="for pictures and table"
    )
    _add_overwrite(command)
    command.add_argument(
        "--share",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of the photons that the dark part gets, up to 0.5 (0.1)",
    )
    command.add_argument(
        "--gain", type=_of("gain"), help="counts per electron (if not given, estimated)"
    )
    command.add_argument(
        "--offset",
        type=_of("offset"),
        help="the camera's counts without light (if not given, where the noise would vanish)",
    )
    command.add_argument(
        "--read-noise",
        type=_of("read_noise_e"),
        metavar="E",
        help="in electrons (if not given, estimated together with the gain)",
    )
    command.add_argument(
        "--pixel-size-um",
        type=_of("pixel_size_um"),
        metavar="UM",
        help="pixel size at the sample, in um",
    )
    command.add_argument(
        "--seed", type=_count, default=1, help="which photon goes where depends on it (1)"
    )


def _add_train(commands) -> None:
    command = _add(
        commands,
        "train",
        "network:train",
        "trains one network of a study's config",
        "Goes on from FOLDER/checkpoint.pt where there is one. Exit code 3 says that the time was "
        "up before the end: run the same command again. With --folder "
        "results/<study>/networks/<network>, a training that Snakemake began is gone on with.",
    )
    _add_config(command)
    command.add_argument("--folder", required=True, type=Path, help="for network and checkpoint")
    _add_retrain(command)
    command.add_argument(
        "--stop-after-minutes", type=_positive, metavar="M", help="stop after the epoch under way"
    )
    _add_device(command)


def _add_evaluate(commands) -> None:
    command = _add(
        commands,
        "evaluate",
        "network:evaluate",
        "judges a network on the study's test sets, made in memory",
        "Takes the test sets that the config's `tests` name for this network; writes the rows of "
        "regression.csv.",
    )
    _add_config(command)
    command.add_argument("weights", help="the network's safetensors file")
    command.add_argument("--out", required=True, type=Path, metavar="FILE.csv", help="the result")
    _add_overwrite(command)
    _add_device(command)


def _add_release(commands) -> None:
    command = _add(
        commands,
        "release",
        "models:release",
        "trains, judges and documents networks to be released",
        "Takes the study's networks one after the other: trains (or goes on from the checkpoint), "
        "judges on the test sets that `tests` names, and writes <psf model>.safetensors (16-bit "
        "weights, the card in it) and <psf model>.md. Exit code 3 says that the time was up before "
        "the end: run the same command again.",
    )
    command.add_argument("config", help="study file, such as config/studies/released.full.yaml")
    command.add_argument(
        "network", nargs="*", help="names of entries of its `networks`; all if none is given"
    )
    command.add_argument(
        "--folder",
        type=Path,
        help="for checkpoints, a folder per network in it (results/<study>/networks if not given)",
    )
    command.add_argument(
        "--stop-after-minutes",
        type=_positive,
        metavar="M",
        help="stop after the epoch or the test set under way",
    )
    command.add_argument(
        "--out", type=Path, default=MODELS, help="folder for results (resources/models)"
    )
    _add_retrain(command)
    _add_device(command)


def _add_verify(commands) -> None:
    command = _add(
        commands,
        "verify",
        "models:verify",
        "judges released networks again, and compares with their cards",
        "Exit code 1 where a figure differs.",
    )
    command.add_argument(
        "weights", nargs="*", type=Path, help="safetensors files (all of resources/models)"
    )
    command.add_argument(
        "--whole",
        action="store_true",
        help="judge on every sample of the test sets, which takes minutes a network, and not only "
        "on the first 2000 of each",
    )
    _add_device(command)


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", help="study file, such as config/config.yaml")
    command.add_argument("network", help="name of an entry of its `networks`")


def _channel(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _slice(text: str) -> int | str:
    return text if text in SLICES else _count(text)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _of(column: str):
    """What reads a number that the table of mosaics takes in this column, within the same range."""

    def read(text: str) -> float:
        try:
            return number_of(column, text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
