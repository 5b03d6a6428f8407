"""Restoration tests in the report: their tables, the published figures beside them, figures and words."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from isoplan.config.schema import ROOT
from isoplan.metrics.image import snr
from isoplan.report import pictures, restoration_plots, style
from isoplan.report.network_plots import PUBLISHED_GREY
from isoplan.report.restoration_plots import Gain
from isoplan.report.results import Study
from isoplan.report.study_figure import StudyFigure
from isoplan.report.tables import Cell, Table
from isoplan.restoration_test.ways import CROP_PX

PUBLISHED = ROOT / "resources" / "published" / "table_4_1.csv"
# Published methods -> ours that they are set against.
COUNTERPARTS = {"known": "true", "estimated": "estimated"}
PUBLISHED_LABELS = {
    "kotera-2013": "Kotera 2013",
    "whyte-2014": "Whyte 2014",
    "dong": "Dong",
    "jin": "Jin",
}
BLIND = ("blind", "deepinv-blind", "wiener", "unsharp", "constant")
# What each step of the error budget costs has its colour.
STEP_COLOURS = {
    "camera noise": "#8C9199",
    "the map's grid": "#5FBFA0",
    "wrong PSF model": "#D98200",
    "PSF estimate": "#005EA8",
    "abstention": "#56B4E9",
    "one PSF": "#AA4499",
}
# The goals that a study of these tests is held against.
KNOWN_SHARE_GOAL, MODEL_GOAL_DB, WORSE_GOAL = 0.95, 0.15, 0.02
SAME_DB = 0.05  # a gain that one would not see
INTRO = (
    "Each cell of a small picture is blurred by a random PSF of its own, the picture is exposed and then restored "
    "with known, estimated and other PSFs, all of them on the very same pictures. Gains are over the degraded picture "
    "(SNR: power of the sharp picture over that of the error; 16 px at the border left out); in brackets 95 % intervals by bootstrap over pictures."
)
SEAMS = (
    "Where hard cells meet, light is lost or doubled, which on bright empty ground outweighs all else and only the very PSFs undo: away from these seams "
    "means further from them than a quarter of a cell."
)
BESIDE_PUBLISHED = (
    "Published figures (thesis, Table 4.1) are context, no yardstick: their pictures, ranges of PSFs and noise are other "
    "ones and in part unknown. Grey diamonds are published."
)


@dataclass
class Test:
    """One test: its rows of the summary by (metric, method), and what it was.

    followed: whether the PSFs that restore pass over into one another as those that blurred do.
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
        return self.degradation == self.detection

    @property
    def methods(self) -> list[str]:
        found = {method for metric, method in self.rows if metric == "SNR_gain"}
        return [method for method in style.TEST_METHODS if method in found]

    def row(self, method: str, metric: str = "SNR_gain") -> dict | None:
        return self.rows.get((metric, method))


def read_tests(study: Study) -> list[Test]:
    """The restoration tests of a study, in its order; none where it has none."""
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
    """The published table where the study asks for it, else no rows."""
    wanted = (study.config.get("report") or {}).get("published") == "table_4_1"
    table = pd.read_csv(PUBLISHED)
    return table if wanted else table.iloc[:0]


def _published_of(table: pd.DataFrame, test: Test, metric: str) -> dict[str, dict]:
    """method -> published mean and sd for the test's two models."""
    rows = _rows_of(table, test)
    return {row["method"]: row for row in rows[rows["metric"] == metric].to_dict("records")}


def _rows_of(table: pd.DataFrame, test: Test) -> pd.DataFrame:
    same = (table["degradation"] == test.degradation) & (table["detection"] == test.detection)
    return table[same]


def intro(tests: list[Test]) -> str:
    """What the section opens with."""
    seams = any(metric == "SNR_gain_inside" for test in tests for metric, _ in test.rows)
    return f"{INTRO} {SEAMS}" if seams else INTRO


def gain_table(study: Study, tests: list[Test]) -> Table | None:
    """Every method of every test, with the published figures of the same two models."""
    if not tests:
        return None
    printed, source = [], published(study)
    for test in tests:
        printed.append([Cell(f"{test.title}: {test.name}")])
        snr, ssim = (_published_of(source, test, metric) for metric in ("SNR_gain", "SSIM_gain"))
        # Once for a pair of models.
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


def _share(row: dict | None) -> str:
    """Of the known PSFs' gain, or nothing where there is no telling."""
    share = (row or {}).get("known_share")
    return style.percent(share) if style.is_number(share) and share > 0 else ""


def _share_cell(row: dict, inside: dict | None) -> Cell:
    away = _share(inside)
    return Cell(_share(row) or "\u2013", notes=[f"{away} away from seams"] if away else [])


def _mean_cell(row: dict, decimals: int, beside: dict | None, *more: str) -> Cell:
    text = f"{style.signed(row['mean'], decimals)} \u00b1 {style.fixed(row['sd'], decimals)}"
    notes = [*more, style.interval(row["low"], row["high"], decimals)]
    notes = [note for note in notes if note]
    if beside:
        notes.append(f"published {_spread(beside, 2)}")
    return Cell(text, notes=notes)


def _difference_cell(row: dict, name: str) -> Cell:
    """How much better the other method is, with its interval."""
    if not style.is_number(row.get(name)):
        return Cell("\u2013")
    return _changed(-row[name], -row[f"{name}_high"], -row[f"{name}_low"])


