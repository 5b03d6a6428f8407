"""Frames of a sequence, read by window from a file of any size."""

import contextlib
from pathlib import Path

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic.reader import Mosaic, open_mosaic

LEAST = 50  # frames
TOGETHER = 64  # frames that are copied at a time


class Frames:
    """A sequence (t, y, x), all of its frames of a window at a time.

    Parameters
    ----------
    counts
        (t, height, width) array or memory map, as the camera gave it.
    path : str
        What messages call it.
    optics : dict
        From the file's header, keyed by the table's column names.
    notes : list of str
        What was chosen, for the log.

    Examples
    --------
    >>> Frames(np.zeros((60, 20, 30), np.uint16)).read(0, 8, 0, 10).shape
    (60, 8, 10)
    """

    def __init__(self, counts, path: str = "frames", optics: dict | None = None, notes=()):
        if counts.ndim != 3:
            raise UserError(
                f"{path}: has {counts.ndim} axes; give a sequence of three: time, y and x"
            )
        if len(counts) < LEAST:
            raise UserError(
                f"{path}: has {len(counts)} frames; fluctuations want hundreds, at least {LEAST}"
            )
        self.counts, self.path = counts, path
        self.optics, self.notes = optics or {}, list(notes)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def shape(self) -> tuple[int, int]:
        """Of a frame, in px."""
        return self.counts.shape[1:]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """(t, y1 - y0, x1 - x0) float32 counts."""
        return np.asarray(self.counts[:, y0:y1, x0:x1], np.float32)


@contextlib.contextmanager
def open_frames(path: str | Path, scratch: Path, channel: int | str | None = None):
    """Open a sequence of frames.

    Parameters
    ----------
    path : str or Path
        A TIFF stack, ImageJ hyperstack, OME-TIFF, OME-Zarr or vendor's file.
    scratch : Path
        A file that is made and removed: frames are copied there, so that windows of compressed ones are not decoded
        again and again.
    channel : int or str, optional
        Number from 0, or name, where the file has several.

    Yields
    ------
    Frames

    Raises
    ------
    UserError
        If there is no sequence in the file, or several.
    """
    with open_mosaic(path, channel=channel, slice=0) as mosaic:
        notes = _check(mosaic)
        kind = mosaic.dtype if mosaic.dtype.kind in "ui" and mosaic.dtype.itemsize <= 2 else "f4"
        shape = (mosaic.slices, *mosaic.shape)
        copied = np.memmap(scratch, np.dtype(kind).newbyteorder("="), "w+", shape=shape)
        try:
            for start in range(0, shape[0], TOGETHER):
                stop = min(start + TOGETHER, shape[0])
                copied[start:stop] = mosaic.read_stack(start, stop, 0, shape[1], 0, shape[2])
            yield Frames(copied, mosaic.path, mosaic.optics, notes)
        finally:
            del copied
            Path(scratch).unlink(missing_ok=True)


def _check(mosaic) -> list[str]:
    if not isinstance(mosaic, Mosaic) or mosaic.stack is None:
        raise UserError(f"{mosaic.path}: is one picture; give a sequence of frames")
    if mosaic.luminance:
        raise UserError(
            f"{mosaic.path}: its frames are in colours, whose noise is mixed; choose one by --channel"
        )
    others = [note for note in mosaic.notes if note.startswith("the first of")]
    if others:
        raise UserError(
            f"{mosaic.path}: has more than one axis besides time ({'; '.join(others)}); save one sequence"
        )
    notes = [note for note in mosaic.notes if "slice" not in note]
    if mosaic.stack == "Z":
        notes.append(f"its {mosaic.slices} slices are taken as frames in time")
    return notes
