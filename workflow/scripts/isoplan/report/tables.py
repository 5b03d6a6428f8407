"""Tables of the report, with their text and the best cells."""

from dataclasses import dataclass, field


@dataclass
class Cell:
    """A cell.

    Attributes
    ----------
    text
        Its text.
    best
        Whether it is marked.
    colour
        Colour of a dot before the text; none if empty.
    notes
        Small lines below the text.
    """

    text: str
    best: bool = False
    colour: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class Table:
    """A table.

    Attributes
    ----------
    head
        Titles of the columns.
    rows
        Rows of cells. The first cell is the header of its row; a row with a single cell is a heading.
    note
        A remark, which the section shows.
    best
        What a marked cell means.
    numeric
        Whether all columns except the first have numbers.
    """

    head: list[str]
    rows: list[list[Cell]]
    note: str = ""
    best: str = "best"
    numeric: bool = True
