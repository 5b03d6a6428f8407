"""The report's own sections, in the order of the page.

Those of an application stand between what was found and how the networks did: `in_order`.
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
    """All sections of a report, those of `more` among them."""
    return [*FOUND, *more, *TESTED, *MADE]
