"""What networks that enhance learn from: squares of pairs, in units of the input's noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from isoplan.applications.enhancement.fields import Place
from isoplan.applications.enhancement.networks import statistics
from isoplan.base.errors import UserError

HELD_BACK = 8  # every so many fields one judges epochs, and is not learnt from
PLAIN_PX = 2.0  # standard deviation of the Gaussian whose errors are the measure
SMOOTH_PX = 3.0  # standard deviation of the Gaussian under which target and input are compared
JUDGES, JUDGED_PX = 16, 256  # at most so many, and the side of their middle


@dataclass(frozen=True)
class Scale:
    """How targets come to the input's scale where no pair may tell: counts of the input per count of the target, and the
    inputs' noise in counts, both over all fields."""

    slope: float
    noise: float

    @classmethod
    def of(cls, lows: Sequence[np.ndarray], highs: Sequence[np.ndarray]) -> "Scale":
        """Of inputs and targets (h, w) that need not show the same places.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> fields = ndimage.gaussian_filter(rng.normal(size=(4, 64, 64)), (0, 3, 3))
        >>> found = Scale.of(list(fields[:2]), list(4 * fields[2:] + 100))
        >>> round(1 / found.slope)
        4
        """
        spreads = [np.sqrt(np.mean([_smooth(one).var() for one in ones])) for ones in (lows, highs)]
        noise = float(np.median([statistics(low)[1] for low in lows]))
        return cls(float(spreads[0] / max(spreads[1], 1e-12)), noise)


@dataclass(frozen=True)
class Pair:
    """A field as networks learn from it: (h, w) float32 each, standardised as `networks.statistics` of the input say, and how much
    its errors count: as the inverse of a Gaussian's, so that a field that is easy counts as much as a hard one, as in PSNR.

    The target is brought to the input's scale by a line first, as detectors differ, and files may be stretched.
    """

    low: np.ndarray
    high: np.ndarray
    weight: float = 1.0

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray, scale: Scale | None = None) -> "Pair":
        """scale: says how the target is scaled, in place of the pair."""
        level, noise = statistics(low)
        if scale:
            own = (high - np.mean(high)) * scale.slope / scale.noise
            return cls(((low - level) / noise).astype(np.float32), own.astype(np.float32))
        # Of smoothed pictures, as the target's noise would flatten the line.
        x, y = _smooth(high), _smooth(low)
        slope, base = np.polyfit(x.ravel(), y.ravel(), 1) if np.ptp(x) else (0.0, y.mean())
        low, high = ((one - level) / noise for one in (low, slope * high + base))
        plain = np.mean((ndimage.gaussian_filter(low, PLAIN_PX) - high) ** 2)
        weight = float(1 / max(plain, 1e-6))
        return cls(low.astype(np.float32), high.astype(np.float32), weight)

    def crop(self, y: int, x: int, side: int) -> np.ndarray:
        """(2, side, side)."""
        window = (slice(y, y + side), slice(x, x + side))
        return np.stack([self.low[window], self.high[window]]).astype(np.float32)

    def middle(self, side: int) -> "Pair":
        """The middle of it."""
        y, x = (max((n - side) // 2, 0) for n in self.low.shape)
        return Pair(*self.crop(y, x, side), self.weight)


def held_back(places: list[Place]) -> tuple[list[Place], list[Place]]:
    """Fields to learn from, and fields that say which epoch is the best.

    Raises
    ------
    UserError
        If there are not two.

    Examples
    --------
    >>> learnt, judges = held_back([Place("a", 0, 0, 64 * k) for k in range(9)])
    >>> [place.x for place in judges], len(learnt)
    ([0, 512], 7)
    """
    judges = places[::HELD_BACK][:JUDGES]
    learnt = [place for place in places if place not in judges]
    if not learnt:
        raise UserError(
            "a network cannot learn from one training field alone; give more, or lower field_px"
        )
    return learnt, judges


def _smooth(picture: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(np.asarray(picture, float), SMOOTH_PX)
