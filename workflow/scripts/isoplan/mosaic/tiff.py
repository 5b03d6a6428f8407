"""Opens TIFF, OME-TIFF and LSM files; only headers are read here."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from isoplan.base.errors import UserError
from isoplan.mosaic import headers, strips
from isoplan.mosaic.source import (
    LeadingSamples,
    Source,
    choose_series,
    orientation_note,
    palette_note,
    reason,
    refuse_tiles,
    tiles_error,
)

TRIED_PX = 2**20  # a piece of up to this size is decoded once, to test its codec

# Photometric interpretations.
_WHITE_IS_ZERO, _PALETTE = 0, 3
_RGB = (2, 6)  # RGB, YCbCr
_NO_LIGHT = {
    4: "a mask of transparency",
    5: "amounts of ink (CMYK)",
    8: "CIE Lab colours",
    9: "ICC Lab colours",
    10: "ITU Lab colours",
    32803: "the raw pixels of a colour-filter camera",
    32844: "LogL values",
    32845: "LogLuv colours",
}
_ORIENTATION, _GDAL_NODATA = 274, 42113  # tags
_SEPARATE = 2  # planar configuration: samples in separate planes
_JPEG = (6, 7, 34892, 33007)  # codecs that convert YCbCr to RGB
_TRANSPARENCY = (1, 2)  # extra samples that are transparency, not channels


def open_tiff(path: str, wanted: int | None) -> Source:
    """Open the largest picture of a file, or the wanted one (from 0).

    Raises UserError if the file is truncated, damaged, holds no intensities or is not supported.
    """
    with contextlib.ExitStack() as stack:
        tiff, series, notes = _parse(path, stack)
        sizes = [_plane_shape(one.levels[0]) for one in series]
        number, more = choose_series(path, sizes, wanted)
        if wanted is None and tiff.is_ome:
            refuse_tiles(path, tiff.ome_metadata, sizes, number)
        level = series[number].levels[0]
        stage = "RMP" if tiff.is_lsm else "RM"  # tifffile's letters for axes of stage positions
        fields = prod(n for axis, n in zip(level.axes, level.shape, strict=True) if axis in stage)
        if fields > 1:
            raise tiles_error(path, fields, "")
        notes += _check_complete(path, tiff, level)
        page = level.keyframe
        _check_intensities(path, page)
        if level.transform is not None:
            raise UserError(f"{path}: its numbers are not counts (MD GEL); save it as grey TIFF")
        notes += more
        if shown := headers.calibration(tiff):
            notes.append(f"numbers are read as stored; ImageJ shows {shown}")
        if tiff.is_imagej and series[number].kind != "imagej":
            notes.append(
                "CAUTION: ImageJ's header lists other slices and channels than the file has: the file may be cut short"
            )
        if page.photometric == _PALETTE:
            notes.append(palette_note(page.colormap.T))
        if _ORIENTATION in page.tags:
            notes += orientation_note(page.tags[_ORIENTATION].value)
        white = _stored_black(page, level.dtype, notes)
        channels = page.photometric in _RGB and _are_channels(tiff, page)
        rgb = page.photometric in _RGB and not channels
        array, axes = _map_planes(level), level.axes
        chunks, stream = None, None
        if array is None:
            array, chunks = _open_decoded(path, level)
            stream = strips.stream(level)
        alpha = [kind in _TRANSPARENCY for kind in page.extrasamples]
        if not rgb and not channels and any(alpha) and "S" in axes:
            samples = level.shape[axes.index("S")]
            array = LeadingSamples(array, axes.index("S"), samples - alpha[::-1].index(True) - 1)
            notes.append("transparency is ignored")
        files = list(dict.fromkeys(p.parent.filehandle.path for p in level.pages))
        if len(files) > 1:
            notes.append(
                f"it belongs to a set of {len(files)} files: channels and slices count over all of them"
            )
        known = headers.tiff_metadata(tiff, number, len(series), _plane_shape(level))
        close = stack.pop_all().close
        nodata = page.tags.get(_GDAL_NODATA)
        missing = headers.finite_number(nodata.value) if nodata else None
        found = {
            "calibration": shown,
            "missing": missing,
            "notes": notes,
            "stream": stream,
            "files": files,
            "close": close,
            "known": known,
        }
        return Source(array, axes, chunks, rgb, white, **found)


# What the file lists -------------------------------------------------------------------------------


@contextlib.contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Collect what tifffile logs; it only logs an error if the chain of pages is broken, and reads on."""
    texts: list[str] = []
    logger, handler = logging.getLogger("tifffile"), logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _truncated(path: str) -> UserError:
    return UserError(f"{path}: the TIFF is truncated or damaged; copy or export it again")


