"""The report's tables: header, rows of ready-made text, and which cells are best."""

import platform
from dataclasses import dataclass
from importlib import metadata

import numpy as np
import pandas as pd

from isoplan.report import style
from isoplan.report.figures import parameter_unit
from isoplan.report.results import Study, metric_values

PACKAGES = (
    *("isoplan", "snakemake", "snakemake-executor-plugin-slurm", "torch", "torchvision", "timm"),
    *("numpy", "scipy", "scikit-image", "tifffile", "zarr", "pandas", "matplotlib", "jinja2"),
)
ROW_LIMIT = 200
METRICS = ("SNR", "PSNR", "SSIM", "MSE", "gradient-MSE", "CV", "Sharpness")
NO_TRUTH_METRICS = ("CV", "Sharpness")


@dataclass
class Cell:
    text: str
    best: bool = False
    colour: str = ""


@dataclass
class Table:
    """head: column titles. The first column of every row is its header."""

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
    has_truth = any(m in grid.columns for m in METRICS if m not in NO_TRUTH_METRICS)
    metrics = [m for m in METRICS if m in grid.columns and (has_truth or m in NO_TRUTH_METRICS)]
    methods = style.sort_methods(grid.index)
    best = {metric: _best_method(grid, metric) for metric in metrics}
    rows = []
    for method in methods:
        row = [Cell(style.method_label(method), colour=style.method_colour(method))]
        for metric in metrics:
            shown = style.metric_text(metric, float(grid.loc[method, metric]))
            row.append(Cell(shown, best=best[metric] == method))
        rows.append(row)
    return Table(["Method", *(_metric_head(m, has_truth) for m in metrics)], rows)


def _best_method(grid: pd.DataFrame, metric: str) -> str | None:
    """The oracle and the truth do not compete: nobody has them for a real mosaic."""
    column = grid[metric].drop(["oracle", "truth"], errors="ignore").dropna()
    if len(column) < 2:
        return None
    direction = style.METRIC_DIRECTION[metric]
    if direction == 0:
        if "truth" not in grid.index or not np.isfinite(grid.loc["truth", metric]):
            return None
        return str((column - grid.loc["truth", metric]).abs().idxmin())
    return str(column.idxmax() if direction > 0 else column.idxmin())


def _metric_head(metric: str, has_truth: bool) -> str:
    arrows = {1: "\u2191", -1: "\u2193", 0: "\u2192 truth" if has_truth else "\u2191"}
    unit = style.METRIC_UNITS.get(metric)
    return f"{style.with_unit(metric, unit or '')} {arrows[style.METRIC_DIRECTION[metric]]}"


def regression_table(study: Study) -> Table | None:
    """One row per network, test set, level and parameter; columns that never change go to the note."""
    table = study.table("regression.csv")
    if table.empty:
        return None
    keys = ["network", "psf_model", "train_set", "test_set", "degradation", "level", "parameter"]
    table = table.assign(level=table["level"].astype(str).str.removesuffix(".0"))
    table[keys] = table[keys].fillna("\u2013")
    metrics = list(dict.fromkeys(table["metric"]))
    wide = table.pivot_table(
        index=keys, columns="metric", values="value", sort=False, aggfunc="last"
    )
    counts = table.groupby(keys, sort=False)["n"].max()
    constant = [k for k in keys[:-1] if table[k].nunique() == 1]
    shown = [k for k in keys if k not in constant]
    rows = []
    for key, values in list(wide.iterrows())[:ROW_LIMIT]:
        named = dict(zip(keys, key, strict=True))
        unit = parameter_unit(study, named["network"], named["parameter"])
        named["parameter"] = style.with_unit(style.parameter_label(named["parameter"]), unit)
        row = [Cell(str(named[k])) for k in shown]
        row += [Cell(_regression_text(m, values[m])) for m in metrics]
        rows.append([*row, Cell(f"{counts[key]:,.0f}" if pd.notna(counts[key]) else "\u2013")])
    # The parameter leads, as the row's header.
    order = [
        len(shown) - 1,
        *range(len(shown) - 1),
        *range(len(shown), len(shown) + len(metrics) + 1),
    ]
    head = [*(k.replace("_", " ").capitalize() for k in shown), *metrics, "n"]
    head = [{"Psf model": "PSF model", "R2": "R²", "r2": "R²"}.get(title, title) for title in head]
    note = "; ".join(f"{k.replace('_', ' ')} {table[k].iloc[0]}" for k in constant)
    note = f"All rows: {note.replace('psf', 'PSF')}." if note else ""
    if len(wide) > ROW_LIMIT:
        note += f" The first {ROW_LIMIT} of {len(wide)} rows; the CSV has all."
    return Table([head[i] for i in order], [[row[i] for i in order] for row in rows], note)


def _regression_text(metric: str, value) -> str:
    if metric.upper() == "R2":
        return style.fixed(float(value), 3)
    return style.significant(float(value))


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
            f"{facts[key]:g}" if style.is_number(facts.get(key)) else "\u2013"
            for key in ("pixel_size_um", "gain", "offset")
        )
        notes = facts.get("notes") or []
        notes = "; ".join(notes) if isinstance(notes, list) else str(notes)
        texts = [mosaic.name, size, pixel, str(facts.get("dtype", "\u2013")), gain, offset, cells]
        rows.append([Cell(text) for text in [*texts, notes or "\u2013"]])
    head = ["Mosaic", "Height \u00d7 width (px)", "Pixel (µm)", "Type"]
    return Table([*head, "Gain (counts/e⁻)", "Offset (counts)", "Map cells", "Notes"], rows)


def benchmark_table(study: Study) -> Table | None:
    """Jobs, time and peak memory, rule by rule, as Snakemake measured them."""
    if study.benchmarks.empty:
        return None
    rows = []
    for rule, jobs in study.benchmarks.groupby("rule", sort=False):
        peak = jobs["peak_mib"].max()
        texts = [rule, f"{len(jobs):,}", style.duration(float(jobs["seconds"].sum()))]
        texts += [style.duration(float(jobs["seconds"].max())), style.memory(float(peak))]
        rows.append([Cell(text) for text in texts])
    total = study.benchmarks["seconds"].sum()
    peak = float(study.benchmarks["peak_mib"].max())
    note = f"All jobs together: {style.duration(float(total))}; largest job {style.memory(peak)}."
    return Table(["Rule", "Jobs", "Time, all", "Longest job", "Peak memory"], rows, note)


def version_table() -> Table:
    rows = [[Cell("Python"), Cell(platform.python_version())]]
    for package in PACKAGES:
        try:
            rows.append([Cell(package), Cell(metadata.version(package))])
        except metadata.PackageNotFoundError:
            continue
    return Table(["Package", "Version"], rows, f"{platform.system()} {platform.machine()}")
