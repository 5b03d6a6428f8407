"""Smooths maps as far as the errors of their cells justify: Gaussian process regression, or kriging.

The value of a cell is the sum of the map's mean, a signal that varies over the map, and the cell's error.
The signal has a variance and a correlation length (reach). Errors are as large as the cells' intervals say,
or a part of that, since an error that is the same everywhere does not scatter. They are correlated where
windows overlap. The process with the highest likelihood is taken (Rasmussen and Williams, Gaussian
Processes for Machine Learning, 2006, section 5.4.1). A constant map is preferred unless a signal raises
the log likelihood by LEAST_GAIN: if cells differ by no more than their errors, all become equal.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from isoplan.mosaic import tiles

# Candidates: reaches in windows; variances of signal and error relative to the variance from intervals.
REACHES, VARIANCES, ERRORS = (2, 4, 8, 16), (0.3, 1.0, 3.0, 10.0, 30.0, 100.0), (0.25, 0.5, 1.0)
LEAST_GAIN = 2.0  # natural logarithm
# The correlation of errors falls linearly to 0 over this distance, in windows. Windows that overlap by half
# then have a correlation of 0.29, as measured.
ERROR_REACH = 0.7
# Maps with more cells than this are processed square by square, each from all cells within NEAR_STEPS steps
# and fewer ones further away. The process is chosen with the cells in four squares of side SAMPLE.
MOST_AT_ONCE, SQUARE, NEAR_STEPS, SAMPLE = 1024, 32, 4, 10
BLOCK = 1024  # cells


@dataclass(frozen=True)
class Process:
    """A Gaussian process.

    Attributes
    ----------
    mean, variance, reach
        Mean, variance and correlation length (in cells) of the signal.
    error
        Variance of the error of a typical cell.
    error_reach
        Distance in cells over which the correlation of errors falls to 0.
    """

    mean: float
    variance: float
    reach: float
    error: float
    error_reach: float

    def signal_covariance(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Covariance (n, m) of the signal between cells (n, 2) and (m, 2)."""
        apart = ((one[:, None] - other[None]) ** 2).sum(2)
        return self.variance * np.exp(-apart / (2 * self.reach**2))

    def error_covariance(self, cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Covariance (n, n) of the errors of cells (n, 2)."""
        apart = np.abs(cells[:, None] - cells[None]) / self.error_reach
        correlation = np.clip(1 - apart, 0, None).prod(2)
        return self.error * correlation / np.sqrt(weights[:, None] * weights[None])


def krige(
    values: np.ndarray, own: np.ndarray, weights: np.ndarray, noise: np.ndarray, overlap: float
) -> np.ndarray:
    """Predict the values at all cells from those at known cells.

    It works square by square, with matrices of about 1600 x 1600 cells: at most 200 MB beside the map.

    Parameters
    ----------
    values
        (n, ny, nx).
    own
        (ny, nx) bool: the known cells.
    weights
        (ny, nx): variance of a typical cell's error over that of each cell, positive.
    noise
        (n,): variance of a typical cell's error.
    overlap
        Number of windows over a place, along one axis.

    Returns
    -------
    numpy.ndarray
        (n, ny, nx) float32.
    """
    out = np.empty(values.shape, np.float32)
    step = max(1, round(overlap / 2))  # cells in between add no information
    for target, plane in enumerate(values):
        process = _fit_process(plane, own, weights, noise[target], overlap, step)
        if not process.variance:
            out[target] = process.mean
            continue
        few = own.sum() <= MOST_AT_ONCE
        for square in tiles.shards(own.shape, own.shape if few else SQUARE):
            known = np.argwhere(own) if few else _neighbourhood(own, square, step, process.reach)
            out[(target, *square)] = _predict(square, known, plane, weights, process)
    return out


def _predict(square, known, plane, weights, process: Process) -> np.ndarray:
    """Values at the cells of a square, predicted from known cells (n, 2)."""
    shape = tuple(part.stop - part.start for part in square)
    found = np.full(shape, process.mean, np.float32).ravel()
    if not len(known):
        return found.reshape(shape)
    at = tuple(known.T)
    covariance = process.signal_covariance(known, known) + process.error_covariance(
        known, weights[at]
    )
    known_by = cho_solve(_factor(covariance), plane[at] - process.mean)
    cells = np.argwhere(np.ones(shape, bool)) + [part.start for part in square]
    for some in tiles.spans(len(cells), BLOCK):
        found[some] += process.signal_covariance(cells[some], known) @ known_by
    return found.reshape(shape)


def _neighbourhood(own: np.ndarray, square, step: int, reach: float) -> np.ndarray:
    """Cells (n, 2) that a square is predicted from.

    They are every `step`-th of the near ones, and fewer of those within twice the reach.
    """

    def around(margin: int) -> tiles.Window:
        return tiles.with_halo(square, margin, own.shape)

    far, near = int(2 * reach), NEAR_STEPS * step
    wide = around(max(far, near))
    chosen = np.zeros_like(own[wide])
    for margin, every in ((far, max(step, int(reach / 2))), (near, step)):
        chosen[tiles.inside(around(margin), wide)][::every, ::every] = True
    return np.argwhere(chosen & own[wide]) + [part.start for part in wide]


def _fit_process(plane, own, weights, noise: float, overlap: float, step: int) -> Process:
    """The process with the highest likelihood for a sample of the cells."""
    cells = _sample(own, step)
    at = tuple(cells.T)
    value, weight = plane[at].astype(np.float64), weights[at]
    error_reach = ERROR_REACH * overlap
    plain = Process(0.0, 0.0, 1.0, max(noise, 1e-12), error_reach)
    errors = plain.error_covariance(cells, weight)
    best, found = -math.inf, plain
    for reach in REACHES:
        signal = replace(plain, variance=1.0, reach=reach * overlap).signal_covariance(cells, cells)
        for times, share in product((0.0, *VARIANCES), ERRORS):
            variance = times * plain.error
            likelihood, mean = _likelihood(value, variance * signal + share * errors)
            # Without a signal, the reach does not matter.
            if likelihood - LEAST_GAIN * (variance > 0) > best:
                best = likelihood - LEAST_GAIN * (variance > 0)
                found = Process(mean, variance, reach * overlap, share * plain.error, error_reach)
    return found


def _sample(own: np.ndarray, step: int) -> np.ndarray:
    """Cells (n, 2) to choose a process with: all, or those in four squares, for short and long distances."""
    cells = np.argwhere(own)
    if len(cells) <= 4 * SAMPLE**2:
        return cells
    middles = cells[(np.array([1, 3, 5, 7]) * len(cells)) // 8]
    found = []
    for middle in middles:
        apart = cells - middle
        near = np.abs(apart).max(1) <= SAMPLE * step // 2
        # Counted from the middle, which is a known cell.
        found.append(cells[near & (apart % step == 0).all(1)][: SAMPLE**2])
    return np.unique(np.concatenate(found), axis=0)


def _factor(covariance: np.ndarray):
    covariance[np.diag_indices_from(covariance)] *= 1 + 1e-6
    return cho_factor(covariance, lower=True)


def _likelihood(value: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Restricted log likelihood of values (up to a constant), and their generalised least-squares mean."""
    factor = _factor(covariance)
    weight = cho_solve(factor, np.ones(len(value)))
    mean = weight @ value / weight.sum()
    apart = value - mean
    misfit = apart @ cho_solve(factor, apart)
    spread = 2 * np.log(np.diag(factor[0])).sum() + math.log(weight.sum())
    return float(-(misfit + spread) / 2), float(mean)
