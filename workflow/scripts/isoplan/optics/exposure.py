"""What one camera did to a mosaic, as far as its restoration knows of it: noise, background, bad pixels; and
one exposure split into two.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

# How far dead and hot pixels stand out, in ranges of what touches them: squares of four, and all others.
LONE_SQUARE, LONE = 19, 4
# Clusters do so this far with the slope that they lie on, too. What is dead shows less than this share of the light.
ON_SLOPE, DARK = 2, 0.1
_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Exposure:
    """What one camera did to a whole mosaic, in counts above the offset: one for all of its tiles.

    background: counts that are not the object's. gain (counts per electron) and floor (variance at
    zero light, counts^2): light of m counts has the variance gain * m + floor; None where they are
    not known, and then read noise and bad pixels are not looked at. saturation: the least value that
    a saturated pixel shows; None where none is saturated.
    """

    background: float = 0.0
    gain: float | None = None
    floor: float = 0.0
    saturation: float | None = None

    @property
    def shift(self) -> float:
        """What the floor adds to the data of a Poisson likelihood (`richardson_lucy`)."""
        return self.floor / self.gain if self.gain else 0.0

    def start(self, level: float) -> float:
        """What a restoration starts from where the mosaic's mean is `level` counts, background included."""
        return max(level - self.background, 1e-3 * level)


def exposure_of(facts: dict, background: float | str = 0.0) -> Exposure:
    """What a mosaic's facts (`mosaic.measure`, with offset, gain and read_noise_e) tell of its exposure.

    background: the config's number, or "auto" for the facts' `dark` above the offset.
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
    """Which pixels of a block say what: (h, w) bool each."""

    usable: np.ndarray  # finite, and neither dead nor hot
    lone: np.ndarray  # dead or hot
    saturated: np.ndarray  # at least as bright as they show


def sort_pixels(counts: np.ndarray, exposure: Exposure) -> Pixels:
    """Sorts the pixels of a block by what they look like beside their eight neighbours.

    A lone saturated pixel is a hot one. counts: (h, w) above the offset; may hold what is not finite.
    """
    finite, none = np.isfinite(counts), np.zeros(counts.shape, bool)
    lone = lone_pixels(counts, exposure.gain, exposure.floor) if exposure.gain else none
    usable, saturated = finite & ~lone, none
    if exposure.saturation is not None:
        # Half a count less: what was a whole number may have been scaled and come back.
        saturated = usable & (np.nan_to_num(counts) > exposure.saturation - 0.5)
    return Pixels(usable, lone, saturated)


def noise_of(facts: dict) -> tuple[float, float] | None:
    """Gain (counts per electron) and variance at zero light (counts^2); None where they are not known.

    facts: of a mosaic: `gain` and `read_noise_e`, given or estimated, and `dtype`. The variance of light
    of m counts above the offset is gain * m + this. In whole numbers it is at least that of rounding,
    1/12 (an estimated read noise holds it already).
    """
    gain, read_noise = facts.get("gain"), facts.get("read_noise_e")
    if not gain or read_noise is None:
        return None
    rounding = 1 / 12 if np.dtype(facts["dtype"]).kind in "ui" else 0.0
    return float(gain), max((gain * read_noise) ** 2, rounding)


@np.errstate(invalid="ignore")  # of infinite pixels
def lone_pixels(counts: np.ndarray, gain: float, floor: float) -> np.ndarray:
    """Dead and hot pixels (h, w) bool, single ones and clusters of up to four, that no PSF could have made.

    counts: (h, w) above the offset; gain, floor: of `noise_of`. Such a pixel lies beyond all its eight
    neighbours, by more than LONE times the range that these span and by more than noise does: 3
    deviations and 12 electrons. A cluster lies so beyond its ring, all that touch it, when the plane
    through the ring is taken off; and by ON_SLOPE times its range before, as three points side by side can
    make their ring nearly a plane. A square of four does so by LONE_SQUARE times, unless it is dead down
    to DARK of the light around: a dark point leaves half of that in its four darkest pixels.

    A point seen through a Gaussian PSF of w px full width stands out by 2^(4 / w^2) times the range, under
    LONE from 1.41 px on. Its brightest two or three pixels stand out by less, and so do fours in all shapes but
    squares, which do by up to 15.6 where a corner of pixels is the point's middle (`tests/bench/bench_lone_pixels.py`:
    what noise makes of it, and what is found).
    What the rule sees lies within 5 px; pixels at the rim of the array and beside values that are not
    finite are not judged.
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
    """What noise does not exceed at a level of light: 3 deviations and 12 electrons, in counts."""
    return 3 * np.sqrt(gain * np.maximum(level, 0) + floor) + 12 * gain


