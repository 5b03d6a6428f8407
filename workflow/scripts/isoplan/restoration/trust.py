"""Maps where to trust a restored picture: blurred again, it must agree with the data.

The restored object x and the PSFs predict what the camera should have seen, m = Ax + b. In each cell (a square, by
default as large as the PSF map's stride), the residual is judged in standard deviations of the noise,
z = (y - m) / sqrt(gain m + floor):

- chi_square: mean of z^2, which is 1 for the true m. A restoration follows the noise and has less.
- correlation: that of z with its neighbours, 0 for noise, and above 0 if structure is left.
- spectrum_low, _middle, _high: power of z in radial bands (BANDS) relative to its mean power; 1 for noise.
- unexplained: power of z in excess of noise, relative to the contrast of m in the cell.
- missed: the same, only for rings of the spectrum that have more than noise. After many iterations, a restoration
  follows the noise at frequencies that its PSF passes. In the sum over all frequencies, this hides what is missing
  where its PSF passes little but the true one passes more.

A cell disagrees with the data if noise alone exceeds its chi_square, and also its correlation, in less than one of a
thousand cells, and more than UNEXPLAINED of its contrast is unexplained. It also disagrees if more is missed than
MISSED allows for the number of iterations. The noise alone is not a criterion: in bright pictures, ten iterations do
not explain everything, even with the true PSF (`tests/bench/bench_trust.py` shows the results of true and wrong PSFs
by photons and iterations).

Disagreement shows what the model cannot explain, like PSFs that are too wide, or unknown light. PSFs that are too
narrow explain the data as well as the true ones. They invent nothing; the result is only less sharp than possible.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import chdtri

from isoplan.config.entries import LEARNT
from isoplan.mosaic import ngff, tiles
from isoplan.restoration import weight_store

TRUST = "trust"  # group of a restored picture's store

# Ends of the radial bands of the residual's spectrum, in cycles per pixel.
BANDS = {"low": (0.0, 0.125), "middle": (0.125, 0.25), "high": (0.25, 0.75)}
# Cells with a smaller share of usable pixels are not judged.
JUDGED_SHARE = 0.5
# Quantile of the normal distribution that noise exceeds in one of a thousand cells.
QUANTILE = 3.09
# 99 % of the cells are below this with the demo's true PSFs after ten iterations, at 10^3 to 10^5 photons
# (`tests/bench/bench_trust.py`). PSFs 1.6 times too wide are then found in 75 to 94 % of the cells.
UNEXPLAINED = 0.006
# 99 % of the cells miss less than this with true PSFs after ten iterations, at 10^3 to 10^5 photons. It decreases with
# the number of iterations to the power of -1.5 (the same benchmark).
MISSED = 0.01
# Width of the rings of the spectrum, in cycles/px. Rings beyond OUTER show the strength of the noise, if it is larger
# than expected. With a window, one in DEPENDENT numbers is independent.
RING, OUTER, DEPENDENT = 0.05, 0.35, 2.1
# The PSF is uncertain if the 90 % interval of a parameter is a larger share of its range than this.
UNCERTAIN = 0.5
OTHER = 0.5  # the PSF is also uncertain if the blur is more probably than this not of the model
NO_PSF, DISAGREES = 1, 2  # `doubt` is their sum

CHANNELS = [
    {"name": "doubt", "unit": "0 none; 1 no sure PSF of its own; 2 disagrees with the data; 3 both",
     "high": 3},
    {"name": "chi_square", "unit": "1 for noise", "high": 3},
    {"name": "correlation", "unit": "0 for noise", "low": -1},
    *({"name": f"spectrum_{band}", "unit": "1 for noise", "high": 3} for band in BANDS),
    {"name": "unexplained", "unit": "share of the contrast", "high": 0.05},
    {"name": "missed", "unit": "share of the contrast", "high": 0.05},
    {"name": "uncertainty", "unit": "share of a parameter's range"},
    {"name": "filled", "unit": "0 or 1"},
    {"name": "lone_pixels", "unit": "dead or hot pixels", "high": 10},
    {"name": "saturated_pixels", "unit": "pixels", "high": 100},
]  # fmt: skip
NAMES = [channel["name"] for channel in CHANNELS]


def cell_px(stride_px: int, core_px: int) -> int:
    """Side in px of the cells that are judged: the largest common divisor of the map's stride and a core."""
    return math.gcd(stride_px, core_px)


