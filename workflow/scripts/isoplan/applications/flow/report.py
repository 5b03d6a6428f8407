"""What the report says of flow: how near the motion comes that is found."""

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from isoplan.applications.flow.fit import APART
from isoplan.applications.flow.summary import ALL, MAGNITUDES, TEXTURED
from isoplan.applications.flow.summary import COLUMNS as SUMMED
from isoplan.applications.flow.trials import COLUMNS, REST
from isoplan.report import plots, style
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Caution, Part, Score, Section, StudyFigure
from isoplan.report.tables import Cell, Table

ROWS, SUMMARY = "flow.csv", "flow_summary.csv"
PUBLISHED = {"two": 0.92, "pipe": 0.91}  # thesis, section 6.4; its light is not stated
MOTIONS = {
    "one": "one motion in each picture",
    "two": "two motions with a straight border",
    "pipe": "from along x to along the axis, as published",
    "parabola": "along x, fastest in the middle",
    REST: "at rest",
}
LABELS = {
    "y": "displacement along y",
    "x": "displacement along x",
    "axial": "path along the axis",
    "start": "start above focus",
}
INTRO = (
    "Specimens moved while the camera exposed, sideways and along the axis, and their motion was found in each window of a picture alone. R² is the published score: the squared "
    "correlation over the magnitudes of the displacements along y and x, the path along the axis and the distance from focus at the start, averaged; brackets are its 95 % interval. "
    "Directions count modulo 180°, as opposite ones look the same. The surest half are the windows whose intervals are narrowest."
)
SEQUENCE = ("headings", "headings_right", "tracks", "held_path", "held_end")
MOVES = 0.25  # share of the windows at rest that are said to move, above which the report warns
HELD = 0.75  # share of 90 % intervals that hold the truth, below which the report warns
WIDTH_PX = 1040


def named(study: Study) -> list[dict]:
    return study.config.get("flow_tests") or []


def summed(study: Study) -> pd.DataFrame:
    """flow_summary.csv of these tests; it has no rows if there are none."""
    rows = study.table(SUMMARY)
    return rows[rows["test"].isin([test["name"] for test in named(study)])]


def flow_table(rows: pd.DataFrame, published: float | None) -> Table:
    """Of one test: every kind of windows."""
    cells = []
    for _, row in rows.iterrows():
        between = style.interval(row["r2_low"], row["r2_high"], 3)
        cells.append(
            [
                Cell(f"{row['rows'].capitalize()} ({style.count(int(row['n']), 'window')})"),
                Cell(f"{style.fixed(row['r2'], 3)} {between}".strip()),
                Cell(style.fixed(np.nan if published is None else published)),
                *(Cell(style.fixed(row[f"r2_{name}"], 3)) for name in MAGNITUDES),
                Cell(style.fixed(row["angle_deg"], 1)),
                Cell(style.percent(row["held_displacement"])),
                Cell(style.percent(row["held_direction"])),
                Cell(style.percent(row["held_axial"])),
                Cell(style.percent(row["alarm"])),
            ]
        )
    head = ["", "R²", "thesis", "along y", "along x", "axial", "start", "angle off (°)"]
    held = ["displacement in 90 % interval", "direction in it", "axial path in it"]
    return Table([*head, *held, "parts differ"], cells)


def scatter_figure(rows: pd.DataFrame) -> Figure:
    """What was found over what is true, a panel for each magnitude, of windows with texture; grey where parts of a window differ."""
    figure = plots.blank(WIDTH_PX, 290)
    differ = rows["apart"] > APART
    for axes, name in zip(figure.subplots(1, len(MAGNITUDES)), MAGNITUDES, strict=True):
        true, own = rows[f"true_{name}"], rows[name]
        low, high = float(min(true.min(), 0)), float(max(true.max(), own.max()))
        axes.plot([low, high], [low, high], color=style.INK, lw=0.8)
        for which, colour in ((differ, "#A9AFB7"), (~differ, "#005EA8")):
            axes.scatter(true[which], own[which], s=9, color=colour, alpha=0.6, linewidths=0)
        axes.set(xlabel="true (µm)")
        axes.set_title(LABELS[name], fontsize=9, loc="left")
    figure.axes[0].set_ylabel("found (µm)")
    return figure


def _figures(study: Study, name: str) -> list[StudyFigure]:
    rows = study.table(ROWS)
    rows = rows[(rows["test"] == name) & (rows["textured"] > 0)]
    if rows.empty:
        return []
    title = f"{name}: found over true; grey where the parts of a window differ"
    file, draw = f"flow_{name}", partial(scatter_figure, rows)
    return [StudyFigure(file, file, rows, draw, "", title, title, WIDTH_PX, "png")]


def _words(test: dict, row: pd.Series) -> str:
    low, high = (style.large(v) for v in test["photons"])
    what = MOTIONS[test["motion"]]
    if test["layers"] > 1:
        what += f", of {test['layers']} scenes at depths of their own"
    return (
        f"{test['name']} ({what}, NA {test['na']:g}, {low} to {high} photons): R² {style.fixed(row['r2'])} in windows with texture; directions "
        f"are {style.fixed(row['angle_deg'], 1)}° off, in the median."
    )


