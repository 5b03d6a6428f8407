"""Writes OME-Zarr stores of restored pictures and PSF maps: NGFF 0.5 on Zarr v3.

One shard is one work unit, so writers of different shards never touch the same file. Chunks are
compressed and carry a CRC-32C, so reading a flipped bit raises an error. All metadata are written when
the store is created, under a temporary name; renaming is the last step, so a half-made store is never
mistaken for a complete one. The metadata have a CRC-32 of their own, since a changed digit in them
would go unnoticed.

Coordinates are in micrometres, or in px if the pixel size is unknown. The centre of pixel i lies at
i * pixel_size_um. NGFF's `translation` is the position of the centre of an array's first sample:

- in pyramid level k, the first pixel is the mean of 2^k x 2^k pixels: (2^k - 1) / 2 * pixel_size_um;
- in a PSF map, the first cell covers pixels 0 to stride - 1: (stride - 1) / 2 * pixel_size_um.

Thus both lie exactly over the picture in a viewer.
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
MISSING = "missing"  # name of the mask array of an integer picture
DTYPES = ("float32", "uint16", "uint8", "int16", "int8")
# Deconvolution brightens small objects, so integers need room above the brightest observed pixel.
HEADROOM = 2
# Chunks equal to the fill value are written too, so that a missing chunk means it was never written.
# An array takes this setting when it is opened; zarr 3.1 ignores open_array's own argument for it.
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
    origin_px: float = 0.0,
    attributes: dict,
) -> None:
    """Create an empty multiscale picture; another store at `path` is replaced, one of the same metadata stays.

    Write array "0" shard by shard, then call `build_pyramid`.

    Parameters
    ----------
    path
        Path of the store.
    shape
        (H, W) in px.
    dtype
        One of `DTYPES`. Floats are filled with NaN, integers with 0.
    pixel_size_um
        Side of a pixel in micrometres. If None, lengths are in px and the axes have no unit.
    scale
        Value of a stored 1, see `ScaledArray`.
    chunk_px
        Side of the chunks that a viewer fetches; 256 px are 0.25 MiB in float32. If it does not divide
        `shard_px`, the nearest divisor is taken.
    shard_px
        Side of the shards, the files or objects that are stored. 1024 px are 16 chunks in 4 MiB before
        compression; a viewer needs one request for their index and one per chunk.
    levels
        Number of pyramid levels; level k has ceil(shape / 2^k) px. None halves the picture until its
        longer side is at most 512 px.
    window
        Values that a viewer shows as black and white, in units of the picture.
    mask
        Whether an integer picture, which cannot hold NaN, gets a boolean array `MISSING`, true where
        the value is unknown.
    origin_px
        Where the first pixel's centre lies along both axes, for a picture that lies over another.
    attributes
        Attributes of the group "isoplan". Integer pictures also get `stored` (dtype, scale, offset):
        value = stored * scale + offset.

    Raises
    ------
    UserError
        If the folder is not writable or `path` exists and is not a store.
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
            # NGFF has no field for a scale; these names are those of the CF conventions (xarray).
            "attributes": {} if scale == 1 else {"scale_factor": scale, "add_offset": 0.0},
        }
        datasets.append(
            _dataset(str(level), [step * pixel] * 2, [((step - 1) / 2 + origin_px) * pixel] * 2)
        )
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
    """Value of a stored 1, chosen so that integers hold the range of a restoration.

    Parameters
    ----------
    dtype
        Data type of the store; floats always have scale 1.
    maximum
        Brightest observed pixel, in counts above the offset.
    counts
        Whether the observed picture holds whole counts. They keep scale 1 if HEADROOM times the
        maximum fits into the type.

    Examples
    --------
    >>> scale_for("uint16", 20000, counts=True)
    1.0
    """
    if dtype.startswith("float"):
        return 1.0
    top = HEADROOM * maximum / np.iinfo(dtype).max
    return 1.0 if (counts and top <= 1) or not 0 < top < np.inf else float(top)