def assess(
    counts: np.ndarray,
    seen: np.ndarray,
    *,
    usable: np.ndarray,
    lone: np.ndarray,
    saturated: np.ndarray,
    noise: tuple[float, float] | None,
    size: int,
    iterations: float,
    uncertainty: np.ndarray,
    filled: np.ndarray,
    other_blur: np.ndarray,
) -> np.ndarray:
    """Judge the cells of a core.

    Parameters
    ----------
    counts, seen
        (h, w) above the offset: the data y, and m = Ax + b.
    usable, lone, saturated
        (h, w) masks of `optics.exposure.Pixels`.
    noise
        Gain and floor of `optics.exposure.noise_of`. If it is None, chi_square, unexplained and missed are NaN, no
        cell disagrees, and the other measures are those of the residual in counts.
    size
        Side of a cell in px.
    iterations
        Number of iterations with momentum that have the same effect as the restoration.
    uncertainty, filled, other_blur
        (ny, nx) of the PSF map's cells. NaN if a method has none, or if another blur than the map's does not
        matter.

    Returns
    -------
    numpy.ndarray
        (len(CHANNELS), ny, nx) float32. The last row and column of cells may be incomplete. The measures are NaN
        in cells with less than JUDGED_SHARE of usable pixels.
    """
    gain, floor = noise or (0.0, 1.0)
    used = usable & ~saturated & np.isfinite(counts)
    variance = gain * np.maximum(seen, 0) + floor
    z = np.where(used, np.where(used, counts - seen, 0) / np.sqrt(variance), 0).astype(np.float64)
    # Moments of m of orders 0 to 2 with the weights of z^2; they give its contrast about the cell's mean.
    weights, light, contrast = (np.where(used, seen**k / variance, 0.0) for k in range(3))
    # Variance of z^2 for a shifted Poisson variable, scaled to variance 1: 2 + 1 / its mean.
    spread = np.where(used, 2 + gain**2 / variance, 0)

    z, mask = _cells(z, size), _cells(used, size)
    pixels = mask.sum((2, 3))
    power = (z**2).sum((2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        chi_square = power / pixels
        correlation, pairs = _correlation(z, mask, chi_square)
        weights, light, contrast = (
            _cells(moment.astype(np.float64), size).sum((2, 3))
            for moment in (weights, light, contrast)
        )
        contrast = np.maximum(contrast - light**2 / weights, 1e-9)
        unexplained = (power - pixels) / contrast
        bands = _bands(z, power)
        missed = pixels * _missed(z, mask) / contrast
        chi_limit = 1 + QUANTILE * np.sqrt(_cells(spread, size).sum((2, 3))) / pixels
        disagrees = (
            (chi_square > chi_limit)
            & (correlation > QUANTILE / np.sqrt(pairs))
            & (unexplained > UNEXPLAINED)
        ) | (missed > MISSED * (10 / iterations) ** 1.5)
    judged = pixels >= JUDGED_SHARE * size**2
    if noise is None:
        disagrees[:] = False
        chi_square[:] = unexplained[:] = missed[:] = np.nan
    measured = np.stack([chi_square, correlation, *bands, unexplained, missed])
    measured[:, ~judged] = np.nan
    unsure = (np.nan_to_num(filled) > 0) | (np.nan_to_num(uncertainty) > UNCERTAIN)
    unsure |= np.nan_to_num(other_blur) > OTHER
    doubt = NO_PSF * unsure + DISAGREES * (disagrees & judged)
    counted = [_cells(found, size).sum((2, 3)) for found in (lone, saturated)]
    return np.stack([doubt, *measured, uncertainty, filled, *counted]).astype(np.float32)


def summarise(cells: np.ndarray) -> dict[str, float]:
    """Summarise the map of trust of a mosaic, by the names of `metrics.csv`.

    Parameters
    ----------
    cells
        (len(CHANNELS), ny, nx).

    Returns
    -------
    dict
        Shares relate to all cells that were restored. chi_square and correlation are those of the median cell;
        None if no cell was judged.
    """
    named = dict(zip(NAMES, cells, strict=True))
    doubt = named["doubt"][np.isfinite(named["doubt"])].astype(int)
    judged = np.isfinite(named["chi_square"])
    found = {
        "doubted_cells_share": float((doubt > 0).mean()) if doubt.size else None,
        "disagreeing_cells_share": float((doubt & DISAGREES > 0).mean()) if judged.any() else None,
    }
    for name in ("chi_square", "correlation"):
        values = named[name][np.isfinite(named[name])]
        found[f"residual_{name}"] = float(np.median(values)) if values.size else None
    for name in ("lone_pixels", "saturated_pixels"):
        found[name] = float(np.nansum(named[name], dtype=np.float64))
    return found


# The map in its store ------------------------------------------------------------------------------


def create_trust(path: str | Path, settings: dict, facts: dict, attributes: dict) -> None:
    """Create the empty map of trust in the store of a restored picture.

    Parameters
    ----------
    path
        The store.
    settings
        The config's `restoration` with `trust_px`, the side of a cell.
    facts
        height_px, width_px and pixel_size_um of the picture; the latter may be None.
    attributes
        Attributes of the map.
    """
    size = settings["trust_px"]
    shape = facts["height_px"], facts["width_px"]
    ngff.create_map(
        Path(path) / TRUST,
        CHANNELS,
        [tiles.cell_grid(length, size) for length in shape],
        stride_px=size,
        pixel_size_um=facts["pixel_size_um"],
        shard_cells=settings["core_px"] // size,
        names=["0"],
        attributes=attributes,
    )
    if settings.get("tv_weight") == LEARNT:
        weight_store.create_weights(path, settings, facts, attributes)


class RestoredStore:
    """A restored picture and its map of trust in one store, written and read by units.

    The picture is level "0" of the store. The map is in its group TRUST, with the layout of a PSF map; where TV weights are
    learnt, theirs is in another (`weight_store`).
    """

    def __init__(self, path: str | Path, mode: str = "r"):
        self.settings = ngff.read_attributes(path)["restoration"]
        ngff.read_attributes(Path(path) / TRUST)
        self.picture = ngff.open_array(path, "0", mode)
        self.trust = ngff.open_array(Path(path) / TRUST, "0", mode)
        self.missing = ngff.missing_mask(path, mode)
        self.cores = tiles.shards(self.picture.shape, self.settings["core_px"])
        cells = self.settings["core_px"] // self.settings["trust_px"]
        self.cells = [(slice(None), *unit) for unit in tiles.shards(self.trust.shape, cells)]
        self.weights = None
        if self.settings.get("tv_weight") == LEARNT:
            self.weights = ngff.open_array(Path(path) / weight_store.GROUP, "0", mode)
            cells = self.settings["core_px"] // weight_store.CELL_PX
            units = tiles.shards(self.weights.shape, cells)
            self.weight_cells = [(slice(None), *unit) for unit in units]

    def write(self, unit: int, block) -> None:
        """Write a unit. block: a `cores.RestoredCore`."""
        restored, judged, weights = block
        if self.missing is not None:
            ngff.write_shards(self.missing, self.cores[unit], np.isnan(restored))
        ngff.write_shards(self.picture, self.cores[unit], ngff.to_stored(restored, self.picture))
        ngff.write_shards(self.trust, self.cells[unit], judged)
        if self.weights is not None:
            told = weight_store.cells_of(weights)
            ngff.write_shards(self.weights, self.weight_cells[unit], told)

    def read(self, unit: int) -> np.ndarray:
        """The bytes of a unit of all of them, as stored."""
        parts = [self.picture[self.cores[unit]], self.trust[self.cells[unit]]]
        if self.weights is not None:
            parts.append(self.weights[self.weight_cells[unit]])
        return np.concatenate([np.frombuffer(part.tobytes(), np.uint8) for part in parts])


# Parts -----------------------------------------------------------------------------------------


def stored_units(path: str | Path) -> tuple[Callable[[int], np.ndarray], int]:
    """A function that reads a unit of a restored picture, and the number of units.

    Raises UserError if the store is damaged.
    """
    store = RestoredStore(path)
    return store.read, len(store.cores)


def unit_px(study: dict) -> int | None:
    """Side of a unit in px, from a study's config."""
    return (study.get("restoration") or {}).get("core_px")


def _cells(plane: np.ndarray, size: int) -> np.ndarray:
    """Cut a plane (h, w) into cells (ny, nx, size, size), with zeros beyond the last row and column."""
    missing = [(0, -length % size) for length in plane.shape]
    padded = np.pad(plane, missing)
    rows, columns = (length // size for length in padded.shape)
    return padded.reshape(rows, size, columns, size).transpose(0, 2, 1, 3)


def _correlation(z: np.ndarray, mask: np.ndarray, power: np.ndarray):
    """Correlation of neighbours along both axes, and the number of pairs, of each cell."""
    total = pairs = 0
    for first, second in (
        (np.s_[..., :-1, :], np.s_[..., 1:, :]),
        (np.s_[..., :-1], np.s_[..., 1:]),
    ):
        total = total + (z[first] * z[second]).sum((2, 3))
        pairs = pairs + (mask[first] & mask[second]).sum((2, 3))
    return total / pairs / power, pairs


def _bands(z: np.ndarray, power: np.ndarray) -> list[np.ndarray]:
    spectrum = np.abs(np.fft.rfft2(z)) ** 2
    size = z.shape[-1]
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    # All columns except the first and the last stand for two frequencies.
    weight = np.where((np.arange(size // 2 + 1) % (size / 2)) == 0, 1.0, 2.0) + 0 * radius
    found = []
    for low, high in BANDS.values():
        inside = np.where((radius > low) & (radius <= high), weight, 0)
        found.append((spectrum * inside).sum((2, 3)) / inside.sum() / power)
    return found


def _missed(z: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Power of each cell above a limit in rings of the spectrum, relative to the noise in all of it.

    Noise exceeds the limit in one of a hundred thousand cells.
    """
    size = z.shape[-1]
    window = np.hanning(size + 2)[1:-1]
    weight = mask * (window[:, None] * window)
    mean = (z * weight).sum((2, 3)) / weight.sum((2, 3))
    spectrum = np.abs(np.fft.fft2((z - mean[..., None, None]) * weight)) ** 2
    spectrum /= (weight**2).sum((2, 3))[..., None, None]
    frequency = np.fft.fftfreq(size)
    ring = (np.hypot(frequency[:, None], frequency) / max(RING, 2 / size)).astype(int).ravel()
    count = np.bincount(ring)
    of_ring = (ring == np.arange(len(count))[:, None]) / count[:, None]
    power = spectrum.reshape(*spectrum.shape[:2], -1) @ of_ring.T
    outer = np.arange(len(count)) * max(RING, 2 / size) >= OUTER
    level = np.maximum((power * count)[..., outer].sum(-1) / count[outer].sum(), 1)
    freedom = count / DEPENDENT
    bound = chdtri(freedom, 1e-5 / len(count)) / freedom
    beyond = np.maximum(power / level[..., None] - bound, 0) * count
    return beyond[..., 1:].sum(-1) / size**2
