"""The published search (thesis, section 5.3), golden section, and Brent's method, for any score of pictures.

Each gives the position that it would move to after every picture, so that methods are compared at the same number of pictures.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit, minimize_scalar

from isoplan.applications.autofocus.stage import Guarded

GOLDEN = (math.sqrt(5) - 1) / 2
SHIFTS = 1500  # positions of focus that are tried between the limits
LEAST_POWER = 0.5  # of the Moffat function: below it, there is no half maximum in reach
Score = Callable[[np.ndarray], float]  # of a picture; lower is sharper


@dataclass(frozen=True)
class Curve:
    """The score of pictures over their distance from focus.

    Attributes
    ----------
    moffat
        Amplitude, width in um, power and constant: score = constant - amplitude (1 + (z / width)^2)^-power
        (Moffat, Astron. Astrophys. 3, 1969).
    """

    moffat: tuple[float, float, float, float]

    @property
    def fwhm_um(self) -> float:
        """Full width at half maximum of the Moffat function."""
        _, width, power, _ = self.moffat
        return 2 * width * math.sqrt(2 ** (1 / power) - 1)

    def at(self, z_um: np.ndarray) -> np.ndarray:
        return moffat(z_um, *self.moffat)


def moffat(z_um, amplitude, width, power, constant):
    """The curve that is fitted to scores."""
    return constant - amplitude * (1 + (np.asarray(z_um) / width) ** 2) ** -power


def curve_of(z_um: np.ndarray, scores: np.ndarray) -> Curve:
    """The curve of scores (objects, n) at distances (n,).

    Examples
    --------
    >>> z = np.linspace(-60, 60, 31)
    >>> curve = curve_of(z, moffat(z, 2.0, 20.0, 1.0, 3.0)[None])
    >>> round(curve.fwhm_um, 2)
    40.0
    """
    known = np.isfinite(scores).any(0)
    z, middle = np.asarray(z_um)[known], np.nanmedian(scores[:, known], 0)
    whole = float(np.ptp(z))
    height = float(np.ptp(middle)) or 1.0
    first = (height, whole / 8, 1.0, float(middle.max()))
    bounds = (
        (0, whole / 100, LEAST_POWER, -np.inf),
        (10 * height, whole, 20, np.inf),
    )
    fitted = curve_fit(moffat, z, middle, first, bounds=bounds)[0]
    return Curve(tuple(fitted.tolist()))


def triplet(scope: Guarded, score: Score, curve: Curve, pictures: int) -> list[float]:
    """The published search: three pictures, then golden section until scores are convex, and correlation with the curve."""
    middle = scope.where()
    reach = 2 * curve.fwhm_um
    ends = [scope.within(middle - reach), scope.within(middle + reach)]
    golden = _Golden(*ends)
    z: list[float] = []
    b: list[float] = []
    found: list[float] = []
    for number in range(pictures):
        at = [middle, *ends][number] if number < 3 else golden.next()
        z.append(at)
        b.append(_scored(scope, score, at))
        if number >= 3:
            golden.told(at, b[-1])
        if number >= 2 and _convex(z, b):
            found.append(_correlated(z, b, curve, scope.limits_um))
        else:
            found.append(z[int(np.argmin(b))])
    return found


def golden_section(scope: Guarded, score: Score, pictures: int) -> list[float]:
    """Golden section between the limits; after each picture, the sharpest so far."""
    search = _Golden(*scope.limits_um)
    seen: list[tuple[float, float]] = []
    found = []
    for _ in range(pictures):
        at = search.next()
        seen.append((_scored(scope, score, at), at))
        search.told(at, seen[-1][0])
        found.append(min(seen)[1])
    return found


def brent(scope: Guarded, score: Score, pictures: int) -> list[float]:
    """Brent's bounded method between the limits; after each picture, the sharpest so far."""
    seen: list[tuple[float, float]] = []

    def cost(at: float) -> float:
        if len(seen) == pictures:
            raise StopIteration
        seen.append((_scored(scope, score, float(at)), float(at)))
        return seen[-1][0]

    try:
        options = {"xatol": 1e-3, "maxiter": pictures}
        minimize_scalar(cost, bounds=scope.limits_um, method="bounded", options=options)
    except StopIteration:
        pass
    best = [min(seen[: n + 1])[1] for n in range(len(seen))]
    return best + [best[-1]] * (pictures - len(best))


class _Golden:
    """Golden section search that is told the scores from outside."""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high
        self.scores: dict[float, float] = {}

    def next(self) -> float:
        width = (self.high - self.low) * GOLDEN
        for at in (self.high - width, self.low + width):
            if self._near(at) is None:
                return at
        left, right = (self._near(at) for at in (self.high - width, self.low + width))
        if self.scores[left] <= self.scores[right]:
            self.high = right
        else:
            self.low = left
        return self.next()

    def told(self, at: float, score: float) -> None:
        self.scores[at] = score

    def _near(self, at: float) -> float | None:
        close = 1e-6 * max(1.0, abs(self.high - self.low))
        return next((known for known in self.scores if abs(known - at) <= close), None)


def _scored(scope: Guarded, score: Score, at: float) -> float:
    scope.move(scope.within(at))
    value = score(scope.snap())
    return value if math.isfinite(value) else math.inf


def _convex(z: list[float], b: list[float]) -> bool:
    """Whether a parabola that opens upwards explains scores better than a line."""
    known = np.isfinite(b)
    if known.sum() < 3 or len(set(np.array(z)[known])) < 3:
        return False
    at, score = np.array(z)[known], np.array(b)[known]
    parabola = np.polyfit(at, score, 2)
    left = [np.sum((score - np.polyval(np.polyfit(at, score, k), at)) ** 2) for k in (1, 2)]
    return bool(parabola[0] > 0 and left[1] < left[0])


def _correlated(z, b, curve: Curve, limits_um: tuple[float, float]) -> float:
    tried = np.linspace(*limits_um, SHIFTS)
    known = np.isfinite(b)
    at, score = np.array(z)[known], np.array(b)[known]
    left = np.sum((score - curve.at(at - tried[:, None])) ** 2, 1)
    return float(tried[int(np.argmin(left))])
