"""What the mean of a sequence gives by itself: it knows nothing of fluctuations, so methods that do must beat it."""

import numpy as np
import torch
from scipy import ndimage

from isoplan.applications.fluctuation.formation import Formation
from isoplan.restoration.richardson_lucy import richardson_lucy as restore

DARKEST = 0.05  # share of the smoothed mean's pixels that is taken for background
STEPS = 200  # of Richardson-Lucy, accelerated: tests/bench/fluctuation_steps.py
SMOOTH_PX = 1.0  # standard deviation of that smoothing, which keeps noise out of the darkest pixels


def upsampled(mean: np.ndarray, factor: int) -> np.ndarray:
    """The mean on the fine grid by cubic splines.

    Parameters
    ----------
    mean : ndarray
        (height, width) electrons.
    factor : int
        Fine pixels per camera pixel.

    Returns
    -------
    ndarray
        (height * factor, width * factor) float32, electrons per fine pixel. Splines may fall below 0 beside bright
        pixels; that is set to 0.

    Examples
    --------
    >>> bool(np.allclose(upsampled(np.full((3, 3), 32.0), 4), 2))
    True
    """
    fine = ndimage.zoom(mean.astype(float), factor, order=3, mode="nearest", grid_mode=True)
    return np.maximum(fine / factor**2, 0).astype(np.float32)


def background_of(mean: np.ndarray) -> float:
    """Level of the darkest parts of the mean: too high where the object leaves no part dark."""
    smooth = ndimage.gaussian_filter(mean.astype(float), SMOOTH_PX, mode="nearest")
    return max(float(np.quantile(smooth, DARKEST)), 0.0)


def deconvolved(
    mean: np.ndarray,
    psi: Formation,
    *,
    iterations: int = STEPS,
    tv_weight: float = 0.0,
    background: float | None = None,
    read_noise_e: float = 0.0,
    frames: int = 1,
) -> np.ndarray:
    """The mean, restored to the fine grid by Richardson-Lucy, with total variation where that has a weight.

    Parameters
    ----------
    mean : ndarray
        (height, width) electrons.
    psi : Formation
        Of the same shape.
    iterations : int
        Accelerated steps.
    tv_weight : float
        Of total variation, see `restoration.richardson_lucy`. It counts against the light of all frames.
    background : float or None
        Electrons that do not come from the object. None: `background_of` the mean.
    read_noise_e : float
        Standard deviation of a frame, in electrons. The mean and its square have variance and mean alike, as a Poisson
        variable (Snyder et al. 1995). At no background, zeros would be kept for signal without it.
    frames : int
        Of which it is the mean.

    Returns
    -------
    ndarray
        (height * factor, width * factor) float32, electrons per fine pixel.

    Examples
    --------
    >>> from isoplan.applications.fluctuation.formation import Psf
    >>> psi = Formation.of((9, 9), Psf(2.5), factor=2, border=3)
    >>> x = np.zeros(psi.fine_shape)
    >>> x[15, 15] = 1000
    >>> found = deconvolved(psi.forward(x), psi, background=0, read_noise_e=1)
    >>> np.unravel_index(found.argmax(), found.shape) == (9, 9)
    True
    """
    level = background_of(mean) if background is None else background
    x = richardson_lucy(
        frames * mean,
        psi,
        iterations=iterations,
        tv_weight=tv_weight,
        background=frames * level,
        shift=frames * read_noise_e**2,
    )
    return (psi.inner(x) / frames).astype(np.float32)


def richardson_lucy(
    y: np.ndarray,
    psi: Formation,
    *,
    iterations: int,
    background: float = 0.0,
    shift: float = 0.0,
    tv_weight: float = 0.0,
) -> np.ndarray:
    """`restoration.richardson_lucy` from an even start, onto the fine grid with its border.

    Parameters
    ----------
    y : ndarray
        (height, width). Values below -shift are raised to it; NaN is not used.
    psi : Formation
        Of the same shape.
    iterations : int
        Accelerated steps.
    background, shift : float
        In the unit of y.
    tv_weight : float
        Of total variation.

    Returns
    -------
    ndarray
        (fine height, fine width) float64, at least 0.
    """
    used = np.isfinite(y)
    y = np.where(used, y, 0.0).astype(float)
    brightest = float(y.max())
    if brightest <= 0:
        return np.zeros(psi.fine_shape)
    start = max(float(y.sum() / used.sum()) - background, 1e-3 * brightest)
    x = restore(
        torch.from_numpy(y),
        _Blur(psi),
        iterations=iterations,
        tv_weight=tv_weight,
        start=start / psi.factor**2,
        scale=brightest,
        background=background,
        shift=shift,
        valid=torch.from_numpy(used),
    )
    return x.numpy()


class _Blur:
    """Psi as `restoration` wants a blur."""

    def __init__(self, psi: Formation):
        self.shape, self.object_shape = psi.shape, psi.fine_shape
        self.sides = tuple(zip(*map(torch.from_numpy, (psi.rows, psi.columns)), strict=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(rows @ x @ columns.T for rows, columns in self.sides)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return sum(rows.T @ y @ columns for rows, columns in self.sides)