def _sequence_words(test: dict, row: pd.Series) -> str:
    if np.isnan(row["headings"]):
        return "Of this sequence, nothing is followed."
    shares = {name: style.percent(row[name]) for name in SEQUENCE}
    return (
        f"Followed over {test['frames']} pictures, {test['interval_exposures']:g} exposures apart, of what moves: headings are told from their opposites in {shares['headings']} of the windows, "
        f"rightly in {shares['headings_right']}; {shares['tracks']} are tracked to the end, whose place is {style.fixed(row['off_path'], 1)} µm off after "
        f"{style.fixed(row['path'], 1)} µm, in the median; intervals hold {shares['held_path']} of these places and {shares['held_end']} of the distances from focus."
    )


def _rest_words(test: dict, row: pd.Series) -> str:
    unlike = {
        "spherical aberration of {:g} waves": test["spherical_waves"],
        "astigmatism of {:g} waves": test["cylinder_waves"],
        "a softness of {:g} px": test["softness_px"],
    }
    seen = " and ".join(words.format(value) for words, value in unlike.items() if value)
    seen = f"seen with {seen}, which the fit is not told" if seen else "seen with the given optics"
    doubted, moves = style.percent(row["doubted"]), style.percent(row["moves"])
    return (
        f"{test['name']} ({MOTIONS[REST]}, {seen}): a caution says of the pictures with {doubted} of the windows that a specimen at rest explains them better; {moves} of all windows "
        "are said to move, without a caution."
    )


def _textured(rows: pd.DataFrame, test: str) -> pd.Series | None:
    own = rows[(rows["test"] == test) & (rows["rows"] == TEXTURED)]
    return own.iloc[0] if len(own) else None


def parts(study: Study) -> list[Part]:
    rows = summed(study)
    if rows.empty:
        return []
    found = [Part(words=[INTRO], data=[ROWS, SUMMARY])]
    for test in named(study):
        own = rows[rows["test"] == test["name"]]
        row = _textured(rows, test["name"])
        if row is None:
            continue
        if test["motion"] == REST:
            found.append(Part(test["name"], words=[_rest_words(test, row)]))
            continue
        words = [_words(test, row)]
        if row["doubted"]:
            words.append(
                f"{style.percent(row['doubted'])} of the windows are of pictures that are taken for a specimen at rest."
            )
        if np.isfinite(row["alarm_at_border"]):
            words.append(
                f"Of the windows at the border, {style.percent(row['alarm_at_border'])} are said to have several motions."
            )
        if test["frames"] > 1:
            words.append(_sequence_words(test, row))
        table = flow_table(own, PUBLISHED.get(test["motion"]))
        found.append(
            Part(
                test["name"],
                words=words,
                figures=_figures(study, test["name"]),
                tables=[("", table)],
                link_figures=False,
            )
        )
    return found


def score(study: Study) -> Score | None:
    """R2 of every test; None if there is none."""
    rows = summed(study)
    known = [(test, _textured(rows, test["name"])) for test in named(study)]
    known = [(test, row) for test, row in known if row is not None and test["motion"] != REST]
    if not known:
        return None
    bars = []
    for test, row in known:
        share = float(np.nan_to_num(row["r2"]))
        bars.append(Bar(test["name"], "#005EA8", share, style.fixed(row["r2"])))
    test, row = known[0]
    title = "R² of motions in windows with texture; more is better"
    short = f"Motion is found with R² {style.fixed(row['r2'])}"
    lead = _words(test, row)
    return Score("plain", short, lead, title=title, bars=bars, data=SUMMARY, question="How near")


def cautions(study: Study) -> list[Caution]:
    """Tests whose intervals are too narrow, or in which what is at rest is said to move."""
    found = []
    rest = {test["name"] for test in named(study) if test["motion"] == REST}
    for _, row in summed(study).iterrows():
        if row["test"] in rest:
            if row["rows"] == TEXTURED and row["moves"] > MOVES:
                words = f"{row['test']}: {style.percent(row['moves'])} of the windows at rest are said to move"
                found.append(Caution(words, harm=True))
            continue
        for name in ("displacement", "direction", "axial", "middle"):
            held = row[f"held_{name}"]
            if row["rows"] == ALL or not held < HELD:
                continue
            found.append(
                Caution(
                    f"{row['test']}, windows {row['rows']}: only {style.percent(held)} of the 90 % intervals of {name} hold the truth",
                    harm=True,
                )
            )
    return found


TABLES = (
    ResultTable(ROWS, "the motion found in every window, and the true one", COLUMNS),
    ResultTable(SUMMARY, "how near the motion comes, by test", SUMMED),
)
SECTIONS = [
    Section("flow", "Flow", "Motion found in single pictures", parts, TABLES, cautions, score)
]