class ScaledArray:
    """A level of a picture that is sliced like an array and returns float32 in the picture's units.

    value = stored * scale, where the scale is an attribute of the array. Pixels that the store's mask
    marks as unknown are NaN.
    """

    def __init__(self, path: str | Path, name: str = "0"):
        self.array = open_array(path, name)
        self.scale = np.float32(stored_scale(self.array.attrs))
        self.shape = self.array.shape
        self.missing = missing_mask(path) if name == "0" else None

    def __getitem__(self, window) -> np.ndarray:
        block = np.asarray(self.array[window], np.float32) * self.scale
        if self.missing is None:
            return block
        return np.where(self.missing[window], np.float32(np.nan), block)


def missing_mask(path: str | Path, mode: str = "r") -> zarr.Array | None:
    """The mask of an integer picture, (y, x) bool, true where the value is unknown; None without one."""
    return open_array(path, MISSING, mode) if (Path(path) / MISSING).is_dir() else None


def stored_scale(attributes) -> float:
    """Value of a stored 1, from an array's attributes."""
    return float(attributes.get("scale_factor", 1.0))


def to_stored(block: np.ndarray, array: zarr.Array) -> np.ndarray:
    """Convert values to those stored in `array`: integers are scaled, rounded and clipped, NaN is 0."""
    if array.dtype.kind == "f":
        return block.astype(array.dtype)
    limits = np.iinfo(array.dtype)
    scaled = np.nan_to_num(block / np.float32(stored_scale(array.attrs)), posinf=limits.max)
    return np.rint(np.clip(scaled, limits.min, limits.max)).astype(array.dtype)


def clipped_share(path: str | Path) -> float:
    """Share of pixels at the maximum of an integer type; 0 for floats. Reads the picture once."""
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
    frames: int | None = None,
    interval_s: float = 1.0,
    attributes: dict,
) -> None:
    """Create an empty map of cells; another store at `path` is replaced, one of the same metadata stays.

    All arrays have the shape (channels, ny, nx), after that of time if there are frames, and are filled with NaN. By default they are those of
    a PSF map: "0" (filled; the one that viewers show) and "raw" (as estimated).

    Parameters
    ----------
    path
        Path of the store.
    channels
        One dict per channel: "name", "unit", and "low" and "high" if a viewer's range is known. Names
        and units are kept as `isoplan.channels`.
    shape_cells
        (ny, nx), as `tiles.cell_grid` returns them.
    stride_px
        Side of a cell in px of the picture.
    pixel_size_um
        Side of the picture's pixels in micrometres, or None, as in `create_image`.
    shard_cells
        Side of a shard in cells; a shard holds all channels.
    names
        Names of the arrays.
    dtype
        Data type of the arrays.
    frames, interval_s
        How many maps there are in time, each in shards of its own, and seconds between them; None for one map without that axis.
    attributes
        Attributes of the group "isoplan".

    Raises
    ------
    UserError
        If the folder is not writable or `path` exists and is not a store.
    """
    lead, one, in_time = ((), (), []) if frames is None else ((frames,), (1,), ["t"])
    array = {
        "shape": (*lead, len(channels), *(int(length) for length in shape_cells)),
        "chunks": (*one, 1, shard_cells, shard_cells),
        "shards": (*one, len(channels), shard_cells, shard_cells),
        "dtype": dtype,
        "fill_value": float("nan"),
        "dimension_names": [*in_time, "c", "y", "x"],
    }
    pixel = 1.0 if pixel_size_um is None else pixel_size_um
    scale, shift = stride_px * pixel, (stride_px - 1) / 2 * pixel
    times = [{"name": "t", "type": "time", "unit": "second"} for _ in in_time]
    axes = [*times, {"name": "c", "type": "channel"}, *_plane(pixel_size_um)]
    steps, zeros = [interval_s] * len(one), [0.0] * len(one)
    dataset = _dataset("0", [*steps, 1.0, scale, scale], [*zeros, 0.0, shift, shift])
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
    """The axes y and x, without a unit if the pixel size is unknown."""
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
    """Build the store under a temporary name beside `path`, then rename it.

    A store that has the same arrays and attributes already stays, with what is in it: its units are those of the same
    settings, and whoever wrote them knows which are done.
    """
    if path.exists() and not (path / "zarr.json").is_file():
        raise UserError(f"{path}: exists and is not a Zarr store; move it or choose another folder")
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
        if _same_metadata(path, part, arrays):
            shutil.rmtree(part)
            return
        if path.exists():
            path.rename(old)
        part.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); check rights and space of the folder"
        ) from error


