"""`autofocus-calibrate`: from z stacks to a calibration; `autofocus`: drives a stage to focus."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import numpy as np
import pandas as pd

from isoplan.applications.autofocus import function, search
from isoplan.applications.autofocus.calibration import SEARCHED, SOFTNESS_PX, Calibration, calibrate
from isoplan.applications.autofocus.focus import Focus
from isoplan.applications.autofocus.micromanager import ENDING, MicroManager
from isoplan.applications.autofocus.stage import Microscope, Stack, StageError, opened
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.optics import optics_of
from isoplan.cli.outputs import Outputs, sealed, sealed_json
from isoplan.cli.picture import open_picture, outputs_of
from isoplan.cli.stack import positions, slices
from isoplan.mosaic.reader import open_mosaic
from isoplan.networks.defocus_fit import WINDOW_PX, binning_of, reach_um


def autofocus_calibrate(args: argparse.Namespace) -> int:
    """Write the calibration of a microscope."""
    if args.out.suffix.lower() != ".json":
        raise UserError(f"{args.out}: the name must end in .json")
    if args.slice is not None:
        raise UserError("--slice: a calibration takes all slices; leave it out")
    each = [
        argparse.Namespace(**vars(args) | {"picture": path, "slice": 0}) for path in args.stacks
    ]
    with outputs_of(each[0], args.out) as outputs:
        stacks, optics = [], None
        for own in each:
            with open_picture(own, outputs) as picture:
                z = positions(own, picture.slices)
            made = optics_of(own)
            if optics and made != optics:
                raise UserError(f"{own.picture}: its optics are not those of {args.stacks[0]}")
            optics = made
            stacks.append(
                (np.asarray(z, float), _read(own, len(z), WINDOW_PX * binning_of(optics)))
            )
        assert optics is not None
        bar = Progress("calibrating, trials", SEARCHED + len(SOFTNESS_PX))
        found = calibrate(stacks, optics, step=bar.step)
        outputs[args.out].write_text(sealed_json(found.told()))
        outputs.deliver()
    made, depth = found.optics, found.optics.depth_of_field_um
    print(f"from {len(stacks)} stack{'s' * (len(stacks) > 1)}:")
    print(
        f"  astigmatism {made.cylinder_waves:.3f} waves, spherical {made.spherical_waves:.3f} waves, softness {made.softness_um:.2g} um"
    )
    print(
        f"  depth of field {depth:.3g} um; focus can be found from up to {reach_um(made):.3g} um away"
    )
    worst = max(abs(apart) for apart in found.apart_um)
    print(
        f"  three slices of each stack lead to within {worst:.2g} um of the focus that all of them tell"
    )
    if worst > depth / 2:
        print("  CAUTION: that is much; the optics are not as assumed, or a specimen is thick")
    print(f"calibration: {args.out}; next: isoplan autofocus MICROSCOPE --calibration {args.out}")
    return 0


def autofocus(args: argparse.Namespace) -> int:
    """Drive a stage to focus."""
    calibration = Calibration.read(args.calibration)
    with ExitStack() as kept:
        outputs = None
        if args.out:
            if args.out.suffix.lower() != ".csv":
                raise UserError(f"{args.out}: the name must end in .csv")
            outputs = kept.enter_context(
                Outputs(args.out, sources=[args.calibration], overwrite=args.overwrite)
            )
        rows: list[tuple] = []

        def said(focus: Focus, z_um: float) -> None:
            rows.append(
                (len(rows) + 1, z_um, focus.z_um, focus.half_width_um, focus.probability, focus.why)
            )
            words = (
                f"focus at {focus.z_um:.2f} +- {focus.half_width_um:.2g} um"
                if focus.known
                else focus.why
            )
            print(f"picture {len(rows)} at {z_um:.2f} um: {words}")

        with _microscope(args) as scope:
            found = function.autofocus(
                scope,
                calibration,
                range_um=args.range_um,
                pictures=args.pictures,
                enough_um=args.enough_um,
                backlash_um=args.backlash_um,
                region=None if args.region is None else _region(args.region),
                said=said,
            )
        if outputs:
            columns = ["picture", "z_um", "focus_um", "half_width_um", "probability", "why"]
            table = pd.DataFrame(rows, columns=columns)
            outputs[args.out].write_text(sealed(table.to_csv(index=False, float_format="%.6g")))
            outputs.deliver()
    if not found.focus.known:
        print(
            f"CAUTION: the focus is not known: {found.focus.why}. The stage is back at {found.stands_um:.2f} um"
        )
        return 1
    print(
        f"in focus at {found.stands_um:.2f} um, {found.focus.z_um:.2f} +- {found.focus.half_width_um:.2g} um (90 % interval), after {len(rows)} pictures"
    )
    return 0


def _read(args: argparse.Namespace, count: int, window_px: int) -> list[np.ndarray]:
    """The middles of the slices."""
    found = []
    for picture in slices(args, count):
        if min(picture.shape) < window_px:
            raise UserError(
                f"{args.picture}: has {picture.shape[0]} x {picture.shape[1]} px; a window has {window_px}"
            )
        rows, columns = search.middle(picture.shape, search.WINDOWS * window_px)
        found.append(picture.read(rows.start, rows.stop, columns.start, columns.stop))
    return found


@contextmanager
def _microscope(args: argparse.Namespace) -> Iterator[Microscope]:
    if ".py:" in args.microscope:
        yield opened(args.microscope)
        return
    if args.microscope.lower().endswith(ENDING):
        with closing(MicroManager.opened(args.microscope)) as scope:
            yield scope
        return
    if args.step_um is None and args.z_um is None:
        raise UserError(
            f"{args.microscope}: give FILE.py:NAME, a configuration of Micro-Manager (*{ENDING}), or a z stack with --step-um or --z-um"
        )
    if args.slice is not None:
        raise UserError("--slice: the stage chooses slices; leave it out")
    own = argparse.Namespace(**vars(args) | {"picture": args.microscope})
    plane = {"channel": args.channel, "series": args.series}
    with open_mosaic(args.microscope, slice=0, **plane) as first:
        z = positions(own, first.slices)

    def read(number: int) -> np.ndarray:
        with open_mosaic(args.microscope, slice=number, **plane) as picture:
            return picture.read(0, picture.shape[0], 0, picture.shape[1])

    yield Stack(z, read, z[0] if args.start_um is None else args.start_um)


def _region(ends: list[int]) -> tuple[slice, slice]:
    y0, y1, x0, x1 = ends
    if y0 >= y1 or x0 >= x1:
        raise StageError(
            "--region: gives no pixels; give first and last row, first and last column"
        )
    return slice(y0, y1), slice(x0, x1)