def _clusters(counts: np.ndarray, sign: int, gain: float, floor: float) -> np.ndarray:
    """Clusters of two to four bright pixels as in `lone_pixels`; sign: -1 where counts are negative light."""
    found = np.zeros(counts.shape, bool)
    if not np.isfinite(counts).any():
        return found
    # What an opening by 3 x 3 px takes away is narrower than that: edges of clusters, of points, and noise.
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
    # One that touches the rim is not judged: what lies beyond it is not seen.
    rim = (y < 1) | (x < 1) | (y > counts.shape[0] - 2) | (x > counts.shape[1] - 2)
    small[labels[y[rim], x[rim]]] = False
    y, x = np.nonzero(small[labels])
    if y.size:
        own = (np.cumsum(small) - 1)[labels[y, x]]
        found[y, x] = _stand_out(counts, labels, y, x, own, sign, gain, floor)[own]
    return found


def _stand_out(counts, labels, y, x, own, sign, gain, floor) -> np.ndarray:
    """Which clusters no PSF could have made, one bool each. y, x, own: their pixels, and of which cluster."""
    dy, dx = (step.reshape(9, 1) - 1 for step in np.indices((3, 3)))
    # The ring around each: a pixel that touches two of a cluster is in it twice.
    beside = labels[y + dy, x + dx] != labels[y, x]
    ring_y, ring_x = (y + dy)[beside], (x + dx)[beside]
    of = np.broadcast_to(own, beside.shape)[beside]
    inside, ring = counts[y, x].astype(float), counts[ring_y, ring_x].astype(float)
    size, touching = np.bincount(own), np.bincount(of)

    def mean(values):
        return np.bincount(of, values) / touching

    def extremes(inside, ring):
        """Clusters' least values, rings' greatest ones, and what these span."""
        least, high, low = (np.full(size.shape, start) for start in (np.inf, -np.inf, np.inf))
        np.minimum.at(least, own, inside)
        np.maximum.at(high, of, ring)  # NaN stays
        np.minimum.at(low, of, ring)
        return least, high, high - low

    with np.errstate(invalid="ignore"):
        # The plane through each ring, by least squares about the ring's middle.
        middle_y, middle_x = mean(ring_y), mean(ring_x)
        v, u = ring_y - middle_y[of], ring_x - middle_x[of]
        vv, uu, vu, rv, ru = map(mean, (v * v, u * u, v * u, ring * v, ring * u))
        slope_y, slope_x = np.array([rv * uu - ru * vu, ru * vv - rv * vu]) / (vv * uu - vu**2)
        tilt = slope_y[own] * (y - middle_y[own]) + slope_x[own] * (x - middle_x[own])
        least, high, span = extremes(inside, ring)
        flat_least, flat_high, flat_span = extremes(
            inside - tilt, ring - slope_y[of] * v - slope_x[of] * u
        )
        # Of four pixels only those of a square touch so few.
        square = (size == 4) & (touching == 20)
        if sign < 0:
            square &= least < DARK * high  # both are negative light
        times, noise = np.where(square, LONE_SQUARE, LONE), _noise(sign * high, gain, floor)
        return (least - high > ON_SLOPE * span + noise) & (
            flat_least - flat_high > times * flat_span + noise
        )


def replace_lone_pixels(counts: np.ndarray, lone: np.ndarray) -> np.ndarray:
    """Counts (h, w) whose dead and hot pixels, lone (h, w) bool, take the median of the others within 2 px."""
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

# So far below the least that read noise explains, in electrons, a value is no measurement.
BELOW_E = 5


def thin(electrons: np.ndarray, shift: float, rng: np.random.Generator, *, share: float):
    """The rest of a picture and `share` of its photons, two independent pictures, both float32 of its shape.

    electrons: counts above the offset over the gain. Read noise of variance s^2 = `shift` is taken as that of
    s^2 more photons: electrons + s^2 has the mean and the variance of a Poisson number (shifted
    Poisson: Snyder, Hammoud, White 1993), is rounded to a whole one and split photon by photon.
    Both parts keep the shift: their means are 1 - share and share times (electrons + s^2).
    """
    whole = np.maximum(np.rint(electrons.astype(np.float64) + shift), 0).astype(np.int64)
    part = rng.binomial(whole, share)
    return (whole - part).astype(np.float32), part.astype(np.float32)


def split(counts: np.ndarray, facts: dict, rng: np.random.Generator, *, share: float):
    """(part, rest) of one exposure: two pictures in counts, (h, w) float32, whose noise is independent.

    counts: as the camera gave them. facts: `offset`, `gain`, `read_noise_e`, `dtype`. `split_camera` says
    what camera either part looks to be of. NaN where photons cannot be counted: values that are not
    finite, or that lie below the offset by more than 4 deviations of the read noise and BELOW_E electrons
    (painted over, beside the field). Saturated pixels are split as they are, too dark in both. Noise that
    is neither the photons' nor read noise (fixed patterns, of an EM register, of a picture that was
    processed) stays the same in both, and counts as detail wherever they are compared.
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
    """offset, gain and read_noise_e of the part of an exposure that has `share` of its photons (`split`).

    The gain is the exposure's. The variance of the read noise is shared as the photons are, so the part
    reads less noise than a shorter exposure by the same camera would; and as it is there in the form of
    photons, their light has been added to the offset.
    """
    gain, floor = noise_of(facts)
    shift = share * floor / gain**2
    return {
        "offset": facts["offset"] + gain * shift,
        "gain": gain,
        "read_noise_e": shift**0.5,
    }
