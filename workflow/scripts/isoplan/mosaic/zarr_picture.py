"""Opens OME-Zarr pictures (NGFF 0.4 and 0.5) of any origin.

Only metadata and the names of chunks are read here. `ngff` writes the stores of this project.
"""

import base64
import contextlib
import struct
from math import prod
from pathlib import Path

import numpy as np
import zarr
from zarr.storage import WrapperStore

from isoplan.base.errors import UserError
from isoplan.mosaic import headers
from isoplan.mosaic.ngff import MISSING
from isoplan.mosaic.source import Source, choose_series, reason, refuse_tiles

COUNTED_CHUNKS = 2**14  # of more it would take seconds to see which are there
_AXIS_LETTERS = {"channel": "C", "time": "T"}


def open_zarr(path: str, series: int | None) -> Source:
    advice = "give the folder of an OME-Zarr picture (0.4 or 0.5), or tiles with a position table"
    try:
        # Consolidated metadata may be out of date, so each array's own are read.
        group = zarr.open_group(path, mode="r", use_consolidated=False)
    except Exception as error:  # missing, broken and foreign metadata raise different classes
        raise UserError(f"{path}: the folder is not an OME-Zarr store; {advice}") from error
    try:
        meta = _ngff_attributes(group)
        _check_kind(path, meta)
        groups = [group]
        if "bioformats2raw.layout" in meta:
            names = sorted((name for name in group.group_keys() if name.isdecimal()), key=int)
            groups = [group[name] for name in names]
        for one in groups:
            _check_version(path, _ngff_attributes(one))
        pictures = [_largest_level(one) for one in groups]
        sizes = [(array.shape[axes.index("Y")], array.shape[axes.index("X")])
                 if {"Y", "X"} <= set(axes) else (0, 0) for array, axes in pictures]  # fmt: skip
        number, notes = choose_series(path, sizes, series)
        xml = Path(path) / "OME" / "METADATA.ome.xml"  # written by bioformats2raw
        if series is None and len(groups) > 1 and xml.is_file():
            refuse_tiles(path, xml.read_bytes(), sizes, number)
        (array, axes), meta = pictures[number], _ngff_attributes(groups[number])
        notes += _check_chunks(path, array) if all(sizes[number]) else []
        scale, added = (array.attrs.get(name) for name in ("scale_factor", "add_offset"))
        if scale:
            notes.append(f"numbers are read as stored; each stands for {scale} (scale_factor)")
        if added:
            notes.append(f"numbers are read as stored, without {added} (add_offset)")
        missing = _fill_value(array.attrs)
        calibration = f"{added or 0} + {scale or 1} * number" if scale or added else None
        if (count := len(meta["multiscales"])) > 1:
            notes.append(f"the first of {count} entries of `multiscales` is read")
        known = headers.ngff_metadata(meta["multiscales"][0], axes, meta.get("omero"))
        checked, mask = _with_length_check(array), groups[number].get(MISSING)
        if "isoplan" in groups[number].attrs and getattr(mask, "shape", None) == array.shape:
            checked = _MaskedArray(checked, mask)
            notes.append("pixels that the store's own mask marks as unknown are not read")
    except UserError:
        raise
    except Exception as error:  # any missing or wrong part of the metadata ends here
        raise UserError(
            f"{path}: the store has no complete OME-Zarr picture ({reason(error)}); {advice}"
        ) from error
    found = {"notes": notes, "calibration": calibration, "missing": missing, "known": known}
    return Source(checked, axes, array.chunks, **found)


def _fill_value(attributes) -> float | None:
    """The value that marks missing measurements, by the CF conventions that xarray follows."""
    told = attributes.get("_FillValue", attributes.get("missing_value"))
    if isinstance(told, str) and len(told) == 12:  # xarray's encoding of a float in Zarr 3
        with contextlib.suppress(ValueError, struct.error):
            told = struct.unpack("<d", base64.b64decode(told, validate=True))[0]
    return headers.finite_number(told)


class _MaskedArray:
    """An integer array written by isoplan, read as NaN where its mask marks pixels as unknown."""

    dtype = np.dtype(np.float32)

    def __init__(self, array: zarr.Array, mask: zarr.Array):
        self.array, self.mask, self.shape = array, mask, array.shape

    def __getitem__(self, index: tuple) -> np.ndarray:
        return np.where(self.mask[index], np.float32(np.nan), self.array[index])


class _LengthChecked(WrapperStore):
    """A store that refuses Blosc chunks shorter than their header says, as an aborted copy leaves them.

    The codec would read past the end of such a chunk and return whatever lies there in memory.
    """

    async def get(self, key, prototype, byte_range=None):
        found = await super().get(key, prototype, byte_range)
        name = key.rpartition("/")[2]
        if found is None or byte_range is not None or name.startswith(".") or name == "zarr.json":
            return found
        if len(found) < int.from_bytes(found.as_numpy_array()[12:16].tobytes(), "little"):
            raise EOFError(f"chunk {key} is cut short")
        return found


def _with_length_check(array: zarr.Array) -> zarr.Array:
    """The array, opened so that truncated chunks raise; shards need no check, as they have an index."""
    last = array.compressors[-1:]
    if array.shards or not last or type(last[0]).__name__ not in ("Blosc", "BloscCodec"):
        return array
    return zarr.open_array(_LengthChecked(array.store_path.store), path=array.path, mode="r")


def _ngff_attributes(group: zarr.Group) -> dict:
    meta = group.attrs.asdict()
    return meta.get("ome", meta)


def _check_kind(path: str, meta: dict) -> None:
    if "image-label" in meta:
        raise UserError(
            f"{path}: its numbers are labels of objects, not intensities; give the picture that they belong to"
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
    """Refuse NGFF before 0.4, where axes have no types or are not listed."""
    first = meta["multiscales"][0]
    version, axes = first.get("version"), first.get("axes") or [None]
    if version in ("0.1", "0.2", "0.3") and not isinstance(axes[0], dict):
        raise UserError(f"{path}: NGFF {version} is not read; convert it to 0.4 or 0.5")


def _largest_level(group: zarr.Group) -> tuple[zarr.Array, str]:
    """The full-size array of a group, and its axes as letters."""
    multiscale = _ngff_attributes(group)["multiscales"][0]
    axes = "".join(
        _AXIS_LETTERS.get(a.get("type"), a["name"][0].upper()) for a in multiscale["axes"]
    )
    space = [place for place, a in enumerate(multiscale["axes"]) if a.get("type") == "space"]
    if not {"Y", "X"} <= {*axes} and 2 <= len(space) <= 3:  # such as height and width: NGFF's order
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
    """A note if chunks are missing and read as the fill value: they were empty, or got lost in a copy."""
    grid = [-(-a // b) for a, b in zip(array.shape, array.shards or array.chunks, strict=True)]
    count = prod(grid)
    if not 0 < count <= COUNTED_CHUNKS:
        return []
    folder = Path(array.store_path.store.root) / array.path
    there = {str(file.relative_to(folder)) for file in folder.rglob("*")}
    gone = sum(array.metadata.encode_chunk_key(place) not in there for place in np.ndindex(*grid))
    if gone == count:
        raise UserError(
            f"{path}: the store has none of the chunks that its metadata name; copy it again"
        )
    words = f"{gone} of {count} chunks are not in the store, never written or lost: they read as {array.fill_value}"
    return [words] if gone else []
