"""COL0RME: where emitters are, by the covariance of their fluctuations; then how bright they are, by the mean.

Stergiopoulou, Calatroni, de Morais Goulart, Schaub, Blanc-Feraud: COL0RME: super-resolution microscopy based on sparse
blinking/fluctuating fluorophore localization and intensity estimation. Biological Imaging 2, e1, 2022.

*Support.* Emitters blink independently, so the covariance of the pixels is Psi diag(x) Psi' + noise, where x >= 0 is
the variance of each fine pixel's light:

    minimise 1/4 ||R - Psi diag(x) Psi' - s I||^2 + penalty(x)

With the columns psi_k of Psi, its gradient is (G x - c + s g) / 2, with G_kl = (psi_k' psi_l)^2, g_k = psi_k' psi_k,
and c_k = psi_k' R psi_k, the mean over time of (Psi' (y - mean))^2. So R is never made, and G is a sum of products of
matrices of one axis each, as Psi is.

*Intensity.* On the support, with a smooth background b and the mean picture:

    minimise 1/2 ||Psi x + b - mean||^2 + mu / 2 ||grad x||^2 + smooth / 2 ||grad b||^2,    x >= 0
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Self

import numpy as np
from scipy.fft import dctn, idctn

from isoplan.applications.fluctuation.banded import Banded
from isoplan.applications.fluctuation.blocks import BLOCK, deviations
from isoplan.applications.fluctuation.formation import Formation

# Weights, as shares of the smallest L1 weight that leaves nothing: the paper's. Total variation counts several
# differences for each pixel, and blurs lines with as much.
SHARES = {"l1": 5e-4, "cel0": 5e-4, "tv": 5e-5}
REWEIGHTED = 3  # rounds of CEL0 after L1
DUAL_STEPS = 3  # of each TV step; they go on from the last one's
FAINT = 1e-3  # share of the largest x that the support leaves out
BACKGROUND_SMOOTH = 20.0  # weight of the background's gradient, the paper's
TOLERANCE = 1e-3  # share of a sum of products that may be left out
AT_ONCE = 2**24  # values of the fine grid that are held at once


@dataclass(frozen=True)
class Moments:
    """What COL0RME needs of a sequence.

    Attributes
    ----------
    mean, variance : ndarray
        (height, width) electrons, and electrons^2 of the deviations from blocks' means.
    matched : ndarray
        (fine height, fine width): c of the module, electrons^2.
    frames : int
        Their number.
    """

    mean: np.ndarray
    variance: np.ndarray
    matched: np.ndarray
    frames: int


@dataclass(frozen=True)
class Found:
    """The picture that COL0RME found.

    Attributes
    ----------
    picture : ndarray
        (height * factor, width * factor) float32, electrons per frame and fine pixel.
    variance : ndarray
        Of the same shape, electrons^2: x of the support's problem.
    background : ndarray
        (height, width) float32 electrons.
    """

    picture: np.ndarray
    variance: np.ndarray
    background: np.ndarray


def colorme(
    frames,
    psi: Formation,
    *,
    penalty: str = "l1",
    share: float | None = None,
    read_noise_e: float | None = None,
    iterations: int = 300,
    block: int = BLOCK,
) -> Found:
    """Support, then intensity.

    Parameters
    ----------
    frames : array_like
        (t, y, x) electrons.
    psi : Formation
        Of the frames' shape.
    penalty : str
        `l1`, `cel0` or `tv`.
    share : float or None
        Weight of the penalty, see `support`: without a unit. None: by SHARES.
    read_noise_e : float or None
        Standard deviation in electrons. With it, the noise of each pixel is known: mean + read_noise_e^2. None: one
        unknown variance for all pixels, as published.
    iterations : int
        Of the support, as there.
    block : int
        Frames, from whose own mean deviations are taken.

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        If the penalty is unknown, or the frames are no sequence of the shape of psi.

    Examples
    --------
    >>> from isoplan.applications.fluctuation.formation import Psf
    >>> psi = Formation.of((8, 8), Psf(2.5), factor=2, border=3)
    >>> x = np.zeros(psi.fine_shape)
    >>> x[14, 14] = 100
    >>> on = np.random.default_rng(0).random((300, 1, 1)) < 0.3
    >>> found = colorme(on * psi.forward(x), psi).picture
    >>> np.unravel_index(found.argmax(), found.shape) == (8, 8)
    True
    """
    seen = moments(frames, psi, block=block)
    noise = None if read_noise_e is None else np.maximum(seen.mean, 0) + read_noise_e**2
    x, left = support(seen, psi, penalty=penalty, share=share, noise=noise, iterations=iterations)
    of_mean = (np.full(psi.shape, left) if noise is None else noise) / seen.frames
    bright, background = intensity(seen.mean, psi, x, noise=float(of_mean.sum()))
    return Found(
        *(each.astype(np.float32) for each in (psi.inner(bright), psi.inner(x), background))
    )


def moments(frames, psi: Formation, *, block: int = BLOCK) -> Moments:
    """One pass over the frames (t, y, x)."""
    if tuple(frames.shape[1:]) != psi.shape:
        raise ValueError(f"frames of {frames.shape[1:]} px and a Psi of {psi.shape} px")
    local = Banded.of(psi)
    mean, variance, matched = (np.zeros(each) for each in (psi.shape, psi.shape, psi.fine_shape))
    step = max(1, AT_ONCE // matched.size)
    for level, parts in deviations(frames, block):
        if len(parts) < 2:
            raise ValueError("one frame does not fluctuate")
        unbiased = len(parts) / (len(parts) - 1) / len(frames)
        mean += len(parts) / len(frames) * level
        variance += unbiased * (parts**2).sum(axis=0, dtype=np.float64)
        for start in range(0, len(parts), step):
            seen = local.adjoint(parts[start : start + step])
            matched += unbiased * np.einsum("tyx,tyx->yx", seen, seen)
    return Moments(mean, variance, matched, len(frames))


def support(
    seen: Moments,
    psi: Formation,
    *,
    penalty: str = "l1",
    share: float | None = None,
    noise: np.ndarray | None = None,
    iterations: int = 300,
) -> tuple[np.ndarray, float]:
    """Variance of each fine pixel's light: the first problem of the module, by FISTA with restarts.

    Parameters
    ----------
    seen : Moments
        Of the frames.
    psi : Formation
        Of the same shape.
    penalty : str
        - `l1`: weight * sum x.
        - `cel0`: the continuous form of the number of emitters, by L1 with weights that fall where x is large (Gasso
          et al. 2009). Its first weights are, at the same share, about those of `l1`.
        - `tv`: weight * total variation of x.
    share : float or None
        The weight is so many times the smallest one at which L1 leaves nothing. None: by SHARES, which takes no truth.
    noise : ndarray or None
        (height, width) electrons^2 that each pixel's variance owes to noise. None: s, the same for all pixels, is
        found too (closed form).
    iterations : int
        FISTA's; for CEL0, of each of its rounds. Emitters go on getting sharper with more.

    Returns
    -------
    x : ndarray
        (fine height, fine width), electrons^2.
    s : float
        The variance of noise, or the mean of the given one, electrons^2.

    Raises
    ------
    ValueError
        If the penalty is unknown.
    """
    if penalty not in SHARES:
        raise ValueError(f"penalty {penalty!r}: known are {', '.join(SHARES)}")
    share = SHARES[penalty] if share is None else share
    fit = CovarianceFit.of(seen, psi, noise)
    zero = np.zeros(psi.fine_shape, np.float32)
    weight = share * max(float(-fit.gradient(zero).min()), 0.0)
    if penalty == "tv":
        x = fista(zero, fit.gradient, TvStep(weight * fit.step), fit.step, iterations)
    elif penalty == "l1":
        x = _weighted_l1(zero, fit, weight, iterations)
    else:
        # CEL0 is nearly L1 where x is small, and flat where it is large. In 1/2 ||A x - d||^2, ||a_k||^2 = g_k^2 / 2.
        # Its slope at x is max(w_k - x_k ||a_k||^2, 0), w_k = sqrt(2 lambda) ||a_k||, of which `weight` is the largest.
        steepest = weight * fit.size / fit.size.max()
        x = _weighted_l1(zero, fit, steepest, iterations)
        for _ in range(REWEIGHTED):
            slope = np.maximum(steepest - x * fit.size**2 / 2, 0)
            x = _weighted_l1(x, fit, slope, iterations)
    return x, fit.left(x)


def _weighted_l1(start, fit: "CovarianceFit", weight, iterations: int) -> np.ndarray:
    """Minimise the fit + sum weight x. weight: a number, or one for each fine pixel."""
    shift = np.float32(fit.step) * weight
    return fista(
        start, fit.gradient, lambda v: np.maximum(v - shift, 0), fit.step, iterations
    ).astype(np.float32)


@dataclass(frozen=True)
class CovarianceFit:
    """The support's problem without its penalty: 1/4 ||R - Psi diag(x) Psi' - noise||^2.

    Attributes
    ----------
    gram : Banded
        G of the module.
    matched, size : ndarray
        (fine height, fine width): c, less what known noise adds to it, and g.
    total : float
        Trace of R.
    noise : ndarray or None
        (height, width) electrons^2, where it is known.
    pixels : int
        Of the camera.
    """

    gram: Banded
    matched: np.ndarray
    size: np.ndarray
    total: float
    noise: np.ndarray | None
    pixels: int

    @classmethod
    def of(cls, seen: Moments, psi: Formation, noise: np.ndarray | None = None) -> Self:
        """From the frames' moments, and each pixel's variance of noise (height, width) where it is known."""
        squares = squares_of(psi)
        matched = seen.matched - (0 if noise is None else squares.adjoint(noise))
        size = squares.adjoint(np.ones(psi.shape))
        fine = (each.astype(np.float32) for each in (matched, size))
        total = float(seen.variance.sum())
        return cls(Banded.of(gram_of(psi)), *fine, total, noise, seen.mean.size)

    @property
    def step(self) -> float:
        """1 / the largest curvature: as G has no negative entry, no eigenvalue exceeds its largest sum of a row."""
        return 2 / float(self.gram.forward(np.ones_like(self.size)).max())

    def left(self, x: np.ndarray) -> float:
        """Variance of noise: the best s for x, or the mean of the known ones."""
        if self.noise is not None:
            return float(self.noise.mean())
        return max((self.total - float((self.size * x).sum(dtype=float))) / self.pixels, 0.0)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """By x, with the best s for it: (fine height, fine width)."""
        flat = np.float32(self.left(x)) * self.size if self.noise is None else 0
        return (self.gram.forward(x) - self.matched + flat) / 2


def intensity(
    mean: np.ndarray,
    psi: Formation,
    variance: np.ndarray,
    *,
    noise: float,
    smooth: float = BACKGROUND_SMOOTH,
    iterations: int = 150,
) -> tuple[np.ndarray, np.ndarray]:
    """Light of each fine pixel of the support, and background: the second problem of the module.

    mu is found by the discrepancy: the largest at which the squared residual is at most that of noise.

    Parameters
    ----------
    mean : ndarray
        (height, width) electrons.
    psi : Formation
        Of the same shape.
    variance : ndarray
        (fine height, fine width), from `support`: light is where it is above FAINT of its largest value. The steps
        start at its multiple that fits best, and end before it is forgotten where the mean tells nothing: with 1000
        steps, pictures got worse (33.2 dB after 33.7 on filaments).
    noise : float
        Expected squared residual: the sum over pixels of the variance of noise in the mean, electrons^2.
    smooth : float
        Weight of the background's gradient.
    iterations : int
        FISTA's, for each mu that is tried.

    Returns
    -------
    x : ndarray
        (fine height, fine width) electrons.
    b : ndarray
        (height, width) electrons.
    """
    local = Banded.of(psi)
    mean = mean.astype(np.float32)
    # The best background for x is a smoothed residual, by the cosine transform (mirrored edges).
    bends = sum(
        np.expand_dims(2 - 2 * np.cos(np.pi * np.arange(n) / n), 1 - axis)
        for axis, n in enumerate(mean.shape)
    ).astype(np.float32)
    passed = 1 / (1 + smooth * bends)

    def smoothed(rest: np.ndarray) -> np.ndarray:
        return idctn(dctn(rest, norm="ortho") * passed, norm="ortho")

    def residual(x: np.ndarray) -> np.ndarray:
        rest = mean - local.forward(x)
        return rest - smoothed(rest)

    where = variance > FAINT * variance.max()
    x = np.where(where, variance, 0).astype(np.float32)
    seen = local.forward(x)
    sharp = seen - smoothed(seen)
    power = float((sharp * seen).sum())
    x *= max(float((sharp * mean).sum()) / power, 0) if power else 0
    largest = float(local.adjoint(local.forward(np.ones_like(x))).max())

    def solved(mu: float, start: np.ndarray) -> np.ndarray:
        def gradient(x: np.ndarray) -> np.ndarray:
            return np.float32(mu) * _backward(*_forward(x)) - local.adjoint(residual(x))

        step = 1 / (largest + 8 * mu)
        return fista(start, gradient, lambda v: np.maximum(v, 0) * where, step, iterations)

    # Between the smallest and the largest, where mu is as heavy as the data, by halving in ratios.
    low, high = 1e-5 * largest, largest
    x = solved(low, x)
    for _ in range(6):
        middle = sqrt(low * high)
        trial = solved(middle, x)
        if float((residual(trial) ** 2).sum()) <= noise:
            low, x = middle, trial
        else:
            high = middle
    return x, smoothed(mean - local.forward(x))


def best_by_truth(candidates: Iterable[Any], score: Callable[[Any], float]) -> tuple[Any, float]:
    """The candidate with the highest score, and that: an oracle's choice, with the truth in `score`.

    No user has it: it says how well a method could do at most if its penalty and weight were chosen well.

    Examples
    --------
    >>> best_by_truth([1, 2, 3], lambda x: -((x - 2) ** 2))
    (2, 0)
    """
    scored = [(each, score(each)) for each in candidates]
    return max(scored, key=lambda pair: pair[1])


def gram_of(psi: Formation) -> Formation:
    """G of the module, from the fine grid to itself."""
    sides = (side.mT[:, None] @ side[None] for side in (psi.rows, psi.columns))
    pairs = _fewer(psi, *(side.reshape(-1, *side.shape[2:]) for side in sides))
    return _squared(psi, pairs.rows, pairs.columns)


def squares_of(psi: Formation) -> Formation:
    """Psi with each entry squared: the variance of pixels by that of emitters."""
    return _squared(psi, psi.rows, psi.columns)


def _squared(psi: Formation, rows: np.ndarray, columns: np.ndarray) -> Formation:
    """The square of each entry of sum_r rows_r (x) columns_r."""
    sides = ((side[:, None] * side[None]).reshape(-1, *side.shape[1:]) for side in (rows, columns))
    return _fewer(psi, *sides)


def _fewer(psi: Formation, rows: np.ndarray, columns: np.ndarray) -> Formation:
    """The same sum of products with fewer terms, but for TOLERANCE: by the singular values, from inner products."""
    if len(rows) > 1:
        roots = []
        for side in (rows, columns):
            values, vectors = np.linalg.eigh(np.tensordot(side, side, axes=[(1, 2), (1, 2)]))
            keep = values > 1e-12 * values[-1]
            roots.append(np.sqrt(values[keep])[:, None] * vectors[:, keep].T)
        left, strength, right = np.linalg.svd(roots[0] @ roots[1].T)
        rest = np.sqrt(np.cumsum(strength[::-1] ** 2)[::-1] / (strength**2).sum())
        count = int((rest > TOLERANCE).sum())
        # roots = R' of an orthogonal Q R': the new terms are Q times singular vectors.
        mixes = [
            np.linalg.pinv(root) @ vectors[:, :count] * np.sqrt(strength[:count])
            for root, vectors in zip(roots, (left, right.T), strict=True)
        ]
        rows, columns = (
            np.tensordot(mix.T, side, axes=1)
            for mix, side in zip(mixes, (rows, columns), strict=True)
        )
    return Formation(rows, columns, psi.factor, psi.border)


def fista(
    start: np.ndarray,
    gradient: Callable[[np.ndarray], np.ndarray],
    prox: Callable[[np.ndarray], np.ndarray],
    step: float,
    iterations: int,
) -> np.ndarray:
    """FISTA (Beck and Teboulle 2009); its momentum starts again where it points uphill (O'Donoghue and Candes 2015).

    prox: the proximal step of the penalty times `step`.
    """
    x = z = start
    t = 1.0
    step = np.float32(step)
    for _ in range(iterations):
        new = prox(z - step * gradient(z))
        if float(((z - new) * (new - x)).sum()) > 0:
            t = 1.0
        later = (1 + sqrt(1 + 4 * t * t)) / 2
        z = new + np.float32((t - 1) / later) * (new - x)
        x, t = new, later
    return x


class TvStep:
    """Proximal step of weight * TV and x >= 0, by dual steps (Beck and Teboulle 2009b) that go on where they ended."""

    def __init__(self, weight: float):
        self.weight = np.float32(weight)
        self.dual: tuple[Any, Any] = (0, 0)

    def __call__(self, v: np.ndarray) -> np.ndarray:
        if not self.weight:
            return np.maximum(v, 0)
        for _ in range(DUAL_STEPS):
            x = self._primal(v)
            down, right = (
                dual + slope / (8 * self.weight)
                for dual, slope in zip(self.dual, _forward(x), strict=True)
            )
            length = np.maximum(np.hypot(down, right), 1)
            self.dual = (down / length, right / length)
        return self._primal(v)

    def _primal(self, v: np.ndarray) -> np.ndarray:
        turned = _backward(*self.dual) if np.ndim(self.dual[0]) else 0
        return np.maximum(v - self.weight * turned, 0)


def _forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences of neighbours along both axes, 0 at the last."""
    return np.diff(x, axis=0, append=x[-1:]), np.diff(x, axis=1, append=x[:, -1:])


def _backward(down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The adjoint of `_forward`."""
    return -np.diff(down, axis=0, prepend=0 * down[:1]) - np.diff(
        right, axis=1, prepend=0 * right[:, :1]
    )
