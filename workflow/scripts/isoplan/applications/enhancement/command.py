"""Arguments of `enhance`."""

from pathlib import Path

from isoplan.cli.options import (
    add_command,
    add_overwrite,
    add_pixel_size,
    add_plane,
    column_type,
)


def add_enhance(commands) -> None:
    command = add_command(
        commands,
        "enhance",
        "isoplan.applications.enhancement.run:run",
        "enhances one picture with a network that was trained on pairs of a poor and a good detector",
        "Pictures may be larger than memory. Writes the picture in the input's counts, and beside it where its own counts, or "
        "those of a second exposure, speak against the result.",
    )
    command.add_argument("picture", metavar="PICTURE", help="a picture of the poor detector")
    command.add_argument(
        "--network",
        required=True,
        action="append",
        type=Path,
        metavar="FILE.safetensors",
        help="of a study: results/<study>/enhancers/<name>/network.safetensors; give it several times for the mean "
        "over networks, and where they differ",
    )
    command.add_argument(
        "--second",
        metavar="PICTURE",
        help="another exposure of the same field, whose counts say what is in doubt in place of the picture's own",
    )
    command.add_argument(
        *("-o", "--out"), required=True, type=Path, metavar="OUT.ome.zarr", help="the result"
    )
    add_plane(command)
    add_pixel_size(command)
    command.add_argument(
        "--offset", type=float, default=0.0, help="counts without light (default: %(default)s)"
    )
    command.add_argument(
        "--gain", type=column_type("gain"), help="counts per electron (default: estimated)"
    )
    command.add_argument(
        "--read-noise",
        type=column_type("read_noise_e"),
        metavar="E",
        help="standard deviation in electrons (default: estimated)",
    )
    add_overwrite(command)