def _same_metadata(path: Path, other: Path, arrays: dict[str, dict]) -> bool:
    """Whether two stores have the same attributes and arrays, byte for byte; what is in the arrays does not count."""
    files = ("zarr.json", *(f"{name}/zarr.json" for name in arrays))
    return all(
        (path / file).is_file() and (path / file).read_bytes() == (other / file).read_bytes()
        for file in files
    )


def open_array(path: str | Path, name: str = "0", mode: str = "r") -> zarr.Array:
    """Open an array of a store. mode: "r", or "r+" to write whole shards.

    Raises UserError if there is no such store or array.
    """
    try:
        with zarr.config.set(_SETTINGS):
            return zarr.open_array(Path(path) / name, mode=mode)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: has no array {name!r} that can be read; remove it and run again"
        ) from error


def write_shards(array: zarr.Array, window: Sequence[slice], block: np.ndarray) -> None:
    """Write `block` to array[window], a window of whole shards.

    Old files of the shards are removed first. zarr reads an old shard before it writes the new one,
    so a damaged shard could never be replaced.

    Parameters
    ----------
    array
        The array, opened with mode "r+".
    window
        One slice per axis; those of y and x as `tiles.shards` returns them.
    block
        Values of the window's shape.

    Raises
    ------
    ValueError
        If the window cuts a shard.
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
    """Attributes of a store's group "isoplan".

    Raises UserError if there are none, or if the store's metadata were changed since it was made.
    """
    try:
        attributes = zarr.open_group(path, mode="r").attrs.asdict()
        ours = attributes["isoplan"]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise UserError(f"{path}: was not written by isoplan; give one of its results") from error
    if attributes.get(CRC) not in (None, _metadata_crc(Path(path), attributes)):
        raise UserError(f"{path}: its metadata were changed or damaged; remove it and run again")
    return ours


def _metadata_crc(path: Path, attributes: dict) -> int:
    """CRC-32 of a store's attributes (without this one) and of the metadata of its arrays.

    Groups inside the store are stores of their own and do not count.
    """
    kept = {name: value for name, value in attributes.items() if name != CRC}
    files = sorted(path.glob("*/zarr.json"))
    arrays = (file.read_bytes() for file in files if not any(file.parent.glob("*/zarr.json")))
    return zlib.crc32(b"".join([json.dumps(kept, sort_keys=True).encode(), *arrays]))


def build_pyramid(path: str | Path) -> None:
    """Fill levels 1, 2, ... of a picture from level 0, each with the means of 2 x 2 pixels.

    Only one shard and the four that it is made of are in memory. At an odd last row or column, the mean
    is that of the pixels there are. Integers are rounded.

    Raises
    ------
    UserError
        If level 0 is missing.
    """
    keys = zarr.open_group(path, mode="r", use_consolidated=False).array_keys()
    names = sorted((name for name in keys if name.isdecimal()), key=int)
    for finer, coarser in itertools.pairwise(names):
        source, target = open_array(path, finer), open_array(path, coarser, "r+")
        for rows, columns in shards(target.shape, target.shards):
            block = source[
                2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop
            ].astype(np.float32)
            mean = _downsampled(block)
            if target.dtype.kind in "ui":
                mean = np.rint(mean)
            write_shards(target, (rows, columns), mean.astype(target.dtype))


def _downsampled(block: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, (h, w) -> (ceil(h/2), ceil(w/2)); an odd edge is repeated."""
    block = np.pad(block, [(0, length % 2) for length in block.shape], mode="edge")
    height, width = block.shape
    return block.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
