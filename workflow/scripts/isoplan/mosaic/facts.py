"""What is known of a mosaic once its pixels were read, as the rule `measure_mosaic` writes it down."""

import json
from pathlib import Path
from typing import Self

from isoplan.mosaic.reader import open_row
from isoplan.mosaic.window import Picture

# What says which pixels are read, and which numbers: declared by whoever works unit by unit (`Facts.only`).
PIXELS = (
    *("path", "series", "slice", "channel", "ground", "stamp"),
    *("height_px", "width_px", "dtype", "offset", "mean", "p999"),
)
# What `optics.exposure.exposure_of` reads.
EXPOSED = ("gain", "read_noise_e", "saturation", "dark")
# What `registration.open_registered` reads.
REFERENCE = ("reference", "reference_slice")


class Facts(dict):
    """A mosaic's line of the table, with optics and camera as they were completed, and what its pixels tell
    (`mosaic.measure`).

    >>> facts = Facts(height_px=40, width_px=30, offset=100.0, mean=150.0, p999=300.0)
    >>> facts.shape, facts.brightness
    ((40, 30), {'start': 50.0, 'scale': 200.0})
    """

    @classmethod
    def read(cls, path: str | Path) -> Self:
        return cls(json.loads(Path(path).read_text()))

    def only(self, *names: str) -> "Facts":
        """The facts of these names alone; to ask for another one is an error of the program.

        Units whose mark holds these are not made again for a column of the table, or a measurement, that they do not
        read.
        """
        return _Declared({name: self.get(name) for name in names})

    def open(self) -> Picture:
        """The picture itself, without its ground where it has one."""
        return open_row(self)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self["height_px"], self["width_px"]

    @property
    def brightness(self) -> dict[str, float]:
        """The two numbers that a restoration starts from, in counts above the offset: `start`, its first value
        everywhere, and `scale`, what counts as bright. Both are above 0 whatever the picture holds."""
        scale = max((self["p999"] or 0) - self["offset"], 1e-6)
        return {"start": max((self["mean"] or 0) - self["offset"], 1e-6 * scale), "scale": scale}


class _Declared(Facts):
    def __missing__(self, name: str):
        raise KeyError(f"{name} is none of the facts that were declared: {', '.join(self)}")

    def get(self, name: str, default=None):
        return self[name]
