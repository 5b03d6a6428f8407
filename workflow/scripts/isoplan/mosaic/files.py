"""What picture files hold: TIFF, OME-TIFF, LSM, OME-Zarr 0.4 and 0.5, PNG and JPEG, and with an extra those of
`formats.rows`, as arrays to slice.

Nothing is read here but headers: which axis is which, how the file is cut into pieces (tiles, strips,
chunks), and whether the file is whole.
"""

import base64
import contextlib
import mmap
import re
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import zarr
from PIL import Image, UnidentifiedImageError
from zarr.storage import WrapperStore

from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.mosaic import headers
from isoplan.mosaic.magic import first_bytes, format_of
from isoplan.mosaic.ngff import MISSING
from isoplan.mosaic.source import (
    Leading,
    Source,
    check_tiles,
    choose_series,
    of_palette,
    reason,
    turned,
)
from isoplan.mosaic.strips import inflate
from isoplan.mosaic.tiff import open_tiff

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC, _JPEG_MAGIC = b"\x89PNG", b"\xff\xd8\xff"
# Bit depth and colour type of PNG that the decoder would cut to 8 bits unasked.
_CUT_KINDS = {
    b"\x10\x02": "colours",
    b"\x10\x04": "grey and transparency",
    b"\x10\x06": "colours and transparency",
}
COUNTED_CHUNKS = 2**14  # of more it would take seconds to see which are there
_MAKERS = {
    b"\0\0\0\x0c": "Nikon (ND2, of long ago) or JPEG 2000",
    b"\xd0\xcf\x11\xe0": "Olympus or Zeiss (OIB, ZVI)",
    b"\x89HDF": "HDF5, as Imaris writes (IMS)",
    b"GIF8": "GIF",
}
_JPEG_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
_JPEG_MARKER = re.compile(rb"\xff+[^\xff\x00\xd0-\xd7]")  # the next one behind packed pixels


def open_source(path: str, series: int | None = None) -> Source:
    """The picture of a file or of an OME-Zarr folder; series: which of several, None the largest.

    Raises UserError for what is missing, truncated, no picture or not supported.
    """
    if Path(path).is_dir():
        return _open_zarr(path, series)
    magic = first_bytes(path)
    if magic.startswith(_TIFF_MAGIC):
        return open_tiff(path, series)
    if magic.startswith((_PNG_MAGIC, _JPEG_MAGIC)):
        return _open_picture(path, series)
    if known := format_of(magic):
        name, code = known
        return load_named(code)(path, name, series)
    if maker := next((name for start, name in _MAKERS.items() if magic.startswith(start)), None):
        raise UserError(
            f"{path}: is a file of {maker}, which is not read; export it as OME-TIFF or OME-Zarr"
        )
    raise UserError(
        f"{path}: no TIFF, LSM, OME-Zarr, PNG or JPEG and no table of tile positions; export it as one"
    )


# PNG and JPEG --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Pillow refuses pictures above 179 Mpx; how much may be decoded at once is asked elsewhere."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


class _Whole:
    """A picture that can only be decoded as a whole: at the first read."""

    def __init__(
        self, path: str, shape: tuple[int, ...], dtype: np.dtype, step: int, indices: bool
    ):
        """step: what the decoder multiplies numbers by that have less than 8 bits. indices: whether its numbers are
        indices of a palette, which stay as they are."""
        self.path, self.shape, self.dtype, self.step = path, shape, dtype, step
        self.indices = indices
        self.pixels: np.ndarray | None = None

    def __getitem__(self, index: tuple) -> np.ndarray:
        if self.pixels is None:
            _check_rows(self.path)
            with _any_size(), Image.open(self.path) as image:
                pixels = (
                    np.array(image)
                    if self.indices
                    else imageio.imread(self.path, plugin="pillow", index=0)
                )
            self.pixels = pixels.reshape(self.shape)
            if self.step > 1:
                self.pixels //= self.step
        return self.pixels[index]


