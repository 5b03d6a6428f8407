"""What the report says of a user's enhanced pictures."""

from functools import partial

import pandas as pd

from isoplan.applications.enhancement.whole import MUCH
from isoplan.report import plots, style
from isoplan.report.own_files import OwnFiles
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Part, Score, Section, StudyFigure

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


OWN = OwnFiles("enhanced_pictures", FACTS, "Picture", "pictures")


def parts(study: Study) -> list[Part]:
    known = OWN.told(study)
    if not known:
        return []
    first = Part(words=[INTRO], data=[TABLE])
    return [first, *(OWN.part(name, one, _figures(study, name)) for name, one in known.items())]


def _figures(study: Study, name: str) -> list[StudyFigure]:
    image = OWN.folder(study, name) / "preview.png"
    if not image.is_file():
        return []
    title = f"{name}: its middle, enhanced, and where counts speak against the result"
    facts = OWN.told(study)[name]["facts"]
    table, file = pd.DataFrame(facts.items(), columns=["fact", "value"]), f"enhanced_{name}"
    draw = partial(plots.page_of, image, WIDTH_PX)
    return [StudyFigure(file, file, table, draw, "", title, title, WIDTH_PX, "jpg")]


def score(study: Study) -> Score | None:
    """How much of each the counts speak against; None without pictures."""
    shares = {name: one["facts"].get("doubted") for name, one in OWN.told(study).items()}
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


TABLES = (
    ResultTable(TABLE, "what was found of every enhanced picture", ("picture", "fact", "value")),
)
SECTIONS = [
    Section(
        "enhanced", "Enhanced pictures", "Enhanced pictures", parts, TABLES, OWN.cautions, score
    )
]
