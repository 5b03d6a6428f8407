"""The report's tables: header, rows of ready-made text, and which cells are best."""

import platform
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata

import numpy as np
import pandas as pd

from isoplan.report import cost, lineup, style
from isoplan.report.results import Study, metric_values

PACKAGES = (
    *("isoplan", "snakemake", "snakemake-executor-plugin-slurm", "torch", "torchvision", "timm"),
    *("numpy", "scipy", "scikit-image", "tifffile", "zarr", "pandas", "matplotlib", "jinja2"),
)
ROW_LIMIT = 200
METRICS = (
    *("SNR", "PSNR", "SSIM", "MSE", "gradient-MSE", "CV", "Sharpness"),
    *("FRC", "FRC-resolution", "SNR-reblurred"),
)
NO_TRUTH_METRICS = ("CV", "Sharpness")
SEAM_LIMIT = 3e-3  # below the noise of 10^4 photons; what the default halo leaves: `halo`
# What regression.csv holds beside parameters, with its metrics as column titles.
FLAGS = {
    "validity": {"accuracy": "Texture judged rightly"},
    "alarm": {
        "false-alarms": "Raw pictures that raise the alarm",
        "found": "Processed pictures that do",
    },
    "other_blur": {
        "false-alarms": "Pictures said to be blurred otherwise",
        "found": "Blurred otherwise and said so",
    },
}


@dataclass
class Cell:
    """notes: small lines below the text."""

    text: str
    best: bool = False
    colour: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class Table:
    """head: column titles. The first column of every row is its header; a row of one cell heads a group."""

    head: list[str]
    rows: list[list[Cell]]
    note: str = ""


def metric_table(study: Study, mosaic: str) -> Table | None:
    """Every metric of every method; the best of what needs no truth is marked."""
    values = metric_values(study)
    values = values[(values["mosaic"] == mosaic) & values["metric"].isin(METRICS)]
    if values.empty:
        return None
    grid = values.pivot(index="method", columns="metric", values="value").astype(float)
    judged = any(m in grid.columns for m in METRICS if m not in NO_TRUTH_METRICS)
    metrics = [m for m in METRICS if m in grid.columns and (judged or m in NO_TRUTH_METRICS)]
    measure = style.measure_in(grid.index) or ("truth" if judged else None)
    methods = style.sort_methods(grid.index)
    best = {metric: _best_method(grid, metric) for metric in metrics}
    rows = []
    for method in methods:
        row = [Cell(style.method_label(method), colour=style.method_colour(method))]
        for metric in metrics:
            shown = style.metric_text(metric, float(grid.loc[method, metric]))
            row.append(Cell(shown, best=best[metric] == method))
        rows.append(row)
    return Table(
        ["Method", *(_metric_head(m, measure) for m in metrics)], rows, _seams(study, mosaic)
    )


def seam_error(study: Study, mosaic: str) -> float | None:
    """What restoring by units left at their borders, as a share of the range; None where not measured."""
    found = metric_values(study)
    found = found[(found["mosaic"] == mosaic) & (found["metric"] == "seam_error")]
    return float(found["value"].astype(float).max()) if len(found) else None


def _seams(study: Study, mosaic: str) -> str:
    error = seam_error(study, mosaic)
    if error is None:
        return ""
    if error == 0:
        return "Restored as one unit: no seams."
    return (
        "Seams: at borders of its units the restoration differs from one made across them by at most "
        f"{error:.1e} of the range (limit {SEAM_LIMIT:.0e})."
    )


def _best_method(grid: pd.DataFrame, metric: str) -> str | None:
    """The oracle and the measure do not compete: they know what a restoration has to find."""
    column = grid[metric].drop(["oracle", *style.MEASURES], errors="ignore").dropna()
    if len(column) < 2:
        return None
    direction = style.METRIC_DIRECTION[metric]
    if direction == 0:
        measure = style.measure_in(grid.index)
        if measure is None or not np.isfinite(grid.loc[measure, metric]):
            return None
        return str((column - grid.loc[measure, metric]).abs().idxmin())
    return str(column.idxmax() if direction > 0 else column.idxmin())