def _changed(value: float, low: float, high: float) -> Cell:
    value, low, high = (round(v, 2) + 0.0 for v in (value, low, high))  # no minus before a nought
    return Cell(style.signed(value), notes=[style.interval(low, high, 2)])


def _published_cell(row: dict | None, decimals: int) -> Cell:
    return Cell(_spread(row, min(decimals, 2)) if row else "\u2013")


def _spread(row: dict, decimals: int) -> str:
    return f"{style.signed(row['mean'], decimals)} \u00b1 {style.fixed(row['sd'], decimals)}"


def headline(tests: list[Test]) -> tuple[str, str, str]:
    """Level, headline and lead of a study of restoration tests."""
    own = [t.row("estimated") for t in tests if t.matched and t.followed and t.row("estimated")]
    shares = [row.get("known_share") for row in own]
    shares = [share for share in shares if style.is_number(share)]
    if not shares:
        return "plain", f"{len(tests)} restoration test{'s' * (len(tests) > 1)}", ""
    low, high = style.percent(min(shares)), style.percent(max(shares))
    span = low if low == high else f"{low.removesuffix(' %')} to {high}"
    words = (
        f"PSFs estimated from the picture alone give {span} of the gain of known PSFs, where the network's model is "
        "the one that blurs and the map can follow the field."
    )
    return "plain", f"Estimated PSFs: {span} of the gain of known ones", words


def warnings(tests: list[Test]) -> list[str]:
    """Where the estimated PSFs fall short of what they are held against, test by test."""
    return [
        f"{test.name} ({test.title}): {'; '.join(words)}."
        for test in tests
        if (words := _shortcomings(test))
    ]


def _shortcomings(test: Test) -> list[str]:
    own, best = test.row("estimated"), test.row("best-of-model")
    if own is None:
        return []
    if own["mean"] < SAME_DB:
        what = "does harm" if own["mean"] < -SAME_DB else "gains nothing"
        grid = test.row("true-grid")
        known = f" (known ones on the map's grid {style.signed(grid['mean'])} dB)" if grid else ""
        gain = style.signed(round(own["mean"], 2) + 0.0)
        return [f"restoring with estimated PSFs {what}, {gain} dB{known}"]
    found, share, worse = [], own.get("known_share"), own["worse_cells_share"]
    if test.matched:
        if style.is_number(share) and share < KNOWN_SHARE_GOAL:
            goal, inside = style.percent(KNOWN_SHARE_GOAL), test.row("estimated", "SNR_gain_inside")
            away = f" ({_share(inside)} away from the seams)" if _share(inside) else ""
            found.append(f"{style.percent(share)} of the known PSFs' gain{away}, less than {goal}")
    elif best and best["mean"] - own["mean"] > MODEL_GOAL_DB:
        short = style.fixed(best["mean"] - own["mean"])
        found.append(f"{short} dB below the nearest PSFs of the network's model")
    if style.is_number(worse) and worse > WORSE_GOAL:
        found.append(f"{100 * worse:.1f} % of the cells came out worse")
    for method in BLIND:
        row = test.row(method)
        if (
            row
            and style.is_number(row["minus_estimated_high"])
            and row["minus_estimated_high"] >= 0
        ):
            ends = style.interval(-row["minus_estimated_high"], -row["minus_estimated_low"], 2)
            gap = f"{style.signed(-row['minus_estimated'])} dB {ends}"
            found.append(f"not clearly better than {style.method_label(method)} ({gap})")
    return found


def test_figures(study: Study) -> list[StudyFigure]:
    """Gains of all methods test by test, what each step costs, and the median picture of every test."""
    tests, source, figures = read_tests(study), published(study), []
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
                *(name, "restoration_summary", table, draw, "restoration", ""),
                *(f"{test.title} ({test.words})", alt, 520),
            )
        )
    figures += _budget_figure(study, tests)
    for test in tests:
        figures += _picture_figure(study, test)
    return figures


def _file(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def _budget_figure(study: Study, tests: list[Test]) -> list[StudyFigure]:
    table = study.table("restoration_budget.csv")
    table = table[table["step"] != "one PSF"]  # many times larger: it is in the table
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
    alt = (
        "What camera noise, the map's grid, a wrong model, the estimate and abstention cost, in dB."
    )
    name = "restoration_budget"
    return [StudyFigure(name, name, table, draw, "restoration-budget", "", "", alt, 960)]


def budget_table(study: Study, tests: list[Test]) -> Table | None:
    """The error budget in figures: a row per test, a column per step."""
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


def _picture_figure(study: Study, test: Test) -> list[StudyFigure]:
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
    return [
        StudyFigure(name, name, table, draw, "restoration-pictures", "", title, alt, 1040, "jpg")
    ]


def _gains_of(found: dict[str, np.ndarray]) -> dict[str, float]:
    """SNR gain of every picture but the sharp and the degraded one, as in the tables."""
    inner = (slice(CROP_PX, -CROP_PX),) * 2
    sharp = found["sharp"][inner]
    base = snr(found["degraded"][inner], sharp)
    return {
        name: snr(picture[inner], sharp) - base
        for name, picture in found.items()
        if name not in ("sharp", "degraded")
    }