def _open_picture(path: str, series: int | None) -> Source:
    choose_series(path, [(1, 1)], series)
    with open(path, "rb") as handle:
        header = handle.read(26)
    kind = _CUT_KINDS.get(header[24:26]) if header.startswith(_PNG_MAGIC) else None
    if kind:
        raise UserError(f"{path}: PNG with {kind} of 16 bits is not read; save it as TIFF")
    try:
        with _any_size():
            with Image.open(path) as image:
                mode, frames = image.mode, getattr(image, "n_frames", 1)
                # PNG's own would decode the picture, to see what lies behind it.
                orientation = Image.Image.getexif(image).get(0x0112)
                shape, palette = image.size[::-1], image.palette and image.palette.palette
            facts = imageio.improps(path, plugin="pillow", index=0)
        _check_end(path, header)
    except UnidentifiedImageError:
        raise UserError(
            f"{path}: is damaged, or of a kind that is not read, such as JPEG of 12 bits or without loss; copy it"
            " again, or save it as TIFF"
        ) from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error...
        raise UserError(
            f"{path}: the picture is truncated or damaged ({reason(error)});"
            " copy or export it again"
        ) from error
    if mode == "CMYK":
        raise UserError(
            f"{path}: its numbers are amounts of ink (CMYK), no intensities; save it as grey or RGB"
        )
    notes = [f"the first of {frames} frames is read"] if frames > 1 else []
    notes += turned(orientation)
    small = header.startswith(_PNG_MAGIC) and header[25] == 0 and header[24] in (2, 4)  # grey
    step = 255 // (2 ** header[24] - 1) if small else 1
    if mode != "P":
        shape = facts.shape
    else:
        notes.append(of_palette(np.frombuffer(palette, np.uint8).reshape(-1, 3)))
    array = _Whole(path, shape, np.dtype(facts.dtype), step, mode == "P")
    axes = "YXS"[: len(shape)]
    if shape[2:] == (2,):
        array = Leading(array, 2, 1)
        notes.append("transparency is ignored")
    return Source(array, axes, shape, rgb=shape[2:] > (2,), notes=notes)


def _mapped(path: str) -> mmap.mmap:
    with open(path, "rb") as handle:
        return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)


