"""`isoplan.depth`: a picture of a calibrated microscope in, heights out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from isoplan.applications.depth.calibration import Calibration
from isoplan.applications.depth.heights import HeightFit, HeightMap, estimate_heights
from isoplan.applications.depth.results import check_picture, describe, facts_of
from isoplan.base.progress import Progress, silent
from isoplan.mosaic.ground import without_ground
from isoplan.mosaic.window import Picture
from isoplan.networks.defocus_fit import reach_um as farthest_um
from isoplan.restoration.in_memory import Counts


def depth(
    picture: Any,
    calibration: str | Path | Calibration,
    *,
    reach_um: float | None = None,
    leave_field: bool = False,
    quiet: bool = False,
) -> HeightMap:
    """Find the height of a thin specimen above the focal plane, from one picture through a weak cylindrical lens.

    Parameters
    ----------
    picture : array_like or Picture
        (H, W) counts: numpy, dask or zarr, or what `isoplan.open_mosaic` opened. It is read by windows.
    calibration : str, Path or Calibration
        File of `isoplan depth-calibrate`.
    reach_um : float, optional
        Heights are looked for up to so far on both sides of focus; as far as the blur fits into a window if not given.
    leave_field : bool
        Do not subtract the field's own height, which the calibration may know.
    quiet : bool
        Print nothing.

    Returns
    -------
    HeightMap
        Heights, half-widths of their 90 % intervals and validity, a cell each; `table()` gives a row per cell. `doubt` tells of a picture that is not
        of the calibrated microscope.

    Raises
    ------
    UserError
        If the picture does not fit the calibration.
    """
    known = calibration if isinstance(calibration, Calibration) else Calibration.read(calibration)
    if leave_field:
        known = replace(known, flat=())
    seen = without_ground(picture if isinstance(picture, Picture) else Counts(picture))
    size = known.optics.pixel_size_um
    check_picture(seen.path, seen.shape, seen.optics.get("pixel_size_um", size), known)
    fit = HeightFit(known, reach_um or farthest_um(known.optics))
    with silent(quiet):
        bar = Progress("finding heights, blocks", len(fit.layout(seen.shape).units))
        found = estimate_heights(seen, fit, step=bar.step)
    if not quiet:
        print(*describe(facts_of(found), found.doubt), sep="\n")
    return found
