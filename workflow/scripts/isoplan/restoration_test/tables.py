"""Tables of restoration tests: the gain of every picture, means with intervals, and the error budget."""

from collections.abc import Callable
from itertools import pairwise, product

import numpy as np
import pandas as pd

from isoplan.metrics.image import SUMS, metrics_of
from isoplan.metrics.regression import Resampling, interval
from isoplan.restoration_test.known import HOW, KEPT, RestorationTest

WORSE_DB = -0.01  # a cell that loses more than this is worse than before
RESAMPLES = 2000
SETTINGS = ("layout", "masks", "objects", "camera", "order", "stride_px")
WHAT = ("test", "degradation", "detection", "network", *SETTINGS, *HOW)
# Columns of the summary: differences from a method, and shares of a method's gain.
COMPARED = {"minus_estimated": "estimated", "minus_true": "true"}
SHARES = {"known_share": "true", "grid_share": "true-grid"}
BUDGET = ("test", "step", "start", "end", "loss_db", "low", "high", "n")
MEASURED = (
    *("mean", "low", "high", "sd", "median", "n"),
    *(f"{name}{end}" for name in (*COMPARED, *SHARES) for end in ("", "_low", "_high")),
    *("worse_cells_share", "psf_error", "filled_share"),
)


def rows_of(test: RestorationTest, kept: np.ndarray) -> pd.DataFrame:
    """A tidy table of a test.

    Parameters
    ----------
    test
        The test.
    kept
        (pictures, methods, len(KEPT), n, n), from `load_units`.

    Returns
    -------
    pandas.DataFrame
        Columns that describe the test, and method, picture, source, cell, metric and value. The cell is "all", or its
        row and column like "0,1". The metrics are

        - SNR and SSIM of the degraded picture (method none),
        - SNR_gain (dB) and SSIM_gain over the degraded picture,
        - SNR_gain_inside: away from the seams of hard cells (SEAM_SHARE),
        - of cells: SNR_gain, psf_error and filled (KEPT).
    """
    methods = ["none", *test.test["methods"]]
    rows = []

    def add(picture: int, method: str, cell: str, metric: str, value: float) -> None:
        if np.isfinite(value):
            rows.append((method, picture, sources[picture], cell, metric, value))

    sources = [test.source(index) for index in range(len(kept))]
    sums, place = kept[:, :, : len(SUMS)], SUMS.index("error")
    for picture in range(len(kept)):
        whole = [metrics_of(values, 1.0) for values in sums[picture]]
        for metric in ("SNR", "SSIM"):
            add(picture, "none", "all", metric, whole[0][metric])
        for k, method in enumerate(methods[1:], 1):
            for metric in ("SNR", "SSIM"):
                add(picture, method, "all", f"{metric}_gain", whole[k][metric] - whole[0][metric])
            away = kept[picture, [0, k], KEPT.index("inside_error")].sum((1, 2))
            add(picture, method, "all", "SNR_gain_inside", _gain(away))
            for j, i in product(range(test.cells), repeat=2):
                gain = _gain(sums[picture, [0, k], place, j, i])
                add(picture, method, f"{j},{i}", "SNR_gain", gain)
                for metric in ("psf_error", "filled"):
                    value = kept[picture, k, KEPT.index(metric), j, i]
                    add(picture, method, f"{j},{i}", metric, value)
    columns = ["method", "picture", "source", "cell", "metric", "value"]
    table = pd.DataFrame(rows, columns=columns)
    for at, (name, value) in enumerate(described(test).items()):
        table.insert(at, name, value)
    return table


def _gain(errors: np.ndarray) -> float:
    """Gain in dB from the errors (2,) before and after; NaN if one of them is 0."""
    return 10 * np.log10(errors[0] / errors[1]) if errors.all() else np.nan


