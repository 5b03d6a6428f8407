"""The scores of a study's simulated sequences in short: mean and spread over the sequences of a test."""

import pandas as pd

COLUMNS = ["test", "method", "metric", "mean", "sd", "n"]
LEFT_OUT = ("seconds",)  # what depends on the machine


def of_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each test, method and metric, in their order.

    Parameters
    ----------
    rows : DataFrame
        As `trials.table` gives it.

    Returns
    -------
    DataFrame
        COLUMNS; `sd` over the sequences, NaN of one.

    Examples
    --------
    >>> rows = pd.DataFrame({"test": "a", "seed": [0, 1], "method": "sofi", "metric": "psnr_db", "value": [29.0, 31]})
    >>> of_scores(rows).round(2).to_numpy().tolist()
    [['a', 'sofi', 'psnr_db', 30.0, 1.41, 2]]
    """
    kept = rows[~rows["metric"].isin(LEFT_OUT)]
    groups = kept.groupby(["test", "method", "metric"], sort=False)["value"]
    return groups.agg(mean="mean", sd="std", n="count").reset_index()[COLUMNS]
