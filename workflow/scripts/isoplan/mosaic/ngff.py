"""OME-Zarr stores: restored pictures and PSF maps, as NGFF 0.5 on Zarr v3.

One shard is one work unit: writers of different shards never touch the same file. Inner chunks are
compressed and carry a CRC-32C, so a flipped bit raises when it is read. All metadata is written when
the store is made, under a temporary name that is renamed last: a half-made store is never taken as
whole. Its own CRC-32 is part of it, as a changed digit there would be read without a word.

Coordinates (micrometres; px where the pixel size is not known): the centre of pixel i of the picture lies at i * pixel_size_um. NGFF's
`translation` is where the centre of an array's first sample lies, thus
- pyramid level k, whose first pixel is the mean of 2^k x 2^k pixels: (2^k - 1) / 2 * pixel_size_um;
- a PSF map, whose first cell covers pixels 0 to stride - 1: (stride - 1) / 2 * pixel_size_um.
Both lie exactly over the picture in a viewer.
"""

import itertools
import json
import math
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from isoplan.base.errors import UserError
from isoplan.mosaic.tiles import shards

SMALLEST_LEVEL_PX = 512
RAW = "raw"
CRC = "isoplan_metadata_crc32"
MISSING = "missing"  # array of a picture of whole numbers
DTYPES = ("float32", "uint16", "uint8", "int16", "int8")
# A restoration brightens what is small: room above the brightest pixel observed.
HEADROOM = 2
# Chunks equal to the fill value are written too: what is missing was never written. An array takes
# this setting when it is opened; open_array's own argument for it is dropped by zarr 3.1.
_SETTINGS = {"array.write_empty_chunks": True}


def create_image(
    path: str | Path,
    shape: Sequence[int],
    *,
    dtype: str,
    pixel_size_um: float | None,
    scale: float = 1.0,
    chunk_px: int = 256,
    shard_px: int = 1024,
    levels: int | None = None,
    window: tuple[float, float] | None = None,
    mask: bool = False,
    attributes: dict,
) -> None:
    """Makes an empty multiscale picture with arrays "0" (full size), "1", ... each (y, x).

    shape: (H, W) px. dtype: one of DTYPES; floats are filled with NaN, whole numbers with 0. pixel_size_um: None
    where nobody knows it: lengths are in px then, and the axes bear no unit. scale:
    what a stored 1 stands for (`Values`). levels: None halves until the longer side is at most 512 px;
    level k has ceil(shape / 2^k) px. window: values that a viewer shows as black and white, in units of
    the picture. mask: whole numbers, which know no NaN, get an array MISSING beside them, true where nothing is
    known. attributes: our own, under "isoplan"; those of whole numbers get `stored` (dtype, scale, offset:
    value = stored * scale + offset).
    Chunks are what a viewer fetches, 256 px a side: 0.25 MiB in float32. Shards are what a file system
    or an object store keeps, 1024 px: 16 chunks in 4 MiB before compression, one request for their
    index and one for each chunk. Where chunk_px does not divide shard_px, the divisor nearest to it
    serves.
    An older store at `path` is replaced. Write level "0" by shard, then call `build_pyramid`.
    Raises UserError where the folder is not writable or `path` is something else than a store.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype} must be one of {', '.join(DTYPES)}")
    shape = tuple(int(length) for length in shape)
    chunk_px = _divisor(shard_px, chunk_px)
    if levels is None:
        levels = 1
        while max(shape) > SMALLEST_LEVEL_PX * 2 ** (levels - 1):
            levels += 1
    fill = float("nan") if dtype.startswith("float") else 0
    pixel = 1.0 if pixel_size_um is None else pixel_size_um
    arrays, datasets = {}, []
    for level in range(levels):
        step = 2**level
        arrays[str(level)] = {
            "shape": tuple(-(-length // step) for length in shape),
            "chunks": (chunk_px, chunk_px),
            "shards": (shard_px, shard_px),
            "dtype": dtype,
            "fill_value": fill,
            "dimension_names": ["y", "x"],
            # NGFF has no place for it; these are the CF conventions' names, which xarray applies.
            "attributes": {} if scale == 1 else {"scale_factor": scale, "add_offset": 0.0},
        }
        datasets.append(_dataset(str(level), [step * pixel] * 2, [(step - 1) / 2 * pixel] * 2))
    if mask and not dtype.startswith("float"):
        shared = {key: arrays["0"][key] for key in ("shape", "chunks", "shards", "dimension_names")}
        arrays[MISSING] = shared | {"dtype": "bool", "fill_value": False}
    if not dtype.startswith("float"):
        attributes = attributes | {"stored": {"dtype": dtype, "scale": scale, "offset": 0.0}}
    ome = _multiscale(path, _plane(pixel_size_um), datasets)
    if window is not None:
        shown = (value / scale for value in window)
        ome["omero"] = {"channels": [_channel(_name(path), *shown, active=True)]}
    _create(Path(path), arrays, {"ome": ome, "isoplan": attributes})


def _divisor(shard_px: int, chunk_px: int) -> int:
    return min(
        (size for size in range(1, shard_px + 1) if shard_px % size == 0),
        key=lambda size: abs(math.log(size / chunk_px)),
    )


def scale_for(dtype: str, maximum: float, *, counts: bool) -> float:
    """What a stored 1 is to stand for, so that a restoration's whole numbers hold its range.

    maximum: the brightest pixel observed, above the offset. counts: whether the observed picture holds
    whole numbers; these stay as they are, scale 1, where HEADROOM times the maximum fits. 1 for floats.
    """
    if dtype.startswith("float"):
        return 1.0
    top = HEADROOM * maximum / np.iinfo(dtype).max
    return 1.0 if (counts and top <= 1) or not 0 < top < np.inf else float(top)


class Values:
    """A level of a picture in its own units, float32, whatever numbers it is stored in.

    Sliced as an array; value = stored * scale, by the array's own attributes; NaN where the store's mask says
    that nothing is known.
    """

    def __init__(self, path: str | Path, name: str = "0"):
        self.array = open_array(path, name)
        self.scale = np.float32(scaling(self.array.attrs))
        self.shape = self.array.shape
        self.missing = missing(path) if name == "0" else None

    def __getitem__(self, window) -> np.ndarray:
        block = np.asarray(self.array[window], np.float32) * self.scale
        if self.missing is None:
            return block
        return np.where(self.missing[window], np.float32(np.nan), block)


def missing(path: str | Path, mode: str = "r") -> zarr.Array | None:
    """The mask of a picture of whole numbers, (y, x) bool, true where nothing is known; None without one."""
    return open_array(path, MISSING, mode) if (Path(path) / MISSING).is_dir() else None


def scaling(attributes) -> float:
    """What a stored 1 stands for, by an array's attributes."""
    return float(attributes.get("scale_factor", 1.0))


