"""Geometry and channels of a PSF map.

Cells are squares of side stride_px that cover the whole mosaic. The window that a cell is estimated from is
centred on it. Units are shards of SHARD_CELLS x SHARD_CELLS cells.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic import ngff, tiles
from isoplan.networks.sliding import STEP_PX
from isoplan.optics.model import PsfModel
from isoplan.optics.psf import make_psf_model

SHARD_CELLS = 32
QUANTILE = 1.645  # half-width of a 90 % interval of a normal distribution, in standard deviations
FULLY_USABLE = 0.99  # a window counts as fully usable if at least this share of its pixels is
VALIDITY, ALARM, OTHER_BLUR, USABLE, FILLED = range(-5, 0)  # indices of the last channels


@dataclass(frozen=True)
class MapLayout:
    """Positions of a map's cells.

    Attributes
    ----------
    shape_px
        (height, width) of the mosaic.
    window_px
        Side of the windows that cells are estimated from.
    stride_px
        Side of a cell, the distance between windows.
    edges
        "reflect" or "valid", see `estimate`.
    """

    shape_px: tuple[int, int]
    window_px: int
    stride_px: int
    edges: str

    @classmethod
    def of(cls, made: dict) -> Self:
        """The layout of a map's store, from its attributes."""
        return cls(tuple(made["shape_px"]), made["window_px"], made["stride_px"], made["edges"])

    @cached_property
    def cells(self) -> tuple[int, int]:
        """Numbers of rows and columns of the map."""
        return tuple(tiles.cell_grid(length, self.stride_px) for length in self.shape_px)

    def centres_px(self, axis: int) -> np.ndarray:
        """Centres of all rows (axis 0) or columns (axis 1), in px from the edge."""
        return tiles.centre_px(np.arange(self.cells[axis]), self.stride_px)

    @property
    def overlap(self) -> float:
        """Number of windows over a place, along one axis."""
        return self.window_px / self.stride_px

    @cached_property
    def block_cells(self) -> tuple[int, int]:
        """Cells of the block of fixed size: one shard, or the whole map if that is smaller."""
        return tuple(min(SHARD_CELLS, count) for count in self.cells)

    @cached_property
    def units(self) -> list[tuple[slice, slice]]:
        """Cells of every unit, row by row."""
        return tiles.shards(self.cells, SHARD_CELLS)

    def window_of(self, unit: int) -> tuple[int, int, int, int]:
        """y0, y1, x0, x1 of the block that a unit is estimated from; it may exceed the picture."""
        overlap = (self.window_px - self.stride_px) // 2
        y0, x0 = (part.start * self.stride_px - overlap for part in self.units[unit])
        height, width = ((n - 1) * self.stride_px + self.window_px for n in self.block_cells)
        return y0, y0 + height, x0, x0 + width

    def starts_px(self, axis: int) -> np.ndarray:
        """First pixel of the windows of all rows (axis 0) or columns (axis 1); it may be negative."""
        return np.arange(self.cells[axis]) * self.stride_px - (self.window_px - self.stride_px) // 2

    def crosses_edge(self, axis: int) -> np.ndarray:
        """Which rows (axis 0) or columns (axis 1) have windows that cross the mosaic's edge."""
        start = self.centres_px(axis) - self.window_px / 2
        return (start < 0) | (start + self.window_px > self.shape_px[axis])


def stored_units(path: str | Path) -> tuple[Callable[[int], np.ndarray], int]:
    """A function that reads a unit of a map's store, and the number of units. Raises UserError."""
    made, cells = ngff.read_attributes(path), ngff.open_array(path, ngff.RAW)
    layout = MapLayout.of(made)
    return lambda unit: cells[(slice(None), *layout.units[unit])], len(layout.units)


def unit_px(study: dict) -> int | None:
    """Side of a unit in px, from a study's config."""
    stride = (study.get("map") or {}).get("stride_px")
    return stride and stride * SHARD_CELLS


