"""What the report says of a user's enhanced pictures."""

import json
from functools import partial
from pathlib import Path

import pandas as pd

from isoplan.applications.enhancement.whole import MUCH
from isoplan.report import plots, style
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import SHOWN, Bar, Caution, Part, Score, Section, StudyFigure, and_more
from isoplan.report.tables import Cell, Table

TABLE = "enhanced_pictures.csv"
WIDTH_PX, BARS = 1040, 12  # of the page; pictures on the first screen
INTRO = (
    "Each picture is enhanced by a network that learnt from pairs of other fields. What its own counts, or those of a second exposure, speak against was "
    "invented or lost; what they do not speak against may be invented all the same. enhanced_pictures/<name>.ome.zarr opens in "
    "napari; <name>-doubts.ome.zarr, and of several networks <name>-apart.ome.zarr, lie over it."
)
FACTS = {
    "mean": "Mean (counts)",
    "noise": "Standard deviation of its noise (counts)",
    "gain": "Gain (counts per electron)",
    "offset": "Offset (counts)",
    "read_noise_e": "Read noise (electrons)",
    "doubted": "Share that counts speak against",
    "apart": "How far networks are apart (root mean square, of the noise)",
}


def told(study: Study) -> dict[str, dict]:
    """Of each picture that is finished, its facts, words and notes."""
    names = [picture["name"] for picture in study.config.get("enhanced_pictures") or []]
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
    table = Table(["Figure", "Value"], rows)
    notes = [". ".join(found["notes"]) + "."] if found["notes"] else []
    return Part(
        name, items=found["words"], figures=_figures(study, name), tables=[("", table)], notes=notes
    )


def _figures(study: Study, name: str) -> list[StudyFigure]:
    image = _folder(study, name) / "preview.png"
    if not image.is_file():
        return []
    title = f"{name}: its middle, enhanced, and where counts speak against the result"
    facts = told(study)[name]["facts"]
    table, file = pd.DataFrame(facts.items(), columns=["fact", "value"]), f"enhanced_{name}"
    draw = partial(plots.page_of, image, WIDTH_PX)
    return [StudyFigure(file, file, table, draw, "", title, title, WIDTH_PX, "jpg")]


def _folder(study: Study, name: str) -> Path:
    return Path(study.folder) / "enhanced_pictures" / name


def score(study: Study) -> Score | None:
    """How much of each the counts speak against; None without pictures."""
    shares = {name: one["facts"].get("doubted") for name, one in told(study).items()}
    if not shares:
        return None
    known = {name: share for name, share in shares.items() if share is not None}
    most = max([MUCH, *known.values()])
    bars = [
        Bar(name, style.QUIET if share <= MUCH else "#B00020", share / most, style.percent(share))
        for name, share in known.items()
    ]
    much = sum(share > MUCH for share in known.values())
    short = f"{style.count(len(shares), 'picture')} enhanced"
    lead = "Counts speak against little of them." if not much else ""
    if much:
        lead = f"Counts speak against much of {much} of them."
    if len(known) < len(shares):
        lead += " Where no gain is known, that is not told."
    title = "Share of each that counts speak against"
    question = "Does the network suit them"
    return Score("plain", short, lead, title=title, bars=bars[:BARS], data=TABLE, question=question)


def cautions(study: Study) -> list[Caution]:
    """Pictures that their network does not suit."""
    found = [
        Caution(f"Picture {name}: {word.removeprefix('CAUTION: ')}.")
        for name, one in told(study).items()
        for word in one["words"]
        if word.startswith("CAUTION")
    ]
    more = and_more(len(found), "cautions of pictures")
    return [*found[:SHOWN], *map(Caution, more)]


TABLES = (
    ResultTable(TABLE, "what was found of every enhanced picture", ("picture", "fact", "value")),
)
SECTIONS = [
    Section("enhanced", "Enhanced pictures", "Enhanced pictures", parts, TABLES, cautions, score)
]