def to_stored(block: np.ndarray, array: zarr.Array) -> np.ndarray:
    """Values as an array of a store keeps them: scaled, rounded and clipped for whole numbers, NaN 0."""
    if array.dtype.kind == "f":
        return block.astype(array.dtype)
    limits = np.iinfo(array.dtype)
    scaled = np.nan_to_num(block / np.float32(scaling(array.attrs)), posinf=limits.max)
    return np.rint(np.clip(scaled, limits.min, limits.max)).astype(array.dtype)


def clipped_share(path: str | Path) -> float:
    """Share of a picture's pixels at the top of its whole numbers; 0 for floats. One pass, by shards."""
    array = open_array(path)
    if array.dtype.kind == "f":
        return 0.0
    top = np.iinfo(array.dtype).max
    found = sum(
        int(np.count_nonzero(array[unit] == top)) for unit in shards(array.shape, array.shards)
    )
    return found / np.prod(array.shape)


def create_map(
    path: str | Path,
    channels: list[dict],
    shape_cells: Sequence[int],
    *,
    stride_px: int,
    pixel_size_um: float | None,
    shard_cells: int = 32,
    names: Sequence[str] = ("0", RAW),
    dtype: str = "float32",
    attributes: dict,
) -> None:
    """Makes an empty map of cells, a PSF map's arrays by default: "0" (filled; the one viewers show) and
    "raw" (as estimated).

    channels: {"name", "unit"} each, with "low" and "high" where a viewer's range is known; they are
    kept as `isoplan.channels`. shape_cells: (ny, nx) as `tiles.cell_grid` gives it. All arrays are
    (channels, ny, nx), fill NaN; a shard is shard_cells wide and high and holds all
    channels. pixel_size_um: of the picture, None where nobody knows it, as in `create_image`. attributes: our own, under "isoplan". An older store at `path` is replaced.
    Raises UserError where the folder is not writable or `path` is something else than a store.
    """
    array = {
        "shape": (len(channels), *(int(length) for length in shape_cells)),
        "chunks": (1, shard_cells, shard_cells),
        "shards": (len(channels), shard_cells, shard_cells),
        "dtype": dtype,
        "fill_value": float("nan"),
        "dimension_names": ["c", "y", "x"],
    }
    pixel = 1.0 if pixel_size_um is None else pixel_size_um
    scale, shift = stride_px * pixel, (stride_px - 1) / 2 * pixel
    axes = [{"name": "c", "type": "channel"}, *_plane(pixel_size_um)]
    dataset = _dataset("0", [1.0, scale, scale], [0.0, shift, shift])
    ome = _multiscale(path, axes, [dataset])
    ome["omero"] = {
        "channels": [
            _channel(item["name"], item.get("low", 0), item.get("high", 1), active=number == 0)
            for number, item in enumerate(channels)
        ]
    }
    ours = {
        "channels": [{"name": item["name"], "unit": item["unit"]} for item in channels],
        "stride_px": stride_px,
        "pixel_size_um": pixel_size_um,
    }
    _create(
        Path(path), dict.fromkeys(names, array), {"ome": ome, "isoplan": {**attributes, **ours}}
    )


def _plane(pixel_size_um: float | None) -> list[dict]:
    """The axes y and x; without a unit where nobody knows how large a pixel is."""
    unit = {} if pixel_size_um is None else {"unit": "micrometer"}
    return [{"name": name, "type": "space"} | unit for name in "yx"]


