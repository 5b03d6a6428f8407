"""The facts about a mosaic (table, header and pixels), as the rule `measure_mosaic` stores them."""

import json
from pathlib import Path
from typing import Self

from isoplan.mosaic.reader import open_row
from isoplan.mosaic.window import Picture

# Facts that determine which pixels are read and what their numbers mean. Stages that work unit by
# unit declare them with `Facts.only`.
PIXELS = (
    *("path", "series", "slice", "channel", "ground", "stamp"),
    *("height_px", "width_px", "dtype", "offset", "mean", "p999"),
)
# Facts that `optics.exposure.exposure_of` reads.
EXPOSURE = ("gain", "read_noise_e", "saturation", "dark")
# Facts that `registration.open_registered` reads.
REFERENCE = ("reference", "reference_slice")


class Facts(dict):
    """A mosaic's line of the table, its optics and camera, and the statistics of its pixels.

    The optics are completed from the file's header, the statistics come from `mosaic.measure`.

    Examples
    --------
    >>> facts = Facts(height_px=40, width_px=30, offset=100.0, mean=150.0, p999=300.0)
    >>> facts.shape, facts.brightness
    ((40, 30), {'start': 50.0, 'scale': 200.0})
    """

    @classmethod
    def read(cls, path: str | Path) -> Self:
        return cls(json.loads(Path(path).read_text()))

    def only(self, *names: str) -> "Facts":
        """Keep only the named facts; reading any other one raises KeyError.

        The mark of a finished unit holds the facts that it read. So a unit is not computed again
        when a column of the table or a statistic changes that it never reads.
        """
        return _Declared({name: self.get(name) for name in names})

    def open(self) -> Picture:
        """Open the picture; its ground, if it has any, reads as NaN."""
        return open_row(self)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self["height_px"], self["width_px"]

    @property
    def brightness(self) -> dict[str, float]:
        """Initial value (`start`) and bright level (`scale`) of a restoration, in counts above offset.

        Both are positive for every picture.
        """
        scale = max((self["p999"] or 0) - self["offset"], 1e-6)
        return {"start": max((self["mean"] or 0) - self["offset"], 1e-6 * scale), "scale": scale}


class _Declared(Facts):
    def __missing__(self, name: str):
        raise KeyError(f"{name} is not among the declared facts: {', '.join(self)}")

    def get(self, name: str, default=None):
        return self[name]
