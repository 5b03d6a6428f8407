"""Where to trust a restored picture: pushed back through the model, it must agree with the data.

The restored object x and the PSFs say what the camera should have seen, m = Ax + b. Cell by cell
(squares, by default of the PSF map's stride) the residual is judged in deviations of the noise,
z = (y - m) / sqrt(gain m + floor):

- chi_square: the mean of z^2, 1 at the true m. A restoration follows the noise and comes below.
- correlation: of z with its neighbours, 0 for noise, above 0 where structure was left over.
- spectrum_low, _middle, _high: power of z in radial bands (BANDS), beside its mean power; 1 for noise.
- unexplained: power of z beyond the noise's, beside that of all the contrast that m has in the cell.
- missed: likewise of those rings of the spectrum alone that hold more than noise. After many iterations a
  restoration follows the noise where its PSF passes much, which hides in the sum what it lacks where its PSF
  passes little and the true one more.

A cell disagrees with the data where noise alone would not give its chi_square, nor its correlation, once
in a thousand cells each, and more than UNEXPLAINED of its contrast is not explained; or where more of it is missed
than MISSED allows after so many iterations. Noise alone is no measure: in bright pictures ten iterations have
not explained all, whatever the PSF
(`tests/bench/bench_trust.py`: what true and wrong PSFs give, by photons and iterations).

It finds what the model cannot explain: PSFs that are too wide, light that it does not know of. PSFs that
are too narrow explain the data as well as the true ones: nothing is made up, the result is only less
sharp than it could be.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import chdtri

from isoplan.mosaic import ngff, tiles

TRUST = "trust"  # group of a restored picture's store

# Ends of the radial bands of the residual's spectrum, in cycles per pixel.
BANDS = {"low": (0.0, 0.125), "middle": (0.125, 0.25), "high": (0.25, 0.75)}
# Cells of which fewer pixels can be used are not judged.
JUDGED_SHARE = 0.5
# One-sided quantile of the normal distribution that noise passes once in a thousand cells.
QUANTILE = 3.09
# What 99 of 100 such cells stay below under the demo's true PSFs after ten iterations, at 10^3 to 10^5
# photons (`tests/bench/bench_trust.py`): then PSFs 1.6 times too wide are found in 75 to 94 % of cells.
UNEXPLAINED = 0.006
# 99 of 100 cells miss less than this under true PSFs after ten iterations, at 10^3 to 10^5 photons. It falls with the
# number of iterations, to the power of -1.5 (the same benchmark).
MISSED = 0.01
# Rings of the spectrum that are this wide, in cycles per pixel; those beyond the second number tell how strong the
# noise is, if it is stronger than it should be. A window leaves one in so many numbers independent.
RING, OUTER, DEPENDENT = 0.05, 0.35, 2.1
# A parameter's 90 % interval that spans more of its range than this leaves the PSF uncertain.
UNCERTAIN = 0.5
OTHER = 0.5  # so probable is it that the blur is none of the model's, which then has no sure PSF
NO_PSF, DISAGREES = 1, 2  # what `doubt` is the sum of

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
    """Side of the cells that are judged: the map's stride, or its largest part that divides a core."""
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
    """Cells of a core, (len(CHANNELS), ny, nx) float32; the last row and column may be cut short.

    counts, seen: (h, w) above the offset: the data y and m = Ax + b. usable, lone, saturated: (h, w)
    masks of `optics.exposure.Pixels`. noise: gain and floor of `optics.exposure.noise_of`; None where they are not
    known: then chi_square, unexplained and missed are NaN, no cell is said to disagree, and the rest is of the
    residual in counts. size: side of a cell in px. iterations: with momentum, that m took.
    uncertainty, filled, other_blur: (ny, nx) of the PSF map's cells, NaN where a method has none, and where another
    blur than the map's is of no matter. Cells of which
    less than JUDGED_SHARE of the pixels can be used are NaN.
    """
    gain, floor = noise or (0.0, 1.0)
    used = usable & ~saturated & np.isfinite(counts)
    variance = gain * np.maximum(seen, 0) + floor
    z = np.where(used, np.where(used, counts - seen, 0) / np.sqrt(variance), 0).astype(np.float64)
    # Of m, powers of 0 to 2, weighted as z^2 is: the last is its contrast about the cell's mean.
    weights, light, contrast = (np.where(used, seen**k / variance, 0.0) for k in range(3))
    # Of the squares of a variable of variance 1 that is Poisson's, shifted: 2 + 1 / its mean.
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
    """What a map of trust says of a whole mosaic, by the names that `metrics.csv` takes.

    cells: (len(CHANNELS), ny, nx). Shares are of all cells that were restored; chi_square and
    correlation are those of the median cell, None where no cell was judged.
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
    """Makes the empty map of trust in a restored picture's store.

    settings: the config's `restoration` with `trust_px`, the side of a cell. facts: height_px and width_px of the
    picture, and its pixel_size_um, None where nobody knows it.
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


class RestoredStore:
    """A restored picture and its map of trust in one store, written and read back by units.

    Level "0" of the picture lies in the store, and the map, on a layout as a PSF map's, in its group
    TRUST.
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

    def write(self, unit: int, block: tuple[np.ndarray, np.ndarray]) -> None:
        """block: of `cores.restore_with_trust`."""
        restored, judged = block
        if self.missing is not None:
            ngff.write_shards(self.missing, self.cores[unit], np.isnan(restored))
        ngff.write_shards(self.picture, self.cores[unit], ngff.to_stored(restored, self.picture))
        ngff.write_shards(self.trust, self.cells[unit], judged)

    def read(self, unit: int) -> np.ndarray:
        """The unit's bytes, of both, as they lie in the store."""
        parts = self.picture[self.cores[unit]], self.trust[self.cells[unit]]
        return np.concatenate([np.frombuffer(part.tobytes(), np.uint8) for part in parts])


# Parts -----------------------------------------------------------------------------------------


def stored_units(path: str | Path) -> tuple[Callable[[int], np.ndarray], int]:
    """How a unit of a restored picture is read back, and how many there are. Raises UserError of a broken store."""
    store = RestoredStore(path)
    return store.read, len(store.cores)


def unit_px(study: dict) -> int | None:
    """Side of a unit, by a study's config."""
    return (study.get("restoration") or {}).get("core_px")


def _cells(plane: np.ndarray, size: int) -> np.ndarray:
    """(h, w) -> (ny, nx, size, size), with zeros beyond the last row and column."""
    missing = [(0, -length % size) for length in plane.shape]
    padded = np.pad(plane, missing)
    rows, columns = (length // size for length in padded.shape)
    return padded.reshape(rows, size, columns, size).transpose(0, 2, 1, 3)


def _correlation(z: np.ndarray, mask: np.ndarray, power: np.ndarray):
    """Correlation of neighbours, along both axes together, and the number of pairs of each cell."""
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
    # Columns between the first and the last stand for two frequencies.
    weight = np.where((np.arange(size // 2 + 1) % (size / 2)) == 0, 1.0, 2.0) + 0 * radius
    found = []
    for low, high in BANDS.values():
        inside = np.where((radius > low) & (radius <= high), weight, 0)
        found.append((spectrum * inside).sum((2, 3)) / inside.sum() / power)
    return found


def _missed(z: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Power beyond what noise may have in rings of the spectrum, beside that of noise in all of it, of each cell.

    Noise passes what it may have once in a hundred thousand cells.
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