def described(test: RestorationTest) -> dict:
    """The columns that describe a test."""
    entry, spec = test.test, test.spec
    settings = {key: entry.get(key, spec.get(key)) for key in SETTINGS}
    return {
        "test": entry["name"],
        "degradation": spec["psf"]["model"],
        "detection": spec["detected"]["model"],
        "network": entry["network"],
        **settings,
        **{key: entry[key] for key in HOW},
    }


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise tests.

    Parameters
    ----------
    rows
        From `rows_of`.

    Returns
    -------
    pandas.DataFrame
        A row for each test, method and metric (SNR_gain, SSIM_gain and SNR_gain_inside; SNR and SSIM of none). The
        columns describe the test, and have

        - mean, low, high, sd, median, n: over pictures,
        - minus_estimated, minus_true: mean paired difference from these methods,
        - known_share, grid_share: the mean as a share of that of true and of true-grid (the published "known PSFs"),
          if that is certainly a gain,
        - worse_cells_share: share of cells that are more than 0.01 dB worse than before,
        - psf_error: median over cells,
        - filled_share: share of cells that were filled in.

        Differences and shares also have _low and _high. Intervals are 95 % bootstrap intervals over pictures, where
        pictures from the same real picture are drawn together.
    """
    tables = [
        _summary(dict(zip(WHAT, key, strict=True)), part)
        for key, part in rows.groupby(list(WHAT), sort=False, dropna=False)
    ]
    columns = [*WHAT, "method", "metric", *MEASURED]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True).reindex(columns=columns)


def _summary(what: dict, rows: pd.DataFrame) -> pd.DataFrame:
    whole = rows[rows["cell"] == "all"]
    sources = whole.drop_duplicates("picture").set_index("picture")["source"].sort_index()
    grid = whole.pivot(index="picture", columns=["metric", "method"], values="value").sort_index()
    draws = Resampling(sources.to_numpy(), len(sources), RESAMPLES)
    cells = _of_cells(rows[rows["cell"] != "all"])

    def named(name: str, drawn: np.ndarray) -> dict:
        limits = interval(drawn)
        return {name: float(drawn[0]), f"{name}_low": limits["low"], f"{name}_high": limits["high"]}

    found = []
    methods = list(dict.fromkeys(whole["method"]))
    for metric, method in product(dict.fromkeys(whole["metric"]), methods):
        if (metric, method) not in grid:
            continue
        values = grid[metric, method].to_numpy()
        mean = mean_of(draws, values)
        row = what | {"method": method, "metric": metric, "mean": float(mean[0])}
        row |= interval(mean) | {
            "sd": float(np.nanstd(values, ddof=1)) if len(values) > 1 else np.nan
        }
        row |= {"median": float(np.nanmedian(values)), "n": int(np.isfinite(values).sum())}
        for name, other in COMPARED.items():
            if (metric, other) in grid and other != method:
                row |= named(name, mean_of(draws, values - grid[metric, other].to_numpy()))
        for name, other in SHARES.items():
            if (metric, other) in grid:
                all_of_it = mean_of(draws, grid[metric, other])
                if (all_of_it > 0).all():
                    row |= named(name, mean / all_of_it)
        if metric == "SNR_gain":
            row |= cells.get(method, {})
        found.append(row)
    return pd.DataFrame(found)


def mean_of(draws: Resampling, values: np.ndarray) -> np.ndarray:
    """Mean of the values (n,) that are finite, in each draw."""
    values = np.asarray(values)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.divide(*draws.sums(np.where(known, values, 0), known.astype(float)))


def _of_cells(rows: pd.DataFrame) -> dict[str, dict]:
    def share(method: str, metric: str, of: Callable) -> float:
        values = rows["value"][(rows["method"] == method) & (rows["metric"] == metric)]
        return float(of(values)) if len(values) else np.nan

    return {
        method: {
            "worse_cells_share": share(method, "SNR_gain", lambda gain: (gain < WORSE_DB).mean()),
            "psf_error": share(method, "psf_error", np.median),
            "filled_share": share(method, "filled", np.mean),
        }
        for method in rows["method"].unique()
    }


def budget(rows: pd.DataFrame) -> pd.DataFrame:
    """The error budget: the loss of SNR gain in each step from the truth to an estimate.

    Parameters
    ----------
    rows
        From `rows_of`.

    Returns
    -------
    pandas.DataFrame
        Columns test, step, start and end (methods), loss_db with low and high (95 % interval, as in `summarise`),
        and n. Only steps between methods of the test are included.
    """
    found = []
    whole = rows[(rows["cell"] == "all") & (rows["metric"] == "SNR_gain")]
    for name, part in whole.groupby("test", sort=False):
        grid = part.pivot(index="picture", columns="method", values="value").sort_index()
        sources = part.drop_duplicates("picture").set_index("picture")["source"].sort_index()
        draws = Resampling(sources.to_numpy(), len(sources), RESAMPLES)
        for step, start, end in steps(
            list(grid.columns), *part[["degradation", "detection"]].iloc[0]
        ):
            loss = grid[start].to_numpy() - grid[end].to_numpy()
            mean = mean_of(draws, loss)
            known = {"loss_db": float(mean[0]), **interval(mean), "n": int(np.isfinite(loss).sum())}
            found.append({"test": name, "step": step, "start": start, "end": end, **known})
    return pd.DataFrame(found, columns=list(BUDGET))


def steps(methods: list[str], degradation: str, detection: str) -> list[tuple[str, str, str]]:
    """(step, start, end) from each of the methods to the next one in the chain.

    degradation, detection: PSF models of the blur and of the network.
    """
    own = ("PSF estimate", "estimated-all"), ("abstention", "estimated")
    chain = [
        *(("", "true-noise-free"), ("camera noise", "true"), ("the map's grid", "true-grid")),
        *([("wrong PSF model", "best-of-model")] if degradation != detection else []),
        *(own if "estimated-all" in methods else [("PSF estimate", "estimated")]),
        ("one PSF", "constant"),
    ]
    chain = [(step, method) for step, method in chain if method in methods]
    return [(step, start, end) for (_, start), (step, end) in pairwise(chain)]


def median_picture(rows: pd.DataFrame, method: str = "estimated") -> int:
    """Index of the picture with the median SNR gain by `method`, or by the first method if that is absent."""
    gains = rows[(rows["metric"] == "SNR_gain") & (rows["cell"] == "all")]
    own = gains[gains["method"] == method]
    own = own if len(own) else gains[gains["method"] == gains["method"].iloc[0]]
    return int(own.sort_values(["value", "picture"])["picture"].iloc[(len(own) - 1) // 2])
