"""What a restoration gained: the report's metrics per mosaic and method, and the gain per cell.

The unit is a square of whole cells, about UNIT_PX wide, with a small halo; its sums over cells go into
a store beside the map, from which every metric follows. A mosaic of any size takes the memory of one
unit, and then 80 bytes a cell and method: 600 MB for three methods on 100,000 px a side.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from isoplan.metrics import catalogue
from isoplan.metrics.image import SUMS, cell_sums, metrics_of, per_cell
from isoplan.mosaic import ngff, tiles

HALO_PX = catalogue.LOCAL_PX  # SSIM looks 5 px around, Sobel 1 px
FULL_SCALE = 255.0  # metrics are given on an 8-bit scale, as in the published tables
UNIT_PX = 1024


def unit_cells(cell_px: int) -> int:
    """Cells along the side of a unit."""
    return max(1, UNIT_PX // cell_px)


def stored_units(path: str | Path) -> tuple[Callable[[int], np.ndarray], int]:
    """How a unit of an evaluation's store is read back, and how many there are. Raises UserError of a broken store."""
    cells = ngff.open_array(path)
    units = tiles.shards(cells.shape, unit_cells(ngff.read_attributes(path)["stride_px"]))
    return lambda unit: cells[(slice(None), *units[unit])], len(units)


def unit_px(study: dict) -> int | None:
    """Side of a unit, by a study's config."""
    stride = (study.get("map") or {}).get("stride_px")
    return stride and stride * unit_cells(stride)


def channels(pictures: list[str]) -> list[dict]:
    """Channels of an evaluation's store: `sums_of_picture` of each picture, one picture after the other."""
    names = sums_of_picture()
    return [{"name": f"{picture} {name}", "unit": ""} for picture in pictures for name in names]


def sums_of_picture() -> list[str]:
    """What is summed over the cells of one picture: SUMS, and of each metric of the catalogue's its places and values."""
    local = [f"{m.name} {what}" for m in catalogue.local_metrics() for what in ("count", "sum")]
    return [*SUMS, *local]


def by_picture(sums: np.ndarray, pictures: list[str]) -> dict[str, np.ndarray]:
    """The sums of an evaluation's store (channels, ny, nx), picture by picture."""
    return dict(zip(pictures, np.split(sums, len(pictures)), strict=True))


def evaluate_unit(readers: dict, truth, shape, cells, *, scale: float, cell_px: int) -> np.ndarray:
    """Sums over the cells of one unit: (channels, rows, columns) float64, in the order of `channels`.

    readers: name -> function of (y0, y1, x0, x1) that gives counts above the offset, float32; truth:
    one more or None. shape: (H, W) of the mosaic. cells: (rows, columns) slices of the unit. scale:
    counts that stand for FULL_SCALE. Pixels that are not finite are left out.
    """
    factor = np.float32(FULL_SCALE / scale)
    core = tuple(
        slice(part.start * cell_px, min(part.stop * cell_px, length))
        for part, length in zip(cells, shape, strict=True)
    )
    outer = tiles.with_halo(core, HALO_PX, shape)
    window = outer[0].start, outer[0].stop, outer[1].start, outer[1].stop
    true = truth(*window) * factor if truth else None
    inside = tiles.inside(core, outer)
    found = []
    for read in readers.values():
        # Of the truth, what CV and Sharpness should come to; the rest would say that it equals itself.
        pair = (true, None) if read is truth else (read(*window) * factor, true)
        found.append(cell_sums(*pair, data_range=FULL_SCALE, cell_px=cell_px, core=inside))
        found += [_local_sums(m, *pair, inside, cell_px) for m in catalogue.local_metrics()]
    return np.concatenate(found)


def _local_sums(metric, picture, true, core, cell_px: int) -> np.ndarray:
    """Places that count and the sum of their values, cell by cell; NaN where the truth is missing."""
    if metric.needs_truth and true is None:
        values = np.full_like(picture, np.nan)[core]
        return np.full((2, *per_cell(values, cell_px).shape), np.nan)
    values = metric.local(picture, true if metric.needs_truth else None)[core]
    counts = np.isfinite(values)
    return np.stack([per_cell(part, cell_px) for part in (counts, np.where(counts, values, 0))])


def metrics_and_gains(sums: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """What `compare` wants, of pictures' sums over cells, of `by_picture`, "none" among them.

    Returns picture -> metrics, and picture -> gain per cell (ny, nx) float32 in dB over "none", or None
    without a truth.
    """
    results = {name: _metrics(values) for name, values in sums.items()}
    place = SUMS.index("error")
    before = sums["none"][place]
    gains = {}
    for name, values in sums.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = 10 * np.log10(before / values[place])
        gains[name] = None if np.isnan(values[place]).all() else gain.astype(np.float32)
    return results, gains


def _metrics(sums: np.ndarray) -> dict[str, float]:
    """All metrics of a picture from its sums over cells; those that need a truth only where there is one."""
    found = metrics_of(sums[: len(SUMS)], FULL_SCALE)
    local = sums[len(SUMS) :].reshape(-1, 2, *sums.shape[1:])
    for metric, (counts, values) in zip(catalogue.local_metrics(), local, strict=True):
        count = float(counts.sum())
        if not np.isnan(count):
            found[metric.name] = float(values.sum()) / count if count else np.nan
    return found


def compared(picture: np.ndarray, truth: np.ndarray | None) -> dict[str, float]:
    """All metrics of one picture (h, w) in counts above the offset, those that need a truth only where there is one.

    Memory: some twenty arrays of the picture's size.
    """
    known = picture if truth is None else truth
    known = known[np.isfinite(known)]
    scale = float(np.percentile(known, 99.9)) if known.size else 0.0
    side = max(picture.shape)
    found = evaluate_unit(
        {"picture": _reader(picture)},
        None if truth is None else _reader(truth),
        picture.shape,
        (slice(0, 1), slice(0, 1)),
        scale=scale if scale > 0 else FULL_SCALE,
        cell_px=side,
    )
    return _metrics(found)


def _reader(picture: np.ndarray) -> Callable:
    return lambda y0, y1, x0, x1: picture[y0:y1, x0:x1]


def compare(results: dict[str, dict], gains: dict[str, np.ndarray]) -> list[dict]:
    """What the report opens with, per method: gain over doing nothing, share of the oracle's gain.

    results: method -> metrics. gains: method -> gain per cell in dB. Returns tidy rows
    (method, metric, value): flux_drift (mean brightness over the observed one's, less 1), and where
    the truth is known gain_dB, oracle_share, worse_cells_share (cells more than 0.01 dB worse).
    """
    rows = []
    if "none" not in results:
        return rows
    for method, values in results.items():
        drift = values["Mean"] / results["none"]["Mean"] - 1 if results["none"]["Mean"] else 0.0
        rows.append({"method": method, "metric": "flux_drift", "value": drift})
    if "SNR" not in results["none"]:
        return rows
    base = results["none"]["SNR"]
    best = results["oracle"]["SNR"] - base if "oracle" in results else None
    for method, values in results.items():
        gain = values["SNR"] - base
        rows.append({"method": method, "metric": "gain_dB", "value": gain})
        if best and best > 0:
            rows.append({"method": method, "metric": "oracle_share", "value": gain / best})
        known = gains[method][np.isfinite(gains[method])]
        if method != "none" and known.size:
            worse = float((known < -0.01).mean())
            rows.append({"method": method, "metric": "worse_cells_share", "value": worse})
    return rows
