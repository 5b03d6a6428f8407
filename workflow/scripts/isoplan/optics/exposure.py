"""The exposure of a mosaic (noise, background, bad pixels), and splitting one exposure into two."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

# How far dead and hot pixels stand out from their neighbours, in units of the neighbours' range: squares of
# four pixels, and all others.
LONE_SQUARE, LONE = 19, 4
# Clusters must also stand out this far before the slope is subtracted. Dead pixels have less than this share
# of the light around.
ON_SLOPE, DARK = 2, 0.1
_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Exposure:
    """Properties of a mosaic's exposure, in counts above the offset; all tiles share them.

    Light of m counts has the variance gain * m + floor.

    Attributes
    ----------
    background
        Counts that do not come from the object.
    gain
        Counts per electron. None if unknown; then read noise and bad pixels are ignored.
    floor
        Variance without light, in counts^2.
    saturation
        Lowest value of saturated pixels; None if none is saturated.
    """

    background: float = 0.0
    gain: float | None = None
    floor: float = 0.0
    saturation: float | None = None

    @property
    def shift(self) -> float:
        """Shift of the data that accounts for the floor in a Poisson likelihood (`richardson_lucy`)."""
        return self.floor / self.gain if self.gain else 0.0

    def start(self, level: float) -> float:
        """Initial value of a restoration; level: mean of the mosaic in counts, with background."""
        return max(level - self.background, 1e-3 * level)


def exposure_of(facts: dict, background: float | str = 0.0) -> Exposure:
    """The exposure of a mosaic, from its facts.

    facts: from `mosaic.measure`, with offset, gain and read_noise_e. background: the config's number, or
    "auto" for the facts' `dark` above the offset.
    """
    offset = facts["offset"]
    if background == "auto":
        background = max((facts["dark"] or 0.0) - offset, 0.0)
    saturation = facts.get("saturation")
    return Exposure(
        background,
        *(noise_of(facts) or (None, 0.0)),
        saturation=None if saturation is None else saturation - offset,
    )


class Pixels(NamedTuple):
    """Masks (h, w) of the pixels of a block, by what they can be used for."""

    usable: np.ndarray  # finite, and neither dead nor hot
    lone: np.ndarray  # dead or hot
    saturated: np.ndarray  # at least as bright as they show


def sort_pixels(counts: np.ndarray, exposure: Exposure) -> Pixels:
    """Classify the pixels of a block, by comparison with their eight neighbours.

    A lone saturated pixel is a hot pixel. counts: (h, w) above the offset; it may have NaN.
    """
    finite, none = np.isfinite(counts), np.zeros(counts.shape, bool)
    lone = lone_pixels(counts, exposure.gain, exposure.floor) if exposure.gain else none
    usable, saturated = finite & ~lone, none
    if exposure.saturation is not None:
        # Half a count of tolerance, as integers may have been scaled and scaled back.
        saturated = usable & (np.nan_to_num(counts) > exposure.saturation - 0.5)
    return Pixels(usable, lone, saturated)


def noise_of(facts: dict) -> tuple[float, float] | None:
    """Gain (counts per electron) and variance without light (counts^2); None if they are unknown.

    The variance of light of m counts above the offset is gain * m plus the latter. In integer data it is
    at least that of rounding, 1/12 (which is already part of an estimated read noise).

    facts: `gain` and `read_noise_e`, given or estimated, and `dtype`.
    """
    gain, read_noise = facts.get("gain"), facts.get("read_noise_e")
    if not gain or read_noise is None:
        return None
    rounding = 1 / 12 if np.dtype(facts["dtype"]).kind in "ui" else 0.0
    return float(gain), max((gain * read_noise) ** 2, rounding)


@np.errstate(invalid="ignore")  # of infinite pixels
def lone_pixels(counts: np.ndarray, gain: float, floor: float) -> np.ndarray:
    """Find dead and hot pixels, single ones and clusters of up to four, that no PSF can explain.

    A single one differs from all of its eight neighbours by more than LONE times their range, and by more than
    noise (3 standard deviations and 12 electrons). A cluster differs in this way from the ring of all pixels
    that touch it, after the plane through the ring is subtracted. Before that, it must differ by ON_SLOPE times
    the ring's range, as three points side by side can make their ring nearly a plane. A square of four must
    differ by LONE_SQUARE times the range, unless it has less than DARK of the light around it (the four
    darkest pixels of a dark point keep half of that light).

    Parameters
    ----------
    counts
        (h, w) above the offset.
    gain, floor
        From `noise_of`.

    Returns
    -------
    numpy.ndarray
        (h, w) bool.

    Notes
    -----
    A point seen through a Gaussian PSF of w px full width differs by 2^(4 / w^2) times the range, less than
    LONE from 1.41 px on. Its brightest two or three pixels differ by less, and so do four in all shapes except
    squares, which differ by up to 15.6 times if the point lies on a corner of pixels.
    `tests/bench/bench_lone_pixels.py` measures the influence of noise, and what is found. The rule depends on
    pixels within 5 px. Pixels at the edges of the array and beside values that are not finite are not judged.
    """
    lone = np.zeros(counts.shape, bool)
    if min(counts.shape) < 3:
        return lone
    rows, columns = (range(3), range(3))
    high = low = total = None
    for y, x in ((y, x) for y in rows for x in columns if (y, x) != (1, 1)):
        part = counts[y : y + counts.shape[0] - 2, x : x + counts.shape[1] - 2]
        high = part.copy() if high is None else np.maximum(high, part, out=high)
        low = part.copy() if low is None else np.minimum(low, part, out=low)
        total = part.astype(np.float32) if total is None else np.add(total, part, out=total)
    apart = LONE * (high - low) + _noise(total / 8, gain, floor)
    inner = counts[1:-1, 1:-1]
    lone[1:-1, 1:-1] = (inner - high > apart) | (low - inner > apart)
    for sign in (1, -1):
        lone |= _clusters(sign * counts, sign, gain, floor)
    return lone


def _noise(level: np.ndarray, gain: float, floor: float) -> np.ndarray:
    """What noise does not exceed at a level of light, in counts: 3 standard deviations and 12 electrons."""
    return 3 * np.sqrt(gain * np.maximum(level, 0) + floor) + 12 * gain


def _clusters(counts: np.ndarray, sign: int, gain: float, floor: float) -> np.ndarray:
    """Clusters of two to four bright pixels, as in `lone_pixels`. sign: -1 if counts are negated."""
    found = np.zeros(counts.shape, bool)
    if not np.isfinite(counts).any():
        return found
    # An opening by 3 x 3 px removes what is narrower: edges of clusters, points, and noise.
    finite = np.isfinite(counts)
    even = counts if finite.all() else np.where(finite, counts, counts[finite].mean())
    ground = ndimage.grey_opening(even, size=3)
    with np.errstate(invalid="ignore"):
        labels, count = ndimage.label(
            even - ground > 2 * _noise(sign * ground, gain, floor), _EIGHT
        )
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    small = (sizes > 1) & (sizes <= 4)
    small[0] = False
    y, x = np.nonzero(small[labels])
    # A cluster at the edge of the array is not judged, as what lies beyond is unknown.
    rim = (y < 1) | (x < 1) | (y > counts.shape[0] - 2) | (x > counts.shape[1] - 2)
    small[labels[y[rim], x[rim]]] = False
    y, x = np.nonzero(small[labels])
    if y.size:
        own = (np.cumsum(small) - 1)[labels[y, x]]
        found[y, x] = _stand_out(counts, labels, y, x, own, sign, gain, floor)[own]
    return found


def _stand_out(counts, labels, y, x, own, sign, gain, floor) -> np.ndarray:
    """Which clusters no PSF can explain, a bool each. y, x, own: the pixels, and the cluster of each."""
    dy, dx = (step.reshape(9, 1) - 1 for step in np.indices((3, 3)))
    # The ring around each cluster; a pixel that touches two of its pixels is counted twice.
    beside = labels[y + dy, x + dx] != labels[y, x]
    ring_y, ring_x = (y + dy)[beside], (x + dx)[beside]
    of = np.broadcast_to(own, beside.shape)[beside]
    inside, ring = counts[y, x].astype(float), counts[ring_y, ring_x].astype(float)
    size, touching = np.bincount(own), np.bincount(of)

    def mean(values):
        return np.bincount(of, values) / touching

    def extremes(inside, ring):
        """Smallest values of the clusters, largest values of the rings, and ranges of the rings."""
        least, high, low = (np.full(size.shape, start) for start in (np.inf, -np.inf, np.inf))
        np.minimum.at(least, own, inside)
        np.maximum.at(high, of, ring)  # NaN stays
        np.minimum.at(low, of, ring)
        return least, high, high - low

    with np.errstate(invalid="ignore"):
        # The plane through each ring, by least squares.
        middle_y, middle_x = mean(ring_y), mean(ring_x)
        v, u = ring_y - middle_y[of], ring_x - middle_x[of]
        vv, uu, vu, rv, ru = map(mean, (v * v, u * u, v * u, ring * v, ring * u))
        slope_y, slope_x = np.array([rv * uu - ru * vu, ru * vv - rv * vu]) / (vv * uu - vu**2)
        tilt = slope_y[own] * (y - middle_y[own]) + slope_x[own] * (x - middle_x[own])
        least, high, span = extremes(inside, ring)
        flat_least, flat_high, flat_span = extremes(
            inside - tilt, ring - slope_y[of] * v - slope_x[of] * u
        )
        # Of all clusters of four, only a square touches so few pixels.
        square = (size == 4) & (touching == 20)
        if sign < 0:
            square &= least < DARK * high  # both are negative light
        times, noise = np.where(square, LONE_SQUARE, LONE), _noise(sign * high, gain, floor)
        return (least - high > ON_SLOPE * span + noise) & (
            flat_least - flat_high > times * flat_span + noise
        )


def replace_lone_pixels(counts: np.ndarray, lone: np.ndarray) -> np.ndarray:
    """Replace dead and hot pixels by the median of the others within 2 px.

    counts: (h, w). lone: (h, w) bool, from `lone_pixels`.
    """
    if not lone.any():
        return counts
    y, x = np.nonzero(lone)
    near = np.arange(-2, 3)
    rows = np.clip(y[:, None] + near, 0, counts.shape[0] - 1)[:, :, None]
    columns = np.clip(x[:, None] + near, 0, counts.shape[1] - 1)[:, None, :]
    around = np.where(lone[rows, columns], np.nan, counts[rows, columns])
    replaced = counts.copy()
    replaced[y, x] = np.nanmedian(around.reshape(len(y), -1), axis=1)
    return replaced


# One exposure as two -------------------------------------------------------------------------------

# A value this many electrons below what read noise explains is not a measurement.
BELOW_E = 5


def thin(electrons: np.ndarray, shift: float, rng: np.random.Generator, *, share: float):
    """Split a picture's photons at random into two independent pictures.

    Read noise of variance s^2 = `shift` is treated as that of s^2 additional photons: electrons + s^2 has
    the mean and the variance of a Poisson number (shifted Poisson; Snyder, Hammoud, White 1993). It is
    rounded to an integer and split photon by photon.

    Parameters
    ----------
    electrons
        Counts above the offset, divided by the gain.
    shift
        Variance of the read noise in electrons^2.
    rng
        Source of random numbers.
    share
        Share of the photons in the second picture.

    Returns
    -------
    rest, part
        Two float32 arrays of the picture's shape. Both keep the shift: their means are 1 - share and share
        times (electrons + shift).
    """
    whole = np.maximum(np.rint(electrons.astype(np.float64) + shift), 0).astype(np.int64)
    part = rng.binomial(whole, share)
    return (whole - part).astype(np.float32), part.astype(np.float32)


def split(counts: np.ndarray, facts: dict, rng: np.random.Generator, *, share: float):
    """Split one exposure into two pictures with independent noise.

    Saturated pixels are split as recorded, so both parts are too dark there. Noise that is neither photon
    nor read noise (fixed patterns, an EM register, processing) is the same in both parts, and looks like
    detail when they are compared.

    Parameters
    ----------
    counts
        (h, w) raw counts.
    facts
        `offset`, `gain`, `read_noise_e` and `dtype`.
    rng
        Source of random numbers.
    share
        Share of the photons in the first part.

    Returns
    -------
    part, rest
        (h, w) float32 in counts; `split_camera` describes the camera of a part. NaN where photons cannot
        be counted: values that are not finite, or that lie below the offset by more than 4 standard
        deviations of the read noise and BELOW_E electrons (as in areas that were painted over).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> counts = 2 * rng.poisson(500, (64, 64)) + 100
    >>> camera = {"offset": 100, "gain": 2, "read_noise_e": 0, "dtype": "uint16"}
    >>> part, rest = split(counts, camera, rng, share=0.5)
    >>> bool(abs((part - 100).mean() - 500) < 5), bool(abs(np.corrcoef(part.ravel(), rest.ravel())[0, 1]) < 0.1)
    (True, True)
    """
    gain, floor = noise_of(facts)
    shift = floor / gain**2
    electrons = (counts - np.float32(facts["offset"])) / np.float32(gain)
    known = electrons > -4 * shift**0.5 - BELOW_E  # False of NaN
    known &= np.isfinite(electrons)
    rest, part = thin(np.where(known, electrons, 0), shift, rng, share=share)
    return tuple(
        np.where(known, facts["offset"] + gain * photons, np.nan).astype(np.float32)
        for photons in (part, rest)
    )


def split_camera(facts: dict, share: float) -> dict:
    """offset, gain and read_noise_e of a part from `split` that has `share` of the photons.

    The gain does not change. The variance of the read noise is split like the photons, so a part has less
    read noise than a shorter exposure by the same camera. Since it takes the form of photons, their light is
    added to the offset.
    """
    gain, floor = noise_of(facts)
    shift = share * floor / gain**2
    return {
        "offset": facts["offset"] + gain * shift,
        "gain": gain,
        "read_noise_e": shift**0.5,
    }
