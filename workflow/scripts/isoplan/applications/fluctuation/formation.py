"""How a camera forms a picture of emitters on a finer grid: PSF and pixel in one, as sums of products of two blurs.

Positions are in camera pixels: pixel i covers [i, i + 1]. Fine pixel k of a grid `factor` times finer has its centre at
(k + 1/2) / factor - border, as the fine grid reaches `border` camera pixels beyond the picture on every side: emitters
there are seen too.

    mean = Psi x,    Psi = sum_r rows_r (x) columns_r

A Gaussian PSF is one product. Any other is a few, by the singular values of its kernel.
"""

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Self

import numpy as np
from scipy.special import erf, j1

SHAPES = ("gaussian", "airy")
SIGMA = 1 / (2 * sqrt(2 * log(2)))  # of a Gaussian of FWHM 1
REACH = 4.0  # standard deviations at which a Gaussian is cut
RINGS = 6.0  # an Airy pattern is cut at so many FWHM: 96 % of its light lies within
LEFT_OUT = 1e-3  # share of a kernel's norm that its products may leave out
HALF = 1.61633995  # where (2 J1(v) / v)^2 is one half
FINER = 16  # samples of an Airy pattern per camera pixel, at least


@dataclass(frozen=True)
class Psf:
    """A PSF in focus.

    Parameters
    ----------
    fwhm_px : float
        Full width at half maximum, in camera pixels, without the pixel's own width.
    shape : str
        `gaussian` or `airy`.
    """

    fwhm_px: float
    shape: str = "gaussian"

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise ValueError(f"a PSF of shape {self.shape}: must be one of {', '.join(SHAPES)}")

    def kernel(self, factor: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """Share of an emitter's light that a camera pixel takes, by where the emitter lies.

        Parameters
        ----------
        factor : int
            Fine pixels per camera pixel.
        shift_px : tuple of float
            By how much the picture is displaced, (y, x) in camera pixels.

        Returns
        -------
        ndarray
            (n, n) float64, n = (2 reach + 1) factor. Entry a is of the emitter at (a + 1/2) / factor - reach - 1/2
            camera pixels from the pixel's middle. The sum is factor^2, but for what the cut leaves out.
        """
        reach = self.reach_px(shift_px)
        at = (np.arange((2 * reach + 1) * factor) + 0.5) / factor - reach - 0.5
        if self.shape == "gaussian":
            spread = sqrt(2) * self.fwhm_px * SIGMA
            y, x = (
                (erf((0.5 - at - shift) / spread) - erf((-0.5 - at - shift) / spread)) / 2
                for shift in shift_px
            )
            return np.outer(y, x)
        return _airy(self.fwhm_px, factor, reach, shift_px)

    def reach_px(self, shift_px=(0.0, 0.0)) -> int:
        """Camera pixels from a pixel's middle beyond which no emitter counts."""
        far = RINGS / 2 if self.shape == "airy" else REACH * SIGMA
        return ceil(far * self.fwhm_px + 0.5 + max(map(abs, shift_px)))


@dataclass(frozen=True)
class Formation:
    """Psi of one picture: see the module.

    Parameters
    ----------
    rows, columns : ndarray
        (terms, height, fine height) and (terms, width, fine width) float64.
    factor : int
        Fine pixels per camera pixel.
    border : int
        Camera pixels by which the fine grid is larger on every side.

    Examples
    --------
    >>> psi = Formation.of((8, 8), Psf(2.5), factor=4, border=3)
    >>> psi.fine_shape
    (56, 56)
    >>> x = np.zeros(psi.fine_shape)
    >>> x[28, 28] = 100  # an emitter near the middle
    >>> bool(abs(psi.forward(x).sum() - 100) < 1)
    True
    """

    rows: np.ndarray
    columns: np.ndarray
    factor: int
    border: int

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        psf: Psf,
        *,
        factor: int,
        border: int,
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> Self:
        """Psi of a picture of `shape` px. shift_px: by how much it is displaced, (y, x), as by drift."""
        left, values, right = np.linalg.svd(psf.kernel(factor, shift_px))
        norms = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1] / (values**2).sum())
        terms = int(np.argmax(np.append(norms, 0) <= LEFT_OUT))
        scale = np.sqrt(values[:terms, None])
        sides = (left[:, :terms].T * scale, right[:terms] * scale)
        reach = psf.reach_px(shift_px)
        return cls(
            *(_bands(side, n, factor, border, reach) for side, n in zip(sides, shape, strict=True)),
            factor,
            border,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Of the picture, in camera pixels."""
        return self.rows.shape[1], self.columns.shape[1]

    @property
    def fine_shape(self) -> tuple[int, int]:
        """Of the fine grid with its border, in fine pixels."""
        return self.rows.shape[2], self.columns.shape[2]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Psi x: (..., fine height, fine width) to (..., height, width)."""
        return sum(a @ x @ b.T for a, b in zip(self.rows, self.columns, strict=True))

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """Psi' y: (..., height, width) to (..., fine height, fine width)."""
        return sum(a.T @ y @ b for a, b in zip(self.rows, self.columns, strict=True))

    def inner(self, x: np.ndarray) -> np.ndarray:
        """The fine grid without its border: (..., height * factor, width * factor)."""
        cut = self.border * self.factor
        return x[..., cut : x.shape[-2] - cut, cut : x.shape[-1] - cut]


def airy_fwhm(na: float, wavelength_um: float) -> float:
    """FWHM in micrometres of the Airy pattern: 0.5145 wavelength / NA."""
    return 0.5145 * wavelength_um / na


def _airy(fwhm_px: float, factor: int, reach: int, shift_px) -> np.ndarray:
    """`Psf.kernel` of the Airy pattern: its samples, summed over windows of one camera pixel."""
    times = 2 * ceil(
        FINER / factor / 2
    )  # samples per fine pixel; even, as windows start in its middle
    count = 2 * (reach + 1) * factor * times
    y, x = ((np.arange(count) + 0.5) / (factor * times) - reach - 1 + s for s in shift_px)
    radius = np.hypot(y[:, None], x[None, :])
    v = np.maximum(2 * HALF * radius / fwhm_px, 1e-9)
    values = np.where(radius <= RINGS / 2 * fwhm_px, (2 * j1(v) / v) ** 2, 0)
    sums = np.pad(values / values.sum(), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    start = np.arange((2 * reach + 1) * factor) * times + times // 2
    end = start + factor * times
    box = sums[np.ix_(end, end)] - sums[np.ix_(start, end)]
    return box - sums[np.ix_(end, start)] + sums[np.ix_(start, start)]


def _bands(side: np.ndarray, n: int, factor: int, border: int, reach: int) -> np.ndarray:
    """(terms, n, fine) matrices whose row i is `side`, centred on camera pixel i."""
    fine = (n + 2 * border) * factor
    made = np.zeros((len(side), n, fine))
    for i in range(n):
        start = (border + i - reach) * factor
        low, high = max(start, 0), min(start + side.shape[1], fine)
        if low < high:
            made[:, i, low:high] = side[:, low - start : high - start]
    return made
