"""Metrics of estimated PSF parameters: pure functions on arrays.

A parameter with a period (the axis of an astigmatism, in rad) has wrapped errors: an estimate just
below the period is close to a truth just above 0.

Samples cut from one scene are alike, so intervals come from a bootstrap over scenes: whole scenes are
drawn again, with replacement. Nearly all metrics are functions of sums over samples, so that the sums
of each scene are enough.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# An axis means little where the PSF is nearly round: errors of a parameter with a period are
# counted only where the true values of these parameters, where the model has them, reach so far.
AXIS_NEEDS = {"focus": 0.05, "cylinder": 0.1}
AXIS_REGIONS = 6
KEPT_SHARES = tuple(round(1 - 0.05 * k, 2) for k in range(19))  # 1, .95, ... .1
RESAMPLES = 400


def errors(true: np.ndarray, estimated: np.ndarray, period: float | None = None) -> np.ndarray:
    """estimated - true, float64; with a period wrapped into [-period / 2, period / 2)."""
    error = np.asarray(estimated, np.float64) - np.asarray(true, np.float64)
    return error if period is None else (error + period / 2) % period - period / 2


def axis_counts(true: np.ndarray, parameters: Sequence[Any]) -> np.ndarray:
    """(n,) bool: where AXIS_NEEDS holds for the truth (n, P), so that a period's value has meaning."""
    counts = np.ones(len(true), bool)
    for index, parameter in enumerate(parameters):
        if parameter.name in AXIS_NEEDS:
            counts &= true[:, index] >= AXIS_NEEDS[parameter.name]
    return counts


class Resampling:
    """Scenes drawn again with replacement, as often as there are scenes; draw 0 takes each once.

    scene: (n,) number of the scene of each sample; None: one scene, no further draws.
    """

    def __init__(self, scene: np.ndarray | None, n: int, resamples: int = RESAMPLES, seed: int = 0):
        if scene is None:
            scene, resamples = np.zeros(n, int), 0
        scenes, self.index = np.unique(scene, return_inverse=True)
        count = len(scenes)
        rng = np.random.default_rng(seed)
        # One scene says nothing of the difference between scenes.
        drawn = rng.integers(count, size=(resamples, count)) if count > 1 else np.empty((0, 1), int)
        row = np.arange(len(drawn))[:, None]
        times = np.bincount((drawn + row * count).ravel(), minlength=len(drawn) * count)
        self.times = np.vstack([np.ones(count), times.reshape(len(drawn), count)])

    def sums(self, *values: np.ndarray) -> np.ndarray:
        """(len(values), draws) sums over each draw's samples, of values (n,)."""
        count = self.times.shape[1]
        at_scene = [np.bincount(self.index, value, minlength=count) for value in values]
        return (self.times @ np.stack(at_scene, 1)).T

    def percentiles(self, values: np.ndarray, at: Sequence[float], use: np.ndarray) -> np.ndarray:
        """(len(at), draws) percentiles of the values (n,) where `use` (n,) holds; NaN for none."""
        found = np.full((len(at), len(self.times)), np.nan)
        values, index = values[use], self.index[use]
        for draw, times in enumerate(self.times.astype(int)):
            drawn = values.repeat(times[index])
            if drawn.size:
                found[:, draw] = np.percentile(drawn, at)
        return found


def interval(draws: np.ndarray) -> dict[str, float]:
    """low, high: 95 % interval of a metric over draws 1, 2, ...; NaN where there are none."""
    finite = draws[1:][np.isfinite(draws[1:])]
    low, high = np.percentile(finite, [2.5, 97.5]) if finite.size else (math.nan, math.nan)
    return {"low": float(low), "high": float(high)}


def share(holds: np.ndarray, scene: np.ndarray) -> dict[str, float]:
    """value, low, high, n of the mean of values (n,) from scenes (n,), as of true and false."""
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
    """Tidy rows {parameter, metric, value, n} of all parameters.

    true, estimated: (n, P). valid: (n,) bool, the samples that count, None for all; a sample with a
    value that is not finite never counts. parameters: P of them, with `.name` and `.period`
    (None, or the period in the parameter's unit).
    scene: (n,) number of each sample's scene; rows then also have low and high, a 95 % interval by
    bootstrap over scenes, and the last one is R2 of parameter "mean", the mean of all (thesis, eq.
    2.13).
    Metrics: R2 = 1 - sum (true - estimated)^2 / sum (true - mean(true))^2 (truth as truth; NaN where
    it does not vary), RMSE, bias (mean error), spread (deviation of the error about its bias), all
    but R2 in the parameter's unit. With a period, R2 is the published plain one, RMSE, bias and
    spread are of the wrapped error, and circular-median, circular-p90 and kept-share (of the valid
    samples) go over those where AXIS_NEEDS holds.
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
    # About their means over all samples, or small differences of large sums would remain.
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
    """Rows {parameter, group, level, coverage, n}: how often estimated +- half_width holds the truth.

    true, estimated, half_width: (n, P). photons: (n,). Groups and their levels:
    all              0
    spread fifth     1 to 5, from the narrowest intervals to the widest
    photons decade   k for 10^k up to 10^(k+1)
    axis region      centre in degrees of six equal regions of the true axis; of an axis alone
    A parameter with a period counts where AXIS_NEEDS holds.
    """
    defined, rows = axis_counts(true, parameters), []
    # Photons are known to float32, so that 10^4 may read as a little less.
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
    """{level, coverage, n} of every label: the share of `inside` (n,) among the samples with it."""
    levels, index = np.unique(labels, return_inverse=True)
    count, hits = np.bincount(index), np.bincount(index, inside)
    return [
        {"level": float(level), "coverage": float(h / n), "n": int(n)}
        for level, h, n in zip(levels, hits, count, strict=True)
    ]


def abstention(
    true: np.ndarray, estimated: np.ndarray, half_width: np.ndarray, parameters: Sequence[Any]
) -> list[dict]:
    """Rows {parameter, kept_share, metric, value, n}: the error of the surest samples alone.

    true, estimated, half_width: (n, P). For each of KEPT_SHARES the widest intervals are left out.
    metric: RMSE, or circular-median for a parameter with a period, where AXIS_NEEDS holds.
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
    """Place of each value (n,) in rising order, from 0."""
    ranks = np.empty(len(values), int)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks
