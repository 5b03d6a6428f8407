"""`depth-calibrate`: from a stack or a tilted plane to a calibration; `depth`: from a picture to a map of heights."""

import argparse
import math
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from isoplan.applications.depth.calibration import (
    FOUND,
    GRID_AXES,
    GRID_CYLINDERS,
    SEARCHED,
    Calibration,
    calibrate,
    flatness,
)
from isoplan.applications.depth.figures import height_figure, surface_figure
from isoplan.applications.depth.heights import (
    CHANNELS,
    HeightFit,
    HeightMap,
    estimate_heights,
    layout_of,
)
from isoplan.applications.depth.known import check_slices, of_plane, of_stack
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.optics import optics_of
from isoplan.cli.outputs import is_file, sealed_json
from isoplan.cli.picture import open_picture, outputs_of, tiff_tags
from isoplan.cli.stack import positions, slices
from isoplan.mosaic import ngff
from isoplan.networks.defocus_fit import reach_um
from isoplan.optics.defocus import Defocus
from isoplan.psf_map.layout import SHARD_CELLS
from isoplan.report import plots

UNITS = {
    "cylinder_waves": "waves",
    "axis_rad": "rad",
    "spherical_waves": "waves",
    "softness_um": "um",
}
SAME = 0.02  # largest relative difference of a pixel size from the calibration's


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
                z = check_slices(positions(args, getattr(picture, "slices", 1)), optics)
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
        edge = float(np.abs(found.flat_at(layout_of(optics, shape))).max())
        print(f"  the field's own height, up to {edge:.2g} um, is subtracted from now on")
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
    store = args.out.with_name(f"{args.out.name}.ome.zarr")
    with outputs_of(args, args.out, store) as outputs, open_picture(args, outputs) as picture:
        outputs.refuse_sources([args.calibration])
        _check_optics(args, calibration.optics)
        fit = HeightFit(calibration, args.reach_um or reach_um(calibration.optics))
        if min(picture.shape) < fit.window_px:
            raise UserError(
                f"{args.picture}: has {picture.shape[0]} x {picture.shape[1]} px; a window has {fit.window_px}"
            )
        bar = Progress("finding heights, blocks", len(fit.layout(picture.shape).units))
        found = estimate_heights(picture, fit, step=bar.step)
        _write(outputs[args.out], outputs[store], found, calibration)
        outputs.deliver()
    for line in describe(found):
        print(line)
    print(
        f"heights: {args.out}/heights.csv, and {store} to lay over the picture; open {args.out}/heights.png first"
    )
    return 0


def describe(found: HeightMap) -> list[str]:
    """What a map says, in words."""
    valid = found.valid
    if found.doubt and found.doubt.foreign:
        return [
            f"CAUTION: no height is valid: the picture looks as if taken with {found.doubt.words}, so it is not of the calibrated microscope; calibrate it"
        ]
    if not valid.any():
        return ["CAUTION: no cell is valid: too little texture"]
    heights, half = found.height_um[valid], found.half_width_um[valid]
    low, high = np.quantile(heights, (0.01, 0.99))
    lines = [
        f"{valid.mean():.0%} of the cells are valid; heights from {low:.3g} to {high:.3g} um, +- {np.median(half):.2g} um in the median cell "
        "(90 % interval)"
    ]
    if found.doubt:
        lines.append(
            f"CAUTION: the picture looks as if taken with {found.doubt.words}; heights may be wrong by more than their intervals: calibrate again"
        )
    at_end = (np.abs(heights) > 0.95 * found.reach_um).mean()
    if at_end > 0.02:
        lines.append(
            f"CAUTION: {at_end:.0%} of the heights lie at the end of the reach, {found.reach_um:.3g} um; what lies farther cannot be told"
        )
    return lines


def _check_optics(args: argparse.Namespace, optics: Defocus) -> None:
    """Raise UserError if the picture is not of the calibrated microscope."""
    told = args.pixel_size_um
    if told is None:
        print(
            f"{args.picture}: the pixel size is not known, and taken to be the calibration's, {optics.pixel_size_um:g} um"
        )
        args.pixel_size_um = optics.pixel_size_um
    elif not math.isclose(told, optics.pixel_size_um, rel_tol=SAME):
        raise UserError(
            f"{args.picture}: its pixels have {told:g} um, the calibration's {optics.pixel_size_um:g} um: that is another microscope, or another "
            "binning of the camera; calibrate it"
        )


def _write(folder: Path, store: Path, found: HeightMap, calibration: Calibration) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found.table().to_csv(folder / "heights.csv", index=False, float_format="%.6g")
    cell = found.layout.stride_px * calibration.optics.pixel_size_um
    height = np.asarray(found.height_um, np.float32)
    tags = tiff_tags(height.shape, cell)
    tifffile.imwrite(folder / "heights.tif", height, **tags)
    for name, draw in (("heights", height_figure), ("surface", surface_figure)):
        (folder / f"{name}.png").write_bytes(plots.render(partial(draw, found, cell)))
    values = np.stack([found.height_um, found.half_width_um, found.validity]).astype(np.float32)
    known = values[0][np.isfinite(values[0])]
    low, high = (float(v) for v in np.quantile(known, (0.01, 0.99))) if known.size else (-1.0, 1.0)
    shown = ({"low": low, "high": high}, {"high": high - low}, {})
    units = ("um", "um", "probability")
    ngff.create_map(
        store,
        [{"name": n, "unit": u} | s for n, u, s in zip(CHANNELS, units, shown, strict=True)],
        found.layout.cells,
        stride_px=found.layout.stride_px,
        pixel_size_um=calibration.optics.pixel_size_um,
        shard_cells=SHARD_CELLS,
        names=["0"],
        attributes={
            "calibration": calibration.told(),
            "window_px": found.layout.window_px,
            "fits_better": found.doubt.words if found.doubt else "",
        },
    )
    ngff.write_shards(ngff.open_array(store, "0", "r+"), (slice(None),) * 3, values)
