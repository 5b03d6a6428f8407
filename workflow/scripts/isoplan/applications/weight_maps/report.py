"""What the report says of maps of weights: what they gain over one weight, what they follow, and what they look like."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from isoplan.applications.weight_maps.summary import COLUMNS as SUMMED
from isoplan.applications.weight_maps.trials import (
    BEST,
    CHOSEN,
    COLUMNS,
    FOLLOWED,
    FOLLOWS,
    LIKELY,
    LOCAL,
    MEAN,
    ONE,
    ORACLE,
    RAW,
    STOPPED,
)
from isoplan.report import style
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Caution, Part, Score, Section, StudyFigure
from isoplan.report.tables import Cell, Table

ROWS, SUMMARY, FOLLOW = "weight_maps.csv", "weight_maps_summary.csv", "weight_maps_follow.csv"
LABELS = {
    RAW: "The picture itself",
    ONE: "One weight for all pictures*",
    BEST: "The best weight of each picture*",
    LOCAL: "c over the local photons*",
    CHOSEN: "Chosen by held-out photons",
    LIKELY: "The most likely weight",
    ORACLE: "Oracle map*",
}
SHORT = {
    RAW: "Picture",
    BEST: "Best weight*",
    CHOSEN: "Held-out photons",
    LIKELY: "Most likely",
    ORACLE: "Oracle map*",
}
COLOURS = {"network": "#005EA8", "other": "#8C9199"}
INTRO = (
    "The same blurred and noisy pictures were restored with weights of total variation by several methods. Gains are in dB of PSNR "
    "over one weight for all pictures with as many photons; brackets are 95 % intervals over pictures. Methods with a star are "
    "given the truth, as no method of use could be: they say what there is to gain. A network's row is followed by one in "
    "which its map is replaced by its own geometric mean, which says what it gains by varying over the picture, and by one that stops after as many iterations as held-out photons say."
)
FOLLOWING = (
    "Correlation over a picture's pixels of the logarithm of a network's map with what it may follow, mean over all pictures: the "
    "light of the true object, its edges, its texture (standard deviation within 6 px over the mean), and the width of the PSF. "
    "Below zero, less is smoothed where there is more of it."
)


def named(study: Study) -> list[dict]:
    """The tests that the study names."""
    return study.config.get("weight_tests") or []


def summed(study: Study) -> pd.DataFrame:
    """weight_maps_summary.csv of these tests; it has no rows if there are none."""
    rows = study.table(SUMMARY)
    return rows[rows["test"].isin([test["name"] for test in named(study)])]


def label(method: str) -> str:
    """What a method is called; a network as the study does."""
    return LABELS.get(method, method)


def together(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of all photons together, by method."""
    return rows[rows["photons"].isna()].set_index("method")


def gain_table(rows: pd.DataFrame) -> Table:
    """Of one test: the gain over one weight by number of photons, and over all of them."""
    lights = sorted(rows["photons"].dropna().unique())
    all_, cells = together(rows), []
    others = all_.drop(
        index=[m for m in (RAW, ONE, BEST, LOCAL, ORACLE) if m in all_.index], errors="ignore"
    )
    best = others["gain_db"].idxmax() if len(others) else None
    for method, row in all_.iterrows():
        own = rows[(rows["method"] == method) & rows["photons"].notna()].set_index("photons")
        line = [Cell(label(str(method)))]
        line += [Cell(_gain(own.loc[light])) for light in lights]
        line.append(Cell(_gain(row), best=method == best))
        line.append(Cell(style.signed(row["over_best_db"])))
        line.append(Cell(style.signed(row["worst_gain_db"])))
        line.append(Cell(style.fixed(row["psnr"])))
        line.append(Cell(style.fixed(row["ssim"], 3)))
        line.append(Cell(style.significant(row["weight"], 2)))
        line.append(Cell(style.significant(row["seconds"], 2)))
        cells.append(line)
    head = ["", *(f"{style.large(light)} photons (dB)" for light in lights), "all (dB)"]
    head += ["over the best of each (dB)", "worst picture (dB)", "PSNR (dB)", "SSIM"]
    head += ["weight", "seconds a picture"]
    return Table(head, cells, best="best of the methods without a star")


def _gain(row: pd.Series) -> str:
    between = style.interval(row["gain_low"], row["gain_high"], 2)
    return f"{style.signed(row['gain_db'])} {between}".strip()


def follow_table(rows: pd.DataFrame) -> Table:
    """What each network's maps follow, by test."""
    means = rows.groupby(["test", "method"], sort=False)[list(FOLLOWS)].mean()
    cells = [
        [Cell(f"{test}: {method}"), *(Cell(style.signed(row[name])) for name in FOLLOWS)]
        for (test, method), row in means.iterrows()
    ]
    return Table(["", *(name.replace("_", " ").replace("psf", "PSF") for name in FOLLOWS)], cells)


