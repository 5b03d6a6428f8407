"""`isoplan.flow`: a picture with motion blur in, what moved out."""

from typing import Any

from isoplan.applications.flow.defaults import LATERAL_PX
from isoplan.applications.flow.fit import FlowFit, FlowMap, estimate_flow
from isoplan.applications.flow.results import describe, facts_of
from isoplan.applications.flow.sequence import FlowSequence, Frames, estimate_sequence
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress, silent
from isoplan.mosaic.ground import without_ground
from isoplan.mosaic.window import Picture
from isoplan.optics.defocus import Defocus
from isoplan.restoration.in_memory import Counts


def flow(
    picture: Any,
    *,
    na: float,
    wavelength_um: float,
    pixel_size_um: float,
    index: float = 1.0,
    exposure_ms: float | None = None,
    interval_ms: float | None = None,
    longest_px: float = LATERAL_PX,
    near_um: float | None = None,
    axial_um: float | None = None,
    one_side: bool = False,
    quiet: bool = False,
) -> FlowMap | FlowSequence:
    """Find what moved where, sideways and along the axis, from the motion blur of one long exposure.

    Parameters
    ----------
    picture : array_like or Picture
        (H, W) counts: numpy, dask or zarr, or what `isoplan.open_mosaic` opened. It is read by windows. With interval_ms, (t, H, W).
    na, wavelength_um, pixel_size_um, index : float
        Of the microscope; the pixel size is that at the sample, the index that between objective and specimen.
    exposure_ms : float, optional
        Exposure time, for the speeds in what is printed; displacements are printed if not given.
    interval_ms : float, optional
        Of a sequence, the time from the beginning of a picture to that of the next.
    longest_px : float
        Longest displacement along x and along y that is looked for.
    near_um, axial_um : float, optional
        Paths begin or end no farther from focus, and are no longer along the axis; 2.4 depths of field if not given.
    one_side : bool
        Nothing crosses focus during the exposure.
    quiet : bool
        Print nothing.

    Returns
    -------
    FlowMap or FlowSequence
        Displacement, direction, axial displacement and distance from focus of each cell, with half-widths of 90 % intervals; `table(exposure_ms)` gives a
        row per cell, with speeds. A direction and its opposite are not told apart, but in a sequence, as "heading". A sequence has a `table()`, and `tracks()` of what
        was in each cell of its first picture.

    Raises
    ------
    UserError
        If the picture is smaller than a window, or the optics or the times are impossible.
    """
    optics = Defocus(na, wavelength_um, pixel_size_um, index)
    fit = FlowFit(optics, longest_px, near_um, axial_um, one_side)
    with silent(quiet):
        if interval_ms:
            found = _of_sequence(picture, fit, exposure_ms, interval_ms)
        else:
            if not isinstance(picture, Picture) and len(picture.shape) != 2:
                raise UserError(
                    f"a picture of shape {tuple(picture.shape)}: give (height, width), or a sequence (t, height, width) and its interval_ms"
                )
            seen = without_ground(picture if isinstance(picture, Picture) else Counts(picture))
            bar = Progress("finding motion, blocks", len(fit.layout(seen.shape).units))
            found = estimate_flow(seen, fit, step=bar.step)
    if not quiet:
        print(*describe(facts_of(found, exposure_ms), found.doubt), sep="\n")
    return found


def _of_sequence(
    pictures: Any, fit: FlowFit, exposure_ms: float | None, interval_ms: float
) -> FlowSequence:
    """The motion in pictures (t, H, W)."""
    if isinstance(pictures, Picture) or len(pictures.shape) != 3:
        raise UserError("a sequence: give an array (t, height, width)")
    frames = Frames(lambda number: without_ground(Counts(pictures[number])), int(pictures.shape[0]))
    count = len(frames) * len(fit.layout(frames[0].shape).units)
    bar = Progress("finding motion, blocks of all pictures", count)
    return estimate_sequence(frames, fit, exposure_ms, interval_ms, step=bar.step)
