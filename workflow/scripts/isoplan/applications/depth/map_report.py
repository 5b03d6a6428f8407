"""What the report says of the heights of a user's own pictures."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from isoplan.applications.depth.heights import SURE
from isoplan.applications.depth.results import PICTURE
from isoplan.mosaic import ngff
from isoplan.report import plots, style
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import (
    MOST_CELLS,
    SHOWN,
    Bar,
    Caution,
    Part,
    Score,
    Section,
    StudyFigure,
    Surface,
    and_more,
)
from isoplan.report.tables import Cell, Table

TABLE = "height_maps.csv"
WIDTH_PX, BARS = 520, 12  # of the map; pictures on the first screen
INTRO = (
    "Heights of your own pictures above the plane in focus, each found in its picture alone by the calibration of the microscope. Cells that are "
    "not valid are hatched. height_maps/<name>/heights.csv has a row per cell; height_maps/<name>.ome.zarr lies over the picture in napari."
)
FACTS = {
    "valid": "Share of valid cells",
    "low_um": "Heights from (1 % lie below, um)",
    "high_um": "to (1 % lie above, um)",
    "half_width_um": "Half-width of their 90 % interval, median (um)",
    "reach_um": "Looked for up to (um)",
    "at_end": "Share of heights at that end",
}
MANY = 0.5  # share of valid cells below which the first screen warns


def told(study: Study) -> dict[str, dict]:
    """Of each picture that is finished, its facts, words and notes."""
    names = [one["name"] for one in study.config.get("height_maps") or []]
    files = {name: _folder(study, name) / "facts.json" for name in names}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}


def parts(study: Study) -> list[Part]:
    known = told(study)
    if not known:
        return []
    return [Part(words=[INTRO], data=[TABLE]), *(_part(study, *one) for one in known.items())]


def _part(study: Study, name: str, found: dict) -> Part:
    rows = [
        [Cell(words), Cell(f"{found['facts'][key]:.4g}")]
        for key, words in FACTS.items()
        if key in found["facts"]
    ]
    notes = [". ".join(found["notes"]) + "."] if found["notes"] else []
    return Part(
        name,
        items=found["words"],
        figures=_figures(study, name, found["facts"]),
        surfaces=_surfaces(study, name),
        tables=[("", Table(["Figure", "Value"], rows))],
        notes=notes,
        link_figures=False,
    )


def _figures(study: Study, name: str, facts: dict) -> list[StudyFigure]:
    image = _folder(study, name) / PICTURE
    if not image.is_file():
        return []
    title = f"{name}: heights; hatched where they are not valid"
    table, file = pd.DataFrame(facts.items(), columns=["fact", "value"]), f"heights_{name}"
    draw = partial(plots.page_of, image, WIDTH_PX)
    return [StudyFigure(file, file, table, draw, "", title, title, WIDTH_PX, "png")]


def _surfaces(study: Study, name: str) -> list[Surface]:
    store = _folder(study, name).with_name(f"{name}.ome.zarr")
    if not store.is_dir():
        return []
    array, made = ngff.open_array(store), ngff.read_attributes(store)
    step = max(1, -(-max(array.shape[1:]) // MOST_CELLS))
    height, _, validity = np.asarray(array[:, ::step, ::step])
    cell = made["stride_px"] * made["pixel_size_um"] * step
    shown = np.where(validity >= SURE, height, np.nan)
    alt = f"The heights of {name}, as a surface."
    return [Surface(f"{name}: valid heights.", alt, shown, cell, "µm")]


def _folder(study: Study, name: str) -> Path:
    return Path(study.folder) / "height_maps" / name


def score(study: Study) -> Score | None:
    """How much of each is valid; None if there are none."""
    shares = {name: one["facts"]["valid"] for name, one in told(study).items()}
    if not shares:
        return None
    bars = [
        Bar(name, style.QUIET if share >= MANY else "#B00020", share, style.percent(share))
        for name, share in shares.items()
    ]
    few = sum(share < MANY for share in shares.values())
    short = f"Heights of {style.count(len(shares), 'picture')}"
    lead = f"In {few} of them less than half is valid." if few else "Most of each is valid."
    title = "Share of each whose heights are valid"
    question = "How much is known"
    return Score("plain", short, lead, title=title, bars=bars[:BARS], data=TABLE, question=question)


def cautions(study: Study) -> list[Caution]:
    """Pictures whose heights are not to be trusted."""
    found = [
        Caution(f"Heights of {name}: {word.removeprefix('CAUTION: ')}.")
        for name, one in told(study).items()
        for word in one["words"]
        if word.startswith("CAUTION")
    ]
    more = and_more(len(found), "cautions of heights")
    return [*found[:SHOWN], *map(Caution, more)]


TABLES = (ResultTable(TABLE, "what was found of all height maps", ("height_map", "fact", "value")),)
SECTIONS = [
    Section("height_maps", "Heights", "Heights of pictures", parts, TABLES, cautions, score)
]
