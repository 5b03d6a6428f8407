"""The section that compares published results with this study's (config: report.published)."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from isoplan.base.resources import ROOT
from isoplan.report import lineup, network_plots, style
from isoplan.report.network_plots import Mark
from isoplan.report.results import Study
from isoplan.report.section import (
    NO_MOSAIC,
    SHOWN,
    Caution,
    Part,
    Score,
    Section,
    StudyFigure,
    and_more,
)
from isoplan.report.tables import Cell, Table

FOLDER = ROOT / "resources" / "published"
TITLES = {
    "table_2_3": "Table 2.3: trained and tested on one type of pictures",
    "table_2_4": "Table 2.4: trained on one type of pictures, tested on another",
    "figure_2_6": "Figure 2.6: R² against the strength of a degradation",
}
REMARKS = {
    "figure_2_6": (
        "The thesis states only these points of the figure in words. This study's complete curves are below, under "
        "Robustness. In the thesis, networks trained without noise fell to 0 even with moderate noise, whose strength is "
        "not stated."
    ),
}
# Columns that identify a cell of each of them.
KEYS = {
    "table_2_3": ["psf_model", "test_type"],
    "table_2_4": ["psf_model", "train_set", "test_type"],
    "figure_2_6": ["psf_model", "degradation", "level", "with_noise"],
}
PSF_MODELS = ("gaussian-1", "gaussian-2", "zernike-1", "zernike-2", "zernike-3")
TYPES = ("syn", "poi", "micr", "micrsm", "nat", "micr-syn-poi")
COLUMNS = (
    *("form", "psf_model", "network", "label", "architecture", "with_noise", "train_set"),
    *("test_type", "test_set", "degradation", "level", "published_network", "published", "below"),
    *("value", "low", "high", "n", "reached"),
)
INTRO = (
    "R² is the mean over the PSF's parameters (thesis, eq. 2.13), for patches with texture. Each cell has this study's "
    "value, its 95 % interval by bootstrap over scenes, and the published value: that of the same architecture if there is "
    "one, else that of the best published network. "
)
WORDS = {
    "published": (
        "PSFs in the published form, with the published ranges: Gaussian widths of 0 to 20 px, focus up to 4 and "
        "astigmatism up to 3 waves of Seidel terms, and only two axes, 0 and 90 degrees. "
        "Marked cells are at least equal at the two decimals that were published. Some differences remain. The published "
        "pictures are not available, so each type of pictures was made by isoplan or comes from your folders, and the sets "
        "have other sizes. The published code computes R² with truth and prediction exchanged, and trains with practically "
        "no noise (65,000 photons and more at the brightest pixel)."
    ),
    "isoplan": (
        "PSFs in the form of isoplan: the whole range of every parameter, Noll-normalised waves, and any angle of the axis. "
        "This task differs from the published one, and is easier in some cells and harder in others. So no cell is marked, "
        "and the published values are only for orientation. The plain R² of an axis treats 1 and 179 degrees as very "
        "different; the circular error is in the table of each parameter below."
    ),
}


@dataclass
class Protocol:
    """The comparison for one form of the PSFs, "published" or "isoplan": title, explanation and tables."""

    form: str
    title: str
    words: str
    tables: list[tuple[str, Table]] = field(default_factory=list)


def wanted(study: Study) -> str | None:
    """The published table that the study is compared with, or None."""
    name = (study.config.get("report") or {}).get("published")
    return name if name in TITLES else None


def read_published(name: str) -> pd.DataFrame:
    """Read the published values of a table; empty if the file does not exist.

    Returns
    -------
    pandas.DataFrame
        The columns are network, psf_model, train_set, test_set, degradation, level (NaN if the source does not state
        it), r2, with_noise (in training), and below (whether r2 is an upper bound).
    """
    path = FOLDER / f"{name}.csv"
    columns = [*("network", "psf_model", "train_set", "test_set", "degradation"), "level", "r2"]
    if not path.exists():
        return pd.DataFrame(columns=[*columns, "with_noise", "below"])
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    noise, notes = table.get("noise_in_training", "yes"), table.get("note", "")
    return table[columns].assign(with_noise=noise == "yes", below=notes == "below")


def compare(study: Study) -> pd.DataFrame:
    """Compare this study's R2 with the published one.

    A network is compared with the published one of its architecture, any other with the best one of the cell.

    Returns
    -------
    pandas.DataFrame
        A row for each network and cell, with COLUMNS. `reached` says whether the study's value is at least equal at the
        two published decimals; it is False except for the published form, as others are not comparable. The table is
        empty if the study asks for no comparison.
    """
    name = wanted(study)
    scores = lineup.scores(study)
    if name is None or scores.empty:
        return pd.DataFrame(columns=COLUMNS)
    ours = scores[scores["parameter"] == "mean"]
    published = read_published(name).rename(columns={"test_set": "test_type"})
    if name == "figure_2_6":
        undegraded = ours["level"] == 0
        ours = ours.assign(degradation=ours["degradation"].where(~undegraded, "none"))
        ours = ours.drop_duplicates(["network", "test_set", "degradation", "level"])
    else:
        ours = ours[(ours["degradation"] == "none") | (ours["level"] == 0)]
    cells = published.dropna(subset="level").groupby(KEYS[name], sort=False)
    known = dict(list(cells))
    found = [
        _published_for(row, known.get(tuple(row[k] for k in KEYS[name]))) for row in _rows(ours)
    ]
    ours = ours.assign(
        **{key: [f[key] for f in found] for key in ("published", "published_network", "below")}
    )
    if name == "figure_2_6":
        # Only strengths that the source states can be compared.
        ours = ours[ours["published"].notna()]
    cell = ["form", *KEYS[name], "train_set", "test_type"]
    ours = ours.assign(label=lineup.labels(study, ours, list(dict.fromkeys(cell))))
    like = (ours["form"] == "published") & ours["published"].notna()
    reached = np.round(ours["value"] + 1e-9, 2) >= ours["published"].astype(float)
    return ours.assign(reached=like & reached)[list(COLUMNS)].reset_index(drop=True)


def _rows(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")


def _published_for(row: dict, cell: pd.DataFrame | None) -> dict:
    if cell is None:
        return {"published": np.nan, "published_network": "", "below": False}
    own = cell[cell["network"] == row["architecture"]]
    best = (own if len(own) else cell).sort_values("r2").iloc[-1]
    return {
        "published": float(best["r2"]),
        "published_network": best["network"],
        "below": bool(best["below"]),
    }


def protocols(study: Study, table: pd.DataFrame) -> list[Protocol]:
    """The comparisons to show, first for the published form of the PSFs, then for that of isoplan."""
    name, found = wanted(study), []
    for form in ("published", "isoplan"):
        rows = table[table["form"] == form]
        if rows.empty:
            continue
        title = "With the published form" if form == "published" else "With the form of isoplan"
        found.append(Protocol(form, title, WORDS[form], _tables(name, rows)))
    return found


def _tables(name: str, rows: pd.DataFrame) -> list[tuple[str, Table]]:
    if name == "table_2_4":
        trained = ~rows["architecture"].isin(lineup.NOT_TRAINED)
        rows = rows.assign(train_set=rows["train_set"].where(trained, "(nothing)"))
        parts = rows.groupby(["psf_model", "label"], sort=False)
        return [
            (
                f"{style.psf_label(model)}, {label}",
                _grid(part, "train_set", "test_type", "Trained on"),
            )
            for (model, label), part in parts
        ]
    rows = rows.assign(line=lines(name, rows))
    if name == "table_2_3":
        return [("", _grid(rows, "line", "test_type", "Network", group="psf_model"))]
    rows["column"] = [
        style.degradation_label(d) + (f", strength {level:g}" if level else "")
        for d, level in zip(rows["degradation"], rows["level"], strict=True)
    ]
    return [("", _grid(rows, "line", "column", "Network", group="psf_model"))]


def lines(name: str, rows: pd.DataFrame) -> pd.Series:
    """Labels of the rows of `compare`: the network, and how it was trained if that differs."""
    if name == "table_2_3":
        foreign = (rows["train_set"] != rows["test_type"]) | ~rows["train_set"].isin(TYPES)
        foreign &= ~rows["architecture"].isin(lineup.NOT_TRAINED)
        return rows["label"] + (", trained on " + rows["train_set"]).where(foreign, "")
    if name == "figure_2_6":
        return rows["label"] + pd.Series(", trained without noise", rows.index).where(
            ~rows["with_noise"].astype(bool), ""
        )
    return rows["label"]


def colours(lines: pd.Series, architectures: pd.Series) -> dict[str, str]:
    """Colours by line; of several lines of one architecture, the first has its full colour."""
    known = dict(zip(lines, architectures, strict=True))
    return style.network_colours(dict(reversed(known.items())))


def _grid(rows: pd.DataFrame, line: str, column: str, head: str, group: str = "") -> Table:
    """A table of cells. group: a column whose values are headings between the rows."""
    columns = style.in_order(rows[column].unique(), TYPES)
    shades = colours(rows[line], rows["architecture"]) if group else {}
    printed = []
    groups = style.in_order(rows[group].unique(), PSF_MODELS) if group else [None]
    for value in groups:
        part = rows if value is None else rows[rows[group] == value]
        if value is not None:
            printed.append([Cell(style.psf_label(value))])
        for text in style.in_order(part[line].unique(), TYPES):
            cells = {row[column]: row for row in _rows(part[part[line] == text])}
            heading = Cell(str(text), colour=shades.get(text, ""))
            printed.append([heading, *(_cell(cells.get(c)) for c in columns)])
    return Table([head, *map(str, columns)], printed, best="at least equal to the published value")


def _cell(row: dict | None) -> Cell:
    if row is None:
        return Cell("\u2013")
    notes = [text for text in [style.interval(row["low"], row["high"])] if text]
    if style.is_number(row["published"]):
        below = "below " if row["below"] else ""
        notes.append(f"published {below}{style.fixed(row['published'])}")
    return Cell(style.fixed(row["value"], 3), best=bool(row["reached"]), notes=notes)


def left_out(study: Study, table: pd.DataFrame) -> str:
    """Names the published PSF models and types of pictures that the study did not run."""
    name = wanted(study)
    published = read_published(name) if name else pd.DataFrame()
    if published.empty or name == "figure_2_6":
        return ""
    absent = []
    models = set(published["psf_model"]) - set(table["psf_model"])
    if models:
        absent.append(
            "PSF models " + ", ".join(map(style.psf_label, style.in_order(models, PSF_MODELS)))
        )
    types = set(published["test_set"]) - set(table["test_type"])
    if types:
        absent.append("types of pictures " + ", ".join(style.in_order(types, TYPES)))
    return f"Published, but not run in this study: {'; '.join(absent)}." if absent else ""


def published_figures(study: Study) -> dict[str, list[StudyFigure]]:
    """Figures of published values and this study's, by form of the PSFs.

    There are none for a published figure, which the curves of robustness include.
    """
    name, table = wanted(study), compare(study)
    figures = defaultdict(list)
    if table.empty or name == "figure_2_6":
        return figures
    source = read_published(name).rename(columns={"test_set": "test_type"})
    panel, row = ("test_type", "psf_model") if name == "table_2_3" else ("train_set", "test_type")
    table = table.assign(label=lines(name, table))
    shades = colours(table["label"], table["architecture"])
    for form, rows in table.groupby("form", sort=False):
        panels = []
        compared = set(source[panel]) & set(rows[panel])
        for title in style.in_order(compared, TYPES):
            part, marks = rows[rows[panel] == title], {}
            order = PSF_MODELS if row == "psf_model" else TYPES
            for key in style.in_order(rows[row].unique(), order):
                known = source[(source[panel] == title) & (source[row] == key)]
                grey = [Mark("", r2, published=True) for r2 in known["r2"]]
                own = part[part[row] == key].to_dict("records")
                label = style.psf_label(key) if row == "psf_model" else f"tested on {key}"
                marks[label] = grey + [Mark.of(r, shades[r["label"]]) for r in own]
            panels.append((title if row == "psf_model" else f"trained on {title}", marks))
        # More than three panels side by side would have no space for their ticks.
        for start in range(0, len(panels), 3):
            some = panels[start : start + 3]
            draw = partial(network_plots.dots, some, width_px=160 + 300 * len(some))
            alt = f"Published R² as grey bars and this study's as dots with intervals, {name}, "
            alt += ", ".join(title for title, _ in some) + "."
            own_name = f"published_{form}_{start // 3 + 1}"
            figures[form].append(
                StudyFigure(
                    *(own_name, f"published_{name}", table, draw, ""),
                    *("", alt, 160 + 300 * len(some)),
                )
            )
    return figures


def score(study: Study) -> Score | None:
    """Share of cells that reach the published values; None if nothing is comparable."""
    table = _comparable(study)
    if table.empty:
        return None
    ours = table[table["architecture"] == "isoplan"]
    who, rows = ("isoplan", ours) if len(ours) else ("This study", table)
    reached = f"{int(rows['reached'].sum())} of {style.count(len(rows), 'cell')}"
    return Score(
        "plain",
        f"{who} is at least equal to the published R² in {reached}",
        "Compared at the two published decimals, with the published form and ranges of the PSFs.",
        title="Cells at least equal to the published R²",
        bars=lineup.bars(table, _reached),
        data="regression.csv",
        question="How good the networks are",
        note=NO_MOSAIC,
        beside=False,
    )


def _reached(rows: pd.DataFrame) -> tuple[float, str]:
    return float(rows["reached"].mean()), f"{int(rows['reached'].sum())} of {len(rows)}"


def _comparable(study: Study) -> pd.DataFrame:
    table = compare(study)
    return table[(table["form"] == "published") & table["published"].notna()]


def _short_of_published(study: Study) -> list[str]:
    """The cells of isoplan's network that are farthest below the published values."""
    table = _comparable(study)
    table = table[(table["architecture"] == "isoplan") & ~table["reached"].astype(bool)]
    table = table.assign(gap=table["published"].astype(float) - table["value"])
    words = []
    for row in table.sort_values("gap", ascending=False).head(SHOWN).itertuples():
        below = "below " if row.below else ""
        told = [style.psf_label(row.psf_model), row.label, f"trained on {row.train_set}"]
        told.append(f"tested on {row.test_type}")
        if row.degradation != "none":
            told.append(f"{style.degradation_label(row.degradation)} of strength {row.level:g}")
        words.append(
            f"{', '.join(told)}: R² {style.fixed(row.value, 3)}, published {below}{style.fixed(row.published)}. "
            "Train on more samples, as the full form of the study does."
        )
    return words + and_more(len(table), "cells below the published R²")


def parts(study: Study) -> list[Part]:
    comparison = compare(study)
    if comparison.empty:
        return []
    name, figures = wanted(study), published_figures(study)
    found = [Part(words=[f"{TITLES[name]}. {INTRO}{REMARKS.get(name, '')}"])]
    for protocol in protocols(study, comparison):
        found.append(
            Part(
                protocol.title,
                words=[protocol.words],
                figures=figures[protocol.form],
                tables=protocol.tables,
                link_figures=False,  # one CSV for all, below the tables
            )
        )
    files = {f"published_{name}": comparison}
    return [*found, Part(notes=[left_out(study, comparison)], csvs=files, data=["regression.csv"])]


def cautions(study: Study) -> list[Caution]:
    return [Caution(words) for words in _short_of_published(study)]


SECTION = Section(
    "published",
    "Published",
    "Comparison with published results",
    parts,
    cautions=cautions,
    score=score,
)
