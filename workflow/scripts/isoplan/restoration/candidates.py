"""What a search may try and take: iterations, TV weights, and the resolution that photons allow."""

import math

from isoplan.restoration.algorithm import algorithm_of
from isoplan.restoration.halo import MOST_RESOLUTION_PX

# TV weights to choose from, times the photons at the brightest pixels. The fewer the photons, the fewer of
# them are tried: no weight above LARGEST_WEIGHT. Where the first or the last does best, others follow beyond
# it, each by a FURTHER: downwards to about LEAST, as where few points shine, which the blur has spread over many
# dark pixels; upwards as where compression took the noise by which photons are counted. PSFs of other kinds are
# searched from MIDDLE on.
WEIGHTS, MIDDLE = (1.0, 2.0, 5.0, 12.0, 30.0), 5.0
LARGEST_WEIGHT, LEAST, FURTHER = 0.3, 0.001, 4.0


def resolution_for(photons: float) -> float:
    """Full width at half maximum, in px, of the Gaussian that a restoration is shown through.

    The fewer the photons, the less fine is what they hold: 0.5 px at 10^4 photons at the brightest pixels,
    a quarter of a pixel more for every tenth of them; from some 3 x 10^4 photons on none.
    """
    width = 0.5 + 0.25 * (4 - math.log10(max(photons, 1.0)))
    return round(min(width, MOST_RESOLUTION_PX), 2) if width > 0.4 else 0.0


def beyond(best: float, found, photons: float) -> float | None:
    """The weight to try next, where the best one is the least or the largest of those tried.

    photons: at the brightest pixel of all, which may be far brighter than the mosaic's `scale`.
    """
    if best == min(found) and best > LEAST / photons:
        return float(f"{best / FURTHER:.2g}")
    if best == max(found) and best < LARGEST_WEIGHT:
        return min(float(f"{best * FURTHER:.2g}"), LARGEST_WEIGHT)
    return None


def candidates(settings: dict) -> list[int]:
    """Iterations to choose from: each up to 6, then steps of a sixth."""
    if settings["iterations"] != "auto":
        return [settings["iterations"]]
    return steps_to(algorithm_of(settings).most_iterations)


def steps_to(last: int) -> list[int]:
    """Iterations to look after, from 1 to the last."""
    found = [1]
    while found[-1] < last:
        found.append(min(found[-1] + max(1, round(found[-1] / 6)), last))
    return found


def weights_for(settings: dict, photons: float, numbers: tuple = WEIGHTS) -> list[float]:
    """TV weights to choose from, with two digits: numbers over the photons."""
    if settings["tv_weight"] != "auto":
        return [settings["tv_weight"]]
    rounded = (float(f"{number / photons:.2g}") for number in numbers)
    return sorted({min(weight, LARGEST_WEIGHT) for weight in rounded})
