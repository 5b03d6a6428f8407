"""What the report says of autofocus: error by number of pictures, and what scores tell of distance."""

from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from isoplan.applications.autofocus.summary import COLUMNS as SUMMED
from isoplan.applications.autofocus.summary import NEAR_DEPTHS
from isoplan.applications.autofocus.summary import SCORES as SCORED
from isoplan.applications.autofocus.trials import BY, COLUMNS, CURVES, FIT, GOLDEN, TRIPLET
from isoplan.report import plots, style
from isoplan.report.published import FOLDER
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Caution, Part, Score, Section, StudyFigure
from isoplan.report.tables import Cell, Table

ROWS, SUMMARY = "autofocus.csv", "autofocus_summary.csv"
CURVE_ROWS, SCORE_ROWS = "autofocus_curves.csv", "autofocus_scores.csv"
BLUE = "#005EA8"
LABELS = {
    FIT: "Fit",
    TRIPLET: "Published search by the fit",
    GOLDEN: "Golden section by the fit",
    "high-pass": "High-pass",
    "tenengrad": "Tenengrad",
    "laplacian-variance": "Laplacian variance",
    "wavelet-energy": "Wavelet energy (EWC)",
    "modified-laplacian": "Modified Laplacian (SML)",
    "wavelet-sparsity": "Wavelet sparsity (WS)",
}
PUBLISHED = "table_5_1.csv"
FEW = 3  # pictures
SHOWN = (3, 4, 6, 8)  # pictures in the table
INTRO = (
    "A simulated microscope was driven to focus by every method, from the same starts, within the same limits. Errors are distances from focus after so many pictures; "
    "tables give medians over all searches, brackets their 95 % intervals. A search fails if it ends beyond a depth of field; nothing is left out."
)
SCORE_WORDS = (
    "What a picture's score tells of its distance from focus: the spread over specimens near focus (0 is blurriest, 1 sharpest), the entropy of distance given the score, as "
    "printed and per picture, and the distance up to which it changes. Beside it what the thesis gives; it takes other pictures and unstated bins, and its method is another network."
)


def named(study: Study) -> list[dict]:
    return study.config.get("autofocus_tests") or []


def label(method: str) -> str:
    return LABELS.get(method, method.replace(BY, "Published search by "))


def _of(study: Study, table: str, test: str) -> pd.DataFrame:
    rows = study.table(table)
    return rows[rows["test"] == test]


def error_table(rows: pd.DataFrame) -> Table:
    """Of one test: a row per method."""
    counts = [n for n in SHOWN if n in set(rows["pictures"])]
    cells = []
    for method, part in rows.groupby("method", sort=False):
        by = part.set_index("pictures")
        row = [Cell(label(str(method)))]
        for n in counts:
            found = by.loc[n]
            between = style.interval(found["error_low"], found["error_high"], 2)
            row.append(Cell(f"{style.fixed(found['error_um'])} {between}".strip()))
        for n in counts[:2]:
            row.append(Cell(style.percent(by.loc[n]["failed"])))
        last = by.loc[counts[0]]
        row += [Cell(style.percent(last["unknown"])), Cell(style.percent(last["covered"]))]
        cells.append(row)
    head = ["", *(f"error (µm), {n} pictures" for n in counts)]
    head += [f"fails, {n}" for n in counts[:2]]
    return Table([*head, "does not know", "in 90 % interval"], cells)


def published_scores() -> pd.DataFrame:
    """Spread and entropy of the thesis' synthetic pictures (Table 5.1), by method. Their bins are not stated, so entropies compare within a column only."""
    table = pd.read_csv(FOLDER / PUBLISHED)
    return table[table["pictures"] == "synthetic"].set_index("method")


def score_table(rows: pd.DataFrame) -> Table:
    cells, thesis = [], published_scores()
    for _, row in rows.iterrows():
        known = row["method"] in thesis.index
        spread, entropy = (
            thesis.loc[row["method"], ["spread", "entropy"]] if known else (np.nan, np.nan)
        )
        cells.append(
            [
                Cell(label(row["method"])),
                Cell(style.fixed(row["spread"], 3)),
                Cell(style.fixed(spread)),
                Cell(style.fixed(row["entropy"], 1)),
                Cell(style.fixed(row["entropy_per_z"], 2)),
                Cell(style.fixed(entropy)),
                Cell(style.fixed(row["range_depths"], 1)),
            ]
        )
    head = ["", "spread", "thesis", "entropy", "per picture", "thesis", "range (depths of field)"]
    return Table(head, cells)


