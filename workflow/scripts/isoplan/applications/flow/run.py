"""`flow`: from a picture with motion blur to a map of what moved."""

import argparse

from isoplan.applications.flow.fit import FlowFit, FlowMap, estimate_flow
from isoplan.applications.flow.results import describe, facts_of, thumbnail, write_map
from isoplan.applications.flow.sequence import IN_TIME, FlowSequence, Frames, estimate_sequence
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.optics import optics_of
from isoplan.cli.outputs import Outputs, is_file
from isoplan.cli.picture import open_picture, outputs_of
from isoplan.mosaic.ground import Grounded
from isoplan.mosaic.reader import reopen
from isoplan.mosaic.window import Picture


def run(args: argparse.Namespace) -> int:
    """Write the motion of a picture or a sequence."""
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
    if args.interval_ms:
        for name in ("slice", "shorter"):
            if getattr(args, name) is not None:
                raise UserError(f"--{name}: all pictures of a sequence are taken; leave it out")
        args.slice = 0
    store = args.out.with_name(f"{args.out.name}.ome.zarr")
    with outputs_of(args, args.out, store) as outputs, open_picture(args, outputs) as picture:
        optics = optics_of(args)
        fit = FlowFit(optics, args.longest_px, args.near_um, args.axial_um, args.one_side)
        found = _sequence(args, picture, fit) if args.interval_ms else _one(picture, fit)
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


def _one(picture: Picture, fit: FlowFit) -> FlowMap:
    bar = Progress("finding motion, blocks", len(fit.layout(picture.shape).units))
    return estimate_flow(picture, fit, step=bar.step)


def _sequence(args: argparse.Namespace, picture: Picture, fit: FlowFit) -> FlowSequence:
    """The motion of all pictures of a file whose first one is open."""
    if picture.stack == "Z":
        print(f"{args.picture}: {IN_TIME}")
    known = {"ground": isinstance(picture, Grounded)}

    def opened(number: int) -> Picture:
        return reopen(vars(args) | {"path": args.picture}, known | {"slice": number})

    count = picture.slices * len(fit.layout(picture.shape).units)
    bar = Progress("finding motion, blocks of all pictures", count)
    times = args.exposure_ms, args.interval_ms
    with Frames(opened, picture.slices) as frames:
        return estimate_sequence(frames, fit, *times, step=bar.step)


def _shorter(args: argparse.Namespace, outputs: Outputs, fit: FlowFit) -> tuple[FlowMap, float]:
    """The motion in a shorter exposure of the same scene, and its time in ms."""
    own = argparse.Namespace(**vars(args) | {"picture": args.shorter})
    with open_picture(own, outputs) as picture:
        bar = Progress(
            "finding motion in the shorter exposure, blocks", len(fit.layout(picture.shape).units)
        )
        # In a short time little moves, so it is not asked whether all is at rest.
        return estimate_flow(picture, fit, doubt=False, step=bar.step), args.shorter_ms
