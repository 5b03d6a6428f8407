"""What each method gains over the best weight for all pictures with as many photons, and over that of each picture.

Means of a study's weight_maps.csv, as they are kept in resources/published:

PYTHONPATH=workflow/scripts .venv/bin/python -m isoplan.applications.weight_maps.summary TABLE.csv OUT.csv
"""

import sys

import numpy as np
import pandas as pd
from scipy import stats

from isoplan.applications.weight_maps.trials import BEST, CHOSEN, MEAN, ONE

COVERED = 0.95
COLUMNS = (
    *("test", "photons", "method", "psnr", "ssim"),
    *("gain_db", "gain_low", "gain_high", "worst_gain_db", "over_best_db", "best_low", "best_high"),
    *("over_chosen_db", "chosen_low", "chosen_high"),
    *("over_mean_db", "weight", "seconds", "n"),
)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS, a row for each test, number of photons and method, and one with NaN photons for all of a test's together.

    gain_db is over `one`, over_best_db over `best`, over_chosen_db over `chosen` and over_mean_db over the map's own mean, on the same pictures, with 95 %
    intervals of the mean over pictures; those of all photons together are of the pictures' means. NaN where a test has no such
    method.

    Examples
    --------
    >>> made = {"test": "t", "photons": 100.0, "ssim": 0.5, "weight": 0.1, "seconds": 1.0}
    >>> rows = pd.DataFrame(
    ...     [{**made, "picture": k, "method": m, "psnr": 20 + k + (m == "best")} for k in (0, 1) for m in ("one", "best")]
    ... )
    >>> summary(rows)[["method", "gain_db", "n"]].values.tolist()
    [['one', 0.0, 2], ['best', 1.0, 2], ['one', 0.0, 2], ['best', 1.0, 2]]
    """
    found = []
    values = ["psnr", "ssim", "weight", "seconds"]
    for test, own in rows.groupby("test", sort=False):
        together = own.groupby(["picture", "method"], sort=False)[values].mean().reset_index()
        parts = list(own.groupby("photons", sort=False))
        for photons, part in [*parts, (np.nan, together)]:
            psnr = part.pivot(index="picture", columns="method", values="psnr")
            for method in dict.fromkeys(part["method"]):
                told = part[part["method"] == method]
                gain = _over(psnr, method, ONE)
                row = {"test": test, "photons": photons, "method": method, "n": len(told)}
                row |= {key: told[key].mean() for key in ("psnr", "ssim", "seconds")}
                row["weight"] = float(np.exp(np.log(told["weight"]).mean()))
                row |= dict(zip(("gain_db", "gain_low", "gain_high"), _mean(gain), strict=True))
                row["worst_gain_db"] = gain.min()
                over_best = _mean(_over(psnr, method, BEST))
                row |= dict(zip(("over_best_db", "best_low", "best_high"), over_best, strict=True))
                over_chosen = _mean(_over(psnr, method, CHOSEN))
                names = ("over_chosen_db", "chosen_low", "chosen_high")
                row |= dict(zip(names, over_chosen, strict=True))
                row["over_mean_db"] = _over(psnr, method, method + MEAN).mean()
                found.append(row)
    return pd.DataFrame(found, columns=COLUMNS)


def _over(psnr: pd.DataFrame, method: str, rival: str) -> pd.Series:
    return psnr[method] - psnr[rival] if rival in psnr else psnr[method] * np.nan


def _mean(values: pd.Series) -> tuple[float, float, float]:
    """Mean, and its interval of Student's t."""
    values = values.dropna()
    if len(values) < 2:
        return (float(values.mean()), np.nan, np.nan)
    half = stats.t.ppf((1 + COVERED) / 2, len(values) - 1) * values.std() / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


if __name__ == "__main__":
    table, out = sys.argv[1:]
    summary(pd.read_csv(table)).to_csv(out, index=False, float_format="%.4g")
