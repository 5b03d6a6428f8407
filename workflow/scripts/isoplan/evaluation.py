"""What a restoration gained: the report's metrics per mosaic and method, and the gain per cell.

Streams over cores with a small halo, so that a mosaic of any size takes the memory of a few cores.
"""

import numpy as np

from isoplan.metrics.image import ImageMetrics
from isoplan.metrics.regression import summarise
from isoplan.mosaic import ngff, tiles
from isoplan.optics.psf import make_psf_model

HALO_PX = 8  # SSIM looks 5 px around, Sobel 1 px
FULL_SCALE = 255.0  # metrics are given on an 8-bit scale, as in the published tables


def evaluate_picture(
    read,
    shape,
    *,
    scale: float,
    cell_px: int,
    read_truth=None,
    read_observed=None,
    core_px: int = 1024,
):
    """Metrics of one picture, and its gain per cell where the truth is known.

    read, read_truth, read_observed: (y0, y1, x0, x1) -> counts above the offset, float32. scale:
    counts that stand for 255. core_px is a multiple of cell_px. Returns (metric -> value,
    gains (ny, nx) in dB over the observed picture or None). Pixels not finite are left out.
    """
    metrics = ImageMetrics(FULL_SCALE)
    factor = np.float32(FULL_SCALE / scale)
    light, pixels = 0.0, 0
    grid = tuple(-(-length // cell_px) for length in shape)
    gains = np.full(grid, np.nan, np.float32) if read_truth else None
    core_px = max(cell_px, core_px // cell_px * cell_px)
    for core in tiles.shards(shape, core_px):
        outer = tiles.with_halo(core, HALO_PX, shape)
        inner = tiles.inside(core, outer)
        window = outer[0].start, outer[0].stop, outer[1].start, outer[1].stop
        picture = read(*window) * factor
        truth = read_truth(*window) * factor if read_truth else None
        metrics.add(picture, truth, core=inner)
        kept = picture[inner][np.isfinite(picture[inner])]
        light, pixels = light + float(kept.sum(dtype=np.float64)), pixels + kept.size
        if read_truth:
            observed = read_observed(*window) * factor
            before = _cell_sums((observed - truth)[inner] ** 2, cell_px)
            after = _cell_sums((picture - truth)[inner] ** 2, cell_px)
            rows, columns = core[0].start // cell_px, core[1].start // cell_px
            with np.errstate(divide="ignore", invalid="ignore"):
                gains[rows : rows + len(before), columns : columns + before.shape[1]] = (
                    10 * np.log10(before / after)
                )
    return metrics.result() | {"Mean": light / pixels if pixels else np.nan}, gains


def _cell_sums(squares: np.ndarray, cell_px: int) -> np.ndarray:
    """Sums over cells of cell_px, the last ones smaller; pixels that are not finite count as 0."""
    squares = np.where(np.isfinite(squares), squares, 0).astype(np.float64)
    rows = np.add.reduceat(squares, np.arange(0, squares.shape[0], cell_px), axis=0)
    return np.add.reduceat(rows, np.arange(0, squares.shape[1], cell_px), axis=1)


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


def map_errors(estimated_store, true_store) -> list[dict]:
    """R2 and errors of an estimated map against the true one, over its valid cells.

    Returns tidy rows (parameter, metric, value, n), the share of valid cells among them.
    """
    model = make_psf_model(ngff.read_attributes(true_store)["psf"])
    if ngff.read_attributes(estimated_store)["psf"]["model"] != model.spec["model"]:
        return []  # another model's parameters cannot be compared
    count = len(model.parameters)
    estimated = ngff.open_array(estimated_store)[:]
    true = ngff.open_array(true_store)[:count].reshape(count, -1).T
    valid = (estimated[-1] == 0).ravel()
    rows = summarise(true, estimated[:count].reshape(count, -1).T, valid, model.parameters)
    share = {"parameter": "validity", "metric": "valid_share", "value": float(valid.mean())}
    return [*rows, share | {"n": int(valid.size)}]
