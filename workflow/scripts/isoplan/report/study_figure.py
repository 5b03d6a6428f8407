"""One figure of a study: its names, its table, how to draw it, and its words."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd


@dataclass
class StudyFigure:
    """name: of its PNG and SVG; data, table: its CSV's name and content; draw() makes the figure.

    section and group say where it stands in the report; alt tells in words what it shows.
    """

    name: str
    data: str
    table: pd.DataFrame
    draw: Callable
    section: str
    group: str
    title: str
    alt: str
    width_px: int
    kind: str = "png"  # in the page; pictures of a noisy mosaic are many times larger as PNG
