"""PSFs of kinds that a map's model does not have, found by how well they predict photons held out.

A network knows the blurs of its model. It can say that a blur is not one of these, but not which it is. A few
kinds of PSF with one or two numbers each are searched: a coarse grid of all, then from the best places down to the
nearest least in size, angle or exponent, and TV weight together. The weight goes with it, as a PSF that is right wants a larger
one than one that is too narrow, which looks better without.
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
# Below these sizes kinds can hardly be told apart.
NARROWEST = {"gaussian": 2.0, "disk": 2.5, "motion": 3.0, "moffat": 1.5}
# Of a moffat; one of a larger exponent is a Gaussian. Wider ones were found where defocus had blurred, which has an
# edge and no wings, and did harm.
EXPONENTS, WIDEST_PEAK = (1.05, 5.0), 2.5
# Steps in size, angle (degrees), exponent and weight, coarse to fine; at most ROUNDS rounds of them.
STEPS, ROUNDS = ((1.2, 15.0, 1.6, 2.4), (1.1, 7.5, 1.25, 1.5), (1.05, 3.75, 1.1, 1.0)), 3
# Places followed at a time; none that does worse than the best by more than MUCH_WORSE standard errors.
BEAM, MUCH_WORSE = (8, 5, 3, 1), 8.0

Look = Callable[[PlainPsf, float], np.ndarray]


def find(
    look: Look, grid: list[PlainPsf], side: int, weight: float, bounds: tuple[float, float]
) -> tuple[PlainPsf, float]:
    """The PSF and TV weight that predict best.

    look: (PSF, weight) -> deviance of every square. grid: PSFs to begin with. side: of PSFs in px; larger ones are
    left out. weight: to begin with. bounds: the least weight and the largest.
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
    """Steps to what is better, one coordinate after the other, until nothing is or ROUNDS are over."""
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
    """Steps in the weight alone."""
    return _along(score, place, lambda p, by: (p[0], float(f"{p[1] * times**by:.2g}")))


def _along(score, place, step):
    """The best place on a line: a step back or forth, and on while it gets better."""
    for direction in (-1, 1):
        moved = place
        while score(further := step(moved, direction)) < score(moved):
            moved = further
        if moved != place:
            return moved
    return place
