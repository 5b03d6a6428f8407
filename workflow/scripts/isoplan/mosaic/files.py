"""What picture files hold: TIFF, OME-TIFF, LSM, OME-Zarr 0.4 and 0.5, PNG and JPEG, as arrays to slice.

Nothing is read here but headers: which axis is which, how the file is cut into pieces (tiles, strips,
chunks), and whether the file is whole.
"""

import contextlib
import logging
import xml.etree.ElementTree as ET
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
from isoplan.mosaic import strips

TRIED_PX = 2**20  # a piece up to this is decoded once, to see whether that works

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PICTURE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff")
_PICTURE_END = {b"\x89PNG": b"IEND", b"\xff\xd8\xff": b"\xff\xd9"}
_END_BYTES = 2**16  # cameras and editors add a little behind the end
_RGB_TIFF = (2, 6)  # photometric RGB, YCbCr
_PALETTE_TIFF = 3
_WHITE_IS_ZERO = 0
_TRANSPARENCY = (1, 2)  # extra samples that are no channel


@dataclass
class Source:
    """An array that can be sliced, with a letter per axis: Y X, S samples, C channels, Z T I Q...

    chunks: the pieces that are decoded as a whole; None: any window costs only itself. stream: rows of
    one plane from top to bottom, of `strips.rows`, where a piece need not be decoded as a whole.
    names: of the channels, as far as the file tells them. files: all that it lies in, where that is not one.
    """

    array: Any
    axes: str
    chunks: tuple[int, ...] | None = None
    rgb: bool = False
    white_is_zero: bool = False
    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    stream: Callable[[dict], Iterator[np.ndarray]] | None = None
    close: Callable[[], None] = lambda: None


def open_source(path: str) -> Source:
    """The picture of a file or of an OME-Zarr folder.

    Raises UserError for what is missing, truncated, no picture or not supported.
    """
    if Path(path).is_dir():
        return _open_zarr(path)
    magic = first_bytes(path)
    if magic in _TIFF_MAGIC:
        return _open_tiff(path)
    if magic.startswith(_PICTURE_MAGIC):
        return _open_picture(path)
    raise UserError(
        f"{path}: no TIFF, LSM, OME-Zarr, PNG or JPEG and no table of tile positions; export it as one"
    )


def first_bytes(path: str) -> bytes:
    """The first four bytes of a file. Raises UserError where there are none."""
    try:
        with open(path, "rb") as handle:
            magic = handle.read(4)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; correct the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); check the file") from None
    if not magic:
        raise UserError(f"{path}: the file is empty; copy or export it again")
    return magic


def reason(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or (error.args[0] if error.args else ""))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# TIFF ----------------------------------------------------------------------------------------------


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


def _open_tiff(path: str) -> Source:
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
        rgb = page.photometric in _RGB_TIFF
        array, axes = _mapped(tiff, level), level.axes
        chunks, stream = None, None
        if array is None:
            array, chunks = _decoded(path, level)
            stream = strips.stream(level)
        if not rgb and page.extrasamples and page.extrasamples[-1] in _TRANSPARENCY:
            array, notes = _First(array, axes.index("S")), [*notes, "transparency is ignored"]
        names = _channel_names(tiff)
        files = list(dict.fromkeys(p.parent.filehandle.path for p in level.pages))
        close = stack.pop_all().close
        found = {"notes": notes, "names": names, "stream": stream, "files": files, "close": close}
        return Source(array, axes, chunks, rgb, inverted, **found)


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


class _Mapped:
    """Planes that lie uncompressed in their files: mapped into memory for as long as a read takes.

    A map that stayed would count as resident memory, up to the whole file.
    """

    def __init__(self, shape, dtype, plane_shape, places: Callable[[int], tuple[str, int]]):
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.plane_shape, self.places = tuple(plane_shape), places

    def __getitem__(self, index: tuple) -> np.ndarray:
        leading = len(self.shape) - len(self.plane_shape)
        number = np.ravel_multi_index(index[:leading], self.shape[:leading]) if leading else 0
        path, offset = self.places(int(number))
        return np.array(np.memmap(path, self.dtype, "r", offset, self.plane_shape)[index[leading:]])


def _mapped(tiff: tifffile.TiffFile, level: tifffile.TiffPageSeries) -> _Mapped | None:
    """The series where each of its planes is one uncompressed run of bytes, else None."""
    page = level.keyframe
    if not page.is_memmappable:
        return None
    dtype = np.dtype(level.dtype).newbyteorder(tiff.byteorder)
    if level.dataoffset is not None:
        first, path = level.dataoffset, tiff.filehandle.path
        return _Mapped(level.shape, dtype, page.shape, lambda n: (path, first + n * page.nbytes))
    pages = list(level.pages)
    if prod(level.shape) != len(pages) * prod(page.shape):
        return None
    one_run = (len(p.dataoffsets) == 1 or getattr(p, "is_contiguous", False) for p in pages)
    if not all(one_run) or any(sum(p.databytecounts) < page.nbytes for p in pages):
        return None
    places = [(p.parent.filehandle.path, p.dataoffsets[0]) for p in pages]
    return _Mapped(level.shape, dtype, page.shape, places.__getitem__)


