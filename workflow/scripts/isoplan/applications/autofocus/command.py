"""Arguments of `autofocus` and `autofocus-calibrate`."""

from pathlib import Path

from isoplan.cli.options import (
    add_command,
    add_index,
    add_optics,
    add_overwrite,
    add_pixel_size,
    add_plane,
    add_positions,
    non_negative_int,
    positive_float,
    positive_int,
)


def add_autofocus(commands) -> None:
    command = add_command(
        commands,
        "autofocus",
        "isoplan.applications.autofocus.run:autofocus",
        "drives a stage to focus with three or four pictures",
        "Says where the focus is and how sure that is. If it is not known, the stage goes back to where it was.",
    )
    command.add_argument(
        "microscope",
        metavar="MICROSCOPE",
        help="FILE.py:NAME, what NAME of a Python file makes, with the methods where(), move(z_um) and snap(); FILE.cfg, a configuration of "
        "Micro-Manager; a z stack, whose slices are taken for pictures",
    )
    command.add_argument(
        *("--calibration", "-c"),
        required=True,
        type=Path,
        metavar="CAL.json",
        help="of `autofocus-calibrate`",
    )
    command.add_argument(
        "--range-um",
        type=positive_float,
        metavar="UM",
        help="the stage moves at most so far from where it is, up and down (default: as far as the blur fits into a window)",
    )
    command.add_argument(
        "--pictures",
        type=positive_int,
        default=6,
        metavar="N",
        help="at most (default: %(default)s)",
    )
    command.add_argument(
        "--enough-um",
        type=positive_float,
        metavar="UM",
        help="stop earlier if the focus is known so well, half-width of its 90 %% interval (default: a tenth of the depth of field)",
    )
    command.add_argument(
        "--backlash-um",
        type=positive_float,
        default=0.0,
        metavar="UM",
        help="moves downwards go so far beyond first, so that all positions are reached from below",
    )
    command.add_argument(
        "--region",
        nargs=4,
        type=non_negative_int,
        metavar=("Y0", "Y1", "X0", "X1"),
        help="rows and columns of the picture that are to be in focus (default: its middle, of four windows a side at most)",
    )
    add_plane(command)
    add_positions(command.add_mutually_exclusive_group())
    command.add_argument(
        "--start-um",
        type=float,
        metavar="UM",
        help="where the stage stands at first, in a stack (default: at its first slice)",
    )
    command.add_argument(
        *("-o", "--out"),
        type=Path,
        metavar="FILE.csv",
        help="the pictures' positions and what was known after each",
    )
    add_overwrite(command)


def add_autofocus_calibrate(commands) -> None:
    command = add_command(
        commands,
        "autofocus-calibrate",
        "isoplan.applications.autofocus.run:autofocus_calibrate",
        "finds what autofocus needs to know of a microscope, from z stacks",
        "Give one z stack or more of any thin specimens with texture, with focus near their middle. One suffices; others show how far it carries.",
    )
    command.add_argument("stacks", nargs="+", metavar="STACK", help="z stacks")
    add_plane(command)
    add_pixel_size(command)
    add_positions(command.add_mutually_exclusive_group(required=True))
    add_optics(command)
    add_index(command)
    command.add_argument(
        *("-o", "--out"), required=True, type=Path, metavar="CAL.json", help="the calibration"
    )
    add_overwrite(command)
