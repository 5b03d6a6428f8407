"""What the report says of the motion in a user's own pictures."""

from functools import partial

import pandas as pd

from isoplan.applications.flow.results import PICTURE, PROFILE
from isoplan.report import plots, style
from isoplan.report.own_files import OwnFiles
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Part, Score, Section, StudyFigure

TABLE = "flow_maps.csv"
WIDTH_PX, BARS = 620, 12  # of the figures; pictures on the first screen
INTRO = (
    "What moved where in your own pictures while the camera exposed, each found in its picture alone. A direction and its opposite look the same, but in a sequence, which has headings and tracks. Speeds are in µm/s where the "
    "exposure time is known, else displacements in µm. flow_maps/<name>/flow.csv has a row per cell; flow_maps/<name>.ome.zarr lies over the picture in napari."
)
FACTS = {
    "valid": "Share of valid cells",
    "apart": "Share of cells whose parts moved differently",
    "exposure_ms": "Exposure (ms)",
    "low": "Speed or displacement from (10 % lie below)",
    "median": "in the median cell",
    "high": "to (10 % lie above)",
    "half_width": "Half-width of its 90 % interval, median",
    "axial": "Along the axis, median",
    "axial_half_width": "Half-width of its 90 % interval, median",
    "longest_um": "Displacements along x and y looked for up to (um)",
    "at_end": "Share of displacements at that end",
    "frames": "Pictures of the sequence",
    "interval_ms": "From one to the next (ms)",
    "still": "Share of cells that are in the same place in the next one, so not valid",
    "headings": "Share of valid cells whose heading is told from its opposite",
    "followed": "Share of valid cells whose displacement until the next one is known",
    "follow": "Share of these that moved as their blur tells",
    "tracks": "Tracks",
    "to_the_end": "Tracks that last to the end",
    "both_known": "Share of cells known in the shorter exposure, too",
    "agree": "Share of these whose speeds agree, within 90 % intervals",
}
MANY = 0.3  # share of valid cells below which the first screen warns

OWN = OwnFiles("flow_maps", FACTS, "Motion of", "motion")


def parts(study: Study) -> list[Part]:
    known = OWN.told(study)
    if not known:
        return []
    own = [OWN.part(name, one, _figures(study, name, one["facts"])) for name, one in known.items()]
    return [Part(words=[INTRO], data=[TABLE]), *own]


def _figures(study: Study, name: str, facts: dict) -> list[StudyFigure]:
    table = pd.DataFrame(facts.items(), columns=["fact", "value"])
    titles = {
        "map": (PICTURE, f"{name}: motion over the picture"),
        "profile": (PROFILE, f"{name}: medians of rows and columns, with half of the cells"),
    }
    found = []
    for kind, (file, title) in titles.items():
        image, key = OWN.folder(study, name) / file, f"flow_{kind}_{name}"
        if image.is_file():
            draw = partial(plots.page_of, image, WIDTH_PX)
            found.append(StudyFigure(key, key, table, draw, "", title, title, WIDTH_PX, "png"))
    return found


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
    short = f"Motion in {style.count(len(shares), 'picture')}"
    lead = (
        f"In {few} of them little is known." if few else "Most of what lies off the edge is known."
    )
    title = "Share of the cells of each in which motion is known"
    question = "How much is known"
    return Score("plain", short, lead, title=title, bars=bars[:BARS], data=TABLE, question=question)


TABLES = (ResultTable(TABLE, "what was found of all motion", ("flow_map", "fact", "value")),)
SECTIONS = [
    Section("flow_maps", "Motion", "Motion in pictures", parts, TABLES, OWN.cautions, score)
]
