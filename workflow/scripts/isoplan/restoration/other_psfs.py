"""Searches PSFs outside the map's PSF model, by how well they predict held-out photons.

A network knows the blurs of its model. It can say that a blur is not one of these, but not which one it is. So PSFs of
a few kinds with one or two parameters are searched: first on a coarse grid, then from the best points down to the
nearest minimum in size, angle or exponent, and TV weight. The weight is included because the right PSF needs a larger
one than a PSF that is too narrow, which looks better without.
"""

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from isoplan.optics.plain import PlainPsf
from isoplan.restoration.held_out import worse_by

GRID = (
    *(PlainPsf("gaussian", width) for width in (2.5, 3.5, 5.0, 7.0)),
    *(PlainPsf("disk", radius) for radius in (3.0, 4.0, 5.5, 8.0)),
    *(
        PlainPsf("motion", length, angle)
        for length in (4.0, 6.5, 10.0)
        for angle in range(0, 180, 30)
    ),
    *(
        PlainPsf("moffat", width, exponent=exponent)
        for width in (1.5, 2.2)
        for exponent in (1.2, 1.6, 2.5)
    ),
)
# Below these sizes, kinds can hardly be distinguished.
NARROWEST = {"gaussian": 2.0, "disk": 2.5, "motion": 3.0, "moffat": 1.5}
# Limits of a moffat. With a larger exponent it is nearly a Gaussian. Wider ones were found for defocus, which has
# an edge and no wings, and did harm.
EXPONENTS, WIDEST_PEAK = (1.05, 5.0), 2.5
# Steps in size, angle (degrees), exponent and weight, from coarse to fine; at most ROUNDS rounds of each.
STEPS, ROUNDS = ((1.2, 15.0, 1.6, 2.4), (1.1, 7.5, 1.25, 1.5), (1.05, 3.75, 1.1, 1.0)), 3
# Numbers of points that are followed. Points worse than the best by more than MUCH_WORSE standard errors are dropped.
BEAM, MUCH_WORSE = (8, 5, 3, 1), 8.0

Look = Callable[[PlainPsf, float], np.ndarray]


def find(
    look: Look, grid: list[PlainPsf], side: int, weight: float, bounds: tuple[float, float]
) -> tuple[PlainPsf, float]:
    """Find the PSF and the TV weight that predict best.

    Parameters
    ----------
    look
        (PSF, weight) -> deviance of every square.
    grid
        The PSFs to start from.
    side
        Side of the PSFs in px; larger PSFs are left out.
    weight
        The weight to start from.
    bounds
        The smallest and the largest weight.
    """
    seen: dict[tuple[PlainPsf, float], np.ndarray] = {}

    def score(place) -> float:
        psf, by = place
        wrong = psf.size_px < NARROWEST[psf.kind]
        if psf.kind == "moffat":
            wrong |= not EXPONENTS[0] <= psf.exponent <= EXPONENTS[1] or psf.size_px > WIDEST_PEAK
        if wrong or not psf.fits(side) or not bounds[0] <= by <= bounds[1]:
            return math.inf
        if place not in seen:
            seen[place] = look(psf, by)
        return float(seen[place].sum())

    groups = defaultdict(list)
    for psf in (psf for psf in grid if psf.fits(side)):
        groups[psf.kind, psf.size_px].append((psf, weight))
    beam = [min(places, key=score) for places in groups.values()]
    beam = [_weighed(score, place, STEPS[0][3]) for place in sorted(beam, key=score)[: BEAM[0]]]
    for steps, many in zip(STEPS, BEAM[1:], strict=True):
        reached = dict.fromkeys(_descended(score, p, *steps) for p in beam)
        beam = sorted(reached, key=score)[:many]
        beam = [p for p in beam if worse_by(seen[p], seen[beam[0]]) <= MUCH_WORSE]
    return beam[0]


def _descended(score, place, size: float, angle: float, wings: float, times: float):
    """Improve a point one coordinate after the other, until nothing is better or for ROUNDS rounds."""
    for _ in range(ROUNDS):
        before = place
        if times != 1:
            place = _weighed(score, place, times)
        place = _along(score, place, lambda p, by: (p[0].resized(size**by), p[1]))
        if place[0].kind == "motion":
            place = _along(score, place, lambda p, by: (p[0].turned(angle * by), p[1]))
        if place[0].kind == "moffat":
            place = _along(score, place, lambda p, by: (p[0].winged(wings**by), p[1]))
        if place == before:
            break
    return place


def _weighed(score, place, times: float):
    """Improve the weight alone."""
    return _along(score, place, lambda p, by: (p[0], float(f"{p[1] * times**by:.2g}")))


def _along(score, place, step):
    """The best point along a line: steps in one direction as long as they improve it."""
    for direction in (-1, 1):
        moved = place
        while score(further := step(moved, direction)) < score(moved):
            moved = further
        if moved != place:
            return moved
    return place
