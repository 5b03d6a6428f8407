"""A table of the report: header, rows of ready-made text, and which cells are best."""

from dataclasses import dataclass, field


@dataclass
class Cell:
    """notes: small lines below the text."""

    text: str
    best: bool = False
    colour: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class Table:
    """head: column titles. The first column of every row is its header; a row of one cell heads a group.

    note: what to know of the table, for its section to say. best: what the mark of a best cell means. numeric:
    whether the columns beside the first hold numbers.
    """

    head: list[str]
    rows: list[list[Cell]]
    note: str = ""
    best: str = "best"
    numeric: bool = True
