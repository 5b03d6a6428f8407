"""Tables of the gains and losses in harm tests."""

from itertools import product

import numpy as np
import pandas as pd

from isoplan.restoration_test.blurs import kind_of
from isoplan.restoration_test.harm import KEPT, METHODS, HarmTest

HARMED_DB = -0.3  # a picture that loses more than this is harmed
WORST_SHOWN = 6
CASE = ["test", "model", "picture", "blur", "kind", "photons"]
GROUP = ["test", "model", "kind", "photons"]


def rows_of(test: HarmTest, kept: np.ndarray) -> pd.DataFrame:
    """A table with a row for each picture, blur, light and method; the columns are CASE, method and KEPT.

    kept: (units x lights, methods, len(KEPT)), of all units in order.
    """
    name, model = test.test["name"], test.spec["detected"]["model"]
    cases = [
        (name, model, test.names[index], blur, kind_of(blur, model), photons)
        for (index, blur), photons in product(test.units, test.lights)
    ]
    return pd.concat(
        [
            pd.DataFrame(cases, columns=CASE).assign(
                method=method, **dict(zip(KEPT, kept[:, k].T, strict=True))
            )
            for k, method in enumerate(METHODS)
        ],
        ignore_index=True,
    )


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise by test, model, kind of blur, light and method.

    Parameters
    ----------
    rows
        From `rows_of`.

    Returns
    -------
    pandas.DataFrame
        Rows for each light, and for all lights together with photons NaN. The columns are GROUP, method, and

        - n: number of pictures,
        - mean, p5, worst: mean, 5th percentile and minimum of the pictures' gains in dB,
        - harmed_share: share of pictures that lose more than 0.3 dB,
        - cells_p5, cells_worst: mean of the pictures' 5th percentiles over cells, and the worst cell, in dB,
        - overshoot: the largest ratio of the brightest pixels to the truth's,
        - alone_share: share of pictures that were left as they are (estimated only),
        - worst_to_denoised: smallest difference in dB from the gain of denoised-best for the same picture,
        - of_true: the mean gain as a share of that with true PSFs and the same choice.
    """
    found = []
    for lights in (GROUP, GROUP[:-1]):
        for group, part in rows.groupby(lights, sort=False):
            named = dict(zip(lights, group, strict=True))
            gains = part.pivot(
                index=["picture", "blur", "photons"], columns="method", values="gain"
            )
            true = part.loc[part["method"] == "true", "gain"].mean()
            for method in METHODS:
                of = part[part["method"] == method]
                gain = of["gain"]
                found.append(
                    {"photons": np.nan}
                    | named
                    | {
                        "method": method,
                        "n": len(of),
                        "mean": gain.mean(),
                        "p5": gain.quantile(0.05),
                        "worst": gain.min(),
                        "harmed_share": (gain < HARMED_DB).mean(),
                        "cells_p5": of["cells_p5"].mean(),
                        "cells_worst": of["cells_worst"].min(),
                        "overshoot": of["overshoot"].max(),
                        "alone_share": (of["iterations"] == 0).mean()
                        if method == "estimated"
                        else np.nan,
                        "worst_to_denoised": (gains[method] - gains["denoised-best"]).min(),
                        "of_true": gain.mean() / true if true > 0 else np.nan,
                    }
                )
    table = pd.DataFrame(found)
    return table[[*GROUP, *(name for name in table if name not in GROUP)]]


def worst_cases(rows: pd.DataFrame, test: str) -> list[tuple[str, str, float]]:
    """The WORST_SHOWN cases of a test with the largest losses, each of another picture or kind of blur.

    Returns (picture, blur, photons) of each.
    """
    own = rows[(rows["test"] == test) & (rows["method"] == "estimated")].sort_values("gain")
    own = own.drop_duplicates(["picture", "kind"]).head(WORST_SHOWN)
    return [(row["picture"], row["blur"], row["photons"]) for row in own.to_dict("records")]