def _dataset(path: str, scale: list[float], translation: list[float]) -> dict:
    return {
        "path": path,
        "coordinateTransformations": [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": translation},
        ],
    }


def _name(path: str | Path) -> str:
    return Path(path).name.removesuffix(".zarr").removesuffix(".ome")


def _multiscale(path: str | Path, axes: list[dict], datasets: list[dict]) -> dict:
    return {
        "version": "0.5",
        "multiscales": [{"name": _name(path), "axes": axes, "datasets": datasets}],
    }


def _channel(label: str, low: float, high: float, *, active: bool) -> dict:
    low, high = float(low), float(high)
    return {
        "label": label,
        "color": "FFFFFF",
        "active": active,
        "window": {"min": low, "max": high, "start": low, "end": high},
    }


def _create(path: Path, arrays: dict[str, dict], attributes: dict) -> None:
    """Builds the store beside its place and moves it there in one step."""
    if path.exists() and not (path / "zarr.json").is_file():
        raise UserError(
            f"{path}: is in the way and no Zarr store; move it or choose another folder"
        )
    part, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
        group = zarr.create_group(part, attributes=attributes)
        for name, array in arrays.items():
            group.create_array(
                name, compressors=[BloscCodec(cname="zstd", clevel=3), Crc32cCodec()], **array
            )
        group.attrs[CRC] = _metadata_crc(part, group.attrs.asdict())
        if path.exists():
            path.rename(old)
        part.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); check rights and space of the folder"
        ) from error


def open_array(path: str | Path, name: str = "0", mode: str = "r") -> zarr.Array:
    """An array of a store made here. mode: "r", or "r+" to write whole shards.

    Raises UserError where there is no such store or array.
    """
    try:
        with zarr.config.set(_SETTINGS):
            return zarr.open_array(Path(path) / name, mode=mode)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: has no array {name!r} that can be read; remove it and run again"
        ) from error


def write_shards(array: zarr.Array, window: Sequence[slice], block: np.ndarray) -> None:
    """Writes `block` to array[window], where the window is made of whole shards.

    Their old files are removed first: zarr reads an old shard before it writes the new one, and would
    fail for ever on a damaged one. window: slices as `tiles.shards` gives them, for all axes.
    Raises ValueError where the window cuts a shard.
    """
    grid = []
    for part, length, shard in zip(window, array.shape, array.shards, strict=True):
        start, stop, _ = part.indices(length)
        if start % shard or (stop % shard and stop != length):
            raise ValueError(f"window {start}:{stop} is not made of whole shards of {shard}")
        grid.append(range(start // shard, -(-stop // shard)))
    folder = Path(array.store_path.store.root) / array.store_path.path
    for place in itertools.product(*grid):
        (folder / array.metadata.encode_chunk_key(place)).unlink(missing_ok=True)
    array[tuple(window)] = block


def read_attributes(path: str | Path) -> dict:
    """Our own attributes of a store, the group "isoplan".

    Raises UserError where there are none, and where the store's metadata are not those it was made with.
    """
    try:
        attributes = zarr.open_group(path, mode="r").attrs.asdict()
        ours = attributes["isoplan"]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise UserError(f"{path}: is no store of isoplan; give one of its results") from error
    if attributes.get(CRC) not in (None, _metadata_crc(Path(path), attributes)):
        raise UserError(f"{path}: its metadata were changed or damaged; remove it and run again")
    return ours


def _metadata_crc(path: Path, attributes: dict) -> int:
    """CRC-32 of a store's attributes, but for itself, and of its arrays' metadata.

    A group in it is a store of its own.
    """
    kept = {name: value for name, value in attributes.items() if name != CRC}
    files = sorted(path.glob("*/zarr.json"))
    arrays = (file.read_bytes() for file in files if not any(file.parent.glob("*/zarr.json")))
    return zlib.crc32(b"".join([json.dumps(kept, sort_keys=True).encode(), *arrays]))


def build_pyramid(path: str | Path) -> None:
    """Fills levels 1, 2, ... of a picture from level 0, each by the mean of 2 x 2 pixels.

    Out of core: holds one shard and the four that it is made of. An odd last row or column stands
    for itself (its pixel is the mean of those there are). uint16 is rounded.
    Raises UserError where level 0 is missing.
    """
    keys = zarr.open_group(path, mode="r", use_consolidated=False).array_keys()
    names = sorted((name for name in keys if name.isdecimal()), key=int)
    for finer, coarser in itertools.pairwise(names):
        source, target = open_array(path, finer), open_array(path, coarser, "r+")
        for rows, columns in shards(target.shape, target.shards):
            block = source[
                2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop
            ].astype(np.float32)
            mean = _halved(block)
            if target.dtype.kind in "ui":
                mean = np.rint(mean)
            write_shards(target, (rows, columns), mean.astype(target.dtype))


def _halved(block: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels (h, w) -> (ceil(h/2), ceil(w/2)); an odd edge is repeated."""
    block = np.pad(block, [(0, length % 2) for length in block.shape], mode="edge")
    height, width = block.shape
    return block.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
