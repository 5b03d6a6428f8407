"""Tables and figures of restoration tests, with published values."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from isoplan.base.resources import ROOT
from isoplan.metrics.image import snr
from isoplan.report import pictures, restoration_plots, style
from isoplan.report.network_plots import PUBLISHED_GREY
from isoplan.report.restoration_plots import Gain
from isoplan.report.results import Study
from isoplan.report.section import StudyFigure
from isoplan.report.tables import Cell, Table
from isoplan.restoration_test.known import CROP_PX

PUBLISHED = ROOT / "resources" / "published" / "table_4_1.csv"
# Methods that published ones are compared with.
COUNTERPARTS = {"known": "true", "estimated": "estimated"}
PUBLISHED_LABELS = {
    "kotera-2013": "Kotera 2013",
    "whyte-2014": "Whyte 2014",
    "dong": "Dong",
    "jin": "Jin",
}
# Colours of the steps of the error budget.
STEP_COLOURS = {
    "camera noise": "#8C9199",
    "the map's grid": "#5FBFA0",
    "wrong PSF model": "#D98200",
    "PSF estimate": "#005EA8",
    "abstention": "#56B4E9",
    "one PSF": "#AA4499",
}


@dataclass
class Test:
    """A restoration test.

    Attributes
    ----------
    name, title, words
        Its name, title and description.
    degradation, detection
        PSF models of the blur and of the network.
    followed
        Whether the PSFs of the restoration have the same transitions between cells as those of the blur.
    rows
        Its rows of the summary, by (metric, method).
    """

    name: str
    title: str
    words: str
    degradation: str
    detection: str
    followed: bool
    rows: dict[tuple[str, str], dict]

    @property
    def matched(self) -> bool:
        """Whether the network's PSF model is that of the blur."""
        return self.degradation == self.detection

    @property
    def methods(self) -> list[str]:
        """Its methods, in the order of the report."""
        found = {method for metric, method in self.rows if metric == "SNR_gain"}
        return [method for method in style.TEST_METHODS if method in found]

    def row(self, method: str, metric: str = "SNR_gain") -> dict | None:
        """The summary of a method; None if there is none."""
        return self.rows.get((metric, method))


def read_tests(study: Study) -> list[Test]:
    """The restoration tests of a study, in order."""
    summary = study.table("restoration_summary.csv")
    found = []
    for name, part in summary.groupby("test", sort=False):
        first = part.iloc[0]
        rows = {(row["metric"], row["method"]): row for row in part.to_dict("records")}
        title = f"{style.psf_label(first['degradation'])} blur, {style.psf_label(first['detection'])} network"
        passing = {"hard": "hard cells", "bilinear": "bilinear between cells"}
        words = [f"{name}: blurred in {passing[first['layout']]}"]
        if first["layout"] != first["masks"]:
            words.append(f"restored {passing[first['masks']]}")
        words.append(_iterations(first))
        words.append(f"{int(part['n'].max())} pictures")
        models, followed = (
            (first["degradation"], first["detection"]),
            first["layout"] == first["masks"],
        )
        found.append(Test(str(name), title, "; ".join(words), *models, followed, rows))
    return found


def _iterations(row) -> str:
    kind = "accelerated" if row["acceleration"] == "momentum" else "plain"
    step = (
        "no TV"
        if row["tv_step"] == "none"
        else f"{row['tv_step']} TV of {float(row['tv_weight']):g}"
    )
    return f"{int(row['iterations'])} {kind} iterations, {step}"


def published(study: Study) -> pd.DataFrame:
    """The published table if the study asks for it, else no rows."""
    wanted = (study.config.get("report") or {}).get("published") == "table_4_1"
    table = pd.read_csv(PUBLISHED)
    return table if wanted else table.iloc[:0]


def _published_of(table: pd.DataFrame, test: Test, metric: str) -> dict[str, dict]:
    """Published mean and sd for the test's two PSF models, by method."""
    rows = _rows_of(table, test)
    return {row["method"]: row for row in rows[rows["metric"] == metric].to_dict("records")}


