"""What a restoration gained: the report's metrics per mosaic and method, and the gain per cell.

The unit is a square of whole cells, about UNIT_PX wide, with a small halo; its sums over cells go into
a store beside the map, from which every metric follows. A mosaic of any size takes the memory of one
unit, and then 80 bytes a cell and method: 600 MB for three methods on 100,000 px a side.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from isoplan.metrics import catalogue, frc
from isoplan.metrics.image import SUMS, cell_sums, metrics_of, per_cell
from isoplan.mosaic import ngff, tiles
from isoplan.registration import open_registered

HALO_PX = catalogue.LOCAL_PX  # SSIM looks 5 px around, Sobel 1 px
FULL_SCALE = 255.0  # metrics are given on an 8-bit scale, as in the published tables
UNIT_PX = 1024


# What a picture is compared with: the truth of a simulation, or a better picture of the same field.
STANDARDS = ("truth", "reference")
RING_SQUARES = 64  # for the Fourier ring correlation, spread over the mosaic


def standard_of(truth, registration) -> str | None:
    """One of STANDARDS, or None where nothing is known: no simulation, no reference or a refused one."""
    if truth:
        return "truth"
    if registration and "refused" not in json.loads(Path(registration).read_text()):
        return "reference"
    return None


@contextmanager
def open_readers(
    facts: dict, stores: dict, *, truth=None, registration=None
) -> Iterator[dict[str, Callable]]:
    """name -> function of (y0, y1, x0, x1) that gives counts above the offset, float32, NaN where
    nothing is known: of "none" (the mosaic), every restored store, and what they are judged by.

    facts: of `mosaic.measure`. stores: method -> store. truth: a simulation's store. registration: of
    `registration.write`, where that did not refuse.
    """
    offset = np.float32(facts["offset"])
    with ExitStack() as stack:
        mosaic = stack.enter_context(facts.open())
        readers = {"none": lambda *window: mosaic.read(*window) - offset}
        for method, store in stores.items():
            readers[method] = _covered(mosaic, _picture(store))
        if truth:
            readers["truth"] = _picture(truth)
        if registration:
            reference = stack.enter_context(open_registered(registration, facts))
            readers["reference"] = lambda *window: reference.read(*window) - offset
        yield readers


def _picture(store) -> Callable:
    level = ngff.Values(store)
    return lambda y0, y1, x0, x1: level[y0:y1, x0:x1]


def _covered(mosaic, read: Callable) -> Callable:
    """NaN where no tile was: whole numbers have none."""

    def masked(*window):
        block, covered = read(*window), mosaic.covered(*window)
        return block if covered is None else np.where(covered, block, np.float32(np.nan))

    return masked


def ring_correlations(readers: dict, standard: str, shape) -> dict[str, np.ndarray]:
    """Fourier ring correlation of every picture with readers[standard]: name -> (rings,) from -1 to 1.

    Over at most RING_SQUARES squares, evenly spread over the mosaic of `shape` (H, W), in which all
    pictures are known everywhere; empty where there is none.
    """
    side = frc.SQUARE_PX
    per_axis = [length // side for length in shape]
    step = max(1, int(np.ceil(np.sqrt(np.prod(per_axis) / RING_SQUARES))))
    sums = {name: 0.0 for name in readers if name != standard}
    found = False
    for j in range((per_axis[0] - 1) % step // 2, per_axis[0], step):
        for i in range((per_axis[1] - 1) % step // 2, per_axis[1], step):
            window = j * side, (j + 1) * side, i * side, (i + 1) * side
            squares = {name: read(*window) for name, read in readers.items()}
            if all(np.isfinite(square).all() for square in squares.values()):
                found = True
                for name in sums:
                    sums[name] = sums[name] + frc.ring_sums(squares[name], squares[standard])
    return {name: frc.curve(total) for name, total in sums.items()} if found else {}


def signal_to_noise(readers: dict, standard: str, shape) -> dict[str, float]:
    """SNR in dB of every picture beside readers[standard], of the pixels that are known in all.

    Over the mosaic of `shape` (H, W), of a large one over RING_SQUARES squares spread over it.
    """
    squares = tiles.shards(shape, frc.SQUARE_PX)
    chosen = np.unique(np.linspace(0, len(squares) - 1, RING_SQUARES).round().astype(int))
    errors, signal = {name: 0.0 for name in readers if name != standard}, 0.0
    for rows, columns in (squares[k] for k in chosen):
        window = rows.start, rows.stop, columns.start, columns.stop
        blocks = {name: read(*window).astype(np.float64) for name, read in readers.items()}
        known = np.logical_and.reduce([np.isfinite(block) for block in blocks.values()])
        true = blocks[standard][known]
        signal += float((true**2).sum())
        for name in errors:
            errors[name] += float(((blocks[name][known] - true) ** 2).sum())
    return {
        name: float(10 * np.log10(signal / error))
        for name, error in errors.items()
        if signal > 0 and error > 0
    }


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
