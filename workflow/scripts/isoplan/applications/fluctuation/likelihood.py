"""Emission on a finer grid by maximum likelihood of the mean and the covariance of fluctuating frames.

Emitters blink independently, photons are detected one by one. So the frames y of a sequence, in electrons, have

    mean        Psi x + b
    covariance  Sigma_v = kappa_v Psi diag(x) Psi' + diag(N),    N = excess * mean + read noise^2

in every view v: a band of frequencies in time, of one part of the sequence. x is the emission of the fine grid in
electrons per frame, b a smooth background that does not fluctuate, kappa_v the share of the variance per emitted
electron that falls into the view. Frequencies below the lowest band hold drift of the light and bleaching; they are
left out. Minimised is, with C_v the covariance of the n_v coefficients of a view,

    sum_v n_v (log |Sigma_v| + tr(Sigma_v^-1 C_v)) + sum_i (T / N_i) (mean - Psi x - b)_i^2

over overlapping tiles of the picture, each weighted by its share of a pixel. The steps are those of a multiplicative
majorisation: ratios of the gradient's negative to its positive part. The exponent 1/2 is proved to lower the objective.
Exponent 1 is faster, and every third step takes LEAP; a test looks that the objective falls.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.fft import dct, idct

from isoplan.applications.fluctuation.formation import Formation, Psf
from isoplan.applications.fluctuation.tiles import BORDER_PX, TILE_PX, Tiles, View, covariances

BANDS = (0.01, 0.06, 0.18, 0.5)  # edges in cycles per frame
TERMS = 5  # cosines along each axis that a background is made of
LEAP, FARTHEST = 3, 4.0  # exponent of every third step; largest factor of a step
IGNORED = 1e4  # factor on the noise of pixels that shall not count


@dataclass(frozen=True)
class Moments:
    """What the likelihood reads of a sequence.

    Parameters
    ----------
    mean, noise : ndarray
        (height, width) float64: mean in electrons per frame, and variance in electrons^2 of what does not fluctuate
        together (shot noise and read noise).
    frames : int
        Frames in all.
    views : tuple of View
        Their covariances.
    parts : tuple
        (frames, shift_px) of each part of the sequence.
    """

    mean: np.ndarray
    noise: np.ndarray
    frames: int
    views: tuple[View, ...]
    parts: tuple[tuple[int, tuple[float, float]], ...]


@dataclass(frozen=True)
class Estimate:
    """Emission and what came with it.

    Parameters
    ----------
    emission : ndarray
        (fine height, fine width) float64, electrons per frame, with its border.
    background : ndarray
        (height, width) float64, electrons per frame.
    kappa : tuple of float
        Electrons, of each view.
    explained : float
        Share of the mean's structure, beyond a smooth background and noise, that the covariance alone tells (squared
        correlation). Where it is low, how much of the light fluctuates is uncertain.
    objective : tuple of float
        After every step.
    """

    emission: np.ndarray
    background: np.ndarray
    kappa: tuple[float, ...]
    explained: float
    objective: tuple[float, ...] = field(repr=False)


def moments(
    electrons: np.ndarray,
    *,
    read_noise_e: float,
    excess: float = 1.0,
    bands: tuple[float, ...] = BANDS,
    parts: tuple[tuple[int, tuple[float, float]], ...] | None = None,
    broken: np.ndarray | None = None,
) -> Moments:
    """Mean, noise and covariances of a sequence.

    Parameters
    ----------
    electrons : ndarray
        (t, height, width) float32: counts without offset, over the gain.
    read_noise_e : float
        Electrons, rounding to counts included.
    excess : float
        Of the shot noise's variance: 2 for an electron-multiplying camera, else 1.
    bands : tuple of float
        Edges of the bands, cycles per frame.
    parts : tuple, optional
        (frames, shift_px) of each part of the sequence, where the picture drifts. The whole is one part otherwise.
    broken : ndarray, optional
        (height, width) bool, of pixels that shall not count. Their values must be finite.

    Returns
    -------
    Moments
        Of 4 px^4 bytes per tile and view: 260 kB.
    """
    frames = len(electrons)
    parts = parts or ((frames, (0.0, 0.0)),)
    mean = electrons.mean(axis=0, dtype=np.float64)
    noise = excess * np.maximum(mean, 0) + read_noise_e**2
    noise = np.maximum(noise, 1e-3 * noise.mean())
    if broken is not None:
        noise[broken] = IGNORED * noise.max()
    views, start = [], 0
    for count, shift in parts:
        for low, high in pairwise(bands):
            chosen = coefficients(electrons[start : start + count], low, high)
            if len(chosen):
                views.append(View(covariances(chosen), len(chosen), (low, high), shift))
        start += count
    return Moments(mean, noise, frames, tuple(views), parts)


def coefficients(electrons: np.ndarray, low: float, high: float) -> np.ndarray:
    """Those of a band, by an orthonormal cosine transform over time: (n, height, width) of (t, height, width).

    low, high : edges of the band, cycles per frame.

    Examples
    --------
    >>> coefficients(np.ones((100, 2, 2)), 0.01, 0.06).shape
    (10, 2, 2)
    """
    frequency = np.arange(len(electrons)) / (2 * len(electrons))
    chosen = (frequency >= low) & (frequency < high)
    return dct(electrons, axis=0, type=2, norm="ortho")[chosen]


def fast(electrons: np.ndarray) -> np.ndarray:
    """(t, h, w) without the mean and what changes slowly, as bleaching and the background do: frequencies below BANDS."""
    found = dct(np.asarray(electrons, np.float32), axis=0, norm="ortho")
    found[: int(np.ceil(2 * len(electrons) * BANDS[0]))] = 0
    return idct(found, axis=0, norm="ortho")


def fit(
    moments: Moments,
    psf: Psf,
    *,
    factor: int = 4,
    start: np.ndarray | None = None,
    covariance_steps: int = 30,
    joint_steps: int = 40,
    device: str = "cpu",
) -> Estimate:
    """Emission of the fine grid.

    Parameters
    ----------
    moments : Moments
        From `moments`.
    psf : Psf
        Of the microscope.
    factor : int
        Fine pixels per camera pixel.
    start : ndarray, optional
        (fine height, fine width) emission to start at, with its border; even by default.
    covariance_steps, joint_steps : int
        Steps by the covariance alone, and then with the mean.
    device : str
        Where torch computes.

    Returns
    -------
    Estimate
        The emission is never negative.

    Examples
    --------
    >>> from isoplan.applications.fluctuation.formation import Formation
    >>> psf, rng = Psf(2.6), np.random.default_rng(0)
    >>> psi = Formation.of((16, 16), psf, factor=2, border=BORDER_PX)
    >>> truth = np.zeros(psi.fine_shape)
    >>> truth[20, 20] = truth[26, 30] = 200
    >>> blinking = truth * 3 * (rng.random((400, *truth.shape)) < 1 / 3)
    >>> seen = rng.poisson(psi.forward(blinking) + 5).astype(np.float32)
    >>> made = fit(moments(seen, read_noise_e=0.1), psf, factor=2)
    >>> bool(abs(made.emission[19:22, 19:22].sum() - 200) < 40)
    True
    """
    tiles = Tiles.of(moments.views, moments.noise, psf, factor, device)
    mean = Mean.of(moments, psf, factor)
    x = np.full(mean.fine_shape, 1.0) if start is None else np.maximum(start, 1e-6)
    background = mean.background(x * 0)
    total = np.maximum(moments.mean - background, 0).sum()
    x = x * max(total, 1e-3) / max(mean.whole.forward(x).sum(), 1e-9)
    kappa = tiles.first_kappa(x)
    told, explained = [], 1.0
    for step in range(covariance_steps + joint_steps):
        joint = step >= covariance_steps
        numerator, denominator, scatter, likelihood = tiles.gradient(x, kappa)
        seen = mean.seen(x)
        told.append(likelihood + mean.misfit(seen, background))
        # Both parts of the gradient with respect to x, of the covariance and of the mean.
        up, down = mean.gradient(seen, background) if joint else (0, 0)
        ratio = (numerator + up) / np.maximum(denominator + down, 1e-12)
        x = x * np.clip(ratio**LEAP if step % 3 == 1 else ratio, 0, FARTHEST)
        kappa = kappa * scatter
        if not joint:  # x kappa is all that the covariance knows: the mean tells their parts
            scale, background, explained = mean.split(mean.seen(x))
            x, kappa = x * scale, kappa / scale
        elif (step + 1) % 3 == 0:
            background = mean.background(x)
    return Estimate(x, background, tuple(float(k) for k in kappa), explained, tuple(told))


@dataclass(frozen=True)
class Agreement:
    """Reduced chi-squares of an estimate, formed again, against the sequence: 1 where they agree within the noise.

    Parameters
    ----------
    mean : float
        Of the mean picture.
    covariance : float
        Of the covariances of neighbouring pixels.
    alone : float
        The same, had nothing fluctuated.
    """

    mean: float
    covariance: float
    alone: float


def agreement(moments: Moments, estimate: Estimate, psf: Psf, *, factor: int = 4) -> Agreement:
    """Compare what an estimate gives with what was measured."""
    mean = Mean.of(moments, psf, factor)
    misfit = mean.misfit(mean.seen(estimate.emission), estimate.background)
    tiles = Tiles.of(moments.views, moments.noise, psf, factor, "cpu")
    side = np.arange(TILE_PX**2)
    y, x = side // TILE_PX, side % TILE_PX
    far = np.hypot(y[:, None] - y, x[:, None] - x)
    near = (far > 0) & (far <= psf.fwhm_px)
    sums = np.zeros(3)
    for view, kappa in zip(moments.views, estimate.kappa, strict=True):
        for chunk in tiles.chunks:
            sigma = kappa * tiles.spread(view, tiles.windows(estimate.emission, chunk)).numpy()
            noise = tiles.noise[chunk].numpy()
            level = np.diagonal(sigma, axis1=1, axis2=2) + noise
            variance = level[:, :, None] * level[:, None, :] + sigma**2
            for place, model in ((0, sigma), (1, 0)):
                wrong = (view.covariances[chunk] - model) ** 2 / variance * view.samples
                sums[place] += wrong[:, near].sum()
            sums[2] += near.sum() * len(noise)
    return Agreement(misfit / mean.picture.size, sums[0] / sums[2], sums[1] / sums[2])


# The mean ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mean:
    """The mean picture, against Psi x + b. A realised mean carries shot noise alone."""

    picture: np.ndarray
    weight: np.ndarray  # T / N
    parts: tuple[tuple[float, Formation], ...]  # share of the frames, and their Psi
    cosines: np.ndarray  # (terms, height * width)

    @classmethod
    def of(cls, moments: Moments, psf: Psf, factor: int) -> "Mean":
        shape = moments.mean.shape
        parts = tuple(
            (
                count / moments.frames,
                Formation.of(shape, psf, factor=factor, border=BORDER_PX, shift_px=shift),
            )
            for count, shift in moments.parts
        )
        waves = [
            np.cos(np.pi * np.arange(min(TERMS, n))[:, None] * (np.arange(n) + 0.5) / n)
            for n in shape
        ]
        cosines = np.einsum("ay,bx->abyx", *waves).reshape(-1, shape[0] * shape[1])
        return cls(moments.mean, moments.frames / moments.noise, parts, cosines)

    @property
    def whole(self) -> Formation:
        return self.parts[0][1]

    @property
    def fine_shape(self) -> tuple[int, int]:
        return self.whole.fine_shape

    def seen(self, x: np.ndarray) -> np.ndarray:
        return sum(share * psi.forward(x) for share, psi in self.parts)

    def misfit(self, seen: np.ndarray, background: np.ndarray) -> float:
        return float((self.weight * (self.picture - seen - background) ** 2).sum())

    def gradient(self, seen: np.ndarray, background: np.ndarray):
        """Twice Psi' of the weighted mean, and of the weighted model."""
        back = [
            sum(share * psi.adjoint(2 * self.weight * picture) for share, psi in self.parts)
            for picture in (np.maximum(self.picture, 0), seen + background)
        ]
        return back[0], back[1]

    def background(self, x: np.ndarray) -> np.ndarray:
        """What x leaves, as cosines; never negative."""
        return np.maximum(self.smooth(self.picture - self.seen(x)), 0)

    def smooth(self, picture: np.ndarray) -> np.ndarray:
        """Weighted least squares of the cosines on a picture."""
        weighted = self.cosines * self.weight.ravel()
        told = np.linalg.lstsq(weighted @ self.cosines.T, weighted @ picture.ravel(), rcond=1e-6)[0]
        return (told @ self.cosines).reshape(picture.shape)

    def split(self, seen: np.ndarray) -> tuple[float, np.ndarray, float]:
        """Scale of an emission that the covariance tells, the background beside it, and `Estimate.explained`.

        Of the two pictures without their cosines, m of the mean and s of the emission, the noise of m is known, that of s
        is not. So the scale is (<m, m> - noise) / <m, s>, regression of s on m. Regression of m on s, <m, s> / <s, s>, gives
        too little, the less the more of s is noise, as of dense emitters on smooth objects. No scale gives more light than
        there is.
        """
        m, s = (one - self.smooth(one) for one in (self.picture, seen))
        both, noisy = (self.weight * m * s).sum(), (self.weight * s**2).sum()
        signal = max((self.weight * m**2).sum() - m.size + len(self.cosines), 1e-9)
        most = (self.weight * self.picture).sum() / (self.weight * seen).sum()
        scale = signal / both if both > 0 else most
        scale = float(np.clip(scale, max(both / noisy, 1e-3), max(most, 1e-3)))
        explained = min(max(both, 0) ** 2 / (noisy * signal), 1.0)
        return scale, np.maximum(self.smooth(self.picture - scale * seen), 0), float(explained)