def _decoded(path: str, level: tifffile.TiffPageSeries) -> tuple[zarr.Array, tuple[int, ...]]:
    """The series as an array whose pieces are decoded when they are read, and the pieces' shape."""
    try:
        array = zarr.open_array(level.aszarr(), mode="r")
        tifffile.TIFF.DECOMPRESSORS[level.keyframe.compression]  # raises where the codec is missing
        if prod(array.chunks) <= TRIED_PX:
            array[(slice(0, 1),) * array.ndim]
    except Exception as error:  # a missing codec is a KeyError, a ValueError or an ImportError
        raise UserError(
            f"{path}: cannot be decoded ({reason(error)}); if a package is named install it,"
            " else save the picture again, uncompressed or with Deflate (ZIP)"
        ) from error
    return array, array.chunks


class _First:
    """An array of which only the first sample counts (the others are transparency)."""

    def __init__(self, array: Any, axis: int):
        self.array, self.axis, self.dtype = array, axis, array.dtype
        self.shape = (*array.shape[:axis], 1, *array.shape[axis + 1 :])

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self.array[index]


def _channel_names(tiff: tifffile.TiffFile) -> list[str]:
    """Names of the channels by the OME or LSM header; [] where they are not told."""
    try:
        if tiff.is_ome:
            image = next(e for e in ET.fromstring(tiff.ome_metadata).iter() if _tag(e) == "Image")
            return [e.get("Name") or "" for e in image.iter() if _tag(e) == "Channel"]
        if tiff.is_lsm:
            return [str(name) for name in tiff.lsm_metadata["ChannelColors"]["ColorNames"]]
    except Exception:  # names are a comfort: no broken header shall cost a picture
        pass
    return []


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


# PNG and JPEG --------------------------------------------------------------------------------------


class _Whole:
    """A picture that can only be decoded as a whole: at the first read."""

    def __init__(self, path: str, shape: tuple[int, ...], dtype: np.dtype):
        self.path, self.shape, self.dtype = path, shape, dtype
        self.pixels: np.ndarray | None = None

    def __getitem__(self, index: tuple) -> np.ndarray:
        if self.pixels is None:
            self.pixels = imageio.imread(self.path, plugin="pillow").reshape(self.shape)
        return self.pixels[index]


def _open_picture(path: str) -> Source:
    with open(path, "rb") as handle:
        header = handle.read(26)
        handle.seek(max(0, Path(path).stat().st_size - _END_BYTES))
        tail = handle.read()
    # Bit depth and colour type of PNG: the decoder would cut 16-bit colours to 8 bits unasked.
    if header.startswith(b"\x89PNG") and header[24:26] in (b"\x10\x02", b"\x10\x04", b"\x10\x06"):
        raise UserError(f"{path}: PNG with 16-bit colours; save it as TIFF")
    try:
        facts = imageio.improps(path, plugin="pillow")
        if next(end for start, end in _PICTURE_END.items() if header.startswith(start)) not in tail:
            raise EOFError("its end is missing")
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error...
        raise UserError(
            f"{path}: the picture is truncated or damaged ({reason(error)});"
            " copy or export it again"
        ) from error
    array, axes = _Whole(path, facts.shape, np.dtype(facts.dtype)), "YXS"[: len(facts.shape)]
    if facts.shape[2:] == (2,):
        array, notes = _First(array, 2), ["transparency is ignored"]
    else:
        notes = []
    return Source(array, axes, facts.shape, rgb=facts.shape[2:] > (2,), notes=notes)


# OME-Zarr ------------------------------------------------------------------------------------------


def _open_zarr(path: str) -> Source:
    advice = "give the folder of an OME-Zarr picture (0.4 or 0.5), or tiles with a position table"
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
        meta = meta.get("ome", meta)
        multiscale = meta["multiscales"][0]
        axes = "".join(axis["name"][0].upper() for axis in multiscale["axes"])
        array = group[multiscale["datasets"][0]["path"]]
        if not isinstance(array, zarr.Array) or len(axes) != array.ndim:
            raise ValueError("axes and array differ")
        if scale := array.attrs.get("scale_factor"):
            notes.append(f"numbers are read as stored; each stands for {scale:g} (scale_factor)")
        channels = (meta.get("omero") or {}).get("channels") or []
        names = [str(channel.get("label", "")) for channel in channels]
    except Exception as error:  # any missing or wrong piece of the metadata ends here
        raise UserError(
            f"{path}: the store has no whole OME-Zarr picture ({reason(error)}); {advice}"
        ) from error
    return Source(array, axes, array.chunks, notes=notes, names=names)
