"""Options and argument types that several commands share."""

import argparse
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.config.schema import choices
from isoplan.mosaic.table import SLICES, number_of

SOURCE = "TIFF, OME-TIFF, LSM, OME-Zarr, PNG, JPEG, scikit-image:NAME, or a folder of tiles with a table of their positions"
PSF_MODELS = [model for model, told in choices("psfs").items() if told["parameters"]]


def add_command(
    commands, name: str, run: str, summary: str, more: str = ""
) -> argparse.ArgumentParser:
    """A command whose work is `run`, as "module:function"; the module is imported when it is called."""
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {more}".strip(),
    )
    command.set_defaults(run=run)
    return command


def add_overwrite(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace earlier results of isoplan with these names, with whatever was changed in their pixels since; other "
        "files are never replaced",
    )


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu", "cuda"),
        help="auto takes a GPU if there is one",
    )


def add_source(command: argparse.ArgumentParser, what: str = SOURCE) -> None:
    """The argument `picture`, and which plane of it is read."""
    command.add_argument("picture", metavar="PICTURE", help=what)
    add_plane(command)


def add_plane(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--channel", type=channel, help="channel to read, from 0 or by its name in the file"
    )
    command.add_argument(
        "--slice",
        type=slice_number,
        metavar="N",
        help="slice of a stack to read, from 0; or sharpest (default), or brightest",
    )
    command.add_argument(
        "--series",
        type=non_negative_int,
        metavar="N",
        help="which of several pictures in a file, from 0 (default: the largest)",
    )


def add_pixel_size(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--pixel-size-um",
        type=column_type("pixel_size_um"),
        metavar="UM",
        help="pixel size at the sample, in um (default: from the file)",
    )


def add_optics(command, more: str = " (default: from the file)") -> None:
    """Numerical aperture and wavelength; more: the end of their help."""
    command.add_argument("--na", type=column_type("na"), help=f"numerical aperture{more}")
    command.add_argument(
        "--wavelength-um",
        type=column_type("wavelength_um"),
        metavar="UM",
        help=f"wavelength of the emitted light in um{more}",
    )


def add_index(command) -> None:
    command.add_argument(
        "--index",
        type=positive_float,
        default=1.0,
        help="refractive index between objective and specimen (default: %(default)s)",
    )


def channel(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def slice_number(text: str) -> int | str:
    return text if text in SLICES else non_negative_int(text)


def non_negative_int(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def add_positions(group) -> None:
    """How far apart the slices of a stack lie, in a group of which one must be given."""
    group.add_argument(
        "--step-um", type=float, metavar="UM", help="z from slice to slice; below 0 if it falls"
    )
    group.add_argument(
        "--z-um", type=Path, metavar="FILE", help="z of every slice in um, one number a line"
    )


def column_type(column: str):
    """Argument type that accepts the same numbers as this column of the table of mosaics."""

    def read(text: str) -> float:
        try:
            return number_of(column, text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
