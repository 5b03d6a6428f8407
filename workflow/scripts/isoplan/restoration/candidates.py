"""What a search may choose from: iterations, TV weights, and the resolution that the photons allow."""

import math

from isoplan.config.entries import LEARNT
from isoplan.restoration.algorithm import algorithm_of
from isoplan.restoration.halo import MOST_RESOLUTION_PX

# TV weights to choose from, times the photons at the brightest pixels. With few photons, fewer of them are
# tried, as none of them exceeds LARGEST_FIRST: with larger ones, a few bright points of a dark mosaic vanish, whatever the
# weight. If the first or the last is best, more are tried beyond it, each by a factor FURTHER. Smaller ones, down to about
# LEAST, suit a few bright points that the blur has spread over many dark pixels. Larger ones, up to LARGEST_WEIGHT, suit fewer
# than a hundred photons, and pictures whose noise, by which photons are counted, was removed by compression.
# The search of PSFs of other kinds starts at MIDDLE.
WEIGHTS, MIDDLE = (1.0, 2.0, 5.0, 12.0, 30.0), 5.0
LARGEST_FIRST, LARGEST_WEIGHT, LEAST, FURTHER = 0.3, 3.0, 0.001, 4.0


def resolution_for(photons: float) -> float:
    """Full width at half maximum in px of the Gaussian that a restoration is shown through; 0 for none.

    It is 0.5 px at 10^4 photons, and a quarter of a pixel more for ten times fewer, up to MOST_RESOLUTION_PX.
    From about 3 x 10^4 photons on, none is used. photons: at the brightest pixels.
    """
    width = 0.5 + 0.25 * (4 - math.log10(max(photons, 1.0)))
    return round(min(width, MOST_RESOLUTION_PX), 2) if width > 0.4 else 0.0


def beyond(best: float, found, photons: float) -> float | None:
    """The weight to try next if the best one is the smallest or the largest of those tried, else None.

    photons: at the brightest pixel of all, which may be far brighter than the mosaic's `scale`.
    """
    if best == min(found) and best > LEAST / photons:
        return float(f"{best / FURTHER:.2g}")
    if best == max(found) and best < LARGEST_WEIGHT:
        return min(float(f"{best * FURTHER:.2g}"), LARGEST_WEIGHT)
    return None


def candidates(settings: dict) -> list[int]:
    """Numbers of iterations to choose from; settings: the config's `restoration`."""
    if settings["iterations"] != "auto":
        return [settings["iterations"]]
    return steps_to(algorithm_of(settings).most_iterations)


def steps_to(last: int) -> list[int]:
    """Numbers of iterations from 1 to `last`: all up to 9, then in steps of about a sixth."""
    found = [1]
    while found[-1] < last:
        found.append(min(found[-1] + max(1, round(found[-1] / 6)), last))
    return found


def weights_for(settings: dict, photons: float, numbers: tuple = WEIGHTS) -> list[float]:
    """TV weights to choose from: `numbers` over the photons, with two digits. settings: the config's `restoration`."""
    if settings["tv_weight"] not in ("auto", LEARNT):  # PSFs are compared with numbers
        return [settings["tv_weight"]]
    rounded = (float(f"{number / photons:.2g}") for number in numbers)
    return sorted({min(weight, LARGEST_FIRST) for weight in rounded})
