"""Reads mosaics by window, from any supported file or from a table of tile positions.

Memory is bounded. A read holds the window in the file's type and in float32, and at most ten pieces
(tiles, strips, chunks) of the file. A picture in pieces of more than 1 Mpx is kept in memory, in the
file's type, if it takes at most 64 MiB. If it takes more and a piece takes more than 8 MiB (one huge
strip, a large PNG), it cannot be read by window: `convert` makes an OME-Zarr of it first. Uncompressed
TIFF is memory-mapped, but only while a window is read.

Values stay in the units of the file. NaN and infinite pixels are kept; the caller handles them.
"""

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from isoplan.base.errors import UserError, of_the_disk
from isoplan.mosaic import positions, slices
from isoplan.mosaic.files import open_source
from isoplan.mosaic.ground import Grounded
from isoplan.mosaic.placed import PlacedMosaic
from isoplan.mosaic.source import Source, reason
from isoplan.mosaic.table import SLICES, resolve_path
from isoplan.mosaic.tiles import shards
from isoplan.mosaic.window import Picture

HOLD_PX = 2**20
LARGEST_PX = 2**40
LEAST_ROWS = 16  # rows of a window, unless the picture has fewer
HELD_BYTES = 2**26
PIECE_BYTES = 2**23
LUMINANCE = np.array(
    [0.2125, 0.7154, 0.0721], np.float32
)  # ITU-R BT.709, as scikit-image's rgb2gray

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class Mosaic(Picture):
    """One grey picture inside a file. Use `open_mosaic` to open one.

    If `by_window` is False, only `blocks` works.

    Attributes
    ----------
    meaning
        Polarity and calibration of the stored numbers, as text.
    piece_bytes
        Bytes that are decoded at once.
    """

    def __init__(
        self, path: str, source: Source, channel: int | str | None, slice_index: int | str | None
    ):
        self.path = path
        self.files = source.files or [path]
        self.notes = [*source.notes, *source.known.notes]
        self._source = source
        self.meaning = {
            "polarity": "black is zero" if source.white is None else "white is zero",
            "calibration": source.calibration or "none",
        }
        shape = tuple(source.array.shape)
        axes = source.axes = _distinct_axes(path, source.axes, shape)
        if "Y" not in axes or "X" not in axes:
            raise UserError(f"{path}: has no image plane (axes {axes}); give a picture of two axes")
        if 0 in shape:
            raise UserError(f"{path}: the picture is empty (shape {shape}); give another file")
        self.dtype = np.dtype(source.array.dtype)
        if self.dtype.kind not in "buif":
            raise UserError(f"{path}: pixels of type {self.dtype}; save integers or floats instead")
        if self.dtype.kind in "ui" and self.dtype.itemsize > 2:
            self.notes.append(
                f"{self.dtype} pixels are read as float32: above 2^24 they are rounded"
            )
        if self.dtype == np.float64:
            self.notes.append("float64 pixels are read as float32")
        if source.missing is not None:
            self.gaps = True
            self.notes.append(
                f"pixels of {source.missing:g} are not read: the file says that they mark missing measurements"
            )
        sizes = dict(zip(axes, shape, strict=True))
        self.shape = sizes["Y"], sizes["X"]
        if prod(self.shape) > LARGEST_PX:
            raise UserError(
                f"{path}: claims {self.shape[0]} x {self.shape[1]} px, more than any disk holds;"
                " its header is damaged, export it again"
            )
        self._held: np.ndarray | None = None
        self._index = dict.fromkeys(axes, 0)
        self._choose_channel(sizes, channel)
        chunks = source.chunks or (1,) * len(axes)
        self._chunk = chunks[axes.index("Y")], chunks[axes.index("X")]
        self.piece_bytes = prod(chunks) * self.dtype.itemsize
        plane_bytes = prod(self.shape) * self.dtype.itemsize * (3 if self.luminance else 1)
        large = prod(chunks) > HOLD_PX
        self._hold = large and max(plane_bytes, self.piece_bytes) <= HELD_BYTES
        self.by_window = self._hold or self.piece_bytes <= PIECE_BYTES
        self._choose_slice(sizes, slice_index)
        self.optics = source.known.optics(
            self._index[self._channel_axis] if self._channel_axis else 0
        )
        self.chunk_px = (1, 1) if self._hold else self._chunk

    def _checked_index(self, what: str, size: int, wanted: int) -> int:
        if wanted >= size:
            raise UserError(
                f"{self.path}: has no {what} {wanted}; it has {size}, choose 0 to {size - 1}"
            )
        return wanted

    def _channel_number(self, name: str, count: int) -> int:
        """The number of a channel by its name, in upper or lower case."""
        names = self._source.known.names
        names = names if len(names) == count else []
        alike = [n for n, told in enumerate(names) if told.lower() == name.lower()]
        if len(alike) != 1:
            known = f"are called {', '.join(names)}" if any(names) else "have no names in this file"
            raise UserError(
                f"{self.path}: has no channel {name!r}; channels count from 0 and {known}"
            )
        return alike[0]

    def _choose_channel(self, sizes: dict[str, int], channel: int | str | None) -> None:
        several = [axis for axis in "CS" if sizes.get(axis, 1) > 1]
        samples = sizes.get("S", 1)
        colours = self._source.rgb and several[:1] == ["S"]
        self.channels, self._channel_axis = [], None
        if isinstance(channel, str):
            channel = self._channel_number(channel, sizes[several[0]] if several else 1)
        if several and not colours:
            self._channel_axis = several[0]
            self.channels = _channel_names(self._source.known.names, sizes[several[0]])
        if not several:
            self._checked_index("channel", 1, channel or 0)
        elif channel is not None or not colours:
            self._index[several[0]] = self._checked_index(
                "channel", sizes[several[0]], channel or 0
            )
            if channel is None:
                self.notes.append(f"channel 0 of {sizes[several[0]]} is read; others by `channel`")
        if "S" in several and self._source.rgb and (several[0] == "C" or channel is None):
            self._index["S"] = slice(0, 3)
            self.luminance = True
            alpha = ", a fourth sample (transparency) is ignored" if samples > 3 else ""
            self.notes.append(f"RGB is read as luminance (ITU-R BT.709 weights){alpha}")

    def _choose_slice(self, sizes: dict[str, int], wanted: int | str | None) -> None:
        stacked = [axis for axis in sizes if axis not in "YXCS" and sizes[axis] > 1]
        self.slices, self.stack = 1, None
        if not stacked:
            self._checked_index("slice", 1, wanted if isinstance(wanted, int) else 0)
            return
        self.stack = "Z" if "Z" in stacked else stacked[0]
        self.slices = sizes[self.stack]
        self.notes += [
            f"the first of {sizes[axis]} along axis {axis} is read"
            for axis in stacked
            if axis != self.stack
        ]
        if isinstance(wanted, int):
            self.slice = self._index[self.stack] = self._checked_index("slice", self.slices, wanted)
            return
        self.slice, note = slices.choose(self.tallies(), wanted or SLICES[0], self.stack)
        self._index[self.stack] = self.slice
        self.notes.append(note)

    def tallies(self) -> np.ndarray:
        """`slices.tally` of each slice of each channel, (slices, channels, n)."""
        chosen, channels = self._index.copy(), max(len(self.channels), 1)
        found = []
        for number in range(self.slices):
            for channel in range(channels):
                if self.stack is not None:
                    self._index[self.stack] = number
                if self._channel_axis is not None:
                    self._index[self._channel_axis] = channel
                found.append(slices.tally(block for _, block in self.blocks()))
        self._index = chosen
        return np.array(found).reshape(self.slices, channels, -1)

    def windows(self, block_px: int = 1024) -> Iterator[tuple[int, int, int, int]]:
        """Windows (y0, y1, x0, x1) that cover the picture once, in the cheapest order.

        Each has about block_px^2 px, and at least one piece and 16 rows. For a file in strips they have
        the full width, so that no strip is decoded twice.
        """
        width, (chunk_y, chunk_x) = self.shape[1], self._chunk
        step_x = width if chunk_x >= width else max(block_px // chunk_x, 1) * chunk_x
        least = -(-LEAST_ROWS // chunk_y)
        step_y = max(block_px**2 // min(step_x, width) // chunk_y, least) * chunk_y
        for rows, columns in shards(self.shape, (step_y, step_x)):
            yield rows.start, rows.stop, columns.start, columns.stop

    def blocks(self, rows: int = 256) -> Iterator[tuple[tuple[int, int, int, int], np.ndarray]]:
        """The whole picture once, as (window, float32 block).

        Pieces too large for `read` are decoded as a stream, in bands of `rows` full rows. Other
        pictures are read by `windows`.
        """
        if self.streams:
            top = 0
            bands = self._source.stream(self._index, rows)
            while top < self.shape[0]:
                with self._damage_named(top, min(top + rows, self.shape[0])):
                    band = next(bands)
                yield (top, top + len(band), 0, self.shape[1]), self._converted(band)
                top += len(band)
            return
        for window in self.windows():
            with self._damage_named(*window[:2]):
                block = self._raw(*window)
            yield window, self._converted(block)

    @property
    def streams(self) -> bool:
        """Whether `blocks` decodes pieces as a stream."""
        return not self.by_window and self._source.stream is not None

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        self.check_window(y0, y1, x0, x1)
        if not self.by_window:
            raise ValueError(f"{self.path} is not read by window")
        if self._hold and self._held is None:
            with self._damage_named(0, self.shape[0]):
                self._held = self._raw(0, self.shape[0], 0, self.shape[1])
        if self._held is not None:
            return self._converted(self._held[y0:y1, x0:x1])
        with self._damage_named(y0, y1):
            block = self._raw(y0, y1, x0, x1)
        return self._converted(block)

    def read_stack(self, start: int, stop: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Slices start to stop of a window: float32 (stop - start, y1 - y0, x1 - x0). See `read`."""
        self.check_window(y0, y1, x0, x1)
        if self.stack is None or not 0 <= start < stop <= self.slices:
            raise ValueError(f"slices {start}:{stop} of {self.slices} in {self.path}")
        chosen, found = self._index.copy(), []
        try:
            with self._damage_named(y0, y1):
                for number in range(start, stop):
                    self._index[self.stack] = number
                    found.append(self._converted(self._raw(y0, y1, x0, x1)))
        finally:
            self._index = chosen
        return np.array(found)

    def _raw(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """A window as stored in the file, (y, x) or (y, x, samples)."""
        index = {**self._index, "Y": slice(y0, y1), "X": slice(x0, x1)}
        kept = [axis for axis in self._source.axes if isinstance(index[axis], slice)]
        block = np.asarray(self._source.array[tuple(index.values())])
        return block.transpose([kept.index(axis) for axis in "YXS" if axis in kept])

    def _converted(self, block: np.ndarray) -> np.ndarray:
        """A new float32 block: colours as luminance, polarity corrected, missing measurements as NaN."""
        missing = self._source.missing
        gone = None if missing is None else block == missing
        if gone is not None and self.luminance:
            gone = gone.all(axis=-1)  # one sample of a colour may have that value by chance
        if self._source.white is not None:  # subtracted as integers, since float32 would round
            dark = np.asarray(self._source.white, self.dtype.newbyteorder("="))
            block = ~block if block.dtype == bool else dark - block
        block = block.astype(np.float32)
        if gone is not None:
            block[gone] = np.nan
        return block @ LUMINANCE if self.luminance else block

    @contextlib.contextmanager
    def _damage_named(self, y0: int, y1: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # codecs of TIFF and Zarr share no error class
            advice = "the file is damaged, copy or export it again"
            if of_the_disk(error):
                advice = "check the disk, then run again"
            raise UserError(
                f"{self.path}: rows {y0} to {y1} cannot be read ({reason(error)}); {advice}"
            ) from error

    @property
    def held_bytes(self) -> int:
        """Bytes that stay in memory between reads."""
        return 0 if self._held is None else self._held.nbytes

    def close(self) -> None:
        self._held = None
        self._source.close()


def _distinct_axes(path: str, axes: str, shape: tuple[int, ...]) -> str:
    """Make the letters of axes unique: axes of length 1 get another letter if theirs is taken.

    Raises UserError if two longer axes share a letter, as their meaning is unknown.
    """
    kept = list(axes)
    for letter in sorted({axis for axis in axes if axes.count(axis) > 1}):
        places = [place for place, axis in enumerate(axes) if axis == letter]
        long = [place for place in places if shape[place] > 1]
        if len(long) > 1:
            lengths = " and ".join(str(shape[place]) for place in long)
            raise UserError(
                f"{path}: does not say what its axes of length {lengths} are; save it as OME-TIFF or as ImageJ's "
                "hyperstack, or each picture as a file of its own"
            )
        for place in places:
            if place != (long or places)[0]:
                kept[place] = next(free for free in "abdefghi" if free not in kept)
    return "".join(kept)


def _channel_names(told: list[str], count: int) -> list[str]:
    """The file's channel names if they can be used in file names, else c0, c1, ..."""
    plain = len(told) == count and all(_PLAIN_NAME.fullmatch(name) for name in told)
    if plain and len({name.lower() for name in told}) == count:
        return told
    return [f"c{number}" for number in range(count)]


def open_mosaic(
    path: str | Path,
    *,
    channel: int | str | None = None,
    slice: int | str | None = None,
    series: int | None = None,
    large_pieces: bool = False,
) -> Picture:
    """Open a picture for reading by window, and check that the file is complete.

    What was chosen is said in the picture's `notes`.

    Parameters
    ----------
    path
        A TIFF, OME-TIFF, LSM, OME-Zarr (0.4 or 0.5, a folder), PNG, JPEG or vendor's file, or
        `scikit-image:NAME`; or a table of tile positions, or a folder with one.
    channel
        Channel or colour, by number from 0 or by its name in the file. None takes the first channel,
        and the luminance of RGB.
    slice
        Slice of a stack, from 0, or "sharpest" (the default) or "brightest", which need one pass over
        all slices of all channels.
    series
        Which of several pictures in a file, from 0; None takes the largest.
    large_pieces
        Also open a picture that cannot be read by window, for `convert`.

    Returns
    -------
    Picture
        A context manager; it closes the file.

    Raises
    ------
    UserError
        If the file is missing, truncated, damaged, empty, not a picture or not supported.
    """
    path = resolve_path(path)
    if positions.is_table_of_tiles(path):
        open_tile = partial(_open_tile, series)
        return PlacedMosaic(positions.read(path), open_tile, channel, slice)
    mosaic = _open_file(path, channel, slice, series)
    if not mosaic.by_window and not large_pieces:
        mosaic.close()
        raise UserError(
            f"{path}: is compressed in pieces of {mosaic.piece_bytes / 2**20:.0f} MiB, too large to read"
            " by window; make an OME-Zarr of it: isoplan convert"
        )
    return mosaic


def open_row(row: dict, *, any_slice: bool = False, **how) -> Picture:
    """Open the picture of a line of the table of mosaics, or of the facts measured on it.

    Parameters
    ----------
    row
        A line of the table or `Facts`. If the facts say that the picture has ground, it reads as NaN.
    any_slice
        Take the first slice of a stack unless one is given; choosing the sharpest reads the whole stack.
    **how
        Further arguments of `open_mosaic`.
    """
    chosen = {key: row.get(key) for key in ("channel", "slice", "series")}
    if any_slice and not isinstance(chosen["slice"], int):
        chosen["slice"] = 0
    mosaic = open_mosaic(row["path"], **chosen, **how)
    return Grounded(mosaic) if row.get("ground") else mosaic


def reopen(row: dict, known: dict) -> Picture:
    """Open the picture of a line once more, without looking for the sharpest slice or the ground again.

    known: its `slice`, and whether it has `ground`, as found when it was opened first.
    """
    return open_row(row | {"slice": known["slice"], "ground": known["ground"]})


def sources_of(path: str | Path) -> list[str]:
    """Files and folders that a picture is read from, going by its path and a table of tiles."""
    path = resolve_path(path)
    return [path, *positions.files_of(path)]


def _open_tile(
    series: int | None, path: str, channel: int | str | None, slice_index: int
) -> Mosaic:
    tile = _open_file(path, channel, slice_index, series)
    if not tile.by_window:
        tile.close()
        raise UserError(f"{path}: this tile is too large to hold; save it as tiled TIFF")
    return tile


def _open_file(
    path: str, channel: int | str | None, slice_index: int | str | None, series: int | None
) -> Mosaic:
    source = open_source(path, series)
    try:
        return Mosaic(path, source, channel, slice_index)
    except BaseException:
        source.close()
        raise
