"""Means of a study's enhancement.csv, as they are kept in resources/published:

PYTHONPATH=workflow/scripts .venv/bin/python -m isoplan.applications.enhancement.summary TABLE.csv OUT.csv
"""

import sys

import pandas as pd

from isoplan.applications.enhancement.report import mean_of

COLUMNS = ["enhancement", "method", "metric", "mean", "low", "high", "n"]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS: means over test fields with their 95 % intervals, of each entry, method and metric in their order.

    Examples
    --------
    >>> fields = {"mosaic": ["a", "a"], "field": ["0", "1"], "value": [1.0, 3.0]}
    >>> rows = pd.DataFrame({"enhancement": "made", **fields, "method": "raw", "metric": "PSNR"})
    >>> summary(rows)[["mean", "n"]].values.tolist()
    [[2.0, 2.0]]
    """
    found = []
    for names, own in rows.groupby(["enhancement", "method", "metric"], sort=False):
        mean = mean_of(own.set_index(["mosaic", "field"])["value"])
        found.append((*names, mean.value, mean.low, mean.high, len(own)))
    return pd.DataFrame(found, columns=COLUMNS)


if __name__ == "__main__":
    table, out = sys.argv[1:]
    summary(pd.read_csv(table)).to_csv(out, index=False, float_format="%.4g")
