"""Arguments of `depth` and `depth-calibrate`."""

from pathlib import Path

from isoplan.cli.options import (
    add_command,
    add_index,
    add_optics,
    add_overwrite,
    add_pixel_size,
    add_positions,
    add_source,
    positive_float,
)


def add_depth(commands) -> None:
    command = add_command(
        commands,
        "depth",
        "isoplan.applications.depth.run:depth",
        "finds the height of a thin specimen above the focal plane, from one picture through a weak cylindrical lens",
        "Writes heights.csv (a row per cell: centre in px, height and half-width of its 90 % interval in um, validity), heights.tif and "
        "a figure, and the map as OME-Zarr beside it, to lay over the picture.",
    )
    add_source(command, "a picture of the calibrated microscope")
    add_pixel_size(command)
    command.add_argument(
        "--calibration", required=True, type=Path, metavar="CAL.json", help="of `depth-calibrate`"
    )
    command.add_argument(
        "--reach-um",
        type=positive_float,
        metavar="UM",
        help="heights are looked for up to so far on both sides of focus; a smaller reach takes less time (default: as far as the blur "
        "fits into a window)",
    )
    command.add_argument(
        "--leave-field",
        action="store_true",
        help="do not subtract the field's own height, which the calibration may know; for stitched mosaics and other camera regions",
    )
    command.add_argument(
        *("-o", "--out"), required=True, type=Path, metavar="FOLDER", help="for results"
    )
    add_overwrite(command)


def add_depth_calibrate(commands) -> None:
    command = add_command(
        commands,
        "depth-calibrate",
        "isoplan.applications.depth.run:depth_calibrate",
        "finds the astigmatism by which pictures of a microscope tell depth",
        "Give a z stack of any flat specimen with texture, or one picture of a flat specimen that is tilted by a known angle. Heights "
        "count in the direction of growing z, or of the tilt.",
    )
    add_source(command, "a z stack, or a picture of a tilted plane")
    add_pixel_size(command)
    known = command.add_mutually_exclusive_group(required=True)
    add_positions(known)
    known.add_argument(
        "--tilt-deg",
        type=positive_float,
        metavar="DEG",
        help="tilt of the plane against the focal plane",
    )
    command.add_argument(
        "--towards-deg",
        type=float,
        default=0.0,
        metavar="DEG",
        help="direction in which the tilted plane rises, from x (0) towards growing y, down (90) (default: %(default)s)",
    )
    add_optics(command)
    add_index(command)
    command.add_argument(
        *("-o", "--out"), required=True, type=Path, metavar="CAL.json", help="the calibration"
    )
    add_overwrite(command)
