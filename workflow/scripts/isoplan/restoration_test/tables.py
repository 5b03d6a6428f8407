"""Tables of restoration tests: every picture's gain, means with intervals, and the error budget."""

from collections.abc import Callable
from itertools import pairwise, product

import numpy as np
import pandas as pd

from isoplan.metrics.image import SUMS, metrics_of
from isoplan.metrics.regression import Resampling, interval
from isoplan.restoration_test.known import HOW, KEPT, RestorationTest

WORSE_DB = -0.01  # a cell that lost more than this came out worse
RESAMPLES = 2000
SETTINGS = ("layout", "masks", "objects", "camera", "order", "stride_px")
WHAT = ("test", "degradation", "detection", "network", *SETTINGS, *HOW)
# Columns of the summary: differences to a method, and shares of a method's gain.
COMPARED = {"minus_estimated": "estimated", "minus_true": "true"}
SHARES = {"known_share": "true", "grid_share": "true-grid"}
BUDGET = ("test", "step", "start", "end", "loss_db", "low", "high", "n")
MEASURED = (
    *("mean", "low", "high", "sd", "median", "n"),
    *(f"{name}{end}" for name in (*COMPARED, *SHARES) for end in ("", "_low", "_high")),
    *("worse_cells_share", "psf_error", "filled_share"),
)


def rows_of(test: RestorationTest, kept: np.ndarray) -> pd.DataFrame:
    """Tidy rows of one test from `load_units`: what it was, method, picture, source, cell, metric, value.

    cell: "all" or its row and column, "0,1". Metrics: SNR and SSIM of the degraded picture (method
    none), SNR_gain (dB) and SSIM_gain over it, SNR_gain_inside (where cells are hard: away from their
    seams, SEAM_SHARE), for cells SNR_gain, psf_error and filled (KEPT).
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
    """dB, of the errors (2,) before and after; NaN where one of them is 0."""
    return 10 * np.log10(errors[0] / errors[1]) if errors.all() else np.nan


def described(test: RestorationTest) -> dict:
    """The columns that say what a test was."""
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
    """One row per test, method and metric (SNR_gain, SSIM_gain, SNR_gain_inside; of none SNR, SSIM) of `rows_of`.

    mean, low, high, sd, median, n over pictures. minus_estimated, minus_true: mean paired difference to those
    methods; known_share: the mean as a share of that of true, grid_share of that of true-grid (the
    published "known PSFs"), where that is a gain for certain; each with _low and _high. Intervals are of
    95 %, by bootstrap over pictures, those cut from one real picture drawn together.
    worse_cells_share: cells more than 0.01 dB worse than before; psf_error: median over cells.
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
    """What each step from the truth to an estimate costs in SNR gain, of `rows_of`.

    Columns: test, step, start and end (methods), loss_db with low and high (95 %, by bootstrap as in
    `summarise`), n. Only steps between methods that the test ran.
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
    """(step, start, end) from each method that was run to the next one in the chain."""
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
    """The picture whose SNR gain by `method` (or the first method there is) is the median one."""
    gains = rows[(rows["metric"] == "SNR_gain") & (rows["cell"] == "all")]
    own = gains[gains["method"] == method]
    own = own if len(own) else gains[gains["method"] == gains["method"].iloc[0]]
    return int(own.sort_values(["value", "picture"])["picture"].iloc[(len(own) - 1) // 2])
