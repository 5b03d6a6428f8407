"""What the report says of identified kernels: how near they come, beside kernels for which nobody looked at a picture."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from isoplan.applications.identification.summary import COLUMNS as SUMMED
from isoplan.applications.identification.summary import COSTLY_DB
from isoplan.applications.identification.trials import (
    CENTRAL,
    COLUMNS,
    CUTOFF,
    FIT,
    FITTED,
    FIXED,
    GIVEN,
    IDEAL,
    MEAN,
    MEAN_FIXED,
)
from isoplan.report import style
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Caution, Part, Score, Section, StudyFigure
from isoplan.report.tables import Cell, Table

ROWS, SUMMARY = "identification.csv", "identification_summary.csv"
LABELS = {
    FIT: "Fit, mean kernel",
    CENTRAL: "Fit, one PSF (of maps)",
    MEAN: "Mean kernel",
    MEAN_FIXED: "Mean kernel, optics unknown",
    IDEAL: "Diffraction-limited",
}
KNOWN = {
    GIVEN: "cut-off and largest amplitude given",
    CUTOFF: "cut-off given, largest amplitude not",
    FIXED: "both fixed to their means",
    FITTED: "largest amplitude given, cut-off fitted",
}
INTRO = (
    "Pictures were blurred by known kernels, and kernels were found from the pictures alone. The mean kernel is the average over all "
    "kernels that may occur; it looks at no picture, and whatever does should be better. Figures are PSNR in dB with the "
    "largest value of the true kernel as the peak; brackets are 95 % intervals of the gain over the mean kernel, over pictures. "
    "A kernel and its mirror image give the same power spectrum: “either” counts the nearer of both, the other columns the "
    "one that the sparser picture tells."
)
PEAK = (
    "With a peak of 1, as published figures seem to be, a kernel's error is so small beside the peak that the mean kernel comes "
    "to {mean} dB, and a fit to {fit} dB: such figures say little of a kernel, and are given only to be compared."
)
SHOWN = 6  # pictures in a figure
NOTHING = "\u2013"  # in a cell that has no figure


def named(study: Study) -> list[dict]:
    """The tests that the study names."""
    return study.config.get("identification_tests") or []


def summed(study: Study) -> pd.DataFrame:
    """identification_summary.csv of these tests; it has no rows if there are none."""
    rows = study.table(SUMMARY)
    return rows[rows["test"].isin([test["name"] for test in named(study)])]


def label(method: str) -> str:
    return LABELS.get(method, method)


def kernel_table(rows: pd.DataFrame) -> Table:
    """Of one test and knowledge: every noise and method."""
    cells, several = [], rows["noise"].nunique() > 1
    for (noise, method), part in rows.groupby(["noise", "method"], sort=False):
        row = part.iloc[0]
        base = method == MEAN
        right = row["mirror_right"] if row["mirror_n"] else np.nan
        cells.append(
            [
                Cell(f"{label(method)}, noise {noise:g}" if several else label(method)),
                Cell(style.fixed(row["psnr"])),
                Cell(NOTHING if base else _gain(row, "psnr")),
                Cell(NOTHING if base else style.signed(row["psnr_either_gain"])),
                Cell(style.fixed(row["snr_either"])),
                Cell(NOTHING if base else _gain(row, "reblurred")),
                Cell(style.percent(right) if np.isfinite(right) else NOTHING),
            ]
        )
    head = ["", "PSNR (dB)", "over the mean kernel (dB)", "either image (dB)"]
    head += ["SNR, either (dB)", "reblurred (dB)", "mirror right"]
    return Table(head, cells)


def _gain(row: pd.Series, name: str) -> str:
    between = style.interval(row[f"{name}_low"], row[f"{name}_high"], 2)
    return f"{style.signed(row[f'{name}_gain'])} {between}".strip()


def kernel_figure(pictures: dict[str, np.ndarray], width_px: int = 1040) -> Figure:
    """Pictures, their true kernels and those that were found; kernels of a picture on one scale."""
    kinds = [name for name in pictures if name != "picture"]
    count = min(SHOWN, len(pictures["picture"]))
    side = (width_px - 110) / 100 / count
    figure = Figure(figsize=(width_px / 100, (1 + len(kinds)) * side))
    axes = figure.subplots(1 + len(kinds), count, squeeze=False)
    for k in range(count):
        picture = pictures["picture"][k]
        low, high = np.quantile(picture, (0.005, 0.995))
        axes[0, k].imshow(picture, cmap="gray", vmin=low, vmax=high)
        most = float(pictures["true"][k].max())
        for place, name in enumerate(kinds, 1):
            axes[place, k].imshow(pictures[name][k], cmap=style.PSF_MAP, vmin=0, vmax=most)
    words = ["Picture", "True kernel", *(label(name) for name in kinds[1:])]
    for row, word in zip(axes, words, strict=True):
        row[0].set_ylabel(
            word.replace(", ", ",\n"), fontsize=8, rotation=0, ha="right", va="center"
        )
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
        one.spines[:].set_visible(False)
    figure.subplots_adjust(1.1 / (width_px / 100), 0.005, 0.998, 0.998, 0.03, 0.03)
    return figure


def _figures(study: Study, name: str) -> list[StudyFigure]:
    path = Path(study.folder) / "identification_tests" / name / "pictures.npz"
    if not path.is_file():
        return []
    with np.load(path) as stored:
        pictures = {key: stored[key] for key in stored}
    title = f"{name}: pictures, their true kernels, and the kernels that were found, each column on one scale"
    kernels = {key: one for key, one in pictures.items() if key != "picture"}
    rows = [
        (key, k, y, x, float(value))
        for key, one in kernels.items()
        for k, kernel in enumerate(one[:SHOWN])
        for (y, x), value in np.ndenumerate(kernel)
    ]
    table = pd.DataFrame(rows, columns=["kernel", "picture", "y", "x", "value"])
    file = f"kernels_{name}"
    draw = partial(kernel_figure, pictures)
    return [StudyFigure(file, file, table, draw, "", title, title, 1040, "jpg")]


def _first(rows: pd.DataFrame, method: str) -> pd.Series:
    return rows[rows["method"] == method].iloc[0]


def headline(rows: pd.DataFrame) -> str:
    """Whether the fit of one test, at its first noise and knowledge, is nearer than the mean kernel."""
    row = _first(rows, FIT)
    if row["psnr_low"] > 0:
        return "finds kernels better than the mean kernel"
    if row["psnr_high"] < 0:
        return "finds worse kernels than the mean kernel"
    return "finds no clearly better kernels than the mean kernel"


def _words(test: str, rows: pd.DataFrame) -> list[str]:
    row, mean = _first(rows, FIT), _first(rows, MEAN)
    words = (
        f"{test}, noise {row['noise']:g}, {KNOWN[row['known']]}: the fit {headline(rows)}, by {_gain(row, 'psnr')} dB, and by "
        f"{_gain(row, 'psnr_either')} dB with the nearer mirror image."
    )
    if row["mirror_n"]:
        words += (
            f" It tells the right mirror image in {style.percent(row['mirror_right'])} of the {row['mirror_n']:.0f} pictures "
            f"in which the wrong one costs {COSTLY_DB:g} dB or more."
        )
    ones = {"mean": style.fixed(mean["psnr_peak_1"]), "fit": style.fixed(row["psnr_peak_1"])}
    return [words, PEAK.format(**ones)]


def parts(study: Study) -> list[Part]:
    rows = summed(study)
    if rows.empty:
        return []
    found = [Part(words=[INTRO], data=[ROWS, SUMMARY])]
    for test in named(study):
        own = rows[rows["test"] == test["name"]]
        if own.empty:
            continue
        tables = [
            (KNOWN[known].capitalize(), kernel_table(part))
            for known, part in own.groupby("known", sort=False)
        ]
        found.append(
            Part(
                test["name"],
                words=_words(test["name"], own),
                figures=_figures(study, test["name"]),
                tables=tables,
                link_figures=False,
            )
        )
    return found


def score(study: Study) -> Score | None:
    """The methods of the first test at its first noise; None if there is none."""
    rows = summed(study)
    if rows.empty:
        return None
    test = str(rows["test"].iloc[0])
    own = rows[rows["test"] == test]
    own = own[(own["known"] == own["known"].iloc[0]) & (own["noise"] == own["noise"].iloc[0])]
    most = max(own["psnr_either"].max(), 1e-9)
    bars = [
        Bar(
            label(row["method"]),
            "#005EA8" if row["method"] in (FIT, CENTRAL) else "#8C9199",
            row["psnr_either"] / most,
            f"{style.fixed(row['psnr_either'])} dB",
        )
        for _, row in own.iterrows()
    ]
    title = f"PSNR of kernels or their mirror images, mean over {test}"
    lead = _words(test, own)[0]
    return Score("plain", f"The fit {headline(own)}", lead, title=title, bars=bars, data=SUMMARY)


def cautions(study: Study) -> list[Caution]:
    """Tests in which the fit is beyond doubt worse than the mean kernel."""
    rows, found = summed(study), []
    worse = rows[(rows["method"] == FIT) & (rows["psnr_high"] < 0)]
    for _, row in worse.iterrows():
        found.append(
            Caution(
                f"{row['test']}, noise {row['noise']:g}, {KNOWN[row['known']]}: the fit finds worse kernels than the mean kernel, "
                f"by {style.fixed(-row['psnr_gain'])} dB; such pictures say too little of their kernels",
                harm=True,
            )
        )
    return found


TABLES = (
    ResultTable(ROWS, "how near identified kernels come to the true ones", tuple(COLUMNS)),
    ResultTable(SUMMARY, "how near each method comes to the kernels, by test", SUMMED),
)
SECTIONS = [
    Section(
        "identification",
        "Kernels",
        "Kernels identified from single pictures",
        parts,
        TABLES,
        cautions=cautions,
        score=score,
    )
]
