"""A map of heights on disk, and what is said of it."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from isoplan.applications.depth.calibration import Calibration
from isoplan.applications.depth.figures import height_figure, surface_figure
from isoplan.applications.depth.heights import CHANNELS, HeightMap
from isoplan.applications.depth.rivals import Doubt
from isoplan.base.errors import UserError
from isoplan.cli.picture import tiff_tags
from isoplan.mosaic import ngff
from isoplan.networks.defocus_fit import WINDOW_PX, binning_of
from isoplan.psf_map.layout import SHARD_CELLS
from isoplan.report import plots

SAME = 0.02  # largest relative difference of a pixel size from the calibration's
AT_END, MUCH_AT_END = 0.95, 0.02  # of the reach; share of the heights
TABLE, PICTURE, SURFACE, VALUES = "heights.csv", "heights.png", "surface.png", "heights.tif"


def check_picture(
    path: str | Path,
    shape_px: tuple[int, int],
    pixel_size_um: float | None,
    calibration: Calibration,
) -> str:
    """What is to be said of a picture before heights are found in it; empty if nothing is.

    Raises UserError if it is not of the calibrated microscope, or too small.
    """
    optics = calibration.optics
    window = WINDOW_PX * binning_of(optics)
    if min(shape_px) < window:
        raise UserError(f"{path}: has {shape_px[0]} x {shape_px[1]} px; a window has {window}")
    if pixel_size_um is None:
        return f"the pixel size is not known, and taken to be the calibration's, {optics.pixel_size_um:g} um"
    if not math.isclose(pixel_size_um, optics.pixel_size_um, rel_tol=SAME):
        raise UserError(
            f"{path}: its pixels have {pixel_size_um:g} um, the calibration's {optics.pixel_size_um:g} um: that is another microscope, or another "
            "binning of the camera; calibrate it"
        )
    return ""


def facts_of(found: HeightMap) -> dict[str, float]:
    """Figures of a map; those of heights are of valid cells, and missing if there are none."""
    valid = found.valid
    facts = {"valid": float(valid.mean()), "reach_um": found.reach_um}
    if not valid.any():
        return facts
    heights = found.height_um[valid]
    low, high = np.quantile(heights, (0.01, 0.99))
    return facts | {
        "low_um": float(low),
        "high_um": float(high),
        "half_width_um": float(np.median(found.half_width_um[valid])),
        "at_end": float((np.abs(heights) > AT_END * found.reach_um).mean()),
    }


def describe(facts: dict[str, float], doubt: Doubt | None) -> list[str]:
    """What a map says, in words; facts: of `facts_of`."""
    if doubt and doubt.foreign:
        return [
            f"CAUTION: no height is valid: the picture looks as if taken with {doubt.words}, so it is not of the calibrated microscope; calibrate it"
        ]
    if not facts["valid"]:
        return ["CAUTION: no cell is valid: too little texture"]
    lines = [
        f"{facts['valid']:.0%} of the cells are valid; heights from {facts['low_um']:.3g} to {facts['high_um']:.3g} um, +- {facts['half_width_um']:.2g} um in the median cell "
        "(90 % interval)"
    ]
    if doubt:
        lines.append(
            f"CAUTION: the picture looks as if taken with {doubt.words}; heights may be wrong by more than their intervals: calibrate again"
        )
    if facts["at_end"] > MUCH_AT_END:
        lines.append(
            f"CAUTION: {facts['at_end']:.0%} of the heights lie at the end of the reach, {facts['reach_um']:.3g} um; what lies farther cannot be told"
        )
    return lines


def write_map(folder: Path, store: Path, found: HeightMap, calibration: Calibration) -> None:
    """Write a table, a TIFF and figures to a folder, and the map as OME-Zarr that lies over the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    found.table().to_csv(folder / TABLE, index=False, float_format="%.6g")
    cell = found.layout.stride_px * calibration.optics.pixel_size_um
    height = np.asarray(found.height_um, np.float32)
    tags = tiff_tags(height.shape, cell)
    tifffile.imwrite(folder / VALUES, height, **tags)
    for name, draw in ((PICTURE, height_figure), (SURFACE, surface_figure)):
        (folder / name).write_bytes(plots.render(partial(draw, found, cell)))
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