def _parts(data: mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of each part of a PNG before its end."""
    at = 8
    while data[at + 4 : at + 8] != b"IEND":
        if at + 12 > len(data):
            raise EOFError("its end is missing")
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], at + 8, at + 8 + length
        at += 12 + length


# Of an interlaced PNG each pass takes one pixel of so many: first column and row, and the steps.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_READ_BYTES = 2**20


def _check_rows(path: str) -> None:
    """Raises an error where a PNG holds fewer rows than it says: the decoder leaves the others black."""
    with _mapped(path) as data:
        if data[:4] != _PNG_MAGIC:
            return
        width, height, bits, kind, interlaced = struct.unpack(">IIBBxxB", data[16:29])
        wanted = 0
        for left, top, step_x, step_y in _PASSES if interlaced else ((0, 0, 1, 1),):
            columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
            if columns > 0:
                wanted += rows * (1 + -(-columns * bits * _SAMPLES[kind] // 8))
        packed = (
            data[at : min(at + _READ_BYTES, end)]
            for part, begin, end in _parts(data)
            if part == b"IDAT"
            for at in range(begin, end, _READ_BYTES)
        )
        if sum(len(piece) for piece in inflate(packed)) < wanted:
            raise EOFError("its last rows are missing")


def _check_end(path: str, header: bytes) -> None:
    """Raises an error where a PNG or JPEG file ends before its picture does: from part to part, so
    that a small picture inside a header or another text of the same letters is not taken for the end."""
    with _mapped(path) as data:
        if header.startswith(_PNG_MAGIC):
            for _ in _parts(data):
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


# OME-Zarr ------------------------------------------------------------------------------------------

_KINDS = {"channel": "C", "time": "T"}


def _open_zarr(path: str, series: int | None) -> Source:
    advice = "give the folder of an OME-Zarr picture (0.4 or 0.5), or tiles with a position table"
    try:
        # Each array's own metadata count: a consolidated copy of them may be out of date.
        group = zarr.open_group(path, mode="r", use_consolidated=False)
    except Exception as error:  # missing, broken and foreign metadata raise different classes
        raise UserError(f"{path}: the folder is no OME-Zarr store; {advice}") from error
    try:
        meta = _meta(group)
        _check_kind(path, meta)
        groups = [group]
        if "bioformats2raw.layout" in meta:
            names = sorted((name for name in group.group_keys() if name.isdecimal()), key=int)
            groups = [group[name] for name in names]
        for one in groups:
            _check_version(path, _meta(one))
        pictures = [_largest_level(one) for one in groups]
        sizes = [(array.shape[axes.index("Y")], array.shape[axes.index("X")])
                 if {"Y", "X"} <= set(axes) else (0, 0) for array, axes in pictures]  # fmt: skip
        number, notes = choose_series(path, sizes, series)
        xml = Path(path) / "OME" / "METADATA.ome.xml"  # as bioformats2raw leaves it
        if series is None and len(groups) > 1 and xml.is_file():
            check_tiles(path, xml.read_bytes(), sizes, number)
        (array, axes), meta = pictures[number], _meta(groups[number])
        notes += _check_chunks(path, array) if all(sizes[number]) else []
        scale, added = (array.attrs.get(name) for name in ("scale_factor", "add_offset"))
        if scale:
            notes.append(f"numbers are read as stored; each stands for {scale} (scale_factor)")
        if added:
            notes.append(f"numbers are read as stored, without {added} (add_offset)")
        missing = _missing(array.attrs)
        calibration = f"{added or 0} + {scale or 1} * number" if scale or added else None
        if (count := len(meta["multiscales"])) > 1:
            notes.append(f"the first of {count} entries of `multiscales` is read")
        known = headers.of_ngff(meta["multiscales"][0], axes, meta.get("omero"))
        checked, mask = _checked(array), groups[number].get(MISSING)
        if "isoplan" in groups[number].attrs and getattr(mask, "shape", None) == array.shape:
            checked = _Masked(checked, mask)
            notes.append("pixels of which nothing is known, by the store's own mask, are not read")
    except UserError:
        raise
    except Exception as error:  # any missing or wrong piece of the metadata ends here
        raise UserError(
            f"{path}: the store has no whole OME-Zarr picture ({reason(error)}); {advice}"
        ) from error
    found = {"notes": notes, "calibration": calibration, "missing": missing, "known": known}
    return Source(checked, axes, array.chunks, **found)


def _missing(attributes) -> float | None:
    """The number that xarray, and CF's conventions, put where nothing was measured."""
    told = attributes.get("_FillValue", attributes.get("missing_value"))
    if isinstance(told, str) and len(told) == 12:  # as xarray writes a float of Zarr 3
        with contextlib.suppress(ValueError, struct.error):
            told = struct.unpack("<d", base64.b64decode(told, validate=True))[0]
    return headers.finite(told)


class _Masked:
    """Whole numbers that isoplan wrote, NaN where its mask says that nothing is known."""

    dtype = np.dtype(np.float32)

    def __init__(self, array: zarr.Array, mask: zarr.Array):
        self.array, self.mask, self.shape = array, mask, array.shape

    def __getitem__(self, index: tuple) -> np.ndarray:
        return np.where(self.mask[index], np.float32(np.nan), self.array[index])


class _Unbroken(WrapperStore):
    """A store of Blosc's chunks that refuses one shorter than its own head says, as a copy that broke off
    leaves it: the codec reads on behind its end, and takes for pixels what lies there in memory."""

    async def get(self, key, prototype, byte_range=None):
        found = await super().get(key, prototype, byte_range)
        name = key.rpartition("/")[2]
        if found is None or byte_range is not None or name.startswith(".") or name == "zarr.json":
            return found
        if len(found) < int.from_bytes(found.as_numpy_array()[12:16].tobytes(), "little"):
            raise EOFError(f"chunk {key} is cut short")
        return found


def _checked(array: zarr.Array) -> zarr.Array:
    """The array, so that a chunk that is cut short is noticed; of shards, their index notices it."""
    last = array.compressors[-1:]
    if array.shards or not last or type(last[0]).__name__ not in ("Blosc", "BloscCodec"):
        return array
    return zarr.open_array(_Unbroken(array.store_path.store), path=array.path, mode="r")


def _meta(group: zarr.Group) -> dict:
    meta = group.attrs.asdict()
    return meta.get("ome", meta)


def _check_kind(path: str, meta: dict) -> None:
    if "image-label" in meta:
        raise UserError(
            f"{path}: its numbers are labels of objects, no intensities; give the picture that they belong to"
        )
    if "plate" in meta:
        wells = [well["path"] for well in meta["plate"]["wells"]]
        raise UserError(
            f"{path}: is a plate of {len(wells)} wells; give one field of one, such as {path}/{wells[0]}/0"
        )
    if "well" in meta:
        fields = [image["path"] for image in meta["well"]["images"]]
        raise UserError(
            f"{path}: is a well of {len(fields)} fields; give one, such as {path}/{fields[0]}"
        )


def _check_version(path: str, meta: dict) -> None:
    """Refuses what is older than 0.4: its axes are names alone, or not told."""
    first = meta["multiscales"][0]
    version, axes = first.get("version"), first.get("axes") or [None]
    if version in ("0.1", "0.2", "0.3") and not isinstance(axes[0], dict):
        raise UserError(f"{path}: NGFF {version} is not read; convert it to 0.4 or 0.5")


def _largest_level(group: zarr.Group) -> tuple[zarr.Array, str]:
    """The picture of a group at full size, and its axes."""
    multiscale = _meta(group)["multiscales"][0]
    axes = "".join(_KINDS.get(a.get("type"), a["name"][0].upper()) for a in multiscale["axes"])
    space = [place for place, a in enumerate(multiscale["axes"]) if a.get("type") == "space"]
    if not {"Y", "X"} <= {*axes} and 2 <= len(space) <= 3:  # as height and width, in NGFF's order
        letters = dict(zip(space, "ZYX"[-len(space) :], strict=True))
        axes = "".join(letters.get(place, letter) for place, letter in enumerate(axes))
    names = [dataset["path"] for dataset in multiscale["datasets"]]
    array = group[names[0]]
    if not isinstance(array, zarr.Array) or len(axes) != array.ndim:
        raise ValueError("axes and array differ")
    for name in names[1:]:
        if getattr(group.get(name), "size", 0) > array.size:
            raise ValueError(f"level {name} is larger than {names[0]}, which is listed first")
    return array, axes


def _check_chunks(path: str, array: zarr.Array) -> list[str]:
    """A note where chunks are not there, which reads as the fill value: left out as empty, or lost on the way."""
    grid = [-(-a // b) for a, b in zip(array.shape, array.shards or array.chunks, strict=True)]
    count = prod(grid)
    if not 0 < count <= COUNTED_CHUNKS:
        return []
    folder = Path(array.store_path.store.root) / array.path
    there = {str(file.relative_to(folder)) for file in folder.rglob("*")}
    gone = sum(array.metadata.encode_chunk_key(place) not in there for place in np.ndindex(*grid))
    if gone == count:
        raise UserError(
            f"{path}: the store holds no chunk by the names that its metadata give; copy it again"
        )
    words = f"{gone} of {count} chunks are not in the store, never written or lost: they read as {array.fill_value}"
    return [words] if gone else []
