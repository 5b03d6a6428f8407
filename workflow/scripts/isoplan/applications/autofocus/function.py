"""`isoplan.autofocus`: drives a microscope to focus from a program."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from isoplan.applications.autofocus import search
from isoplan.applications.autofocus.calibration import Calibration
from isoplan.applications.autofocus.focus import Finder, Focus
from isoplan.applications.autofocus.stage import Guarded, Microscope
from isoplan.optics.defocus import Defocus

ENOUGH = 0.1  # depths of field


def autofocus(
    microscope: Microscope,
    calibration: str | Path | Calibration,
    *,
    range_um: float | None = None,
    pictures: int = 6,
    enough_um: float | None = None,
    backlash_um: float = 0.0,
    region: tuple[slice, slice] | None = None,
    said: Callable[[Focus, float], None] = lambda focus, z_um: None,
) -> search.Found:
    """Drive a stage to focus with three or four pictures. If the focus is not known, the stage goes back to where it was.

    The first call for a calibration takes seconds longer.

    Parameters
    ----------
    microscope : object
        With the methods where(), move(z_um) and snap().
    calibration : str, Path or Calibration
        File of `isoplan autofocus-calibrate`.
    range_um : float, optional
        The stage moves at most so far from where it is; as far as the blur fits into a window if not given.
    pictures : int
        At most so many.
    enough_um : float, optional
        Stop earlier if the half-width of the 90 % interval is as small; a tenth of the depth of field if not given.
    backlash_um : float
        Moves downwards go so far beyond first, so that all positions are reached from below.
    region : tuple of slice, optional
        Rows and columns of the picture that are to be in focus; its middle if not given.
    said : callable, optional
        Called after each picture with the estimate and the picture's position.

    Returns
    -------
    Found
        `focus` has the position, its interval, and why it is not known, if so; `z_um` where pictures were taken; `stands_um` where the stage stands.

    Raises
    ------
    UserError
        If the microscope fails; the stage is sent back before.

    Examples
    --------
    >>> class Scope:
    ...     z = 0.0
    ...     def where(self): return self.z
    ...     def move(self, z_um): self.z = z_um
    ...     def snap(self): return np.random.default_rng(0).poisson(50, size=(300, 300))
    >>> known = Calibration(Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32), (), (300, 300))
    >>> found = autofocus(Scope(), known, range_um=10, pictures=2)
    >>> found.focus.known, found.focus.why, found.stands_um
    (False, 'no picture has texture', 0.0)
    """
    known = calibration if isinstance(calibration, Calibration) else Calibration.read(calibration)
    finder = _finder(known.optics)
    reach = range_um or finder.reach_um
    start = Guarded(microscope, (-np.inf, np.inf)).where()
    return search.autofocus(
        Guarded(microscope, (start - reach, start + reach), backlash_um),
        finder,
        pictures=pictures,
        enough_um=enough_um or ENOUGH * known.optics.depth_of_field_um,
        region=region,
        said=said,
    )


@lru_cache(4)
def _finder(optics: Defocus) -> Finder:
    return Finder(optics)
