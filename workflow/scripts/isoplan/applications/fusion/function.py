"""`isoplan.fuse`: an array of slices in, a picture that is in focus everywhere out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoplan.applications.fusion.fuse import Fusion
from isoplan.base.errors import UserError
from isoplan.mosaic.slices import check_order
from isoplan.optics.defocus import Defocus


@dataclass(frozen=True)
class InFocus:
    """A picture that is in focus everywhere.

    Attributes
    ----------
    picture : ndarray
        (H, W) in the slices' units.
    share : ndarray
        (H, W) from 0, all from the sharpest slices, to 1, all estimated from all slices.
    z_um : ndarray
        Where each block of 32 x 32 px is in focus.
    """

    picture: np.ndarray
    share: np.ndarray
    z_um: np.ndarray


def fuse(
    slices: Any,
    z_um: Sequence[float],
    *,
    na: float,
    wavelength_um: float,
    pixel_size_um: float,
    index: float = 1.0,
) -> InFocus:
    """Make one picture that is in focus everywhere from a focus series of a specimen that is not flat.

    Parameters
    ----------
    slices : array_like
        (n, H, W): numpy, dask or zarr. They are read by windows, but the result is held in memory.
    z_um : sequence of float
        Positions of the slices in micrometres.
    na, wavelength_um, pixel_size_um : float
        Numerical aperture, wavelength of the light, and side of a pixel at the sample, in micrometres.
    index : float
        Refractive index of the immersion.

    Returns
    -------
    InFocus
        The picture, and where each part of it was in focus.

    Raises
    ------
    UserError
        If there are fewer than two slices, positions do not fit, or pixels are no numbers.

    Examples
    --------
    >>> series = np.random.default_rng(0).poisson(50, size=(3, 100, 90))
    >>> made = fuse(series, [0, 4, 8], na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    >>> made.picture.shape, made.z_um.shape
    ((100, 90), (4, 3))
    """
    if len(slices.shape) != 3 or slices.shape[0] < 2:
        raise UserError(
            f"slices of shape {tuple(slices.shape)}: give (n, height, width), n of 2 or more"
        )
    check_order(z_um, slices.shape[0])
    fusion = Fusion(z_um, Defocus(na, wavelength_um, pixel_size_um, index))
    shape = int(slices.shape[1]), int(slices.shape[2])

    def stack(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        part = np.asarray(slices[:, y0:y1, x0:x1]).astype(np.float32)
        if not np.isfinite(part).all():
            raise UserError("the slices have pixels without a number")
        return part

    heights = fusion.heights(stack, shape)
    made = InFocus(np.empty(shape, np.float32), np.empty(shape, np.float32), heights)
    for core in fusion.fuse(stack, shape, heights):
        made.picture[core.place], made.share[core.place] = core.picture, core.share
    return made
