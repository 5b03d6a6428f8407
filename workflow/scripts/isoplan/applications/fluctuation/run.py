"""`superresolve`: from a file of frames to a picture on a finer grid, with what it is judged by."""

import argparse

from isoplan.applications.fluctuation import superresolution
from isoplan.applications.fluctuation.measured import Measured
from isoplan.applications.fluctuation.results import UNIT, write_beside, write_picture
from isoplan.applications.fluctuation.sequence import open_frames
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.outputs import Outputs
from isoplan.cli.picture import stem_of
from isoplan.mosaic.reader import sources_of

OPTIONS = (
    *("pixel_size_um", "psf_fwhm_nm", "na", "wavelength_um", "psf_shape", "factor"),
    *("offset", "gain", "emccd", "halves"),
)


def run(args: argparse.Namespace) -> int:
    """Write the picture, and what stands beside it."""
    if not args.out.name.lower().endswith(".ome.zarr") or args.out.name.lower() == ".ome.zarr":
        raise UserError(f"{args.out}: the name must end in .ome.zarr, with a name before it")
    beside = args.out.with_name(f"{stem_of(args.out)}-fluctuations")
    sources = sources_of(args.picture)
    with Outputs(args.out, beside, sources=sources, overwrite=args.overwrite) as outputs:
        scratch = outputs.folder / "frames"
        with open_frames(args.picture, scratch, channel=args.channel) as frames:
            given = {key: getattr(args, key) for key in OPTIONS}
            found = Measured.of(frames, read_noise_e=args.read_noise, **given)
            for note in found.notes:
                print(f"{args.picture}: {note}")
            bar = Progress("making finer, squares", 2 * len(superresolution.cores(frames.shape)))
            made = superresolution.superresolve(frames, found.settings, step=bar.step)
            write_picture(outputs[args.out], made, found)
            write_beside(outputs[beside], made, found)
        outputs.deliver()
    for note in superresolution.describe(made):
        print(note)
    print(f"picture: {args.out} ({UNIT}); open {beside}/overview.png first")
    return 0