def _metric_head(metric: str, measure: str | None) -> str:
    arrows = {1: "\u2191", -1: "\u2193", 0: f"\u2192 {measure}" if measure else "\u2191"}
    unit = style.METRIC_UNITS.get(metric)
    return f"{style.with_unit(metric, unit or '')} {arrows[style.METRIC_DIRECTION[metric]]}"


def regression_table(study: Study) -> Table | None:
    """One row per network, test set and parameter, at the weakest degradation that was judged.

    Columns that never change go to the note; where there is a 95 % interval it stands below the value.
    """
    everything = study.table("regression.csv")
    everything = everything[~everything["parameter"].isin(FLAGS)]
    table = lineup.weakest(everything.assign(degradation=everything["degradation"].fillna("none")))
    if table.empty:
        return None
    keys = ["network", "psf_model", "train_set", "test_set", "degradation", "level", "parameter"]
    table = table.assign(level=table["level"].astype(str).str.removesuffix(".0"))
    table[keys] = table[keys].fillna("\u2013")
    # The mean over a single parameter is that parameter once more.
    alone = table.groupby(keys[:-1])["parameter"].transform("nunique") <= 2
    table = table[~(alone & (table["parameter"] == "mean"))]
    metrics = list(dict.fromkeys(table["metric"]))
    constant = [k for k in keys[:-1] if table[k].nunique() == 1]
    shown = ["parameter", *(k for k in keys[:-1] if k not in constant)]
    rows = []
    for key, part in table.groupby(keys, sort=False):
        named = dict(zip(keys, key, strict=True))
        unit = lineup.parameter_unit(study, named["network"], named["parameter"])
        named["parameter"] = style.with_unit(style.parameter_label(named["parameter"]), unit)
        values = {row["metric"]: row for row in part.to_dict("records")}
        count = part["n"].max()
        rows.append(
            [Cell(str(named[k])) for k in shown]
            + [_regression_cell(values.get(metric)) for metric in metrics]
            + [Cell(f"{count:,.0f}" if pd.notna(count) else "\u2013")]
        )
    names = {"psf_model": "PSF model", "R2": "R²", "r2": "R²"}
    head = [names.get(k, k.replace("_", " ").capitalize()) for k in shown]
    head += [names.get(metric, metric) for metric in metrics]
    fixed = "; ".join(f"{k.replace('_', ' ')} {table[k].iloc[0]}" for k in constant)
    notes = [f"All rows: {fixed.replace('psf', 'PSF')}."] if fixed else []
    if "low" in table and table["low"].notna().any():
        notes.append("In brackets the 95 % interval, by bootstrap over scenes.")
    if len(rows) > ROW_LIMIT:
        notes.append(f"The first {ROW_LIMIT} of {len(rows)} rows; the CSV has all.")
    if everything["level"].nunique() > 1:
        notes.append("Stronger degradations are in the curves above and in the CSV.")
    return Table([*head, "n"], rows[:ROW_LIMIT], " ".join(notes))


def _regression_cell(row: dict | None) -> Cell:
    if row is None or not style.is_number(row["value"]):
        return Cell("\u2013")
    text = partial(style.fixed, decimals=3) if row["metric"].upper() == "R2" else style.significant
    low, high = row.get("low"), row.get("high")
    known = style.is_number(low) and style.is_number(high)
    return Cell(text(row["value"]), notes=[f"[{text(low)}, {text(high)}]"] if known else [])


def flag_table(study: Study) -> Table | None:
    """How well networks say where there is no texture, and which pictures they were not made for."""
    table = study.table("regression.csv")
    table = lineup.weakest(table[table["parameter"].isin(FLAGS)])
    if table.empty:
        return None
    columns = [(p, m) for p, metrics in FLAGS.items() for m in metrics]
    present = set(zip(table["parameter"], table["metric"], strict=True))
    columns = [column for column in columns if column in present]
    rows = []
    for (network, test_set), part in table.groupby(["network", "test_set"], sort=False):
        values = {(r["parameter"], r["metric"]): r for r in part.to_dict("records")}
        cells = [_share_cell(values.get(column)) for column in columns]
        rows.append([Cell(f"{network} on {test_set}"), *cells])
    head = ["Network and test set", *(FLAGS[p][m] for p, m in columns)]
    return Table(head, rows[:ROW_LIMIT])


