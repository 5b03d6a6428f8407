"""Metrics of estimated PSF parameters: pure functions on arrays.

Errors of a periodic parameter (the axis of an astigmatism, in rad) are wrapped: an estimate just below the
period is close to a truth just above 0.

Samples from the same scene are correlated, so intervals come from a bootstrap over scenes: whole scenes are
resampled with replacement. Nearly all metrics are functions of sums over samples, so the sums of each scene
are sufficient.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# An axis means little if the PSF is nearly round. So errors of a periodic parameter only count where the true
# values of these parameters (if the model has them) are at least so large.
AXIS_NEEDS = {"focus": 0.05, "cylinder": 0.1}
AXIS_REGIONS = 6
KEPT_SHARES = tuple(round(1 - 0.05 * k, 2) for k in range(19))  # 1, .95, ... .1
RESAMPLES = 400


def errors(true: np.ndarray, estimated: np.ndarray, period: float | None = None) -> np.ndarray:
    """estimated - true, float64; with a period, wrapped to [-period / 2, period / 2).

    Examples
    --------
    >>> errors(np.array([0.1]), np.array([3.0]), period=3.0).round(3).tolist()
    [-0.1]
    """
    error = np.asarray(estimated, np.float64) - np.asarray(true, np.float64)
    return error if period is None else (error + period / 2) % period - period / 2


def axis_counts(true: np.ndarray, parameters: Sequence[Any]) -> np.ndarray:
    """(n,) bool: where the truth (n, P) fulfils AXIS_NEEDS, so that an axis has a meaning."""
    counts = np.ones(len(true), bool)
    for index, parameter in enumerate(parameters):
        if parameter.name in AXIS_NEEDS:
            counts &= true[:, index] >= AXIS_NEEDS[parameter.name]
    return counts


class Resampling:
    """Bootstrap over scenes: each draw resamples all scenes with replacement; draw 0 is the original.

    Parameters
    ----------
    scene
        (n,) number of each sample's scene; None for a single scene, without further draws.
    n
        Number of samples.
    resamples
        Number of further draws.
    seed
        Seed of the draws.
    """

    def __init__(self, scene: np.ndarray | None, n: int, resamples: int = RESAMPLES, seed: int = 0):
        if scene is None:
            scene, resamples = np.zeros(n, int), 0
        scenes, self.index = np.unique(scene, return_inverse=True)
        count = len(scenes)
        rng = np.random.default_rng(seed)
        # A single scene says nothing about the variation between scenes.
        drawn = rng.integers(count, size=(resamples, count)) if count > 1 else np.empty((0, 1), int)
        row = np.arange(len(drawn))[:, None]
        times = np.bincount((drawn + row * count).ravel(), minlength=len(drawn) * count)
        self.times = np.vstack([np.ones(count), times.reshape(len(drawn), count)])

    def sums(self, *values: np.ndarray) -> np.ndarray:
        """Sums (len(values), draws) of arrays of values (n,) over the samples of each draw."""
        count = self.times.shape[1]
        at_scene = [np.bincount(self.index, value, minlength=count) for value in values]
        return (self.times @ np.stack(at_scene, 1)).T

    def percentiles(self, values: np.ndarray, at: Sequence[float], use: np.ndarray) -> np.ndarray:
        """Percentiles (len(at), draws) of values (n,) where `use` (n,) is true; NaN if it never is."""
        found = np.full((len(at), len(self.times)), np.nan)
        values, index = values[use], self.index[use]
        for draw, times in enumerate(self.times.astype(int)):
            drawn = values.repeat(times[index])
            if drawn.size:
                found[:, draw] = np.percentile(drawn, at)
        return found


def interval(draws: np.ndarray) -> dict[str, float]:
    """low, high: 95 % interval of a metric over draws 1, 2, ...; NaN if there are none."""
    finite = draws[1:][np.isfinite(draws[1:])]
    low, high = np.percentile(finite, [2.5, 97.5]) if finite.size else (math.nan, math.nan)
    return {"low": float(low), "high": float(high)}


def share(holds: np.ndarray, scene: np.ndarray) -> dict[str, float]:
    """value, low, high, n: mean of values (n,), such as true and false, with an interval over scenes."""
    draws = Resampling(scene, len(holds))
    with np.errstate(invalid="ignore"):
        mean = np.divide(*draws.sums(np.asarray(holds, np.float64), np.ones(len(holds))))
    return {"value": float(mean[0]), **interval(mean), "n": len(holds)}


def summarise(
    true: np.ndarray,
    estimated: np.ndarray,
    valid: np.ndarray | None,
    parameters: Sequence[Any],
    scene: np.ndarray | None = None,
) -> list[dict]:
    """R2 and errors of all parameters, as rows.

    Parameters
    ----------
    true, estimated
        (n, P). A sample with a value that is not finite never counts.
    valid
        (n,) bool: samples that count, None for all.
    parameters
        P objects with `name` and `period` (None, or the period in the parameter's unit).
    scene
        (n,) number of each sample's scene, for intervals.

    Returns
    -------
    list of dict
        Rows {parameter, metric, value, n}. With scenes, they also have low and high, a 95 % interval by
        bootstrap over scenes, and the last row is R2 of the parameter "mean", the mean over all
        parameters (thesis, eq. 2.13).

    Notes
    -----
    R2 = 1 - sum (true - estimated)^2 / sum (true - mean(true))^2; NaN if the truth does not vary. RMSE,
    bias (mean error) and spread (standard deviation of the error) are in the parameter's unit. For
    periodic parameters R2 is the plain one, as published; RMSE, bias and spread use wrapped errors.
    circular-median and circular-p90 only use samples that fulfil AXIS_NEEDS, and kept-share is the share
    of these.
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
    draws = Resampling(None if scene is None else np.asarray(scene)[kept], len(true))
    defined = axis_counts(true, parameters)

    rows, all_r2 = [], []
    for index, parameter in enumerate(parameters):
        a, b, period = true[:, index], estimated[:, index], parameter.period
        metrics = _moments(a, b, period, draws)
        all_r2.append(metrics["R2"])
        counts = dict.fromkeys(metrics, len(a))
        if period is not None:
            median, p90 = draws.percentiles(np.abs(errors(a, b, period)), [50, 90], defined)
            with np.errstate(invalid="ignore"):
                kept_share = np.divide(*draws.sums(defined, np.ones(len(a))))
            metrics |= {
                "circular-median": median,
                "circular-p90": p90,
                "kept-share": kept_share,
            }
            angles = dict.fromkeys(("circular-median", "circular-p90"), int(defined.sum()))
            counts |= {"kept-share": len(a), **angles}
        rows += [
            {"parameter": parameter.name, "metric": metric, "value": values, "n": counts[metric]}
            for metric, values in metrics.items()
        ]
    if scene is not None:
        mean = np.mean(all_r2, axis=0)
        rows.append({"parameter": "mean", "metric": "R2", "value": mean, "n": len(true)})
    for row in rows:
        limits = {} if scene is None else interval(row["value"])
        row |= {"value": float(row["value"][0]), **limits}
    return rows


def _moments(true, estimated, period, draws: Resampling) -> dict[str, np.ndarray]:
    """R2, RMSE, bias and spread of one parameter, each (draws,)."""
    error = errors(true, estimated, period)
    # Relative to the means over all samples, else small differences of large sums would lose precision.
    count = max(1, len(true))
    middle, offset = true.sum() / count, error.sum() / count
    t, e = true - middle, error - offset
    n, t1, t2, squares, e1, e2 = draws.sums(
        np.ones(len(true)), t, t * t, np.square(estimated - true), e, e * e
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        bias, spread2 = offset + e1 / n, np.maximum(0, e2 / n - (e1 / n) ** 2)
        varies = len(true) > 1 and np.ptp(true) > 0
        r2 = 1 - squares / (t2 - t1 * t1 / n) if varies else np.full(len(n), math.nan)
    rmse = np.sqrt(bias**2 + spread2)
    return {"R2": r2, "RMSE": rmse, "bias": bias, "spread": np.sqrt(spread2)}


def calibration(
    true: np.ndarray,
    estimated: np.ndarray,
    half_width: np.ndarray,
    photons: np.ndarray,
    parameters: Sequence[Any],
) -> list[dict]:
    """How often the intervals estimated +- half_width contain the truth, by group.

    Periodic parameters only count where AXIS_NEEDS is fulfilled.

    Parameters
    ----------
    true, estimated, half_width
        (n, P).
    photons
        (n,).
    parameters
        As in `summarise`.

    Returns
    -------
    list of dict
        Rows {parameter, group, level, coverage, n}. Groups and their levels:

        - all: 0
        - spread fifth: 1 to 5, from the narrowest to the widest intervals
        - photons decade: k for 10^k up to 10^(k+1)
        - axis region (only of an axis): centre in degrees of six equal regions of the true axis
    """
    defined, rows = axis_counts(true, parameters), []
    # Photons are float32, so 10^4 may be stored as a little less.
    decade = np.floor(np.log10(photons) + 1e-6)
    for index, parameter in enumerate(parameters):
        period = parameter.period
        use = np.ones(len(true), bool) if period is None else defined
        a, b, half = true[use, index], estimated[use, index], half_width[use, index]
        groups = {
            "all": np.zeros(len(a)),
            "spread fifth": 1 + 5 * _ranks(half) // max(1, len(half)),
            "photons decade": decade[use],
        }
        if period is not None:
            region = np.round(a / period * AXIS_REGIONS) % AXIS_REGIONS
            groups["axis region"] = np.degrees(region * period / AXIS_REGIONS)
        inside = np.abs(errors(a, b, period)) <= half
        for name, labels in groups.items():
            rows += [
                {"parameter": parameter.name, "group": name, **row}
                for row in coverage(inside, labels)
            ]
    return rows


def coverage(inside: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Rows {level, coverage, n}: for every label, the share of its samples where `inside` (n,) is true."""
    levels, index = np.unique(labels, return_inverse=True)
    count, hits = np.bincount(index), np.bincount(index, inside)
    return [
        {"level": float(level), "coverage": float(h / n), "n": int(n)}
        for level, h, n in zip(levels, hits, count, strict=True)
    ]


def abstention(
    true: np.ndarray, estimated: np.ndarray, half_width: np.ndarray, parameters: Sequence[Any]
) -> list[dict]:
    """The error of the most certain samples, when those with the widest intervals are left out.

    Parameters
    ----------
    true, estimated, half_width
        (n, P).
    parameters
        As in `summarise`.

    Returns
    -------
    list of dict
        Rows {parameter, kept_share, metric, value, n}, for each of KEPT_SHARES. The metric is RMSE, or
        circular-median for periodic parameters, where AXIS_NEEDS is fulfilled.
    """
    defined, rows = axis_counts(true, parameters), []
    for index, parameter in enumerate(parameters):
        period = parameter.period
        use = np.ones(len(true), bool) if period is None else defined
        error = np.abs(errors(true[use, index], estimated[use, index], period))
        error = error[np.argsort(half_width[use, index], kind="stable")]
        for kept in KEPT_SHARES:
            count = round(kept * len(error))
            value = math.nan
            if count:
                surest = error[:count]
                rms = math.sqrt(np.mean(surest**2))
                value = float(rms if period is None else np.median(surest))
            rows.append(
                {
                    "parameter": parameter.name,
                    "kept_share": kept,
                    "metric": "RMSE" if period is None else "circular-median",
                    "value": value,
                    "n": count,
                }
            )
    return rows


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value (n,) in ascending order, from 0."""
    ranks = np.empty(len(values), int)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks
