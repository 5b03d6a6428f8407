"""Metrics of estimated PSF parameters: pure functions on arrays.

A parameter with a period (the axis of an astigmatism, in rad) has wrapped errors: an estimate just
below the period is close to a truth just above 0.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# An axis means little where the PSF is nearly round: errors of a parameter with a period are
# counted only where the true values of these parameters, where the model has them, reach so far.
AXIS_NEEDS = {"focus": 0.05, "cylinder": 0.1}


def r2(true: np.ndarray, estimated: np.ndarray) -> float:
    """1 - sum (true - estimated)^2 / sum (true - mean(true))^2 (thesis eq. 2.13, truth as truth).

    NaN for fewer than two values and where the truth does not vary.
    """
    true, estimated = np.asarray(true, np.float64), np.asarray(estimated, np.float64)
    spread_of_truth = float(((true - true.mean()) ** 2).sum()) if true.size > 1 else 0.0
    if spread_of_truth == 0:
        return math.nan
    return 1 - float(((true - estimated) ** 2).sum()) / spread_of_truth


def errors(true: np.ndarray, estimated: np.ndarray, period: float | None = None) -> np.ndarray:
    """estimated - true, float64; with a period wrapped into [-period / 2, period / 2)."""
    error = np.asarray(estimated, np.float64) - np.asarray(true, np.float64)
    return error if period is None else (error + period / 2) % period - period / 2


def circular_error(true: np.ndarray, estimated: np.ndarray, period: float) -> np.ndarray:
    """Smallest distance between two values of one period, in [0, period / 2]."""
    return np.abs(errors(true, estimated, period))


def rmse(true: np.ndarray, estimated: np.ndarray, period: float | None = None) -> float:
    """Root of the mean squared error; NaN for no values."""
    error = errors(true, estimated, period)
    return float(np.sqrt((error**2).mean())) if error.size else math.nan


def bias(true: np.ndarray, estimated: np.ndarray, period: float | None = None) -> float:
    """Mean error; NaN for no values."""
    error = errors(true, estimated, period)
    return float(error.mean()) if error.size else math.nan


def spread(true: np.ndarray, estimated: np.ndarray, period: float | None = None) -> float:
    """Standard deviation of the error about its bias; rmse^2 = bias^2 + spread^2. NaN for none."""
    error = errors(true, estimated, period)
    return float(error.std()) if error.size else math.nan


def summarise(
    true: np.ndarray,
    estimated: np.ndarray,
    valid: np.ndarray | None,
    parameters: Sequence[Any],
) -> list[dict]:
    """Tidy rows {parameter, metric, value, n} of all parameters.

    true, estimated: (n, P). valid: (n,) bool, the samples that count, None for all; a sample with a
    value that is not finite never counts. parameters: P of them, with `.name` and `.period`
    (None, or the period in the parameter's unit).
    Metrics: R2, RMSE, bias, spread, all but R2 in the parameter's unit. With a period, R2 is the
    published plain one, RMSE, bias and spread are of the wrapped error, and circular-median,
    circular-p90 and kept-share (of the valid samples) go over those where AXIS_NEEDS holds.
    """
    true, estimated = np.asarray(true, np.float64), np.asarray(estimated, np.float64)
    if true.shape != estimated.shape or true.ndim != 2 or true.shape[1] != len(parameters):
        raise ValueError(
            f"true {true.shape}, estimated {estimated.shape}, {len(parameters)} parameters"
        )
    kept = np.isfinite(true).all(axis=1) & np.isfinite(estimated).all(axis=1)
    if valid is not None:
        kept &= np.asarray(valid, bool)
    true, estimated = true[kept], estimated[kept]

    defined = np.ones(len(true), bool)
    for index, parameter in enumerate(parameters):
        if parameter.name in AXIS_NEEDS:
            defined &= true[:, index] >= AXIS_NEEDS[parameter.name]

    rows = []
    for index, parameter in enumerate(parameters):
        a, b, period = true[:, index], estimated[:, index], parameter.period
        values: dict[str, tuple[float, int]] = {
            "R2": (r2(a, b), len(a)),
            "RMSE": (rmse(a, b, period), len(a)),
            "bias": (bias(a, b, period), len(a)),
            "spread": (spread(a, b, period), len(a)),
        }
        if period is not None:
            error = circular_error(a[defined], b[defined], period)
            count = len(error)
            median, p90 = np.percentile(error, [50, 90]) if count else (math.nan, math.nan)
            values |= {
                "circular-median": (float(median), count),
                "circular-p90": (float(p90), count),
                "kept-share": (count / len(a) if len(a) else math.nan, len(a)),
            }
        rows += [
            {"parameter": parameter.name, "metric": metric, "value": value, "n": count}
            for metric, (value, count) in values.items()
        ]
    return rows
