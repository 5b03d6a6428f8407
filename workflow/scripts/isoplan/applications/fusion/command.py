"""Arguments of `fuse`."""

from pathlib import Path

from isoplan.cli.options import (
    add_command,
    add_index,
    add_optics,
    add_overwrite,
    add_pixel_size,
    add_positions,
    add_source,
)


def add_fuse(commands) -> None:
    command = add_command(
        commands,
        "fuse",
        "isoplan.applications.fusion.run:run",
        "makes one picture that is in focus everywhere, from a focus series",
        "Writes fused.tif, heights.tif (where each part of the specimen is in focus, in um) and share.tif (how far each pixel was estimated from all slices; where "
        "the optics do not explain them, it is taken from the sharpest), and figures.",
    )
    add_source(command, "a z stack")
    add_pixel_size(command)
    add_positions(command.add_mutually_exclusive_group(required=True))
    add_optics(command)
    add_index(command)
    command.add_argument(
        *("-o", "--out"), required=True, type=Path, metavar="FOLDER", help="for results"
    )
    add_overwrite(command)
