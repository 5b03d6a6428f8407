"""`flow`: from a picture with motion blur to a map of what moved."""

import argparse

from isoplan.applications.flow.fit import FlowFit, estimate_flow
from isoplan.applications.flow.results import describe, facts_of, thumbnail, write_map
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.optics import optics_of
from isoplan.cli.outputs import is_file
from isoplan.cli.picture import open_picture, outputs_of


def run(args: argparse.Namespace) -> int:
    """Write the motion of a picture."""
    if is_file(args.out):
        raise UserError(f"{args.out}: is the name of a file; results need a folder")
    store = args.out.with_name(f"{args.out.name}.ome.zarr")
    with outputs_of(args, args.out, store) as outputs, open_picture(args, outputs) as picture:
        optics = optics_of(args)
        fit = FlowFit(optics, args.longest_px, args.near_um, args.axial_um, args.one_side)
        bar = Progress("finding motion, blocks", len(fit.layout(picture.shape).units))
        found = estimate_flow(picture, fit, step=bar.step)
        write_map(outputs[args.out], outputs[store], found, args.exposure_ms, thumbnail(picture))
        outputs.deliver()
    for line in describe(facts_of(found, args.exposure_ms), found.doubt):
        print(line)
    print(
        f"motion: {args.out}/flow.csv, and {store} to lay over the picture; open {args.out}/flow.png first"
    )
    return 0
