"""How near each method comes to the heights: medians over pictures with their intervals.

Medians of a study's depth.csv, as they are kept in resources/published:

PYTHONPATH=workflow/scripts .venv/bin/python -m isoplan.applications.depth.summary TABLE.csv OUT.csv
"""

import sys

import numpy as np
import pandas as pd

from isoplan.applications.depth.trials import VALUES
from isoplan.base.seeds import numpy_rng

DRAWN, COVERED = 2000, 0.95
COLUMNS = (
    *("test", "photons", "method", "n", *VALUES),
    *("error_share_low", "error_share_high", "error_share_worst"),
)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS, a row for each test, number of photons and method.

    Values are medians over pictures, but `doubted` is the share of them; `error_share_low` and `_high` are the ends of the 95 % interval of its median
    (bootstrap over pictures), and `error_share_worst` is the largest.

    Examples
    --------
    >>> told = {"test": "t", "photons": 100.0, "method": "fit"}
    >>> rows = pd.DataFrame([{**told, **dict.fromkeys(VALUES, v)} for v in (0.1, 0.2, 0.6)])
    >>> summary(rows)[["n", "error_share", "error_share_worst"]].values.tolist()
    [[3.0, 0.2, 0.6]]
    """
    found = []
    for (test, photons, method), part in rows.groupby(["test", "photons", "method"], sort=False):
        row = {"test": test, "photons": photons, "method": method, "n": len(part)}
        row |= {name: part[name].median() for name in VALUES}
        row["doubted"] = part["doubted"].mean()
        low, high = _interval(part["error_share"].to_numpy())
        row |= {"error_share_low": low, "error_share_high": high}
        found.append(row | {"error_share_worst": part["error_share"].max()})
    return pd.DataFrame(found, columns=COLUMNS)


def _interval(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return np.nan, np.nan
    drawn = numpy_rng(0, "depth/interval", len(known)).choice(known, (DRAWN, len(known)))
    ends = np.quantile(np.median(drawn, 1), [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(ends[0]), float(ends[1])


if __name__ == "__main__":
    summary(pd.read_csv(sys.argv[1])).to_csv(sys.argv[2], index=False, float_format="%.4g")