def _rows_of(table: pd.DataFrame, test: Test) -> pd.DataFrame:
    same = (table["degradation"] == test.degradation) & (table["detection"] == test.detection)
    return table[same]


def gain_table(study: Study, tests: list[Test]) -> Table | None:
    """Every method of every test, with the published values for the same two PSF models."""
    if not tests:
        return None
    printed, source = [], published(study)
    for test in tests:
        printed.append([Cell(f"{test.title}: {test.name}")])
        snr, ssim = (_published_of(source, test, metric) for metric in ("SNR_gain", "SSIM_gain"))
        # Published values are shown once for each pair of models.
        source = source.drop(_rows_of(source, test).index)
        theirs = {own: name for name, own in COUNTERPARTS.items()}
        for method in test.methods:
            name = theirs.get(method)
            printed.append(_gain_row(test, method, snr.get(name), ssim.get(name)))
        for name, label in PUBLISHED_LABELS.items():
            if name in snr:
                cells = [_published_cell(snr.get(name), 2), *[Cell("\u2013")] * 3]
                label = Cell(f"{label} (published)", colour=PUBLISHED_GREY)
                printed.append([label, *cells, _published_cell(ssim.get(name), 3)])
    head = ["Method", "SNR gain (dB)", "Estimated better by (dB)", "Of known gain"]
    return Table([*head, "Worse cells", "SSIM gain"], printed)


def _gain_row(test: Test, method: str, snr: dict | None, ssim: dict | None) -> list[Cell]:
    row, similar = test.row(method), test.row(method, "SSIM_gain")
    label = Cell(style.method_label(method), colour=style.method_colour(method))
    cells = [
        _mean_cell(row, 2, snr, f"median {style.signed(row['median'])}"),
        _difference_cell(row, "minus_estimated"),
        _share_cell(row, test.row(method, "SNR_gain_inside")),
        Cell(style.percent(row["worse_cells_share"])),
        _mean_cell(similar, 3, ssim) if similar else Cell("\u2013"),
    ]
    return [label, *cells]


def share_words(row: dict | None) -> str:
    """Share of the known PSFs' gain in words, or nothing if it is unknown."""
    share = (row or {}).get("known_share")
    return style.percent(share) if style.is_number(share) and share > 0 else ""


def _share_cell(row: dict, inside: dict | None) -> Cell:
    away = share_words(inside)
    return Cell(share_words(row) or "\u2013", notes=[f"{away} away from seams"] if away else [])


def _mean_cell(row: dict, decimals: int, beside: dict | None, *more: str) -> Cell:
    text = f"{style.signed(row['mean'], decimals)} \u00b1 {style.fixed(row['sd'], decimals)}"
    notes = [*more, style.interval(row["low"], row["high"], decimals)]
    notes = [note for note in notes if note]
    if beside:
        notes.append(f"published {_spread(beside, 2)}")
    return Cell(text, notes=notes)


def _difference_cell(row: dict, name: str) -> Cell:
    """By how much the estimated PSFs are better, with its interval."""
    if not style.is_number(row.get(name)):
        return Cell("\u2013")
    return _changed(-row[name], -row[f"{name}_high"], -row[f"{name}_low"])


def _changed(value: float, low: float, high: float) -> Cell:
    value, low, high = (round(v, 2) + 0.0 for v in (value, low, high))  # no minus sign before 0
    return Cell(style.signed(value), notes=[style.interval(low, high, 2)])


def _published_cell(row: dict | None, decimals: int) -> Cell:
    return Cell(_spread(row, min(decimals, 2)) if row else "\u2013")


def _spread(row: dict, decimals: int) -> str:
    return f"{style.signed(row['mean'], decimals)} \u00b1 {style.fixed(row['sd'], decimals)}"


