"""Reading mosaics by window: TIFF, OME-TIFF, LSM, OME-Zarr 0.4 and 0.5, PNG, JPEG, tiles by position.

Memory is bounded: a read holds the window in the file's type and in float32, and the file's pieces
(tiles, strips, chunks) under way, at most ten at a time. A picture in pieces of more than 1 Mpx is
held whole from its first read on, in the file's type, where that takes at most 64 MiB. Where it takes
more and a piece more than 8 MiB (one huge strip, a large PNG), it is not read by window: `convert`
makes an OME-Zarr of it first. Uncompressed TIFF is mapped into memory, only while a window is read.

Values stay in the file's own units. NaN and infinite pixels are kept: whoever reads decides on them.
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
LEAST_ROWS = 16  # of a window, as far as the picture has them
HELD_BYTES = 2**26
PIECE_BYTES = 2**23
LUMINANCE = np.array(
    [0.2125, 0.7154, 0.0721], np.float32
)  # ITU-R BT.709, as scikit-image's rgb2gray

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class Mosaic(Picture):
    """One grey picture inside a file. Made by `open_mosaic`.

    slices: how many a stack has. stack: the letter of the axis that they lie along. meaning: of the stored numbers, in words, by what they tell. piece_bytes: what is decoded at once. Where by_window is False only
    `blocks` serves.
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
        axes = source.axes = _distinct(path, source.axes, shape)
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
                f"pixels of {source.missing:g} are not read: the file says that it stands for no measurement"
            )
        sizes = dict(zip(axes, shape, strict=True))
        self.shape = sizes["Y"], sizes["X"]
        if prod(self.shape) > LARGEST_PX:
            raise UserError(
                f"{path}: says that it has {self.shape[0]} x {self.shape[1]} px, more than any disk holds;"
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
        self.optics = source.known.optics(self._index[self._spread] if self._spread else 0)
        self.chunk_px = (1, 1) if self._hold else self._chunk

    def _choose(self, what: str, size: int, wanted: int) -> int:
        if wanted >= size:
            raise UserError(
                f"{self.path}: has no {what} {wanted}; it has {size}, choose 0 to {size - 1}"
            )
        return wanted

    def _numbered(self, name: str, count: int) -> int:
        """The number of a channel by its name, however its letters are written."""
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
        self.channels, self._spread = [], None
        if isinstance(channel, str):
            channel = self._numbered(channel, sizes[several[0]] if several else 1)
        if several and not colours:
            self._spread = several[0]
            self.channels = _channel_names(self._source.known.names, sizes[several[0]])
        if not several:
            self._choose("channel", 1, channel or 0)
        elif channel is not None or not colours:
            self._index[several[0]] = self._choose("channel", sizes[several[0]], channel or 0)
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
            self._choose("slice", 1, wanted if isinstance(wanted, int) else 0)
            return
        self.stack = "Z" if "Z" in stacked else stacked[0]
        self.slices = sizes[self.stack]
        self.notes += [
            f"the first of {sizes[axis]} along axis {axis} is read"
            for axis in stacked
            if axis != self.stack
        ]
        if isinstance(wanted, int):
            self.slice = self._index[self.stack] = self._choose("slice", self.slices, wanted)
            return
        self.slice, note = slices.choose(self.tallies(), wanted or SLICES[0], self.stack)
        self._index[self.stack] = self.slice
        self.notes.append(note)

    def tallies(self) -> np.ndarray:
        """What each slice of each channel holds, (slices, channels, n) of `slices.tally`."""
        chosen, channels = self._index.copy(), max(len(self.channels), 1)
        found = []
        for number in range(self.slices):
            for channel in range(channels):
                if self.stack is not None:
                    self._index[self.stack] = number
                if self._spread is not None:
                    self._index[self._spread] = channel
                found.append(slices.tally(block for _, block in self.blocks()))
        self._index = chosen
        return np.array(found).reshape(self.slices, channels, -1)

    def windows(self, block_px: int = 1024) -> Iterator[tuple[int, int, int, int]]:
        """Windows (y0, y1, x0, x1) that cover the picture once, in the order that costs least.

        Each holds about block_px^2 px, at least one piece and 16 rows; a file in strips gives full-width
        bands, so that no strip is decoded twice.
        """
        width, (chunk_y, chunk_x) = self.shape[1], self._chunk
        step_x = width if chunk_x >= width else max(block_px // chunk_x, 1) * chunk_x
        least = -(-LEAST_ROWS // chunk_y)
        step_y = max(block_px**2 // min(step_x, width) // chunk_y, least) * chunk_y
        for rows, columns in shards(self.shape, (step_y, step_x)):
            yield rows.start, rows.stop, columns.start, columns.stop

    def blocks(self, rows: int = 256) -> Iterator[tuple[tuple[int, int, int, int], np.ndarray]]:
        """The whole picture once, as (window, float32 block): in bands of so many full rows where
        pieces too large for `read` are decoded as they come, else by `windows`."""
        if self.streams:
            top = 0
            bands = self._source.stream(self._index, rows)
            while top < self.shape[0]:
                with self._damage(top, min(top + rows, self.shape[0])):
                    band = next(bands)
                yield (top, top + len(band), 0, self.shape[1]), self._finished(band)
                top += len(band)
            return
        for window in self.windows():
            with self._damage(*window[:2]):
                block = self._raw(*window)
            yield window, self._finished(block)

    @property
    def streams(self) -> bool:
        """Whether `blocks` decodes pieces as they come."""
        return not self.by_window and self._source.stream is not None

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        self.check_window(y0, y1, x0, x1)
        if not self.by_window:
            raise ValueError(f"{self.path} is not read by window")
        if self._hold and self._held is None:
            with self._damage(0, self.shape[0]):
                self._held = self._raw(0, self.shape[0], 0, self.shape[1])
        if self._held is not None:
            return self._finished(self._held[y0:y1, x0:x1])
        with self._damage(y0, y1):
            block = self._raw(y0, y1, x0, x1)
        return self._finished(block)

    def _raw(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """A window as it lies in the file, (y, x) or (y, x, samples)."""
        index = {**self._index, "Y": slice(y0, y1), "X": slice(x0, x1)}
        kept = [axis for axis in self._source.axes if isinstance(index[axis], slice)]
        block = np.asarray(self._source.array[tuple(index.values())])
        return block.transpose([kept.index(axis) for axis in "YXS" if axis in kept])

    def _finished(self, block: np.ndarray) -> np.ndarray:
        """float32, colours weighed, white bright, NaN where the file has no measurement; always a copy."""
        missing = self._source.missing
        gone = None if missing is None else block == missing
        if gone is not None and self.luminance:
            gone = gone.all(axis=-1)  # of a colour, one sample may well be that number
        if self._source.white is not None:  # in whole numbers, which float32 would round
            dark = np.asarray(self._source.white, self.dtype.newbyteorder("="))
            block = ~block if block.dtype == bool else dark - block
        block = block.astype(np.float32)
        if gone is not None:
            block[gone] = np.nan
        return block @ LUMINANCE if self.luminance else block

    @contextlib.contextmanager
    def _damage(self, y0: int, y1: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # codecs of TIFF and Zarr share no error class
            advice = "the file is damaged, copy or export it again"
            if of_the_disk(error):
                advice = "if its disk is well again, run again"
            raise UserError(
                f"{self.path}: rows {y0} to {y1} cannot be read ({reason(error)}); {advice}"
            ) from error

    @property
    def held_bytes(self) -> int:
        """What stays in memory between reads."""
        return 0 if self._held is None else self._held.nbytes

    def close(self) -> None:
        self._held = None
        self._source.close()


def _distinct(path: str, axes: str, shape: tuple[int, ...]) -> str:
    """Axes of which no two share a letter: those of length 1 take another, and of several longer ones
    nobody knows which is which."""
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
    """What the file calls its channels, where that serves in file names; else c0, c1, ..."""
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
    """Opens a picture for reading by window and checks that the file is whole.

    path: TIFF, OME-TIFF, LSM, OME-Zarr 0.4 or 0.5 (a folder), PNG or JPEG, or `scikit-image:NAME`; or
    a table of tile positions, or a folder with one (`positions`, `placed`).
    channel: which channel or colour, from 0, or a channel's name in the file; None takes the first channel, and the luminance of RGB.
    slice: which slice of a stack, from 0, or "sharpest" (None takes this one) or "brightest", by one
    pass over all slices of all channels (`slices`). series: which of several pictures in a file, from 0;
    None takes the largest. All choices are told in the picture's `notes`. large_pieces: also opens what
    is not read by window, for `convert`.
    Raises UserError for what is missing, truncated, damaged, empty, no picture or not supported.
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


def open_row(row: dict, *, look: bool = False, **how) -> Picture:
    """Opens what a line of the table of mosaics names, or what was measured of one, its ground too (`ground`).

    look: any slice serves, as to choose one would read the whole stack. how: of `open_mosaic`.
    """
    chosen = {key: row.get(key) for key in ("channel", "slice", "series")}
    if look and not isinstance(chosen["slice"], int):
        chosen["slice"] = 0
    mosaic = open_mosaic(row["path"], **chosen, **how)
    return Grounded(mosaic) if row.get("ground") else mosaic


def sources_of(path: str | Path) -> list[str]:
    """Files and folders that a picture is read from, as far as its name and a table of tiles say."""
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
