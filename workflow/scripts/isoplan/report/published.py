"""Published figures beside this study's, cell by cell (config: report.published)."""

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
        "These are the only points of the figure that the thesis states in words; the whole curves are below, "
        "under Robustness. Networks trained without noise fell to 0 there even under moderate noise, of a strength "
        "that is not stated."
    ),
}
# What makes a cell of each of them, beside the PSF model.
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
    "R² is the mean over the PSF's parameters (thesis, eq. 2.13), over patches with texture. Each cell has "
    "this study's figure, its 95 % interval by bootstrap over scenes, and the published figure: that of the "
    "same architecture where there is one, else of the best published network. "
)
WORDS = {
    "published": (
        "PSFs in the published form, with the published ranges: Gaussian widths of 0 to 20 px, focus to 4 and "
        "astigmatism to 3 waves of Seidel terms, and an axis of two values only, 0 and 90 degrees. "
        "Marked cells are at least equal at two decimals, which is all that was published. Still not the same: "
        "the published pictures are not available, so every type is our own make or what your folders hold, and "
        "the sets are smaller or larger than the published ones; the published code computes R² with truth and prediction "
        "swapped, and its training noise is practically none (65,000 photons and more at the brightest pixel)."
    ),
    "isoplan": (
        "PSFs in our form: the whole range of every parameter, Noll-normalised waves, an axis of any angle. "
        "This is another task than the published one, easier in some cells and harder in others, so no cell "
        "is marked; the published figures are there for orientation. The plain R² of an axis counts 1 degree and 179 "
        "degrees as far apart; its circular error is in the table of each parameter below."
    ),
}


@dataclass
class Protocol:
    """One form of the PSFs (published or ours): its title, what to know of it, and its tables."""

    form: str
    title: str
    words: str
    tables: list[tuple[str, Table]] = field(default_factory=list)


def wanted(study: Study) -> str | None:
    """The published table that the study is compared with, or None."""
    name = (study.config.get("report") or {}).get("published")
    return name if name in TITLES else None


def read_published(name: str) -> pd.DataFrame:
    """The published figures of one table, long form; empty where the file is not there.

    Columns: network, psf_model, train_set, test_set, degradation, level (NaN where the source gives
    none), r2, with_noise (in training), below (r2 is an upper bound).
    """
    path = FOLDER / f"{name}.csv"
    columns = [*("network", "psf_model", "train_set", "test_set", "degradation"), "level", "r2"]
    if not path.exists():
        return pd.DataFrame(columns=[*columns, "with_noise", "below"])
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    noise, notes = table.get("noise_in_training", "yes"), table.get("note", "")
    return table[columns].assign(with_noise=noise == "yes", below=notes == "below")


def compare(study: Study) -> pd.DataFrame:
    """Published R2 beside ours: one row per network and cell that the study ran, columns COLUMNS.

    A network is set against the published one of its architecture, any other against the best of the
    cell. `reached`: ours, at the published two decimals, is at least equal; only under the published
    form, or like would not be set against like. Empty where the study asks for no comparison.
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
        # Of a curve, the strengths that the source states.
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
    """The tables to print, first those under the published form of the PSFs, then those under ours."""
    name, found = wanted(study), []
    for form in ("published", "isoplan"):
        rows = table[table["form"] == form]
        if rows.empty:
            continue
        title = "Under the published protocol" if form == "published" else "Under our protocol"
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
    """What a row of `compare` is called: its network, and how that was trained where it matters."""
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
    """line -> colour; of several lines of one architecture the first has its full colour."""
    known = dict(zip(lines, architectures, strict=True))
    return style.network_colours(dict(reversed(known.items())))


def _grid(rows: pd.DataFrame, line: str, column: str, head: str, group: str = "") -> Table:
    """A table of cells; with `group`, its values are headings between the rows."""
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
    return Table([head, *map(str, columns)], printed, best="at least equal to the published figure")


def _cell(row: dict | None) -> Cell:
    if row is None:
        return Cell("\u2013")
    notes = [text for text in [style.interval(row["low"], row["high"])] if text]
    if style.is_number(row["published"]):
        below = "below " if row["below"] else ""
        notes.append(f"published {below}{style.fixed(row['published'])}")
    return Cell(style.fixed(row["value"], 3), best=bool(row["reached"]), notes=notes)


def left_out(study: Study, table: pd.DataFrame) -> str:
    """Which published PSF models and types of pictures the study did not run, in a sentence."""
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
    """Form of the PSFs -> published R2 and ours as dots; of a published figure there are the curves of robustness."""
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
        # More than three panels side by side leave no room for their ticks.
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
    """Where published figures are compared with, like with like; else None."""
    table = _comparable(study)
    if table.empty:
        return None
    ours = table[table["architecture"] == "isoplan"]
    who, rows = ("isoplan", ours) if len(ours) else ("This study", table)
    reached = f"{int(rows['reached'].sum())} of {style.count(len(rows), 'cell')}"
    return Score(
        "plain",
        f"{who} is at least equal to the published R² in {reached}",
        "Compared at the published two decimals, under the published form and ranges of the PSFs.",
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
    """The cells of our own network that fall farthest short of the published figure."""
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
            f"{', '.join(told)}: R² {style.fixed(row.value, 3)}, published {below}{style.fixed(row.published)}."
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
    "published", "Published", "Beside the published figures", parts, cautions=cautions, score=score
)