def gain_figures(study: Study, tests: list[Test]) -> list[StudyFigure]:
    """Gains of all methods, for each test."""
    source, figures = published(study), []
    table = study.table("restoration_summary.csv")
    for test in tests:
        theirs = _published_of(source, test, "SNR_gain")
        source = source.drop(_rows_of(source, test).index)
        own = {mine: name for name, mine in COUNTERPARTS.items()}
        rows = [
            Gain(
                style.method_label(m), style.method_colour(m),
                *(float(test.row(m)[key]) for key in ("mean", "low", "high")),
                theirs.get(own.get(m), {}).get("mean", np.nan),
            )
            for m in test.methods
        ]  # fmt: skip
        draw = partial(restoration_plots.gains, rows, x_label="SNR gain (dB)", width_px=520)
        alt = f"SNR gain in dB of {len(rows)} methods, {test.title}, {test.words}."
        name = f"restoration_{_file(test.name)}"
        figures.append(
            StudyFigure(
                *(name, "restoration_summary", table, draw, ""),
                *(f"{test.title} ({test.words})", alt, 520),
            )
        )
    return figures


def _file(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def budget_figure(study: Study, tests: list[Test]) -> list[StudyFigure]:
    """The error budget of all tests."""
    table = study.table("restoration_budget.csv")
    table = table[table["step"] != "one PSF"]  # so much larger that it is only in the table
    panels = []
    for test in tests:
        part = table[table["test"] == test.name]
        rows = [
            Gain(r.step, STEP_COLOURS.get(r.step, style.INK), r.loss_db, r.low, r.high)
            for r in part.itertuples()
        ]
        if rows:
            panels.append((f"{test.name}: {test.title}", rows))
    if not panels:
        return []
    steps = style.in_order(table["step"], tuple(STEP_COLOURS))
    draw = partial(restoration_plots.losses, panels, steps, width_px=960)
    alt = "Cost of camera noise, the map's grid, a wrong model, the estimate and abstention, in dB."
    name = "restoration_budget"
    return [StudyFigure(name, name, table, draw, "", "", alt, 960)]


def budget_table(study: Study, tests: list[Test]) -> Table | None:
    """The error budget as a table: a row for each test, a column for each step."""
    table = study.table("restoration_budget.csv")
    if table.empty:
        return None
    steps = style.in_order(table["step"], tuple(STEP_COLOURS))
    printed = []
    for test in tests:
        rows = {r["step"]: r for r in table[table["test"] == test.name].to_dict("records")}
        cells = [_loss_cell(rows.get(step)) for step in steps]
        printed.append([Cell(test.name), *cells])
    return Table(["Test", *steps], printed)


def _loss_cell(row: dict | None) -> Cell:
    if row is None:
        return Cell("\u2013")
    return _changed(-row["loss_db"], -row["high"], -row["low"])


def picture_figure(study: Study, test: Test) -> list[StudyFigure]:
    """The median picture of a test, restored by all methods."""
    path = Path(study.folder) / "restoration_tests" / f"{test.name}.npz"
    if not path.exists():
        return []
    with np.load(path) as stored:
        found = {name: stored[name] for name in stored.files}
    index = int(found.pop("index"))
    limits = pictures.levels_of(found["sharp"])
    gains = _gains_of(found)
    order = style.in_order(found, ("sharp", "degraded", *style.TEST_METHODS))
    names = {"sharp": "Sharp", "degraded": "Degraded"}
    panels = []
    for name in order:
        words = names.get(name) or f"{style.method_label(name)}\n{style.signed(gains[name])} dB"
        panels.append((words, found[name]))
    table = pd.DataFrame(sorted(gains.items()), columns=["method", "snr_gain_db"])
    draw = partial(restoration_plots.pictures, panels, limits)
    title = f"{test.title} ({test.words}): picture {index}, whose gain is the median one"
    name = f"restoration_picture_{_file(test.name)}"
    alt = f"{title}: sharp, degraded and restored by {len(gains)} methods."
    return [StudyFigure(name, name, table, draw, "", title, alt, 1040, "jpg")]


def _gains_of(found: dict[str, np.ndarray]) -> dict[str, float]:
    """SNR gain of each picture except the sharp and the degraded one, as in the tables."""
    inner = (slice(CROP_PX, -CROP_PX),) * 2
    sharp = found["sharp"][inner]
    base = snr(found["degraded"][inner], sharp)
    return {
        name: snr(picture[inner], sharp) - base
        for name, picture in found.items()
        if name not in ("sharp", "degraded")
    }