def _parse(path: str, stack: contextlib.ExitStack):
    """The open file, its pictures, and notes on pages that are ignored."""
    with _logged_errors() as texts:
        try:
            tiff = stack.enter_context(tifffile.TiffFile(path))
            page = tiff.pages.first
        except Exception as error:  # tifffile's parsers share no error class
            raise _truncated(path) from error
        try:
            series = list(tiff.series)
        except Exception:
            series = []
    broken = any("page offset" in text or "corrupted IFD" in text for text in texts)
    if series and not broken:
        return tiff, series, []
    # The list of pages is broken, or a vendor's header cannot be parsed. The first page may be intact.
    if not page.shape or 0 in page.shape or not _nothing_follows(tiff, page):
        raise _truncated(path)
    alone = tifffile.TiffPageSeries([page], page.shape, page.dtype, page.axes)
    return tiff, [alone], ["the file's list of pages is broken after the first, which is read"]


def _nothing_follows(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> bool:
    """Whether nothing follows a page in the file, as far as headers tell. Then no page is lost."""
    if tiff.is_ome or tiff.is_imagej or tiff.is_shaped or tiff.is_lsm:
        return False
    form, size = tiff.tiff, tiff.filehandle.size
    ifd = page.offset + form.tagnosize + len(page.tags) * form.tagsize + form.offsetsize
    pieces = zip(page.dataoffsets, page.databytecounts, strict=False)
    values = (tag.valueoffset + tag.valuebytecount for tag in page.tags)
    last = max([ifd, *(offset + length for offset, length in pieces), *values])
    tiff.filehandle.seek(ifd - form.offsetsize)
    following = int.from_bytes(
        tiff.filehandle.read(form.offsetsize), "little" if tiff.byteorder == "<" else "big"
    )
    # In a file that was cut between two pages, the last pointer leads to the end of the file.
    return size - last <= 1 and not size <= following <= size + 1


def _plane_shape(level: tifffile.TiffPageSeries) -> tuple[int, int]:
    sizes = dict(zip(level.axes, level.shape, strict=True))
    return sizes.get("Y", 0), sizes.get("X", 0)


def _check_complete(
    path: str, tiff: tifffile.TiffFile, level: tifffile.TiffPageSeries
) -> list[str]:
    """Refuse a file in which a page, tile or strip is missing or lies beyond the end.

    Returns a note if some tiles or strips were never written (a sparse file).
    """
    if any(page is None for page in level.pages):
        folder = Path(path).parent
        gone = [name for name in headers.files_of_set(tiff) if not (folder / name).exists()]
        if not gone and tiff.is_ome:
            listed = sum(page is not None for page in level.pages)
            raise UserError(
                f"{path}: its OME header lists only {listed} of its {len(level.pages)} planes; export all of them again"
            )
        if not gone:
            raise _truncated(path)
        raise UserError(
            f"{path}: belongs to a set of files of which {gone[0]!r} is missing; put all into one folder"
        )
    first, lengths = level.keyframe, []
    for page in level.pages:
        size = page.parent.filehandle.size
        pieces = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        if any(offset + length > size for offset, length in pieces):
            raise _truncated(page.parent.filehandle.path)
        if not first.is_contiguous and len(pieces) < prod(first.chunked):
            raise _truncated(page.parent.filehandle.path)
        lengths += [length for _, length in pieces]
    if level.dataoffset is not None:
        if level.dataoffset + level.nbytes > level.pages[0].parent.filehandle.size:
            raise _truncated(path)
        return []
    if prod(level.shape) > len(level.pages) * prod(first.shape):
        raise _truncated(path)
    # A sparse file has length 0 where a tile was never written.
    if not any(lengths):
        raise _truncated(path)
    gone = lengths.count(0)
    words = f"{gone} of {len(lengths)} strips or tiles were never written"
    return [f"{words}: they read as {first.nodata}"] if gone else []


# What the numbers mean -----------------------------------------------------------------------------


def _check_intensities(path: str, page: tifffile.TiffPage) -> None:
    what = _NO_LIGHT.get(int(page.photometric or 0))
    if page.photometric == 6 and page.compression not in _JPEG:
        what = "YCbCr colours"
    if 16 < page.bitspersample < 32 and page.parent.byteorder == ">":  # tifffile would swap them
        raise UserError(
            f"{path}: samples of {page.bitspersample} bits in this byte order are not read; save it with 32 bits"
        )
    if what:
        raise UserError(f"{path}: its numbers are {what}, not intensities; save it as grey or RGB")


def _stored_black(page: tifffile.TiffPage, dtype: np.dtype, notes: list[str]) -> int | None:
    """Stored value of black if white is zero: 2^bits - 1, or -1 in signed numbers; else None."""
    if page.photometric != _WHITE_IS_ZERO or "PhotometricInterpretation" not in page.tags:
        return None  # without the tag, tifffile assumes that white is zero
    if dtype.kind not in "bui":
        notes.append(
            "the header says that white is zero, which makes no sense for floats: not inverted"
        )
        return None
    notes.append("white is zero in this file: inverted")
    return -1 if dtype.kind == "i" else 2**page.bitspersample - 1


def _are_channels(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> bool:
    """Whether samples stored as RGB are channels rather than colours.

    ImageJ may show them as channels, each with its own look-up table. tifffile writes three planes of
    more than 8 bits as RGB by default, and a fourth as transparency.
    """
    known = (tiff.imagej_metadata or {}) if tiff.is_imagej else {}
    if known.get("mode") in ("composite", "color", "grayscale") or len(known.get("LUTs", [])) > 1:
        return True
    return tiff.is_shaped and page.planarconfig == _SEPARATE and page.bitspersample > 8


# The pixels ----------------------------------------------------------------------------------------


class _MappedPlanes:
    """Uncompressed planes, memory-mapped for as long as a read takes.

    A permanent map would count as resident memory, up to the size of the whole file. places: function
    of a plane's number that returns its file, its offset there and its byte order.
    """

    def __init__(self, shape, dtype, plane_shape, places: Callable[[int], tuple[str, int, str]]):
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.plane_shape, self.places = tuple(plane_shape), places

    def __getitem__(self, index: tuple) -> np.ndarray:
        leading = len(self.shape) - len(self.plane_shape)
        number = np.ravel_multi_index(index[:leading], self.shape[:leading]) if leading else 0
        path, offset, order = self.places(int(number))
        dtype = self.dtype.newbyteorder(order)
        return np.array(np.memmap(path, dtype, "r", offset, self.plane_shape)[index[leading:]])


def _map_planes(level: tifffile.TiffPageSeries) -> _MappedPlanes | None:
    """The series, memory-mapped, if each plane is one uncompressed run of bytes; else None."""
    page = level.keyframe
    leading = level.axes[: len(level.axes) - len(page.shape)]
    if not page.is_memmappable or {"Y", "X"} & {*leading}:  # a plane must hold Y and X
        return None
    pages = list(level.pages)
    if level.dataoffset is not None:
        first, path, order = level.dataoffset, page.parent.filehandle.path, page.parent.byteorder
        return _MappedPlanes(
            level.shape, level.dtype, page.shape, lambda n: (path, first + n * page.nbytes, order)
        )
    if prod(level.shape) != len(pages) * prod(page.shape):
        return None
    one_run = (len(p.dataoffsets) == 1 or getattr(p, "is_contiguous", False) for p in pages)
    if not all(one_run) or any(sum(p.databytecounts) < page.nbytes for p in pages):
        return None
    places = [(p.parent.filehandle.path, p.dataoffsets[0], p.parent.byteorder) for p in pages]
    return _MappedPlanes(level.shape, level.dtype, page.shape, places.__getitem__)


def _open_decoded(path: str, level: tifffile.TiffPageSeries) -> tuple[Any, tuple[int, ...]]:
    """The series as an array that decodes pieces when they are read, and the shape of a piece."""
    try:
        # Without a level, tifffile returns the group of a pyramid's levels.
        array = zarr.open_array(level.aszarr(level=0), mode="r")
        tifffile.TIFF.DECOMPRESSORS[level.keyframe.compression]  # raises where the codec is missing
        if prod(array.chunks) <= TRIED_PX:
            array[(slice(0, 1),) * array.ndim]
    except Exception as error:  # a missing codec is a KeyError, a ValueError or an ImportError
        raise UserError(
            f"{path}: cannot be decoded ({reason(error)}); install the package if one is named,"
            " or save the picture again, uncompressed or with Deflate (ZIP)"
        ) from error
    return array, array.chunks