def _share_cell(row: dict | None) -> Cell:
    if row is None:
        return Cell("\u2013")
    limits = [style.percent(row.get(key)) for key in ("low", "high")]
    notes = [f"[{limits[0]}, {limits[1]}]"] if "\u2013" not in limits else []
    return Cell(style.percent(float(row["value"])), notes=notes)


def mosaic_table(study: Study) -> Table | None:
    if not study.mosaics:
        return None
    rows = []
    for mosaic in study.mosaics:
        facts, psf_map = mosaic.facts, study.maps.get(mosaic.name)
        cells = f"{psf_map.shape_cells[0]} \u00d7 {psf_map.shape_cells[1]}" if psf_map else "\u2013"
        size = "\u2013"
        if facts.get("height_px"):
            size = f"{facts['height_px']:,} \u00d7 {facts['width_px']:,}"
        pixel, gain, offset = (
            f"{facts[key]:g}" if style.is_number(facts.get(key)) else "unknown"
            for key in ("pixel_size_um", "gain", "offset")
        )
        notes = facts.get("notes") or []
        notes = "; ".join(notes) if isinstance(notes, list) else str(notes)
        texts = [mosaic.name, size, pixel, str(facts.get("dtype", "\u2013")), gain, offset, cells]
        rows.append([Cell(text) for text in [*texts, notes or "\u2013"]])
    head = ["Mosaic", "Height \u00d7 width (px)", "Pixel (µm)", "Type"]
    return Table([*head, "Gain (counts/e⁻)", "Offset (counts)", "Map cells", "Notes"], rows)


def cost_table(study: Study, rules: pd.DataFrame) -> Table | None:
    """Jobs, time and memory, rule by rule. rules: of `cost.by_rule`."""
    if rules.empty:
        return None
    whole = rules["seconds"].sum()
    rows = []
    for row in rules.to_dict("records"):
        texts = [row["rule"], f"{row['jobs']:,}", style.duration(row["seconds"])]
        texts += [style.percent(row["seconds"] / whole), style.duration(row["longest_s"])]
        texts += [_known(row["seconds_per_megapixel"], style.significant)]
        texts += [_known(row["start_s"], style.significant), _known(row["overhead"], style.percent)]
        texts += [style.memory(row["peak_mb"]), _known(row["mb_per_megapixel"], style.significant)]
        rows.append([Cell(text) for text in texts])
        if np.isfinite(row["gpu_mb"]):
            rows[-1][-2].notes.append(f"GPU {style.memory(row['gpu_mb'])}")
    head = ["Rule", "Jobs", "Time, all", "Share", "Longest job", "s per Mpx", "Start of a job (s)"]
    head += ["Loop's own share", "Peak memory", "MB per Mpx"]
    peak = style.memory(rules["peak_mb"].max())
    note = f"All jobs together: {style.duration(whole)}; largest job {peak}."
    if rules["gpu_mb"].notna().any():
        note += " On a GPU a job takes batches as large as its free memory allows."
    return Table(head, rows, note)


def _known(value: float, text) -> str:
    return text(value) if np.isfinite(value) else "\u2013"


def suggestion_table(suggestions: list[cost.Suggestion]) -> Table | None:
    """What to ask the cluster for, by size of the mosaic."""
    if not suggestions:
        return None
    rows = []
    for one in suggestions:
        texts = [f"{one.height_px:,} \u00d7 {one.width_px:,}", style.duration(one.seconds)]
        texts.append(f"{one.jobs_per_mosaic:,}")
        for kind in ("map", "restore", "other"):
            memory, time = one.resources[f"{kind}_mem_mb"], one.resources[f"{kind}_minutes"]
            texts.append(f"{memory:,} MB, {time:,} min")
        rows.append([Cell(text) for text in texts])
    head = ["Height \u00d7 width (px)", "Work", "jobs_per_mosaic"]
    return Table([*head, "Mapping job", "Restoring job", "Any other job"], rows)


def version_table() -> Table:
    rows = [[Cell("Python"), Cell(platform.python_version())]]
    for package in PACKAGES:
        try:
            rows.append([Cell(package), Cell(metadata.version(package))])
        except metadata.PackageNotFoundError:
            continue
    return Table(["Package", "Version"], rows, f"{platform.system()} {platform.machine()}")
