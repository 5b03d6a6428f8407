"""`flow`: from a picture with motion blur to a map of what moved."""

import argparse

from isoplan.applications.flow.fit import FlowFit, FlowMap, estimate_flow
from isoplan.applications.flow.results import describe, facts_of, thumbnail, write_map
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.optics import optics_of
from isoplan.cli.outputs import Outputs, is_file
from isoplan.cli.picture import open_picture, outputs_of


def run(args: argparse.Namespace) -> int:
    """Write the motion of a picture."""
    if is_file(args.out):
        raise UserError(f"{args.out}: is the name of a file; results need a folder")
    if args.shorter_ms and not args.shorter:
        raise UserError("--shorter-ms: goes with a second picture; give --shorter, too")
    if args.shorter and not (args.exposure_ms and args.shorter_ms):
        raise UserError("--shorter: speeds are compared; give --exposure-ms and --shorter-ms, too")
    if args.shorter and args.shorter_ms >= args.exposure_ms:
        raise UserError(
            f"--shorter-ms {args.shorter_ms:g} is not shorter than --exposure-ms {args.exposure_ms:g}; give the longer exposure first"
        )
    store = args.out.with_name(f"{args.out.name}.ome.zarr")
    with outputs_of(args, args.out, store) as outputs, open_picture(args, outputs) as picture:
        optics = optics_of(args)
        fit = FlowFit(optics, args.longest_px, args.near_um, args.axial_um, args.one_side)
        bar = Progress("finding motion, blocks", len(fit.layout(picture.shape).units))
        found = estimate_flow(picture, fit, step=bar.step)
        shorter = _shorter(args, outputs, fit) if args.shorter else None
        small, time = thumbnail(picture), args.exposure_ms
        facts = facts_of(found, time, shorter)
        write_map(outputs[args.out], outputs[store], found, time, small, shorter)
        outputs.deliver()
    for line in describe(facts, found.doubt):
        print(line)
    print(
        f"motion: {args.out}/flow.csv, and {store} to lay over the picture; open {args.out}/flow.png first"
    )
    return 0


def _shorter(args: argparse.Namespace, outputs: Outputs, fit: FlowFit) -> tuple[FlowMap, float]:
    """The motion in a shorter exposure of the same scene, and its time in ms."""
    own = argparse.Namespace(**vars(args) | {"picture": args.shorter})
    with open_picture(own, outputs) as picture:
        bar = Progress(
            "finding motion in the shorter exposure, blocks", len(fit.layout(picture.shape).units)
        )
        # In a short time little moves, so it is not asked whether all is at rest.
        return estimate_flow(picture, fit, doubt=False, step=bar.step), args.shorter_ms
