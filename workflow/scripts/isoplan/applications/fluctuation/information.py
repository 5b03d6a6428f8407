"""Whether the fluctuations of a sequence carry information finer than its pictures.

What blinks in one place is seen by neighbouring pixels at once. So the covariance of two pixels, a lag d apart, is
kappa times the emission that both see, Psi diag(x) Psi': of one emitter it falls with the lag as exp(-d^2 / (4 sigma^2)),
for a Gaussian (SOFI: Dertinger et al. 2009). x is the deconvolved mean. Noise is independent between pixels. The variance
of a pixel itself is not used: it holds all noise. What moves or flickers as a whole is regressed out of every frame
first.

kappa is fitted to all pairs of near pixels, each weighted by its noise, and so comes with a standard error that holds
without fluctuations. Light that fluctuates over a broad region, as out of focus, has a term of its own.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct, idct
from scipy.ndimage import gaussian_filter
from scipy.stats import chi2

from isoplan.applications.fluctuation.baselines import background_of, richardson_lucy
from isoplan.applications.fluctuation.formation import Formation, Psf

SLOWEST = 0.01  # cycles per frame, below which light drifts and bleaches
FACTOR, BORDER_PX, ITERATIONS = 2, 4, 30  # of the emission that covariances are expected of
FAR = 1.5  # standard deviation of what fluctuates over a broad region, in FWHM
REACH = 2.0  # lags are taken to so many standard deviations of the PSF
SURE = 5.0  # standard errors from which kappa counts
LEAST = 0.2  # electrons: below, fluctuations are a few percent of the shot noise
LIKELY = 0.001  # probability below which the lags do not fit the PSF
AGREES = (0.5, 2.0)  # kappa of the near and of the far lags, as a ratio


@dataclass(frozen=True)
class Information:
    """What the fluctuations of a sequence tell.

    Parameters
    ----------
    kappa : float
        Variance that fluctuates together, in electrons^2, per electron emitted.
    error : float
        Its standard error where nothing fluctuates.
    lags_px : ndarray
        (n,) distances between pixels.
    covariance, covariance_error, expected : ndarray
        (n,) mean covariance at each distance in electrons^2, its standard error, and that of kappa.
    map : ndarray
        (height, width) float32: kappa around each pixel over its standard error.
    reason : str
        Why it is not enough, in words; empty where it is.
    """

    kappa: float
    error: float
    lags_px: np.ndarray
    covariance: np.ndarray
    covariance_error: np.ndarray
    expected: np.ndarray
    map: np.ndarray
    reason: str

    @property
    def enough(self) -> bool:
        """Whether a finer picture than the mean's may be claimed."""
        return not self.reason


@dataclass(frozen=True)
class Evidence:
    """What one block of a sequence says of pairs of pixels.

    Parameters
    ----------
    lags : tuple
        (dy, dx) of the pairs.
    sums : ndarray
        (lags, 5): weighted sums of narrow^2, narrow * broad, broad^2, narrow * product and broad * product.
    totals : ndarray
        (lags, 5): sums of product, its variance, narrow and broad, and the number of pairs.
    map : ndarray
        (height, width): kappa around each pixel over its standard error.
    """

    lags: tuple[tuple[int, int], ...]
    sums: np.ndarray
    totals: np.ndarray
    map: np.ndarray


def look(electrons: np.ndarray, psf: Psf) -> Information:
    """Look for covariance between pixels that has the PSF's shape, in one block: see `gather` and `conclude`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> still = rng.poisson(50, size=(200, 24, 24)).astype(np.float32)
    >>> look(still, Psf(2.5)).enough
    False
    """
    found = gather(electrons, psf)
    return conclude([found], found.map)


