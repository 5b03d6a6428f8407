"""How certain the numbers are that a sequence tells of its emitters.

Kappa of a band is a mean of squares over time, of emitters that may be few. So its error is taken from the sequence's own
segments, which know of all that: kappa of each is estimated with the emission as found, and `blinking.fit` is repeated
without each in turn (jackknife). To this comes the error of the emission's scale, as far as the background could take
light from it or give light to it, and of the emission the chance that emitters were on just then.

Errors of the emission's shape are not counted, nor what the model leaves out: where the background is high, intervals
hold the truth less often than they say (see `fluctuation.full`).
"""

from itertools import pairwise

import numpy as np
import torch
from scipy.stats import t as student

from isoplan.applications.fluctuation import blinking
from isoplan.applications.fluctuation.formation import Psf
from isoplan.applications.fluctuation.likelihood import Estimate, Mean, Moments, coefficients
from isoplan.applications.fluctuation.tiles import TILE_PX, Tiles, tile_starts
from isoplan.optics.gaussian import FWHM_PER_SIGMA

SEGMENTS, LEAST_FRAMES = 10, 25  # of a sequence; frames of each
COVERED = 0.95  # of the intervals


def segments_of(lengths: tuple[int, ...]) -> list[list[int]]:
    """Lengths of the segments of each part of a sequence, whose lengths are given.

    Examples
    --------
    >>> segments_of((500,))
    [[50, 50, 50, 50, 50, 50, 50, 50, 50, 50]]
    >>> segments_of((51, 50))
    [[25, 26], [25, 25]]
    """
    each = max(sum(lengths) / SEGMENTS, LEAST_FRAMES)
    made = []
    for length in lengths:
        count = max(round(length / each), 1)
        edges = [round(k * length / count) for k in range(count, -1, -1)]
        made.append([a - b for a, b in pairwise(edges)])
    return made


def of_segments(
    electrons: np.ndarray, moments: Moments, estimate: Estimate, psf: Psf, *, factor: int = 4
) -> np.ndarray:
    """Kappa of each segment of a sequence, relative to that of the whole.

    Parameters
    ----------
    electrons : ndarray
        (t, height, width), which `moments` are of.
    moments, estimate
        See `likelihood`.
    psf, factor
        As `estimate` was made with.

    Returns
    -------
    ndarray
        (segments, bands) float64. One scoring step from kappa of the whole, with the emission as estimated:
        r = (tr(M C) - tr(M N)) / tr(M D), M = Sigma^-1 D Sigma^-1, of the segment's covariance C, with D what the
        emitters add to Sigma and N the noise; each summed over the tiles.
    """
    tiles = Tiles.of(moments.views, moments.noise, psf, factor, "cpu")
    lengths = tuple(count for count, _ in moments.parts)
    bands = len(moments.views) // len(lengths)
    found, start = [], 0
    for part, segments in enumerate(segments_of(lengths)):
        pieces = np.split(electrons[start : start + lengths[part]], np.cumsum(segments)[:-1])
        sums = np.zeros((len(pieces), bands, 2))
        for band in range(bands):
            number = part * bands + band
            view, kappa = moments.views[number], estimate.kappa[number]
            flat = [_tiles_of(coefficients(piece, *view.band)) for piece in pieces]
            for chunk in tiles.chunks:
                added = kappa * tiles.spread(view, tiles.windows(estimate.emission, chunk))
                noise = tiles.noise[chunk]
                inverse = torch.cholesky_inverse(
                    torch.linalg.cholesky(added + torch.diag_embed(noise))
                )
                middle = inverse @ added @ inverse
                least = (middle.diagonal(dim1=1, dim2=2) * noise).sum(1)
                most = (middle * added).sum((1, 2))
                weight = tiles.weight[chunk]
                for place, one in enumerate(flat):
                    y = torch.from_numpy(one[chunk])
                    seen = ((y @ middle) * y).sum((1, 2)) / y.shape[1]
                    sums[place, band] += [
                        float((weight * (seen - least)).sum()),
                        float((weight * most).sum()),
                    ]
        found.append(sums[..., 0] / np.maximum(sums[..., 1], 1e-30))
        start += lengths[part]
    return np.concatenate(found)