def channels(model) -> list[dict]:
    """Names and units of a map's channels, and the ranges that viewers show: those of the PSF model.

    They are the PSF parameters, the half-widths of their 90 % intervals, for models with mirror images the
    probability of the PSF against its mirror image, then validity, alarm, the probability of another blur than the model's, the usable share of the window (finite, neither dead nor hot nor
    saturated), and whether the cell was filled.
    """
    parameters = model.parameters
    return [
        *({"name": p.name, "unit": p.unit, "low": p.low, "high": p.high} for p in parameters),
        *(
            {"name": f"{p.name}_uncertainty", "unit": p.unit, "high": (p.high - p.low) / 2}
            for p in parameters
        ),
        *([{"name": "mirror", "unit": "probability"}] if model.mirrors else []),
        {"name": "validity", "unit": "probability"},
        {"name": "alarm", "unit": "probability"},
        {"name": "other_blur", "unit": "probability"},
        {"name": "usable", "unit": "share of the window"},
        {"name": "filled", "unit": "0 or 1"},
    ]


def at_cutoff(model: PsfModel, cutoff: float | None) -> tuple[PsfModel, int]:
    """Adapt a network's PSF model to a picture's cut-off, with binning if the picture is finely sampled.

    Binning makes larger pixels. So a network for cut-offs from c to 2 c can be used for every cut-off
    below 2 c.

    Parameters
    ----------
    model
        The network's PSF model.
    cutoff
        Cut-off of the picture in cycles/px, None if unknown.

    Returns
    -------
    model
        The PSF model at the picture's cut-off.
    binning
        Number of pixels per axis that are binned before the network.

    Raises
    ------
    UserError
        If the network cannot be used for this cut-off, or needs to know it.
    """
    low, high = model.cutoff_range
    if cutoff is None and low < high:
        raise UserError(
            f"this network is for cut-offs from {low:g} to {high:g} cycles/px and needs to know that of the "
            "picture: give NA, wavelength and pixel size"
        )
    if cutoff is None or not model.knows_cutoff:
        return model, 1
    binning = max(1, math.ceil(low / cutoff - 0.02))
    if cutoff * binning > 1.02 * high:
        raise UserError(
            f"the picture's cut-off, {cutoff:.3g} cycles/px (NA * pixel size / wavelength), does not fit this "
            f"network, which is for {low:g} to {high:g}, or these divided by an integer; train one for it"
        )
    size = model.size_at(cutoff * binning) * binning
    excitation = model.spec["excitation_cutoff"]
    spec = model.spec | {
        "cutoff": cutoff,
        "cutoff_range": None,
        "excitation_cutoff": excitation and excitation * cutoff / model.cutoff,
        "size_px": size + 1 - size % 2,
    }
    return make_psf_model(spec), binning


def check_window(window_px: int, binning: int, shape_px: tuple[int, int]) -> None:
    """Raise UserError if binning makes the network's window larger than the picture.

    A picture that is smaller than the window without binning is mapped nevertheless.

    Parameters
    ----------
    window_px
        Side of the network's window in binned pixels.
    binning
        From `at_cutoff`.
    shape_px
        (height, width) of the picture.
    """
    window = window_px * binning
    if binning > 1 and window > min(shape_px):
        raise UserError(
            f"the picture is so finely sampled that {binning} x {binning} pixels would be binned, and the network's "
            f"window of {window_px} px would be {window} px of the picture, which has {shape_px[0]} x {shape_px[1]}: check "
            "NA, wavelength and pixel size (in um); else give a larger picture, or coarser pixels"
        )


def strides(window_px: int, binning: int) -> list[int]:
    """Distances between cells, in px of the picture, that a network's window (in binned px) allows."""
    step, window = STEP_PX * binning, window_px * binning
    return [stride for stride in range(step, window + 1, step) if window % stride == 0]