def gather(
    electrons: np.ndarray,
    psf: Psf,
    *,
    broken: np.ndarray | None = None,
    core: tuple[slice, slice] = (slice(None), slice(None)),
) -> Evidence:
    """What a block of a sequence says.

    Parameters
    ----------
    electrons : ndarray
        (t, height, width) float32, offset and gain taken off.
    psf : Psf
        Of the microscope.
    broken : ndarray, optional
        (height, width) bool, of pixels that are in no pair.
    core : tuple of slice
        Where the first pixel of a pair lies that counts in the sums: blocks with halos share pairs.

    Returns
    -------
    Evidence
        Three copies of the frames are held meanwhile.
    """
    mean = electrons.mean(axis=0, dtype=np.float64)
    left, taken = _residual(electrons, mean)
    variance = np.maximum(left.var(axis=0), 1e-6)
    psi = Formation.of(mean.shape, psf, factor=FACTOR, border=BORDER_PX)
    dark = background_of(mean)
    x = richardson_lucy(mean, psi, iterations=ITERATIONS, background=dark)
    light = gaussian_filter(
        np.maximum(mean - dark, 0) + 1e-3 * max(mean.max(), 1e-6), FAR * psf.fwhm_px
    )
    used = np.ones(mean.shape, bool) if broken is None else ~broken
    counted = np.zeros(mean.shape, bool)
    counted[core] = True
    lags = tuple(_lags(psf))
    product = _products(left, variance, taken)
    pairs = [
        _Pair.of(product, variance, used, counted, light, _spread(psi, x, lag), lag) for lag in lags
    ]
    sums, totals = (
        np.array([getattr(pair, name) for pair in pairs]) for name in ("sums", "totals")
    )
    beyond = _solve(sums.sum(0))[0][1]
    return Evidence(lags, sums, totals, _map(pairs, beyond, psf, light.shape))


def conclude(found: list[Evidence], map: np.ndarray) -> Information:
    """Whether all blocks of a sequence together tell enough. map: theirs, put together."""
    lags, sums = found[0].lags, sum(one.sums for one in found)
    totals = sum(one.totals for one in found)
    (kappa, beyond), error = _solve(sums.sum(0))
    far = np.round([np.hypot(*lag) for lag in lags], 3)
    rows = []
    for distance in np.unique(far):
        product, variance, narrow, broad, n = totals[far == distance].sum(0)
        rows.append(
            (distance, product / n, variance**0.5 / n, (kappa * narrow + beyond * broad) / n)
        )
    distances, seen, errors, expected = np.array(rows).T
    reason = _reason(kappa, error, lags, sums, beyond)
    return Information(float(kappa), error, distances, seen, errors, expected, map, reason)


