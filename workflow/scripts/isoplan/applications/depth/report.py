"""What the report says of heights: how near they come, and a surface that turns."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from isoplan.applications.depth.heights import SURE
from isoplan.applications.depth.summary import COLUMNS as SUMMED
from isoplan.applications.depth.trials import COLUMNS, FIT
from isoplan.report import plots, style
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Caution, Part, Score, Section, StudyFigure, Surface
from isoplan.report.tables import Cell, Table

ROWS, SUMMARY = "depth.csv", "depth_summary.csv"
LABELS = {FIT: "Fit"}
CALIBRATIONS = {
    "plane": "calibrated with a picture of another plane",
    "nominal": "calibrated with nothing but its astigmatism",
    "true": "with its true optics",
}
INTRO = (
    "Surfaces of known height were seen through a microscope with a weak cylindrical lens, and their heights were found in each picture "
    "alone. Errors are means over the valid cells of a picture, as a share of the surface's range; the table gives medians over "
    "pictures, brackets are 95 % intervals of them. R² is against the true surface; beside it, that of a line fitted to what "
    "was found, which is what published figures give, and which says nothing of scale and offset. Optics are doubted if the picture "
    "itself fits others better than those it was measured with."
)
CALIBRATED = 0.75  # coverage of 90 % intervals below which the report warns
WIDTH_PX = 1040


def named(study: Study) -> list[dict]:
    return study.config.get("depth_tests") or []


def summed(study: Study) -> pd.DataFrame:
    """depth_summary.csv of these tests; it has no rows if there are none."""
    rows = study.table(SUMMARY)
    return rows[rows["test"].isin([test["name"] for test in named(study)])]


def label(method: str) -> str:
    return LABELS.get(method, method)


def depth_table(rows: pd.DataFrame) -> Table:
    """Of one test: every light and method."""
    cells = []
    for _, row in rows.iterrows():
        between = style.interval(100 * row["error_share_low"], 100 * row["error_share_high"], 2)
        cells.append(
            [
                Cell(f"{label(row['method'])}, {style.large(row['photons'])} photons"),
                Cell(f"{style.fixed(100 * row['error_share'])} {between}".strip()),
                Cell(style.fixed(row["error_um"])),
                Cell(style.fixed(row["r2"], 4)),
                Cell(style.fixed(row["r2_line"], 4)),
                Cell(style.percent(row["sign_right"])),
                Cell(style.percent(row["covered"])),
                Cell(style.percent(row["valid_share"])),
                Cell(style.percent(row["doubted"])),
            ]
        )
    head = ["", "error (%)", "error (µm)", "R²", "R² of a line", "side of focus right"]
    return Table([*head, "in 90 % interval", "valid", "optics doubted"], cells)


def map_figure(pictures: dict[str, np.ndarray]) -> Figure:
    """The picture, the true heights, those found, and the difference."""
    figure = plots.blank(WIDTH_PX, 340)
    axes = figure.subplots(1, 4)
    low, high = (float(v) for v in np.quantile(pictures["true"], (0, 1)))
    found = np.where(pictures["validity"] >= SURE, pictures["found"], np.nan)
    apart = found - pictures["true"]
    most = float(np.nanquantile(np.abs(apart), 0.99)) if np.isfinite(apart).any() else 1.0
    dark, bright = np.quantile(pictures["picture"], (0.005, 0.995))
    shown = (
        ("Picture", pictures["picture"], "gray", (dark, bright)),
        ("True height (µm)", pictures["true"], style.DEFAULT_MAP, (low, high)),
        ("Height found (µm)", found, style.DEFAULT_MAP, (low, high)),
        ("Difference (µm)", apart, style.DIFFERENCE_MAP, (-most, most)),
    )
    for one, (title, values, colours, (least, largest)) in zip(axes, shown, strict=True):
        image = one.imshow(values, cmap=colours, vmin=least, vmax=largest, interpolation="nearest")
        one.set_title(title, fontsize=9, loc="left")
        one.set(xticks=[], yticks=[])
        one.spines[:].set_visible(False)
        if values is not pictures["picture"]:
            figure.colorbar(
                image, ax=one, orientation="horizontal", aspect=28, pad=0.03
            ).outline.set_visible(False)
    return figure


def _pictures(study: Study, name: str) -> dict[str, np.ndarray] | None:
    path = Path(study.folder) / "depth_tests" / name / "pictures.npz"
    if not path.is_file():
        return None
    with np.load(path) as stored:
        return {key: stored[key] for key in stored}


def _shown(study: Study, name: str) -> tuple[list[StudyFigure], list[Surface]]:
    pictures = _pictures(study, name)
    if pictures is None:
        return [], []
    title = f"{name}: a picture, its true heights, those that were found, and the difference"
    places = np.ndindex(pictures["true"].shape)
    rows = [
        (y, x, *(float(pictures[key][y, x]) for key in ("true", "found", "half_width", "validity")))
        for y, x in places
    ]
    table = pd.DataFrame(rows, columns=["y", "x", "true", "found", "half_width", "validity"])
    file = f"depth_{name}"
    figure = StudyFigure(
        file, file, table, partial(map_figure, pictures), "", title, title, WIDTH_PX, "jpg"
    )
    heights = np.where(pictures["validity"] >= SURE, pictures["found"], np.nan)
    alt = f"The heights that were found in a picture of {name}, as a surface."
    surface = Surface(f"{name}: heights found.", alt, heights, float(pictures["cell_um"]), "µm")
    return [figure], [surface]


def headline(row: pd.Series) -> str:
    return f"Heights are found within {style.fixed(100 * row['error_share'])} % of their range"


def _words(test: dict, row: pd.Series) -> str:
    surface = f"{test['tilt_deg']:g}° plane" if test["surface"] == "plane" else test["surface"]
    return (
        f"{test['name']} ({surface}, NA {test['na']:g}, {CALIBRATIONS[test['calibration']]}): in {style.large(row['photons'])} photons the "
        f"heights of valid cells are {style.fixed(row['error_um'])} µm off, {style.fixed(100 * row['error_share'])} % of the range, and the "
        f"side of focus is right in {style.percent(row['sign_right'])} of the cells beyond the depth of field."
    )


def parts(study: Study) -> list[Part]:
    rows = summed(study)
    if rows.empty:
        return []
    found = [Part(words=[INTRO], data=[ROWS, SUMMARY])]
    for test in named(study):
        own = rows[rows["test"] == test["name"]]
        if own.empty:
            continue
        figures, surfaces = _shown(study, test["name"])
        fits = own[own["method"] == FIT]
        words = [_words(test, fits.iloc[0])] if len(fits) else []
        found.append(
            Part(
                test["name"],
                words=words,
                figures=figures,
                surfaces=surfaces,
                tables=[("", depth_table(own))],
                link_figures=False,
            )
        )
    return found


def score(study: Study) -> Score | None:
    """The methods of the first test in its first light; None if there is none."""
    rows = summed(study)
    if rows.empty:
        return None
    own = rows[rows["test"] == rows["test"].iloc[0]]
    own = own[own["photons"] == own["photons"].iloc[0]]
    most = max(float(own["error_share"].max()), 1e-9)
    bars = [
        Bar(
            label(row["method"]),
            "#005EA8" if row["method"] == FIT else style.QUIET,
            row["error_share"] / most,
            f"{style.fixed(100 * row['error_share'])} %",
        )
        for _, row in own.iterrows()
    ]
    first = own.iloc[0]
    test = next(test for test in named(study) if test["name"] == first["test"])
    title = (
        f"Error of heights as a share of their range, median over {first['test']}; less is better"
    )
    lead = _words(test, first)
    return Score(
        "plain", headline(first), lead, title=title, bars=bars, data=SUMMARY, question="How near"
    )


def cautions(study: Study) -> list[Caution]:
    """Tests whose intervals are too narrow, or in which the side of focus is often wrong."""
    found = []
    for _, row in summed(study).iterrows():
        if row["method"] != FIT:
            continue
        where = f"{row['test']}, {style.large(row['photons'])} photons"
        if row["covered"] < CALIBRATED:
            found.append(
                Caution(
                    f"{where}: only {style.percent(row['covered'])} of the heights lie within their 90 % intervals: windows do not resolve the surface, or "
                    "the optics are not what the fit was told",
                    harm=True,
                )
            )
        if row["doubted"] > 0:
            found.append(
                Caution(
                    f"{where}: {style.percent(row['doubted'])} of the pictures fit other optics better than those they were measured with",
                    harm=False,
                )
            )
        if row["sign_right"] < 0.97:
            found.append(
                Caution(
                    f"{where}: the side of focus is right in {style.percent(row['sign_right'])} alone",
                    harm=True,
                )
            )
    return found


TABLES = (
    ResultTable(ROWS, "how near the heights of every picture come", tuple(COLUMNS)),
    ResultTable(SUMMARY, "how near each method comes to the heights, by test", SUMMED),
)
SECTIONS = [
    Section("depth", "Depth", "Heights found in single pictures", parts, TABLES, cautions, score)
]
