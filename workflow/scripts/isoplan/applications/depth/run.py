"""`depth-calibrate`: from a stack or a tilted plane to a calibration; `depth`: from a picture to a map of heights."""

import argparse
from dataclasses import replace

import numpy as np

from isoplan.applications.depth.calibration import (
    FOUND,
    GRID_AXES,
    GRID_CYLINDERS,
    SEARCHED,
    Calibration,
    calibrate,
    flatness,
)
from isoplan.applications.depth.heights import (
    HeightFit,
    estimate_heights,
)
from isoplan.applications.depth.known import check_slices, of_plane, of_stack
from isoplan.applications.depth.results import check_picture, describe, facts_of, write_map
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.optics import optics_of
from isoplan.cli.outputs import is_file, sealed_json
from isoplan.cli.picture import open_picture, outputs_of
from isoplan.cli.stack import positions, slices
from isoplan.networks.defocus_fit import reach_um

UNITS = {
    "cylinder_waves": "waves",
    "axis_rad": "rad",
    "spherical_waves": "waves",
    "softness_um": "um",
}


def depth_calibrate(args: argparse.Namespace) -> int:
    """Write the calibration of a microscope."""
    if args.out.suffix.lower() != ".json":
        raise UserError(f"{args.out}: the name must end in .json")
    with outputs_of(args, args.out) as outputs:
        if args.tilt_deg is None and args.slice is not None:
            raise UserError("--slice: a calibration from a stack takes all slices; leave it out")
        first = argparse.Namespace(**vars(args) | ({"slice": 0} if args.tilt_deg is None else {}))
        with open_picture(first, outputs) as picture:
            optics = optics_of(first)
            shape = picture.shape
            if args.tilt_deg is None:
                z = check_slices(positions(args, picture.slices), optics)
                windows, centres = of_stack(slices(first, len(z)), z, optics)
            else:
                windows = of_plane(picture, args.tilt_deg, args.towards_deg, optics)
                centres = np.empty((0, 2))
        bar = Progress("calibrating, trials", len(GRID_CYLINDERS) * GRID_AXES + SEARCHED)
        optics, half_width, offset = calibrate(windows, optics, step=bar.step)
        flat = flatness(windows, centres, optics, offset)
        found = Calibration(optics, half_width, offset, flat, shape)
        outputs[args.out].write_text(sealed_json(found.told()))
        outputs.deliver()
    print(f"from {len(windows.z_um)} windows at {len(windows.place.unique())} places:")
    for name in FOUND:
        print(
            f"  {name} {getattr(optics, name):.3f} +- {half_width[name]:.3f} {UNITS[name]} (90 % interval)"
        )
    print(
        f"  depth of field {optics.depth_of_field_um:.3g} um; heights up to {reach_um(optics):.3g} um on either side can be told"
    )
    if flat:
        print(f"  the field's own height, up to {found.bend_um:.2g} um, is subtracted from now on")
    else:
        print("  whether the field is curved is not known; a stack with texture all over tells")
    print(
        f"calibration: {args.out}; next: isoplan depth PICTURE --calibration {args.out} -o FOLDER"
    )
    return 0


def depth(args: argparse.Namespace) -> int:
    """Write the heights of a picture."""
    if is_file(args.out):
        raise UserError(f"{args.out}: is the name of a file; results need a folder")
    calibration = Calibration.read(args.calibration)
    if args.leave_field:
        calibration = replace(calibration, flat=())
    store = args.out.with_name(f"{args.out.name}.ome.zarr")
    with outputs_of(args, args.out, store) as outputs, open_picture(args, outputs) as picture:
        outputs.refuse_sources([args.calibration])
        if note := check_picture(args.picture, picture.shape, args.pixel_size_um, calibration):
            print(f"{args.picture}: {note}")
        fit = HeightFit(calibration, args.reach_um or reach_um(calibration.optics))
        bar = Progress("finding heights, blocks", len(fit.layout(picture.shape).units))
        found = estimate_heights(picture, fit, step=bar.step)
        write_map(outputs[args.out], outputs[store], found, calibration)
        outputs.deliver()
    for line in describe(facts_of(found), found.doubt):
        print(line)
    print(
        f"heights: {args.out}/heights.csv, and {store} to lay over the picture; open {args.out}/heights.png first"
    )
    return 0