def picture_figure(pictures: dict[str, np.ndarray], width_px: int = 1040) -> Figure:
    """The truth and a picture by each method; below them what is left of the truth, and the maps on one scale."""
    truth = pictures["truth"]
    names = [key.removeprefix("picture/") for key in pictures if key.startswith("picture/")]
    maps = {
        key.removeprefix("map/"): one for key, one in pictures.items() if key.startswith("map/")
    }
    abreast = len(names) + 1
    side = width_px / 100 / abreast
    figure = Figure(figsize=(width_px / 100, 3 * side + 0.5))
    axes = figure.subplots(3, abreast, squeeze=False)
    reach = 3 * float((pictures[f"picture/{BEST}"] - truth).std())
    logs = [np.log10(one) for one in maps.values()]
    low, high = min(one.min() for one in logs), max(one.max() for one in logs)
    grey = {"cmap": "gray", "vmin": 0, "vmax": max(float(np.quantile(truth, 0.995)), 1e-6)}
    axes[0, 0].imshow(truth, **grey)
    axes[0, 0].set_title("Truth", fontsize=8)
    shown = None
    for place, name in enumerate(names, 1):
        picture = pictures[f"picture/{name}"]
        axes[0, place].imshow(picture, **grey)
        axes[0, place].set_title(SHORT.get(name, name), fontsize=8)
        axes[1, place].imshow(picture - truth, cmap="RdBu_r", vmin=-reach, vmax=reach)
        if name in maps:
            told = np.log10(maps[name])
            shown = axes[2, place].imshow(told, cmap="viridis", vmin=low, vmax=high + 1e-6)
    for one in axes.flat:
        one.set_axis_off()
    figure.subplots_adjust(0.005, 0.02, 0.995, 0.88, 0.04, 0.04)
    if shown is not None:
        bar = figure.colorbar(shown, cax=figure.add_axes((0.02, 0.05, 0.012, 0.22)))
        bar.ax.tick_params(labelsize=7)
        figure.text(0.05, 0.28, "lg weight", fontsize=7)
    return figure


def _figures(study: Study, name: str) -> list[StudyFigure]:
    path = Path(study.folder) / "weight_tests" / name / "pictures.npz"
    if not path.is_file():
        return []
    with np.load(path) as stored:
        pictures = {key: stored[key] for key in stored}
    title = (
        f"{name}: the first picture, with the middle number of photons; below what is left of the truth, on one scale, then "
        "the maps of weights"
    )
    spread = [
        (key.removeprefix("picture/"), float((one - pictures["truth"]).std()))
        for key, one in pictures.items()
        if key.startswith("picture/")
    ]
    table = pd.DataFrame(spread, columns=["method", "rms_from_truth"])
    file = f"weights_{name}"
    draw = partial(picture_figure, pictures)
    return [StudyFigure(file, file, table, draw, "", title, title, 1040, "jpg")]


def headline(test: dict, rows: pd.DataFrame) -> tuple[str, str]:
    """What the network that a test names first gains over one weight: in short, and in full."""
    if not test["networks"] or rows.empty:
        return "", ""
    name, row = test["networks"][0], together(rows).loc[test["networks"][0]]
    word = "restores no clearly better than one weight"
    if row["gain_low"] > 0:
        word = "restores better than one weight"
    elif row["gain_high"] < 0:
        word = "restores worse than one weight"
    beside = ""
    if np.isfinite(row["over_best_db"]):
        between = style.interval(row["best_low"], row["best_high"], 2)
        beside = f", and {style.signed(row['over_best_db'])} dB {between} over the best weight of each picture"
    if np.isfinite(row["over_mean_db"]):
        beside += f"; {style.signed(row['over_mean_db'])} dB come of varying over the picture"
    return f"{name} {word}", f"{test['name']}: {name} {word}, by {_gain(row)} dB{beside}."


def parts(study: Study) -> list[Part]:
    rows = summed(study)
    if rows.empty:
        return []
    found = [Part(words=[INTRO], data=[ROWS, SUMMARY, FOLLOW])]
    for test in named(study):
        own = rows[rows["test"] == test["name"]]
        words = headline(test, own)[1]
        found.append(
            Part(
                test["name"],
                words=[words] if words else [],
                figures=_figures(study, test["name"]),
                tables=[("Gain over one weight for all", gain_table(own))],
                link_figures=False,
            )
        )
    followed = study.table(FOLLOW)
    if len(followed):
        table = ("", follow_table(followed))
        found.append(Part("What the maps follow", words=[FOLLOWING], tables=[table]))
    return found


def score(study: Study) -> Score | None:
    """The methods of the first test that names a network; None if there is none."""
    rows = summed(study)
    tests = [test for test in named(study) if test["networks"]]
    if not tests or rows.empty:
        return None
    test = tests[0]
    own = rows[rows["test"] == test["name"]]
    short, full = headline(test, own)
    gains = together(own)["gain_db"].drop(RAW)
    gains = gains[[MEAN not in str(n) and STOPPED not in str(n) for n in gains.index]]
    most = max(gains.max(), 1e-9)
    bars = [
        Bar(
            label(str(name)),
            COLOURS["network" if name in test["networks"] else "other"],
            value / most,
            f"{style.signed(value)} dB",
        )
        for name, value in gains.items()
    ]
    title = f"PSNR over one weight for all pictures, mean over {test['name']}"
    return Score("plain", short, full, title=title, bars=bars, data=SUMMARY)


def cautions(study: Study) -> list[Caution]:
    """Networks that are beyond doubt worse than one weight, or than what the photons choose."""
    found, rows = [], summed(study)
    for test in named(study):
        own = rows[rows["test"] == test["name"]]
        for name in test["networks"] if len(own) else ():
            row = together(own).loc[name]
            if row["gain_high"] < 0:
                found.append(
                    Caution(
                        f"{test['name']}: {name} restores worse than one weight, by {style.fixed(-row['gain_db'])} dB; train it "
                        "longer, or on pictures like these",
                        harm=True,
                    )
                )
    return found


TABLES = (
    ResultTable(ROWS, "how near restorations with weights come to the truth", tuple(COLUMNS)),
    ResultTable(SUMMARY, "what weights gain, by test, photons and method", SUMMED),
    ResultTable(FOLLOW, "what networks' maps of weights follow", tuple(FOLLOWED)),
)
SECTIONS = [
    Section(
        "weight_maps",
        "Weights",
        "Weights of total variation that vary over the picture",
        parts,
        TABLES,
        cautions=cautions,
        score=score,
    )
]
