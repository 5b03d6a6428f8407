"""Opens PNG and JPEG files.

They are decoded as a whole at the first read. Pillow is lenient with damaged files and leaves missing
rows black, so the structure of a file is checked to its end before its pixels are used.
"""

import contextlib
import mmap
import re
import struct
from collections.abc import Iterator

import imageio.v3 as imageio
import numpy as np
from PIL import Image, UnidentifiedImageError

from isoplan.base.errors import UserError
from isoplan.mosaic.source import (
    LeadingSamples,
    Source,
    choose_series,
    orientation_note,
    palette_note,
    reason,
)
from isoplan.mosaic.strips import inflate

PNG_MAGIC, JPEG_MAGIC = b"\x89PNG", b"\xff\xd8\xff"
# Bit depth and colour type of PNG files that Pillow would silently reduce to 8 bits.
_PNG_CUT_TO_8_BITS = {
    b"\x10\x02": "colours",
    b"\x10\x04": "grey and transparency",
    b"\x10\x06": "colours and transparency",
}
_JPEG_ALONE = (0x01, *range(0xD0, 0xD9))  # markers that no length follows
_JPEG_MARKER = re.compile(rb"\xff+[^\xff\x00\xd0-\xd7]")  # the next marker after coded pixels


@contextlib.contextmanager
def _no_size_limit() -> Iterator[None]:
    """Lift Pillow's limit of 179 Mpx; `reader` has its own limits on what is decoded at once."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


class _WholePicture:
    """A picture that can only be decoded as a whole, which happens at the first read."""

    def __init__(
        self, path: str, shape: tuple[int, ...], dtype: np.dtype, step: int, indices: bool
    ):
        """step: factor by which Pillow scales samples of fewer than 8 bits.

        indices: whether the samples are palette indices, which are kept.
        """
        self.path, self.shape, self.dtype, self.step = path, shape, dtype, step
        self.indices = indices
        self.pixels: np.ndarray | None = None

    def __getitem__(self, index: tuple) -> np.ndarray:
        if self.pixels is None:
            _check_png_rows(self.path)
            with _no_size_limit(), Image.open(self.path) as image:
                pixels = (
                    np.array(image)
                    if self.indices
                    else imageio.imread(self.path, plugin="pillow", index=0)
                )
            self.pixels = pixels.reshape(self.shape)
            if self.step > 1:
                self.pixels //= self.step
        return self.pixels[index]


def open_png_or_jpeg(path: str, series: int | None) -> Source:
    choose_series(path, [(1, 1)], series)
    with open(path, "rb") as handle:
        header = handle.read(26)
    kind = _PNG_CUT_TO_8_BITS.get(header[24:26]) if header.startswith(PNG_MAGIC) else None
    if kind:
        raise UserError(f"{path}: PNG with {kind} of 16 bits is not read; save it as TIFF")
    try:
        with _no_size_limit():
            with Image.open(path) as image:
                mode, frames = image.mode, getattr(image, "n_frames", 1)
                # PngImageFile.getexif would decode the picture to find metadata after the pixels.
                orientation = Image.Image.getexif(image).get(0x0112)
                shape, palette = image.size[::-1], image.palette and image.palette.palette
            facts = imageio.improps(path, plugin="pillow", index=0)
        _check_end(path, header)
    except UnidentifiedImageError:
        raise UserError(
            f"{path}: is damaged or not supported, such as a 12-bit or lossless JPEG; copy it again, or save it as"
            " TIFF"
        ) from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error...
        raise UserError(
            f"{path}: the picture is truncated or damaged ({reason(error)});"
            " copy or export it again"
        ) from error
    if mode == "CMYK":
        raise UserError(
            f"{path}: its numbers are amounts of ink (CMYK), not intensities; save it as grey or RGB"
        )
    notes = [f"the first of {frames} frames is read"] if frames > 1 else []
    notes += orientation_note(orientation)
    small = header.startswith(PNG_MAGIC) and header[25] == 0 and header[24] in (2, 4)  # grey
    step = 255 // (2 ** header[24] - 1) if small else 1
    if mode != "P":
        shape = facts.shape
    else:
        notes.append(palette_note(np.frombuffer(palette, np.uint8).reshape(-1, 3)))
    array = _WholePicture(path, shape, np.dtype(facts.dtype), step, mode == "P")
    axes = "YXS"[: len(shape)]
    if shape[2:] == (2,):
        array = LeadingSamples(array, 2, 1)
        notes.append("transparency is ignored")
    return Source(array, axes, shape, rgb=shape[2:] > (2,), notes=notes)


def _memory_map(path: str) -> mmap.mmap:
    with open(path, "rb") as handle:
        return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)


def _png_chunks(data: mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each chunk of a PNG before IEND."""
    at = 8
    while data[at + 4 : at + 8] != b"IEND":
        if at + 12 > len(data):
            raise EOFError("its end is missing")
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], at + 8, at + 8 + length
        at += 12 + length


# The passes of an interlaced PNG (Adam7): first column, first row, step in x, step in y.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_READ_BYTES = 2**20


def _check_png_rows(path: str) -> None:
    """Raise EOFError if a PNG holds fewer rows than its header says; Pillow leaves them black."""
    with _memory_map(path) as data:
        if data[:4] != PNG_MAGIC:
            return
        width, height, bits, kind, interlaced = struct.unpack(">IIBBxxB", data[16:29])
        wanted = 0
        for left, top, step_x, step_y in _PASSES if interlaced else ((0, 0, 1, 1),):
            columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
            if columns > 0:
                wanted += rows * (1 + -(-columns * bits * _SAMPLES[kind] // 8))
        packed = (
            data[at : min(at + _READ_BYTES, end)]
            for part, begin, end in _png_chunks(data)
            if part == b"IDAT"
            for at in range(begin, end, _READ_BYTES)
        )
        if sum(len(piece) for piece in inflate(packed)) < wanted:
            raise EOFError("its last rows are missing")


def _check_end(path: str, header: bytes) -> None:
    """Raise EOFError if a PNG or JPEG file ends before its picture does.

    The file is walked chunk by chunk, so that a thumbnail in the header is not mistaken for the end.
    """
    with _memory_map(path) as data:
        if header.startswith(PNG_MAGIC):
            for _ in _png_chunks(data):
                pass
            return
        at = 2
        while at + 2 <= len(data):
            found = _JPEG_MARKER.search(data, at)
            if not found:
                break
            marker, at = data[found.end() - 1], found.end()
            if marker == 0xD9:
                return
            if marker not in _JPEG_ALONE:
                at += int.from_bytes(data[at : at + 2], "big")
        raise EOFError("its end is missing")
