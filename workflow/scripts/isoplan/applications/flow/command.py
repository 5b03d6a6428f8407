"""Arguments of `flow`."""

from pathlib import Path

from isoplan.applications.flow.defaults import AXIAL, LATERAL_PX, NEAR
from isoplan.cli.options import (
    add_command,
    add_index,
    add_optics,
    add_overwrite,
    add_pixel_size,
    add_source,
    positive_float,
)


def add_flow(commands) -> None:
    command = add_command(
        commands,
        "flow",
        "isoplan.applications.flow.run:run",
        "finds what moved where, sideways and along the axis, from the motion blur of one long exposure",
        "Writes flow.csv (a row per cell: centre in px, speed, direction, axial speed, distance from focus, with half-widths of 90 % intervals), flow.tif and "
        "figures, and the map as OME-Zarr beside it, to lay over the picture. One picture does not tell a direction from its opposite; a sequence does, and gives tracks.csv, too.",
    )
    add_source(command, "a picture with motion blur, or a sequence")
    add_pixel_size(command)
    time = command.add_mutually_exclusive_group(required=True)
    time.add_argument(
        "--exposure-ms", type=positive_float, metavar="MS", help="exposure time, for speeds"
    )
    time.add_argument(
        "--displacements",
        action="store_true",
        help="give displacements during the exposure instead, where its time is not known",
    )
    command.add_argument(
        "--interval-ms",
        type=positive_float,
        metavar="MS",
        help="the file is a sequence: time from the beginning of a picture to that of the next; tells headings and tracks, too",
    )
    command.add_argument(
        "--shorter",
        type=Path,
        metavar="PICTURE",
        help="of the same scene, in a shorter exposure: a check, as speeds must agree",
    )
    command.add_argument(
        "--shorter-ms", type=positive_float, metavar="MS", help="exposure time of --shorter"
    )
    add_optics(command)
    add_index(command)
    command.add_argument(
        "--longest-px",
        type=positive_float,
        default=LATERAL_PX,
        metavar="PX",
        help="longest displacement along x and along y during the exposure that is looked for; more takes larger windows (default: %(default)s)",
    )
    command.add_argument(
        "--near-um",
        type=positive_float,
        metavar="UM",
        help=f"paths begin or end no farther from focus (default: {NEAR} depths of field, as far as windows allow)",
    )
    command.add_argument(
        "--axial-um",
        type=positive_float,
        metavar="UM",
        help=f"longest path along the axis that is looked for (default: {AXIAL} depths of field, likewise)",
    )
    command.add_argument(
        "--one-side",
        action="store_true",
        help="nothing crosses focus during the exposure",
    )
    command.add_argument(
        *("-o", "--out"), required=True, type=Path, metavar="FOLDER", help="for results"
    )
    add_overwrite(command)
