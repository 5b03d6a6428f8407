"""What every file reader returns: an array to slice, with the meaning of its axes and numbers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic.headers import Metadata, stage_positions


@dataclass
class Source:
    """A picture file as an array, with the meaning of its axes and numbers.

    Attributes
    ----------
    array
        Anything that can be sliced along all its axes.
    axes
        A letter per axis: Y, X, S (samples), C (channels), and others such as Z, T, I, Q.
    chunks
        Shape of the pieces that are decoded as a whole; None if a window costs only itself.
    rgb
        Whether the samples are colours.
    white
        Stored value of black, if the file stores white as zero; else None.
    notes
        Messages for the log.
    files
        All files of the picture, if there are several.
    stream
        Function of `strips.stream` that reads a plane from top to bottom, if the file allows that.
    close
        Closes the file.
    calibration
        How stored numbers convert to those that the file means, as text; None if they are the same.
    missing
        Stored value that marks missing measurements.
    known
        Metadata of the file's header.
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
    known: Metadata = field(default_factory=Metadata)


class LeadingSamples:
    """An array reduced to its first samples; the others are transparency."""

    def __init__(self, array: Any, axis: int, count: int):
        self.array, self.axis, self.dtype = array, axis, array.dtype
        self.shape = (*array.shape[:axis], count, *array.shape[axis + 1 :])

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self.array[index]


def tiles_error(path: str, count: int, choice: str = "choose one by `series`, or ") -> UserError:
    """The error for a file of several tiles or fields, of which none is the whole picture.

    choice: advice on what can be read from the file, if anything.
    """
    return UserError(
        f"{path}: holds {count} pictures of one size at different positions of the stage, tiles or fields; "
        f"{choice}export the tiles as files with a table of positions"
    )


def refuse_tiles(path: str, xml: str | bytes | None, sizes: list, number: int) -> None:
    """Refuse pictures of equal size at different stage positions: they are tiles of a mosaic.

    Parameters
    ----------
    path
        The file, for the message.
    xml
        OME-XML of all pictures.
    sizes
        (H, W) of each picture in px.
    number
        The picture that would be read.

    Raises
    ------
    UserError
        If the file holds tiles.
    """
    places = stage_positions(xml)
    alike = [place for place, size in zip(places, sizes, strict=False) if size == sizes[number]]
    if len({place for place in alike if place is not None}) > 1:
        raise tiles_error(path, len(alike))


def choose_series(
    path: str, sizes: list[tuple[int, int]], wanted: int | None
) -> tuple[int, list[str]]:
    """Choose one of a file's pictures: the wanted one, else the first of the largest.

    sizes: (H, W) of each in px. Returns its number and a list with a note on the choice.
    """
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


def palette_note(colours: np.ndarray) -> str:
    """The note on a picture stored as palette indices; colours: the palette, (n, 3).

    Microscope software stores a look-up table this way.
    """
    light = colours.astype(float) @ (0.2125, 0.7154, 0.0721)
    words = "the colour palette is ignored: palette indices are taken as intensities"
    if (np.diff(light) < -0.02 * np.ptp(light)).any():
        words = f"CAUTION: {words}, but the brightness of the colours does not rise with the index; save it as grey or RGB"
    return words


def orientation_note(orientation: object) -> list[str]:
    """A note if the header asks viewers to rotate or mirror the picture (TIFF tag Orientation)."""
    if orientation not in range(2, 9):
        return []
    return [f"it is stored rotated or mirrored (orientation {orientation}): read as stored"]


def reason(error: BaseException) -> str:
    """Class and message of an error, for a message to the user."""
    text = str(getattr(error, "strerror", None) or (error.args[0] if error.args else ""))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
