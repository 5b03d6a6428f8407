"""Maps smoothed as far as the errors of their cells allow: Gaussian process regression, or kriging.

The value of a cell is the map's mean, what varies over the map, and the cell's own error. What varies has some
variance and reaches over some cells. Errors are as large as the cells' intervals say, or a part of that, as what is
wrong everywhere alike does not show in them; where windows overlap they are alike. The process is taken that
makes the values likeliest (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, 5.4.1), and none
that varies unless that is likelier by LIKELIER: where cells differ by no more than their errors, all become the same.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from isoplan.mosaic import tiles

# Tried are reaches in windows; variances of what varies, and errors, in multiples of the variance that intervals tell.
REACHES, VARIANCES, ERRORS = (2, 4, 8, 16), (0.3, 1.0, 3.0, 10.0, 30.0, 100.0), (0.25, 0.5, 1.0)
LIKELIER = 2.0  # in natural logarithms
# Errors are alike within so many windows, falling evenly: windows that overlap by half have a correlation of .29, as
# was measured.
ALIKE = 0.7
# More cells than MOST are taken square by square, each from all cells within NEAR and fewer ones further off; a process
# is chosen by as many of them as four squares of SAMPLE hold.
MOST, SQUARE, NEAR, SAMPLE = 1024, 32, 4, 10
AT_ONCE = 1024  # cells


@dataclass(frozen=True)
class Process:
    """mean, variance and reach (cells) of what varies; error: variance of a typical cell's error; alike:
    cells within which errors are alike."""

    mean: float
    variance: float
    reach: float
    error: float
    alike: float

    def common(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Covariance of what varies, of cells (n, 2) and (m, 2)."""
        apart = ((one[:, None] - other[None]) ** 2).sum(2)
        return self.variance * np.exp(-apart / (2 * self.reach**2))

    def errors(self, cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Covariance of the errors of cells (n, 2)."""
        apart = np.abs(cells[:, None] - cells[None]) / self.alike
        alike = np.clip(1 - apart, 0, None).prod(2)
        return self.error * alike / np.sqrt(weights[:, None] * weights[None])


def krige(
    values: np.ndarray, own: np.ndarray, weights: np.ndarray, noise: np.ndarray, overlap: float
) -> np.ndarray:
    """Values (n, ny, nx) at all cells, float32, from those where `own` (ny, nx) is set.

    values: (n, ny, nx). weights: (ny, nx) > 0, the inverse of a cell's variance over a typical one's. noise: (n,),
    a typical cell's variance. overlap: how many windows hold a place, along an axis.
    Works square by square, with matrices of some 1600 x 1600 cells: 200 MB at most beside the map.
    """
    out = np.empty(values.shape, np.float32)
    step = max(1, round(overlap / 2))  # what lies between them tells nothing new
    for target, plane in enumerate(values):
        process = _likeliest(plane, own, weights, noise[target], overlap, step)
        if not process.variance:
            out[target] = process.mean
            continue
        few = own.sum() <= MOST
        for square in tiles.shards(own.shape, own.shape if few else SQUARE):
            known = np.argwhere(own) if few else _near(own, square, step, process.reach)
            out[(target, *square)] = _at(square, known, plane, weights, process)
    return out


def _at(square, known, plane, weights, process: Process) -> np.ndarray:
    """Values at the cells of a square from those at the cells known (n, 2)."""
    shape = tuple(part.stop - part.start for part in square)
    found = np.full(shape, process.mean, np.float32).ravel()
    if not len(known):
        return found.reshape(shape)
    at = tuple(known.T)
    covariance = process.common(known, known) + process.errors(known, weights[at])
    known_by = cho_solve(_factor(covariance), plane[at] - process.mean)
    cells = np.argwhere(np.ones(shape, bool)) + [part.start for part in square]
    for some in tiles.spans(len(cells), AT_ONCE):
        found[some] += process.common(cells[some], known) @ known_by
    return found.reshape(shape)


def _near(own: np.ndarray, square, step: int, reach: float) -> np.ndarray:
    """Cells (n, 2) that tell what lies in a square: each `step`th of the near ones, and of those within twice
    the reach as many as it takes."""

    def around(margin: int) -> tiles.Window:
        return tiles.with_halo(square, margin, own.shape)

    far, near = int(2 * reach), NEAR * step
    wide = around(max(far, near))
    chosen = np.zeros_like(own[wide])
    for margin, every in ((far, max(step, int(reach / 2))), (near, step)):
        chosen[tiles.inside(around(margin), wide)][::every, ::every] = True
    return np.argwhere(chosen & own[wide]) + [part.start for part in wide]


def _likeliest(plane, own, weights, noise: float, overlap: float, step: int) -> Process:
    """The process that makes the values likeliest, by a sample of the cells."""
    cells = _sample(own, step)
    at = tuple(cells.T)
    value, weight = plane[at].astype(np.float64), weights[at]
    alike = ALIKE * overlap
    plain = Process(0.0, 0.0, 1.0, max(noise, 1e-12), alike)
    errors = plain.errors(cells, weight)
    best, found = -math.inf, plain
    for reach in REACHES:
        common = replace(plain, variance=1.0, reach=reach * overlap).common(cells, cells)
        for times, share in product((0.0, *VARIANCES), ERRORS):
            variance = times * plain.error
            likelihood, mean = _likelihood(value, variance * common + share * errors)
            # Without any variance all reaches are the same.
            if likelihood - LIKELIER * (variance > 0) > best:
                best = likelihood - LIKELIER * (variance > 0)
                found = Process(mean, variance, reach * overlap, share * plain.error, alike)
    return found


def _sample(own: np.ndarray, step: int) -> np.ndarray:
    """Cells (n, 2) to choose a process by: all, or four squares of them, so that both near and far ones are there."""
    cells = np.argwhere(own)
    if len(cells) <= 4 * SAMPLE**2:
        return cells
    middles = cells[(np.array([1, 3, 5, 7]) * len(cells)) // 8]
    found = []
    for middle in middles:
        apart = cells - middle
        near = np.abs(apart).max(1) <= SAMPLE * step // 2
        # Counted from the middle, which is a known cell itself.
        found.append(cells[near & (apart % step == 0).all(1)][: SAMPLE**2])
    return np.unique(np.concatenate(found), axis=0)


def _factor(covariance: np.ndarray):
    covariance[np.diag_indices_from(covariance)] *= 1 + 1e-6
    return cho_factor(covariance, lower=True)


def _likelihood(value: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Logarithm of the likelihood of values whatever their mean (restricted likelihood), but for a constant; and
    their mean by generalised least squares."""
    factor = _factor(covariance)
    weight = cho_solve(factor, np.ones(len(value)))
    mean = weight @ value / weight.sum()
    apart = value - mean
    misfit = apart @ cho_solve(factor, apart)
    spread = 2 * np.log(np.diag(factor[0])).sum() + math.log(weight.sum())
    return float(-(misfit + spread) / 2), float(mean)
