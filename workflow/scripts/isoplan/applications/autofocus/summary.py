"""How near each method comes to focus, and what scores tell of distance."""

import numpy as np
import pandas as pd

from isoplan.base.seeds import numpy_rng

DRAWN, COVERED = 2000, 0.95
BINS = 64  # of scores from 0 to 1
LEAST = 1e-12  # probability of a score
NEAR_DEPTHS = 9.4  # 50 um on both sides of focus at 10x/.3: where the spread of scores is compared
COLUMNS = (
    *("test", "method", "pictures", "n", "error_um", "error_low", "error_high", "error_depths"),
    *("error_p95_um", "failed", "unknown", "failed_known", "covered", "seconds"),
)
SCORES = ("test", "method", "objects", "spread", "entropy", "entropy_per_z", "range_depths")


def summary(rows: pd.DataFrame, depths_um: dict[str, float]) -> pd.DataFrame:
    """COLUMNS, a row for each test, method and number of pictures.

    Parameters
    ----------
    rows
        `trials.COLUMNS`.
    depths_um
        Depth of field of each test.

    Returns
    -------
    pandas.DataFrame
        Median errors with the ends of their 95 % intervals (bootstrap over trials), in um and depths of field; the 95th percentile; shares
        that end beyond a depth of field from focus, of those that do not know, and of those that are wrong without knowing; the share of 90 %
        intervals that hold; median seconds of a decision.

    Examples
    --------
    >>> told = {"test": "t", "method": "fit", "pictures": 3, "half_width_um": 0.5, "known": 1.0, "seconds": 0.1}
    >>> rows = pd.DataFrame([told | {"error_um": error} for error in (0.1, 0.2, 9.0)])
    >>> summary(rows, {"t": 5.0})[["error_um", "failed", "covered"]].round(2).values.tolist()
    [[0.2, 0.33, 0.67]]
    """
    found = []
    for (test, method, pictures), part in rows.groupby(["test", "method", "pictures"], sort=False):
        error, known = part["error_um"].to_numpy(), part["known"].to_numpy()
        depth = depths_um[test]
        low, high = _interval(error)
        wrong = error > depth
        told = np.isfinite(known)
        sure = known == 1
        found.append(
            (
                *(test, method, pictures, len(part), np.median(error), low, high),
                *(np.median(error) / depth, np.quantile(error, 0.95), wrong.mean()),
                (known == 0).mean() if told.any() else np.nan,
                (wrong & sure).mean() if told.any() else np.nan,
                (error <= part["half_width_um"])[sure].mean() if sure.any() else np.nan,
                part["seconds"].median(),
            )
        )
    return pd.DataFrame(found, columns=COLUMNS)


def scores(curves: pd.DataFrame, depths_um: dict[str, float]) -> pd.DataFrame:
    """SCORES of every method: thesis, Table 5.1.

    Parameters
    ----------
    curves
        `trials.CURVES`.
    depths_um
        Depth of field of each test.

    Returns
    -------
    pandas.DataFrame
        The mean standard deviation over objects within NEAR_DEPTHS of focus; the conditional entropy as printed, a sum over z, in nats, and per
        z (with BINS scores); and the distance, in depths of field, up to which the median score differs from that two depths farther by
        more than its standard deviation.
    """
    found = []
    for (test, method), part in curves.groupby(["test", "method"], sort=False):
        wide = part.pivot(index="object", columns="z_um", values="sharpness")
        z, sharp = wide.columns.to_numpy() / depths_um[test], wide.to_numpy()
        near = np.abs(z) <= NEAR_DEPTHS
        spread = sharp.std(0)
        whole = entropy(sharp)
        row = test, method, len(sharp), spread[near].mean(), whole, whole / len(z)
        found.append((*row, reach(z, np.median(sharp, 0), spread)))
    return pd.DataFrame(found, columns=SCORES)


def entropy(sharp: np.ndarray) -> float:
    """Conditional entropy in nats, summed over z as the thesis prints it; sharp: (objects, z) from 0 to 1.

    Examples
    --------
    >>> round(entropy(np.array([[0.1, 0.5, 0.9]])), 6)  # each score has one z
    0.0
    >>> round(entropy(np.array([[0.5, 0.5]])), 3)  # a score says nothing of z
    1.386
    """
    bins = np.clip((sharp * BINS).astype(int), 0, BINS - 1)
    share = np.stack([np.bincount(column, minlength=BINS) for column in bins.T], 1) / len(sharp)
    share = share + LEAST
    return float(-(share * np.log(share / share.sum(1, keepdims=True))).sum())


def reach(z_depths: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> float:
    """Distance up to which scores tell distances apart, on the worse side.

    z_depths, middle, spread: (n,) distances in depths of field, median scores and their standard deviations.

    Examples
    --------
    >>> z = np.linspace(-20, 20, 41)
    >>> reach(z, np.maximum(1 - np.abs(z) / 10, 0), np.full(41, 0.1))
    8.0
    """
    ends = []
    for side in (-1, 1):
        at = np.arange(0, np.abs(z_depths).max() - 2 + 1e-9, 0.5)
        here, there = (np.interp(side * (at + d), z_depths, middle) for d in (0, 2))
        lost = here - there <= np.interp(side * at, z_depths, spread)
        # The top is flat: the first depths of field say little.
        lost &= at >= 1
        ends.append(at[int(np.argmax(lost))] if lost.any() else at[-1] + 2)
    return float(min(ends))


def _interval(values: np.ndarray) -> tuple[float, float]:
    rng = numpy_rng(0, "autofocus/interval", len(values))
    drawn = np.median(rng.choice(values, (DRAWN, len(values))), 1)
    low, high = np.quantile(drawn, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)
