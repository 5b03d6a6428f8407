"""Reading mosaics by window: TIFF, OME-TIFF, LSM, OME-Zarr 0.4 and 0.5, and small PNG or JPEG.

Memory is bounded: a read holds the window in the file's type and in float32, and the file's chunks
(tiles, strips) under way, at most ten at a time. Where a chunk is larger than 1 Mpx, and for PNG and
JPEG, a picture of at most 64 Mpx is held whole (256 MiB in float32); above that, a file that cannot
be read by window is refused. Uncompressed TIFF is mapped into memory.

Values stay in the file's own units. NaN and infinite pixels are kept: whoever reads decides on them.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import tifffile
import zarr

from isoplan.base.errors import UserError
from isoplan.mosaic.table import resolve_path
from isoplan.mosaic.tiles import shards

WHOLE_PX = 64 * 2**20
CHUNK_PX = 2**20
LUMINANCE = np.array(
    [0.2125, 0.7154, 0.0721], np.float32
)  # ITU-R BT.709, as scikit-image's rgb2gray

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PICTURE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff")
_RGB_TIFF = (2, 6)  # photometric RGB, YCbCr
_PALETTE_TIFF = 3
_WHITE_IS_ZERO = 0


@dataclass
class _Source:
    """An array that can be sliced, with a letter per axis: Y X, S samples, C channels, Z T I Q..."""

    array: Any
    axes: str
    chunks: tuple[int, ...] | None = None  # None: any window costs only itself
    rgb: bool = False
    white_is_zero: bool = False
    notes: list[str] = field(default_factory=list)
    close: Callable[[], None] = lambda: None


class Mosaic:
    """One grey picture (H, W) inside a file, read by window. Made by `open_mosaic`.

    shape: (H, W) in px. dtype: the file's. slice: the slice of a stack that is read, None where there
    is but one. notes: what was chosen or converted, for the log.
    """

    def __init__(self, path: str, source: _Source, channel: int | None, slice_index: int | None):
        self.path = path
        self.notes = list(source.notes)
        self._source = source
        axes, shape = source.axes, tuple(source.array.shape)
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
        self.shape = (shape[axes.index("Y")], shape[axes.index("X")])
        self.luminance = False
        self._held: np.ndarray | None = None
        self._index = dict.fromkeys(axes, 0)
        self._choose_channel(dict(zip(axes, shape, strict=True)), channel)
        self._check_chunks()
        self._choose_slice(dict(zip(axes, shape, strict=True)), slice_index)
        if self._chunk[0] * self._chunk[1] > CHUNK_PX and prod(self.shape) <= WHOLE_PX:
            self._held = self.read(0, self.shape[0], 0, self.shape[1])

    @property
    def chunk_px(self) -> tuple[int, int]:
        """Rows and columns that are decoded at once; (1, 1) where a window costs only itself."""
        return (1, 1) if self._held is not None else self._chunk

    def _check_chunks(self) -> None:
        axes, chunks = self._source.axes, self._source.chunks
        if chunks is None:
            self._chunk = (1, 1)
            return
        self._chunk = (chunks[axes.index("Y")], chunks[axes.index("X")])
        if prod(chunks) > WHOLE_PX:
            raise UserError(
                f"{self.path}: is compressed in pieces of {prod(chunks) / 2**20:.0f} Mpx, too large to"
                f" read by window; save it as tiled TIFF or as OME-Zarr"
            )

    def _choose(self, what: str, size: int, wanted: int) -> int:
        if wanted >= size:
            raise UserError(
                f"{self.path}: has no {what} {wanted}; it has {size}, choose 0 to {size - 1}"
            )
        return wanted

    def _choose_channel(self, sizes: dict[str, int], channel: int | None) -> None:
        several = [axis for axis in "CS" if sizes.get(axis, 1) > 1]
        samples = sizes.get("S", 1)
        if not several:
            self._choose("channel", 1, channel or 0)
        elif several[0] == "C" or channel is not None or not self._source.rgb:
            self._index[several[0]] = self._choose("channel", sizes[several[0]], channel or 0)
            if channel is None:
                self.notes.append(f"channel 0 of {sizes[several[0]]} is read; others by `channel`")
        if "S" in several and self._source.rgb and (several[0] == "C" or channel is None):
            self._index["S"] = slice(0, 3)
            self.luminance = True
            alpha = ", transparency is ignored" if samples > 3 else ""
            self.notes.append(f"RGB is read as luminance (ITU-R BT.709 weights){alpha}")

    def _choose_slice(self, sizes: dict[str, int], wanted: int | None) -> None:
        self.slice: int | None = None
        stacked = [axis for axis in sizes if axis not in "YXCS" and sizes[axis] > 1]
        if not stacked:
            self._choose("slice", 1, wanted or 0)
            return
        chosen = "Z" if "Z" in stacked else stacked[0]
        self.notes += [
            f"the first of {sizes[axis]} along axis {axis} is read"
            for axis in stacked
            if axis != chosen
        ]
        if wanted is not None:
            self.slice = self._index[chosen] = self._choose("slice", sizes[chosen], wanted)
            return
        means = []
        for number in range(sizes[chosen]):
            self._index[chosen] = number
            means.append(self._mean())
        self.slice = self._index[chosen] = int(np.argmax(means))
        self.notes.append(
            f"slice {self.slice} of {sizes[chosen]} is read, the brightest by its mean;"
            " others by `slice`"
        )

    def _mean(self) -> float:
        """Mean of the finite pixels of the plane chosen so far; -inf where there are none."""
        total, count = 0.0, 0
        for y0, y1, x0, x1 in self.windows():
            block = self.read(y0, y1, x0, x1)
            finite = np.isfinite(block)
            total += float(block.sum(dtype=np.float64, where=finite))
            count += int(finite.sum())
        return total / count if count else -np.inf

    def windows(self, block_px: int = 1024) -> Iterator[tuple[int, int, int, int]]:
        """Windows (y0, y1, x0, x1) that cover the picture once, in the order that costs least.

        Each holds about block_px^2 px, at least one chunk; a file in strips gives full-width bands,
        so that no strip is decoded twice.
        """
        width, (chunk_y, chunk_x) = self.shape[1], self._chunk
        step_x = width if chunk_x >= width else max(block_px // chunk_x, 1) * chunk_x
        step_y = max(block_px**2 // min(step_x, width) // chunk_y, 1) * chunk_y
        for rows, columns in shards(self.shape, (step_y, step_x)):
            yield rows.start, rows.stop, columns.start, columns.stop

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The window [y0, y1) x [x0, x1), inside the picture: float32 (y1 - y0, x1 - x0), file units.

        Raises ValueError where the window leaves the picture, UserError where the file is damaged.
        """
        if not (0 <= y0 < y1 <= self.shape[0] and 0 <= x0 < x1 <= self.shape[1]):
            raise ValueError(f"window ({y0}:{y1}, {x0}:{x1}) leaves the picture {self.shape}")
        if self._held is not None:
            return self._held[y0:y1, x0:x1].copy()
        index = {**self._index, "Y": slice(y0, y1), "X": slice(x0, x1)}
        kept = [axis for axis in self._source.axes if isinstance(index[axis], slice)]
        try:
            block = np.asarray(self._source.array[tuple(index.values())])
        except Exception as error:  # codecs of TIFF and Zarr share no error class
            raise UserError(
                f"{self.path}: rows {y0} to {y1} cannot be read ({_reason(error)});"
                " the file is damaged, copy or export it again"
            ) from error
        block = block.transpose([kept.index(axis) for axis in "YXS" if axis in kept])
        block = block.astype(np.float32)
        if self.luminance:
            block = block @ LUMINANCE
        if self._source.white_is_zero:
            block = np.float32(np.iinfo(self.dtype).max) - block
        return block

    def read_reflected(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Any window, also outside: the picture goes on as its mirror image, as often as needed.

        The edge pixel is repeated (numpy's mode "symmetric"). float32 (y1 - y0, x1 - x0).
        """
        rows, columns = _mirror(y0, y1, self.shape[0]), _mirror(x0, x1, self.shape[1])
        top, left = rows.min(), columns.min()
        block = self.read(int(top), int(rows.max()) + 1, int(left), int(columns.max()) + 1)
        return block[np.ix_(rows - top, columns - left)]

    def middle(self, side_px: int = 1024) -> np.ndarray:
        """The middle of the picture, (side_px, side_px) or less, float32."""
        y0, x0 = (max(0, (length - side_px) // 2) for length in self.shape)
        return self.read(y0, min(self.shape[0], y0 + side_px), x0, min(self.shape[1], x0 + side_px))

    def close(self) -> None:
        self._held = None
        self._source.close()

    def __enter__(self) -> "Mosaic":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _mirror(start: int, stop: int, length: int) -> np.ndarray:
    if start >= stop:
        raise ValueError(f"window {start}:{stop} is empty")
    index = np.arange(start, stop) % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def _reason(error: BaseException) -> str:
    text = str(error.args[0]) if error.args else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def open_mosaic(
    path: str | Path, *, channel: int | None = None, slice: int | None = None
) -> Mosaic:
    """Opens a picture for reading by window and checks that the file is whole.

    path: TIFF, OME-TIFF, LSM, OME-Zarr 0.4 or 0.5 (a folder), PNG or JPEG, or `scikit-image:NAME`.
    channel: which channel or colour, from 0; None takes the first channel, and the luminance of RGB.
    slice: which slice of a stack, from 0; None takes the brightest by its mean (one pass over all).
    Both choices are told in `Mosaic.notes`.
    Raises UserError for what is missing, truncated, damaged, empty, no picture or not supported.
    """
    path = resolve_path(path)
    source = _open_zarr(path) if Path(path).is_dir() else _open_file(path)
    try:
        return Mosaic(path, source, channel, slice)
    except BaseException:
        source.close()
        raise


def _open_file(path: str) -> _Source:
    try:
        with open(path, "rb") as handle:
            magic = handle.read(4)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; correct the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); check the file") from None
    if not magic:
        raise UserError(f"{path}: the file is empty; copy or export it again")
    if magic in _TIFF_MAGIC:
        return _open_tiff(path)
    if magic.startswith(_PICTURE_MAGIC):
        return _open_picture(path)
    raise UserError(f"{path}: no TIFF, LSM, OME-Zarr, PNG or JPEG; export it as one of these")


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs as errors: it reads on where a chain of pages is cut off."""
    texts: list[str] = []
    logger, handler = logging.getLogger("tifffile"), logging.Handler(logging.ERROR)
    handler.emit = lambda record: texts.append(record.getMessage())
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _open_tiff(path: str) -> _Source:
    truncated = UserError(f"{path}: the TIFF is truncated or damaged; copy or export it again")
    with contextlib.ExitStack() as stack:
        try:
            with _complaints() as texts:
                tiff = stack.enter_context(tifffile.TiffFile(path))
                series = tiff.series
                page = tiff.pages.first
        except Exception as error:  # tifffile's parsers of vendor headers share no error class
            raise truncated from error
        if any("page offset" in text or "corrupted" in text for text in texts) or not series:
            raise truncated
        level = series[0].levels[0]
        if not _is_whole(level):
            raise truncated
        notes = [f"the first of {len(series)} pictures is read"] if len(series) > 1 else []
        if page.photometric == _PALETTE_TIFF:
            notes.append("the colour palette is ignored: its indices are taken as intensities")
        inverted = page.photometric == _WHITE_IS_ZERO and level.dtype.kind in "ui"
        if inverted:
            notes.append("white is zero in this file: inverted")
        array, chunks = _tiff_array(path, tiff, level)
        rgb = page.photometric in _RGB_TIFF
        close = stack.pop_all().close
        return _Source(array, level.axes, chunks, rgb, inverted, notes, close)


def _is_whole(level: tifffile.TiffPageSeries) -> bool:
    """Whether every tile and strip of the pages lies inside its file."""
    for page in level.pages:
        if page is None:
            return False
        size = page.parent.filehandle.size
        # A sparse file has offset and length 0 where a tile was never written.
        pieces = zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(offset + length > size for offset, length in pieces):
            return False
    return level.dataoffset is None or (
        level.dataoffset + level.nbytes <= level.pages[0].parent.filehandle.size
    )


def _tiff_array(
    path: str, tiff: tifffile.TiffFile, level: tifffile.TiffPageSeries
) -> tuple[Any, tuple[int, ...] | None]:
    """The series as an array to slice, and its chunks (None where it is mapped into memory)."""
    if level.dataoffset is not None and level.keyframe.is_memmappable:
        dtype = np.dtype(level.dtype).newbyteorder(tiff.byteorder)
        mapped = np.memmap(path, dtype, "r", level.dataoffset, level.shape)
        return mapped, None
    try:
        array = zarr.open_array(level.aszarr(), mode="r")
        if prod(array.chunks) <= WHOLE_PX:
            array[
                (slice(0, 1),) * array.ndim
            ]  # decodes a piece, or finds that the codec is missing
    except Exception as error:  # a missing codec is a KeyError, a ValueError or an ImportError
        raise UserError(
            f"{path}: cannot be decoded ({_reason(error)}); if a package is named install it,"
            " else save the picture again, uncompressed or with Deflate (ZIP)"
        ) from error
    return array, array.chunks


def _open_picture(path: str) -> _Source:
    try:
        with open(path, "rb") as handle:
            header = handle.read(26)
        # Bit depth and colour type of PNG: the decoder would cut 16-bit colours to 8 bits unasked.
        if header.startswith(b"\x89PNG") and header[24:26] in (
            b"\x10\x02",
            b"\x10\x04",
            b"\x10\x06",
        ):
            raise UserError(f"{path}: PNG with 16-bit colours; save it as TIFF")
        shape = imageio.improps(path, plugin="pillow").shape
        if prod(shape[:2]) > WHOLE_PX:
            raise UserError(
                f"{path}: PNG and JPEG above {WHOLE_PX // 2**20} Mpx cannot be read by window;"
                " save it as tiled TIFF or as OME-Zarr"
            )
        array = imageio.imread(path, plugin="pillow")
    except UserError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error...
        raise UserError(
            f"{path}: the picture is truncated or damaged ({_reason(error)});"
            " copy or export it again"
        ) from error
    return _Source(array, "YX" if array.ndim == 2 else "YXS", rgb=array.shape[2:] > (2,))


def _open_zarr(path: str) -> _Source:
    advice = "give the folder of an OME-Zarr picture (0.4 or 0.5)"
    try:
        group = zarr.open_group(path, mode="r")
    except Exception as error:  # missing, broken and foreign metadata raise different classes
        raise UserError(f"{path}: the folder is no OME-Zarr store; {advice}") from error
    notes = []
    try:
        meta = group.attrs.asdict()
        if "bioformats2raw.layout" in meta.get("ome", meta):
            group = group["0"]
            notes.append("the first picture of the series is read")
            meta = group.attrs.asdict()
        multiscale = meta.get("ome", meta)["multiscales"][0]
        axes = "".join(axis["name"][0].upper() for axis in multiscale["axes"])
        array = group[multiscale["datasets"][0]["path"]]
        if not isinstance(array, zarr.Array) or len(axes) != array.ndim:
            raise ValueError("axes and array differ")
    except Exception as error:  # any missing or wrong piece of the metadata ends here
        raise UserError(
            f"{path}: the store has no whole OME-Zarr picture ({_reason(error)}); {advice}"
        ) from error
    return _Source(array, axes, array.chunks, notes=notes)
