"""What the report is made of: sections of parts, with figures, tables and words, and what each says on the first screen.

The report room hands in its own (`sections`); an application, which lies above this room, hands in others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from isoplan.report import style
from isoplan.report.results import ResultTable, Study
from isoplan.report.tables import Table

SHOWN = 6  # cautions of one kind
NO_MOSAIC = "No mosaic was restored in this study, so there are no pictures, PSF maps or image metrics to show."


@dataclass
class StudyFigure:
    """One figure of a study: its names, its table, how to draw it, and its words.

    name: of its PNG and SVG; data, table: its CSV's name and content; draw() makes the figure. Figures of one
    `group` in a row stand side by side below that heading; alt tells in words what the figure shows.
    """

    name: str
    data: str
    table: pd.DataFrame
    draw: Callable
    group: str
    title: str
    alt: str
    width_px: int
    kind: str = "png"  # in the page; pictures of a noisy mosaic are many times larger as PNG


@dataclass
class Part:
    """A piece of a section; what it has is shown in the order of the fields.

    title: its heading, of `level` 3 or 4. words: paragraphs. items: a list. remarks: small paragraphs. figures: all
    of them are drawn into figures/, the page shows at most `limit`. tables: each with its heading or "". notes:
    small paragraphs. listing: summary and text of what opens on demand. data: CSVs of the study, linked below.

    fold: with this summary, figures and tables open on demand alone. link_figures: whether the figures' CSVs are
    linked. csvs: name -> table, of further CSVs in figures/ that are linked below. mosaic: the one that it
    pictures; of many mosaics only some are on the page.
    """

    title: str = ""
    words: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    figures: list[StudyFigure] = field(default_factory=list)
    tables: list[tuple[str, Table]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    listing: tuple[str, str] | None = None
    data: list[str] = field(default_factory=list)
    level: int = 3
    limit: int | None = None
    fold: str = ""
    link_figures: bool = True
    csvs: dict[str, pd.DataFrame] = field(default_factory=dict)
    mosaic: str = ""


@dataclass
class Caution:
    """Where not to trust a result. mosaic: the one that it is about. harm: something came out worse than it was."""

    text: str
    mosaic: str = ""
    harm: bool = False


@dataclass
class Bar:
    """How good one thing is: a share for a bar, which ends at 0 and 1, and the same in words."""

    label: str
    colour: str
    share: float
    text: str = ""

    def __post_init__(self):
        self.text = self.text or style.percent(self.share)
        self.share = min(max(self.share, 0.0), 1.0)


@dataclass
class Score:
    """What a section says on the first screen: did it work, and how well.

    level: good, fair, bad, open (nobody can tell), empty, or plain (no judgement). bars, below `title`, come from
    the CSV `data`. question: the heading above them. note: what else to say there. sound: what to say where no
    section cautions. mosaics: of `mosaic_verdict`, each with bars of its own. figures: drawn into figures/, of
    which the first screen links the CSVs. alarms: what has to be read before all else.
    beside: whether the bars stand on the first screen where another section's score leads too.
    """

    level: str
    headline: str
    lead: str
    title: str = ""
    bars: list[Bar] = field(default_factory=list)
    data: str = "metrics.csv"
    question: str = "How much better"
    note: str = ""
    sound: str = ""
    mosaics: list = field(default_factory=list)
    figures: list[StudyFigure] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    beside: bool = True


@dataclass(frozen=True)
class Section:
    """One section of the report, all that the page knows of it.

    key: its anchor. name: in the navigation. title: its heading. parts: what it shows of a study; none, and it is
    not in the report. tables: CSVs of the study that this section brings beside `results.TABLES`; they are read
    with the others and listed among the files. cautions, score: what it says on the first screen, if anything.
    template: in templates/; the usual one draws the parts one after the other.
    """

    key: str
    name: str
    title: str
    parts: Callable[[Study], list[Part]]
    tables: tuple[ResultTable, ...] = ()
    cautions: Callable[[Study], list[Caution]] = lambda study: []
    score: Callable[[Study], Score | None] = lambda study: None
    template: str = "section.html"


def and_more(count: int, what: str) -> list[str]:
    """The sentence that ends a list of cautions of which only the first SHOWN are told."""
    return [f"{count - SHOWN} more {what}."] if count > SHOWN else []
