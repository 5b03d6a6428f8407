"""What is known of a mosaic once its pixels were read, as the rule `measure_mosaic` writes it down."""

import json
from pathlib import Path
from typing import Self

from isoplan.mosaic.reader import open_row
from isoplan.mosaic.window import Picture


class Facts(dict):
    """A mosaic's line of the table, with optics and camera as they were completed, and what its pixels tell
    (`mosaic.measure`).

    >>> facts = Facts(height_px=40, width_px=30, offset=100.0, mean=150.0, p999=300.0)
    >>> facts.shape, facts.levels
    ((40, 30), {'start': 50.0, 'scale': 200.0})
    """

    @classmethod
    def read(cls, path: str | Path) -> Self:
        return cls(json.loads(Path(path).read_text()))

    def open(self) -> Picture:
        """The picture itself, without its ground where it has one."""
        return open_row(self)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self["height_px"], self["width_px"]

    @property
    def levels(self) -> dict[str, float]:
        """The two numbers that a restoration starts from, in counts above the offset: `start`, its first value
        everywhere, and `scale`, what counts as bright. Both are above 0 whatever the picture holds."""
        scale = max((self["p999"] or 0) - self["offset"], 1e-6)
        return {"start": max((self["mean"] or 0) - self["offset"], 1e-6 * scale), "scale": scale}
