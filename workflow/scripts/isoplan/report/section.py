"""Elements of the report: sections with parts, which have figures, tables and words, and scores for the first screen.

The sections of the report itself are in `sections`. Applications add their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex

from isoplan.report import style
from isoplan.report.results import ResultTable, Study
from isoplan.report.tables import Table

SHOWN = 6  # cautions of one kind
MOST_CELLS = 64  # of a surface that turns, along each axis
NO_MOSAIC = "No mosaic was restored in this study, so there are no pictures, PSF maps or image metrics to show."


@dataclass
class StudyFigure:
    """A figure.

    Attributes
    ----------
    name
        File name of its PNG and SVG, without suffix.
    data, table
        Name and content of its CSV.
    draw
        Makes the matplotlib figure.
    group
        Heading. Consecutive figures with the same one are shown side by side below it.
    title
        Its caption.
    alt
        A description of what it shows, for readers who cannot see it.
    width_px
        Width in the page.
    kind
        "png" or "jpg", for the page.
    """

    name: str
    data: str
    table: pd.DataFrame
    draw: Callable
    group: str
    title: str
    alt: str
    width_px: int
    kind: str = "png"  # pictures of a noisy mosaic would be many times larger as PNG


@dataclass
class Surface:
    """A surface that turns under the pointer.

    Attributes
    ----------
    title
        Its caption.
    alt
        A description of what it shows, for readers who cannot see it.
    heights
        (ny, nx) in `unit`; NaN where they are not known.
    cell
        Side of a cell in `unit`.
    unit
        Of heights and cells.
    """

    title: str
    alt: str
    heights: np.ndarray
    cell: float
    unit: str

    @property
    def data(self) -> dict:
        """What the page draws: at most MOST_CELLS cells along each axis."""
        step = max(1, -(-max(self.heights.shape) // MOST_CELLS))
        shown = np.asarray(self.heights, float)[::step, ::step]
        known = shown[np.isfinite(shown)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        rows = [[round(v, 3) if math.isfinite(v) else None for v in row] for row in shown.tolist()]
        colours = [to_hex(colormaps[style.DEFAULT_MAP](k / 31)) for k in range(32)]
        return {
            "rows": rows,
            "cell": self.cell * step,
            "low": low,
            "high": high,
            "unit": self.unit,
            "colours": colours,
        }


@dataclass
class Part:
    """A part of a section. Its contents are shown in the order of the fields.

    Attributes
    ----------
    title
        Its heading.
    words
        Paragraphs.
    items
        Items of a list.
    remarks
        Small paragraphs above the figures.
    figures
        Figures; all are drawn into figures/.
    surfaces
        Surfaces that turn.
    tables
        Tables, each with its heading or "".
    notes
        Small paragraphs below the tables.
    listing
        Summary and text that open on demand.
    data
        CSVs of the study that are linked below.
    level
        Level of the heading, 3 or 4.
    limit
        Largest number of figures on the page; None shows all.
    fold
        If given, figures and tables open on demand below this summary.
    link_figures
        Whether the figures' CSVs are linked.
    csvs
        Further CSVs in figures/ that are linked below, by name.
    mosaic
        The mosaic that the part shows; of many mosaics, only some are on the page.
    """

    title: str = ""
    words: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    figures: list[StudyFigure] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
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
    """A warning where not to trust a result.

    Attributes
    ----------
    text
        The warning, and what to do about it.
    mosaic
        The mosaic that it is about; empty for others.
    harm
        Whether something is worse than before.
    """

    text: str
    mosaic: str = ""
    harm: bool = False


@dataclass
class Bar:
    """A bar that shows a share, clipped to 0 and 1, and its text; by default that is the share in per cent."""

    label: str
    colour: str
    share: float
    text: str = ""

    def __post_init__(self):
        self.text = self.text or style.percent(self.share)
        self.share = min(max(self.share, 0.0), 1.0)


@dataclass
class Score:
    """What a section says on the first screen: whether it worked, and how well.

    Attributes
    ----------
    level
        "good", "fair", "bad", "open" (unknown), "empty", or "plain" (no judgement).
    headline, lead
        The headline, and a paragraph below it.
    title, bars, data
        Bars with their title, and the CSV that they come from.
    question
        Heading above the bars.
    note
        A paragraph below the bars.
    sound
        What to say if no section has a warning.
    mosaics
        Verdicts from `mosaic_verdict`, each with its own bars.
    figures
        Figures that are drawn into figures/; the first screen links their CSVs.
    alarms
        What must be read first.
    beside
        Whether the bars are also shown if the score of another section is the main one.
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
    """A section of the report.

    Attributes
    ----------
    key
        Its anchor.
    name
        Its name in the navigation.
    title
        Its heading.
    parts
        (study) -> its parts; without any, the section is left out.
    tables
        CSVs of the study that it needs in addition to `results.TABLES`. They are read and listed with the others.
    cautions
        (study) -> its warnings on the first screen.
    score
        (study) -> its score on the first screen, or None.
    template
        File in templates/. The default shows the parts in order.
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
    """The sentence that ends a list of warnings if only the first SHOWN are listed."""
    return [f"There are {count - SHOWN} more {what}."] if count > SHOWN else []
