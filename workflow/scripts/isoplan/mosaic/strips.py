"""Reads a TIFF plane from top to bottom, in bands of rows, without decoding a strip as a whole.

A strip may be the whole picture. Uncompressed and Deflate strips are decoded as a stream, and the
predictor is undone row by row. Other codecs can only decode whole strips.
"""

import zlib
from collections.abc import Callable, Iterator
from math import prod

import numpy as np
import tifffile

_READ_BYTES = 2**20
_DEFLATE = (8, 32946)
_NONE = 1
_PREDICTORS = (1, 2, 3)  # none, horizontal differences, floating point


def stream(level: tifffile.TiffPageSeries) -> Callable[[dict, int], Iterator[np.ndarray]] | None:
    """A function that reads planes of a series in bands; None if strips must be decoded as a whole.

    The function takes (index, rows). index holds a number per leading axis, by its letter, and for S a
    number or a slice. It yields arrays (rows, width) or (rows, width, samples); the last one may have
    fewer rows.
    """
    page = level.keyframe
    itemsize = np.dtype(level.dtype).itemsize
    known = (
        page.compression in (_NONE, *_DEFLATE)
        and page.predictor in _PREDICTORS
        and page.bitspersample == 8 * itemsize
        and page.fillorder == 1
        and not page.is_tiled
        and page.axes in ("YX", "YXS", "SYX")
        and prod(level.shape) == len(level.pages) * prod(page.shape)
        and not {"Y", "X"} & {*level.axes[: -len(page.axes)]}
        and not page.nodata
    )
    if not known:
        return None

    def bands(index: dict, rows: int) -> Iterator[np.ndarray]:
        leading = level.axes[: -len(page.axes)]
        sizes = level.shape[: len(leading)]
        place = tuple(index[axis] for axis in leading)
        number = int(np.ravel_multi_index(place, sizes)) if place else 0
        plane, samples = level.pages[number], index.get("S")
        if page.axes != "SYX":
            for band in _bands(plane, page, 0, rows):
                yield band if samples is None else band[..., samples]
        elif isinstance(samples, slice):
            planes = range(*samples.indices(page.shape[0]))
            streams = [_bands(plane, page, sample, rows) for sample in planes]
            for parts in zip(*streams, strict=True):
                yield np.stack(parts, axis=-1)
        else:
            yield from _bands(plane, page, samples, rows)

    return bands


def _bands(plane, page: tifffile.TiffPage, sample: int, rows: int) -> Iterator[np.ndarray]:
    """Bands of rows of a plane; sample: which one, if samples are stored in separate planes."""
    contiguous = page.axes == "YXS"
    height, width = page.imagelength, page.imagewidth
    shape = (width, page.shape[2] if contiguous else 1)
    dtype = np.dtype(plane.parent.byteorder + page.dtype.char)
    row_bytes = prod(shape) * dtype.itemsize
    undo = None if page.predictor == _NONE else tifffile.TIFF.UNPREDICTORS[page.predictor]
    rows_of = _rows(plane, page, sample, row_bytes)
    for top in range(0, height, rows):
        band = rows_of(min(rows, height - top))
        array = np.frombuffer(band, dtype).reshape(-1, *shape)
        if undo is not None:
            # Horizontal differencing works on numbers in native byte order, the predictor of floats on
            # bytes in an order of its own.
            array = array.astype(dtype.newbyteorder("=")) if page.predictor == 2 else array
            array = undo(array, axis=-2)
        yield array if contiguous else array[..., 0]


def _rows(plane, page, sample: int, row_bytes: int) -> Callable[[int], bytearray]:
    """A function that returns the bytes of the next n rows."""
    height, per_strip = page.imagelength, min(page.rowsperstrip, page.imagelength)
    count = -(-height // per_strip)
    strips = slice(sample * count, (sample + 1) * count)
    offsets, lengths = plane.dataoffsets[strips], plane.databytecounts[strips]
    coded = page.compression in _DEFLATE

    def pieces() -> Iterator[bytes]:
        with open(plane.parent.filehandle.path, "rb") as handle:
            for number, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
                wanted = min(per_strip, height - number * per_strip) * row_bytes
                if not length:  # a strip of a sparse file that was never written
                    yield bytes(wanted)
                    continue
                handle.seek(offset)
                source = _read(handle, length)
                for piece in inflate(source) if coded else source:
                    if wanted:
                        yield piece[:wanted]
                    wanted -= min(len(piece), wanted)
                if wanted:
                    raise EOFError(f"strip {number} ends {wanted} bytes too early")

    flow, rest = pieces(), bytearray()

    def following(rows: int) -> bytearray:
        nonlocal rest
        while len(rest) < rows * row_bytes:
            rest += next(flow)
        found, rest = rest[: rows * row_bytes], rest[rows * row_bytes :]
        return found

    return following


def _read(handle, length: int) -> Iterator[bytes]:
    while length:
        piece = handle.read(min(length, _READ_BYTES))
        if not piece:
            raise EOFError("the file ends within a strip")
        length -= len(piece)
        yield piece


def inflate(source: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress zlib data to its end, where a checksum is verified."""
    decoder = zlib.decompressobj()
    for piece in source:
        while piece:
            yield decoder.decompress(piece, _READ_BYTES)
            piece = decoder.unconsumed_tail
    yield decoder.flush()
    if not decoder.eof:
        raise EOFError("its compressed pixels are cut off")
