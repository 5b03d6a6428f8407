"""How near each method comes to the kernels, beside the conditional mean on the same pictures.

Means of a study's identification.csv, as they are kept in resources/published:

PYTHONPATH=workflow/scripts .venv/bin/python -m isoplan.applications.identification.summary TABLE.csv OUT.csv
"""

import sys

import numpy as np
import pandas as pd
from scipy import stats

from isoplan.applications.identification.trials import MEAN

COVERED = 0.95
COSTLY_DB = 3.0  # a mirror image that costs as much counts
GAINS = ("psnr", "psnr_either", "reblurred")
COLUMNS = (
    *("test", "noise", "known", "method", "psnr", "psnr_either", "psnr_peak_1", "psnr_deviation"),
    *("snr", "snr_either", "reblurred", "reblurred_either"),
    *(f"{name}_{part}" for name in GAINS for part in ("gain", "low", "high")),
    *("worst_gain", "mirror_right", "mirror_n", "seconds", "n"),
)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS, a row for each test, noise, knowledge and method.

    A gain is over MEAN with the same knowledge on the same pictures, in dB, with a 95 % interval of its mean.
    psnr_deviation is the standard deviation over pictures. mirror_right is the share of right mirror images
    among those where the wrong one costs COSTLY_DB or more, of which there are mirror_n.

    Examples
    --------
    >>> told = {"test": "t", "noise": 0.01, "known": "given", "mirror_cost": 4.0, "told_right": 1.0}
    >>> rows = pd.DataFrame(
    ...     [
    ...         {**told, "picture": k, "method": m, **dict.fromkeys(MEANS, v + k)}
    ...         for k in (0, 1)
    ...         for m, v in (("mean", 20.0), ("fit", 26.0))
    ...     ]
    ... )
    >>> summary(rows)[["method", "psnr", "psnr_gain", "mirror_n"]].values.tolist()
    [['mean', 20.5, 0.0, 2], ['fit', 26.5, 6.0, 2]]
    """
    found = []
    for (test, noise, known), own in rows.groupby(["test", "noise", "known"], sort=False):
        base = own[own["method"] == MEAN].set_index("picture")
        for method, part in own.groupby("method", sort=False):
            part = part.set_index("picture")
            row = {"test": test, "noise": noise, "known": known, "method": method, "n": len(part)}
            row |= {name: part[name].mean() for name in MEANS}
            row["psnr_deviation"] = part["psnr"].std()
            for name in GAINS:
                gain = (part[name] - base[name]).dropna()
                row |= {f"{name}_gain": gain.mean()}
                row[f"{name}_low"], row[f"{name}_high"] = _interval(gain)
            row["worst_gain"] = (part["psnr"] - base["psnr"]).min()
            costly = part[part["mirror_cost"] >= COSTLY_DB]
            row["mirror_right"], row["mirror_n"] = costly["told_right"].mean(), len(costly)
            found.append(row)
    return pd.DataFrame(found, columns=COLUMNS)


MEANS = (
    *("psnr", "psnr_either", "psnr_peak_1", "snr", "snr_either"),
    *("reblurred", "reblurred_either", "seconds"),
)


def _interval(values: pd.Series) -> tuple[float, float]:
    """The interval of Student's t of the mean."""
    if len(values) < 2:
        return np.nan, np.nan
    mean, error = values.mean(), values.std() / np.sqrt(len(values))
    reach = error * stats.t.ppf((1 + COVERED) / 2, len(values) - 1)
    return mean - reach, mean + reach


if __name__ == "__main__":
    summary(pd.read_csv(sys.argv[1])).to_csv(sys.argv[2], index=False, float_format="%.4g")