def _residual(electrons: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames without slow changes, and without what flickers or moves as a whole; and the pictures taken off."""
    frames = len(electrons)
    slow = np.arange(frames) / (2 * frames) < SLOWEST
    terms = dct(electrons, axis=0, type=2, norm="ortho")
    terms[slow] = 0
    left = idct(terms, axis=0, type=2, norm="ortho").reshape(frames, -1)
    smooth = gaussian_filter(mean, 1)
    first = np.gradient(smooth)
    second = [np.gradient(first[0])[0], *np.gradient(first[1])]
    whole = [np.ones_like(mean), smooth, *first, *second]
    basis = np.linalg.qr(np.array([one.ravel() for one in whole]).T)[0].astype(left.dtype)
    taken = basis.T.reshape(-1, *mean.shape)
    return (left - (left @ basis) @ basis.T).reshape(electrons.shape), taken


def _lags(psf: Psf) -> list[tuple[int, int]]:
    """One of every two opposite lags."""
    far = max(REACH * psf.fwhm_px / 2.355, 2.0)
    n = int(far)
    every = [(y, x) for y in range(n + 1) for x in range(-n, n + 1) if (y, x) > (0, 0)]
    return [lag for lag in every if np.hypot(*lag) <= far]


def _products(left: np.ndarray, variance: np.ndarray, taken: np.ndarray):
    """A function of two windows of pixels: the mean over time of their product, and the variance that noise gives it.

    Taking pictures off every frame makes independent noise D dependent, (1 - BB') D (1 - BB'): that is subtracted.
    """
    inner = np.einsum("kyx,lyx,yx->kl", taken, taken, variance)

    def product(a: tuple, b: tuple) -> tuple[np.ndarray, np.ndarray]:
        one, two = taken[:, *a], taken[:, *b]
        found = np.einsum("tyx,tyx->yx", left[:, *a], left[:, *b]) / len(left)
        found += (variance[a] + variance[b]) * (one * two).sum(0)
        found -= np.einsum("kyx,kl,lyx->yx", one, inner, two)
        return found, variance[a] * variance[b] / len(left)

    return product


@dataclass(frozen=True)
class _Pair:
    """All pairs of pixels one lag apart: (pixels,) each."""

    product: np.ndarray  # mean over time
    weight: np.ndarray  # 1 / its variance without fluctuations; 0 of pairs that are not used
    counted: np.ndarray  # whether it is in the sums
    narrow: np.ndarray  # what kappa 1 would give
    broad: np.ndarray
    first: tuple[slice, slice]  # of the picture

    @classmethod
    def of(cls, product, variance, used, counted, light, narrow, lag) -> "_Pair":
        dy, dx = lag
        height, width = light.shape
        a = (slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
        b = (slice(dy, height), slice(max(0, dx), width + min(0, dx)))
        seen, noise = product(a, b)
        both = used[a] & used[b]
        broad = (light[a] + light[b]) / 2
        return cls(seen, both / noise, counted[a] & both, narrow, broad, a)

    @property
    def sums(self) -> list[float]:
        w, n, b, p = (
            one[self.counted] for one in (self.weight, self.narrow, self.broad, self.product)
        )
        return [float((w * one).sum()) for one in (n * n, n * b, b * b, n * p, b * p)]

    @property
    def totals(self) -> list[float]:
        p, w, n, b = (
            one[self.counted] for one in (self.product, self.weight, self.narrow, self.broad)
        )
        return [*(float(one.sum()) for one in (p, 1 / w, n, b)), p.size]


def _solve(sums: np.ndarray) -> tuple[np.ndarray, float]:
    """(kappa, what fluctuates over a broad region), and the standard error of kappa."""
    nn, nb, bb, np_, bp = sums
    inverse = np.linalg.pinv([[nn, nb], [nb, bb]])  # dark blocks expect nothing
    return inverse @ [np_, bp], float(np.sqrt(inverse[0, 0]))


def _spread(psi: Formation, x: np.ndarray, lag: tuple[int, int]) -> np.ndarray:
    """(Psi diag(x) Psi') of every two pixels a lag apart: what kappa 1 would give."""
    dy, dx = lag
    ahead, behind = max(dx, 0), max(-dx, 0)
    width = psi.shape[1]
    found = 0.0
    for a, b in zip(psi.rows, psi.columns, strict=True):
        for c, d in zip(psi.rows, psi.columns, strict=True):
            rows = a[: len(a) - dy] * c[dy:]
            columns = b[behind : width - ahead] * d[ahead : width - behind]
            found = found + rows @ x @ columns.T
    return found


def _reason(kappa: float, error: float, lags, sums: np.ndarray, beyond: float) -> str:
    if kappa < max(SURE * error, LEAST):
        return (
            f"neighbouring pixels do not fluctuate together: kappa is {kappa:.2g} electrons with a standard error of "
            f"{error:.2g}, and at least {SURE:g} standard errors and {LEAST:g} electrons are asked for"
        )

    def of(some) -> tuple[float, float]:
        """kappa of some lags alone, and its variance."""
        nn, nb, _, over, _ = sums[[some(*lag) for lag in lags]].sum(0)
        return (over - beyond * nb) / nn, 1 / nn

    compared = {
        "along and across rows": (of(lambda y, x: y == 0), of(lambda y, x: x == 0)),
        "of far and near pixels": (
            of(lambda y, x: y**2 + x**2 > 1),
            of(lambda y, x: y**2 + x**2 == 1),
        ),
    }
    for words, ((a, a2), (b, b2)) in compared.items():
        ratio = a / b if b > 0 else np.inf
        if not AGREES[0] <= ratio <= AGREES[1] and chi2.sf((a - b) ** 2 / (a2 + b2), 1) < LIKELY:
            return (
                f"what neighbouring pixels share is not shaped as the PSF: covariances {words} differ by a factor of "
                f"{ratio:.2g} from it; correlated noise of the camera, a filter, a wrong PSF width or emitters that fill the field evenly make such"
            )
    return ""


def _map(pairs: list[_Pair], beyond: float, psf: Psf, shape) -> np.ndarray:
    """kappa over its standard error, in the surroundings of every pixel."""
    over, information = np.zeros(shape), np.zeros(shape)
    for pair in pairs:
        over[pair.first] += pair.weight * pair.narrow * (pair.product - beyond * pair.broad)
        information[pair.first] += pair.weight * pair.narrow**2
    # Sums over the surroundings: a Gaussian's weights, their squares for the error.
    sigma = psf.fwhm_px
    gathered = gaussian_filter(over, sigma)
    spread = gaussian_filter(information, sigma / np.sqrt(2)) / (4 * np.pi * sigma**2)
    return (gathered / np.sqrt(np.maximum(spread, 1e-30))).astype(np.float32)
