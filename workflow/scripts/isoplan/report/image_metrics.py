"""The section on image metrics of every mosaic and method."""

import numpy as np
import pandas as pd

from isoplan.metrics import catalogue
from isoplan.metrics.catalogue import Metric
from isoplan.report import style
from isoplan.report.results import Study, metric_values
from isoplan.report.section import Caution, Part, Section
from isoplan.report.tables import Cell, Table

INTRO = (
    "↑ higher is better; ↓ lower is better; → truth (→ reference): closer to the sharp truth (the reference frame) is "
    "better. The best value is marked, except for the oracle, the truth and the reference. If the reference is as blurred "
    "as the picture (a longer exposure, the rest of a split one), it counts sharpening as an error: look at SNR-reblurred "
    "then. If neither truth nor reference is known, only {alone} can be given. CV and Sharpness also increase with noise, "
    "so higher values are not always better."
)


SEAM_LIMIT = 3e-3  # less than the noise of 10^4 photons, and more than the default halo leaves


def metric_table(study: Study, mosaic: str) -> Table | None:
    """Every metric of every method of a mosaic, with the best values marked; None if there are none."""
    values = metric_values(study)
    known = catalogue.by_name()
    values = values[(values["mosaic"] == mosaic) & values["metric"].isin(list(known))]
    if values.empty:
        return None
    grid = values.pivot(index="method", columns="metric", values="value").astype(float)
    metrics = [metric for name, metric in known.items() if name in grid.columns]
    judged = any(metric.needs_truth for metric in metrics)
    standard = style.standard_in(grid.index) or ("truth" if judged else None)
    methods = style.sort_methods(grid.index)
    best = {metric: _best_method(grid, metric) for metric in metrics}
    rows = []
    for method in methods:
        row = [Cell(style.method_label(method), colour=style.method_colour(method))]
        for metric in metrics:
            shown = style.metric_text(metric, float(grid.loc[method, metric.name]))
            row.append(Cell(shown, best=best[metric] == method))
        rows.append(row)
    return Table(
        ["Method", *(_metric_head(m, standard) for m in metrics)], rows, _seams(study, mosaic)
    )


def seam_error(study: Study, mosaic: str) -> float | None:
    """Largest seam between the units of a mosaic, as a share of its range; None if not measured."""
    found = metric_values(study)
    found = found[(found["mosaic"] == mosaic) & (found["metric"] == "seam_error")]
    return float(found["value"].astype(float).max()) if len(found) else None


def _seams(study: Study, mosaic: str) -> str:
    error = seam_error(study, mosaic)
    if error is None:
        return ""
    if error == 0:
        return "Restored as a single unit, without seams."
    return (
        "Seams: at the borders of its units, the restoration differs from one across them by at most "
        f"{error:.1e} of the range (limit {SEAM_LIMIT:.0e})."
    )


def _best_method(grid: pd.DataFrame, metric: Metric) -> str | None:
    """The method with the best value, without the oracle and the standard, which know the truth."""
    column = grid[metric.name].drop(["oracle", *style.STANDARDS], errors="ignore").dropna()
    if len(column) < 2:
        return None
    if metric.better == 0:
        standard = style.standard_in(grid.index)
        if standard is None or not np.isfinite(grid.loc[standard, metric.name]):
            return None
        return str((column - grid.loc[standard, metric.name]).abs().idxmin())
    return str(column.idxmax() if metric.better > 0 else column.idxmin())


def _metric_head(metric: Metric, standard: str | None) -> str:
    arrows = {1: "\u2191", -1: "\u2193", 0: f"\u2192 {standard}" if standard else ""}
    return f"{style.with_unit(metric.name, metric.unit)} {arrows[metric.better]}".rstrip()


def parts(study: Study) -> list[Part]:
    if not study.mosaics:
        return []
    found = [
        Part(m.name, tables=[("", table)], notes=[table.note])
        for m in study.mosaics
        if (table := metric_table(study, m.name))
    ]
    if not found:
        return [Part(remarks=["No image metrics were computed in this study."])]
    alone = ", ".join(m.name for m in catalogue.METRICS if not m.needs_truth)
    shown = set(metric_values(study)["metric"])
    meanings = [f"{m.name}: {m.meaning}" for m in catalogue.METRICS if m.name in shown]
    return [
        Part(words=[INTRO.format(alone=alone), f"{'; '.join(meanings)}."]),
        *found,
        Part(data=["metrics.csv", "cells.csv", "frc.csv"]),
    ]


def cautions(study: Study) -> list[Caution]:
    fewer = "" if "iterations" in study.fixed else " or fewer `iterations`"
    return [
        Caution(
            f"{m.name}: there are seams of {seams:.1e} of the range between units. Use a larger `halo_px`{fewer} to "
            "make them smaller.",
            m.name,
        )
        for m in study.mosaics
        if (seams := seam_error(study, m.name)) is not None and seams > SEAM_LIMIT
    ]


SECTION = Section("metrics", "Metrics", "Image metrics", parts, cautions=cautions)
