"""What the report says of the heights of a user's own pictures."""

from functools import partial

import numpy as np
import pandas as pd

from isoplan.applications.depth.heights import SURE
from isoplan.applications.depth.results import PICTURE
from isoplan.mosaic import ngff
from isoplan.report import plots, style
from isoplan.report.own_files import OwnFiles
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import (
    MOST_CELLS,
    Bar,
    Part,
    Score,
    Section,
    StudyFigure,
    Surface,
)

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


OWN = OwnFiles("height_maps", FACTS, "Heights of", "heights")


def parts(study: Study) -> list[Part]:
    known = OWN.told(study)
    if not known:
        return []
    own = [
        OWN.part(name, one, _figures(study, name, one["facts"]), _surfaces(study, name))
        for name, one in known.items()
    ]
    return [Part(words=[INTRO], data=[TABLE]), *own]


def _figures(study: Study, name: str, facts: dict) -> list[StudyFigure]:
    image = OWN.folder(study, name) / PICTURE
    if not image.is_file():
        return []
    title = f"{name}: heights; hatched where they are not valid"
    table, file = pd.DataFrame(facts.items(), columns=["fact", "value"]), f"heights_{name}"
    draw = partial(plots.page_of, image, WIDTH_PX)
    return [StudyFigure(file, file, table, draw, "", title, title, WIDTH_PX, "png")]


def _surfaces(study: Study, name: str) -> list[Surface]:
    store = OWN.folder(study, name).with_name(f"{name}.ome.zarr")
    if not store.is_dir():
        return []
    array, made = ngff.open_array(store), ngff.read_attributes(store)
    step = max(1, -(-max(array.shape[1:]) // MOST_CELLS))
    height, _, validity = np.asarray(array[:, ::step, ::step])
    cell = made["stride_px"] * made["pixel_size_um"] * step
    shown = np.where(validity >= SURE, height, np.nan)
    alt = f"The heights of {name}, as a surface."
    return [Surface(f"{name}: valid heights.", alt, shown, cell, "µm")]


def score(study: Study) -> Score | None:
    """How much of each is valid; None if there are none."""
    shares = {name: one["facts"]["valid"] for name, one in OWN.told(study).items()}
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


TABLES = (ResultTable(TABLE, "what was found of all height maps", ("height_map", "fact", "value")),)
SECTIONS = [
    Section("height_maps", "Heights", "Heights of pictures", parts, TABLES, OWN.cautions, score)
]