def error_figure(rows: pd.DataFrame) -> Figure:
    """Median error over the number of pictures."""
    figure = plots.blank(760, 360)
    axes = figure.subplots()
    # Each line is told apart: where colours repeat, lines are dashed.
    others = iter(product(("-", "--", ":"), style.OTHER_COLOURS))
    for method, part in rows.groupby("method", sort=False):
        own = method == FIT
        dashes, colour = ("-", BLUE) if own else next(others)
        axes.plot(
            part["pictures"],
            part["error_um"],
            color=colour,
            ls=dashes,
            lw=2.4 if own else 1.2,
            marker="o",
            ms=3,
            label=label(str(method)),
        )
        if own:
            axes.fill_between(
                part["pictures"],
                part["error_low"],
                part["error_high"],
                color=colour,
                alpha=0.2,
                lw=0,
            )
    axes.set(xlabel="pictures", ylabel="median error (µm)", yscale="log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def curve_figure(rows: pd.DataFrame) -> Figure:
    """Sharpness over distance: median and spread over objects, a panel for each score."""
    methods = list(dict.fromkeys(rows["method"]))
    across = min(4, len(methods))
    down = -(-len(methods) // across)
    figure = plots.blank(1040, 40 + 190 * down)
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axes, method in zip(grid.ravel(), methods, strict=False):
        wide = rows[rows["method"] == method].pivot(
            index="object", columns="z_um", values="sharpness"
        )
        z, sharp = wide.columns.to_numpy(), wide.to_numpy()
        middle, spread = np.median(sharp, 0), sharp.std(0)
        colour = BLUE if method == FIT else style.QUIET
        axes.fill_between(z, middle - spread, middle + spread, color=colour, alpha=0.25, lw=0)
        axes.plot(z, middle, color=colour, lw=1.5)
        axes.set_title(label(method), fontsize=9, loc="left")
        axes.set_ylim(-0.05, 1.1)
    for axes in grid.ravel()[len(methods) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("from focus (µm)")
    return figure


def _figures(study: Study, test: str) -> list[StudyFigure]:
    rows, curves = _of(study, SUMMARY, test), _of(study, CURVE_ROWS, test)
    found = []
    for kind, table, draw, title, width in (
        ("error", rows, error_figure, "error by number of pictures", 760),
        (
            "scores",
            curves,
            curve_figure,
            "scores over distance, median and spread over specimens",
            1040,
        ),
    ):
        if not table.empty:
            name = f"autofocus_{kind}_{test}"
            caption = f"{test}: {title}"
            found.append(
                StudyFigure(
                    name, name, table, partial(draw, table), "", caption, f"{caption}.", width
                )
            )
    return found


def parts(study: Study) -> list[Part]:
    tests = [t["name"] for t in named(study) if not _of(study, SUMMARY, t["name"]).empty]
    if not tests:
        return []
    found = [Part(words=[INTRO], data=[ROWS, SUMMARY, CURVE_ROWS, SCORE_ROWS])]
    for test in named(study):
        name = test["name"]
        if name not in tests:
            continue
        tables = [
            ("", error_table(_of(study, SUMMARY, name))),
            ("What scores tell of distance", score_table(_of(study, SCORE_ROWS, name))),
        ]
        found.append(
            Part(
                name,
                words=[_words(test, _few(study, name))],
                figures=_figures(study, name),
                tables=tables,
                notes=[SCORE_WORDS, f"Spread within {NEAR_DEPTHS:g} depths of field."],
                link_figures=False,
            )
        )
    return found


def _few(study: Study, test: str) -> pd.Series:
    """The fit's row of FEW pictures."""
    rows = _of(study, SUMMARY, test)
    return rows[(rows["method"] == FIT) & (rows["pictures"] == FEW)].iloc[0]


def _words(test: dict, row: pd.Series) -> str:
    return (
        f"{test['name']} (NA {test['na']:g}, {style.large(test['photons'])} photons, a stage that stops within {test['noise_um']:g} µm): with {FEW} pictures the fit ends "
        f"{style.fixed(row['error_um'])} µm from focus, {style.fixed(row['error_depths'])} depths of field, in the median of {row['n']} searches; {style.percent(row['failed'])} fail."
    )


def headline(row: pd.Series) -> str:
    return f"In focus within {style.fixed(row['error_um'])} µm after {FEW} pictures"


def score(study: Study) -> Score | None:
    """The methods of the first test with FEW pictures; None if there is none."""
    tests = [t for t in named(study) if not _of(study, SUMMARY, t["name"]).empty]
    if not tests:
        return None
    rows = _of(study, SUMMARY, tests[0]["name"])
    rows = rows[rows["pictures"] == FEW]
    most = max(float(rows["error_um"].max()), 1e-9)
    bars = [
        Bar(
            label(row["method"]),
            BLUE if row["method"] == FIT else style.QUIET,
            row["error_um"] / most,
            f"{style.fixed(row['error_um'])} µm",
        )
        for _, row in rows.iterrows()
    ]
    first = _few(study, tests[0]["name"])
    title = (
        f"Distance from focus after {FEW} pictures, median over {tests[0]['name']}; less is better"
    )
    return Score(
        "plain",
        headline(first),
        _words(tests[0], first),
        title=title,
        bars=bars,
        data=SUMMARY,
        question="How near",
    )


def cautions(study: Study) -> list[Caution]:
    """Tests in which the fit is wrong without knowing, or in which another method is nearer."""
    found = []
    for test in named(study):
        rows = _of(study, SUMMARY, test["name"])
        for n, part in rows.groupby("pictures"):
            if n < FEW:
                continue
            own = part[part["method"] == FIT].iloc[0]
            where = f"{test['name']}, {n} pictures"
            if own["failed_known"] > 0:
                words = f"{where}: the fit is wrong by more than a depth of field without knowing in {style.percent(own['failed_known'])} of the searches"
                found.append(Caution(words, harm=True))
            best = part.loc[part["error_um"].idxmin()]
            if best["method"] != FIT:
                words = f"{where}: {label(best['method'])} is nearer, {style.fixed(best['error_um'])} µm against {style.fixed(own['error_um'])}"
                found.append(Caution(words, harm=True))
    return found


TABLES = (
    ResultTable(ROWS, "how near to focus every search comes, by picture", tuple(COLUMNS)),
    ResultTable(SUMMARY, "how near to focus each method comes", SUMMED),
    ResultTable(CURVE_ROWS, "scores of every specimen over distance", tuple(CURVES)),
    ResultTable(SCORE_ROWS, "what scores tell of distance", SCORED),
)
SECTIONS = [
    Section("autofocus", "Autofocus", "A stage driven to focus", parts, TABLES, cautions, score)
]
