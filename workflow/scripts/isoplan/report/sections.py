"""The sections of the report, in the order of the page.

Those of applications come between the results on mosaics and the tests (`in_order`).
"""

from collections.abc import Iterable

from isoplan.report import (
    agreement,
    cells,
    choices,
    cost_section,
    glossary,
    harm,
    how,
    image_metrics,
    look,
    maps,
    network,
    published,
    restoration_section,
)
from isoplan.report.section import Part, Section

SUMMARY = Section("summary", "Summary", "Summary", lambda study: [Part()], template="summary.html")
FOUND = (
    SUMMARY,
    look.SECTION,
    cells.SECTION,
    choices.SECTION,
    agreement.SECTION,
    maps.SECTION,
    image_metrics.SECTION,
)
TESTED = (restoration_section.SECTION, harm.SECTION, published.SECTION, network.SECTION)
MADE = (cost_section.SECTION, how.SECTION, glossary.SECTION)


def in_order(more: Iterable[Section] = ()) -> list[Section]:
    """All sections of a report. more: those of applications."""
    return [*FOUND, *more, *TESTED, *MADE]