def _tiles_of(frames: np.ndarray) -> np.ndarray:
    """(tiles, n, px) float32 of (n, height, width)."""
    n = len(frames)
    return np.array(
        [
            frames[:, y : y + TILE_PX, x : x + TILE_PX].reshape(n, -1)
            for y in tile_starts(frames.shape[1])
            for x in tile_starts(frames.shape[2])
        ],
        np.float32,
    )


def of_scale(moments: Moments, estimate: Estimate, psf: Psf, *, factor: int = 4) -> float:
    """Relative standard error of the emission's scale, with the background's cosines free beside it.

    By the noise of the mean, and by what is noise in the emission that the covariance tells, which correlates with the mean
    by chance as pictures of so many places do that a PSF tells apart.
    """
    mean = Mean.of(moments, psf, factor)
    terms = np.vstack([mean.seen(estimate.emission).ravel(), mean.cosines])
    told = (terms * mean.weight.ravel()) @ terms.T
    by_mean = max(np.linalg.pinv(told, hermitian=True)[0, 0], 0)
    places = mean.picture.size / (4 * np.pi * (psf.fwhm_px / FWHM_PER_SIGMA) ** 2) - len(
        mean.cosines
    )
    by_emission = (1 / max(estimate.explained, 1e-3) - 1) / max(places, 1)
    return float(np.sqrt(by_mean + by_emission))


def intervals(
    kappa: np.ndarray,
    segments: np.ndarray,
    scale: float,
    edges: list[float],
    frames: int,
    *,
    emission: float,
    light: float,
    length: int,
) -> dict[str, float]:
    """Intervals of an emitter's parameters and of the emission, which hold the truth in COVERED of all cases.

    Parameters
    ----------
    kappa : ndarray
        (bands,) of the whole sequence.
    segments : ndarray
        (segments, bands), see `of_segments`.
    scale : float
        Relative standard error of the emission, see `of_scale`.
    edges, frames
        See `blinking.fit`.
    emission, light : float
        Of all emitters, and what the frames have in all, electrons per frame: emitters cannot send more.
    length : int
        Frames of the sequence.

    Returns
    -------
    dict
        `amplitude_low_e`, `amplitude_high_e`, `rate_low` and `rate_high`, see `blinking.Blinking`, and
        `emission_low_e` and `emission_high_e`. Empty with fewer than three segments.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> edges, segments = [0.01, 0.06, 0.18, 0.5], 1 + 0.05 * rng.normal(size=(10, 3))
    >>> seen = {"emission": 5000.0, "light": 9000.0, "length": 500}
    >>> found = intervals(np.array([70.0, 60, 30]), segments, 0.01, edges, 500, **seen)
    >>> told = blinking.fit([70, 60, 30], edges, 500)
    >>> found["rate_low"] < told.rate < found["rate_high"]
    True
    """
    count = len(segments)
    if count < 3:
        return {}
    wide = student.ppf((1 + COVERED) / 2, count - 1)
    segments = np.maximum(segments, 1e-3)
    without = [np.delete(segments, k, 0).mean(0) / segments.mean(0) for k in range(count)]
    found = [blinking.fit(kappa * ratio, edges, frames) for ratio in without]
    told = blinking.fit(kappa, edges, frames)
    slow = told.amplitude_e * blinking.spectrum(
        told.rate, 0.0
    )  # variance per electron and frame of a long mean

    def spread(each: list[float]) -> float:
        return (count - 1) * np.var(np.log(each))

    numbers = {
        "amplitude{}_e": (told.amplitude_e, spread([one.amplitude_e for one in found]) + scale**2),
        "rate{}": (told.rate, spread([one.rate for one in found])),
        "emission{}_e": (emission, slow / (length * max(emission, 1e-30)) + scale**2),
    }
    found = {
        name.format(end): float(value * np.exp(sign * wide * np.sqrt(variance)))
        for name, (value, variance) in numbers.items()
        for end, sign in (("_low", -1), ("_high", 1))
    }
    most = max(light, emission)
    found["emission_high_e"] = min(found["emission_high_e"], most)
    least = told.amplitude_e * emission / max(most, 1e-30)  # the covariance tells their product
    found["amplitude_low_e"] = max(found["amplitude_low_e"], least)
    return found
