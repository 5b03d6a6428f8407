"""What every reader of files gives: an array to slice, and what its axes and numbers mean."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic.headers import Known, stage_positions


@dataclass
class Source:
    """An array that can be sliced, with a letter per axis: Y X, S samples, C channels, Z T I Q...

    chunks: the pieces that are decoded as a whole; None: any window costs only itself. white: what dark
    is stored as, where white is zero; None where it is not. stream: rows of one plane from top to
    bottom, of `strips.rows`, where a piece need not be decoded as a whole. files: all that it lies in,
    where that is not one. calibration: what the stored numbers stand for where the file
    says that it is another number, in words. missing: the stored number that stands for no measurement. known: by the file's header.
    """

    array: Any
    axes: str
    chunks: tuple[int, ...] | None = None
    rgb: bool = False
    white: int | None = None
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    stream: Callable[[dict], Iterator[np.ndarray]] | None = None
    close: Callable[[], None] = lambda: None
    calibration: str | None = None
    missing: float | None = None
    known: Known = field(default_factory=Known)


class Leading:
    """An array of which only the first samples count (the others are transparency)."""

    def __init__(self, array: Any, axis: int, count: int):
        self.array, self.axis, self.dtype = array, axis, array.dtype
        self.shape = (*array.shape[:axis], count, *array.shape[axis + 1 :])

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self.array[index]


def refuse_tiles(path: str, count: int, choice: str = "choose one by `series`, or ") -> UserError:
    """What is said of tiles, or fields, inside one file: none of them is the picture.

    choice: what can be read of the file, if anything.
    """
    return UserError(
        f"{path}: holds {count} pictures of one size at different positions of the stage, tiles or fields; "
        f"{choice}export the tiles as files with a table of positions"
    )


def check_tiles(path: str, xml: str | bytes | None, sizes: list, number: int) -> None:
    """Refuses pictures of one size that a stage moved between: tiles, of which none is the picture.

    xml: OME's, of all pictures. sizes: (H, W) of each. number: the picture that would be read.
    """
    places = stage_positions(xml)
    alike = [place for place, size in zip(places, sizes, strict=False) if size == sizes[number]]
    if len({place for place in alike if place is not None}) > 1:
        raise refuse_tiles(path, len(alike))


def choose_series(
    path: str, sizes: list[tuple[int, int]], wanted: int | None
) -> tuple[int, list[str]]:
    """Which of a file's pictures is read, and a note on the choice: the one of most pixels, the first
    of several, where none is wanted. sizes: (H, W) of each."""
    if wanted is not None:
        if wanted >= len(sizes):
            raise UserError(
                f"{path}: has no series {wanted}; it has {len(sizes)}, choose 0 to {len(sizes) - 1}"
            )
        return wanted, []
    areas = [height * width for height, width in sizes]
    number = areas.index(max(areas))
    if len(sizes) == 1:
        return 0, []
    height, width = sizes[number]
    among = "the largest" if areas.count(areas[number]) == 1 else "the first of the largest"
    return number, [
        f"picture {number} of {len(sizes)} is read, {among} ({height} x {width} px); others by `series`"
    ]


def of_palette(colours: np.ndarray) -> str:
    """The note on a picture that is stored as indices of colours (n, 3), as microscopes store a look-up table."""
    light = colours.astype(float) @ (0.2125, 0.7154, 0.0721)
    words = "the colour palette is ignored: its indices are taken as intensities"
    if (np.diff(light) < -0.02 * np.ptp(light)).any():
        words = f"CAUTION: {words}, though the brightness of its colours does not rise with them; save it as grey or RGB"
    return words


def turned(orientation: object) -> list[str]:
    """A note where a header asks viewers to turn or mirror a picture: TIFF's numbers, 1 for neither."""
    if orientation not in range(2, 9):
        return []
    return [f"it is stored turned or mirrored (orientation {orientation}): read as stored"]


def reason(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or (error.args[0] if error.args else ""))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
