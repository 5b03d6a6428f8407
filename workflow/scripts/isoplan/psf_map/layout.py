"""Where the cells of a PSF map lie, and what each holds.

Cells are squares of stride_px that cover the mosaic whole; the window that estimates a cell is
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
WHOLE = 0.99  # a window of which more than this share is usable counts as seen whole
VALIDITY, ALARM, OTHER_BLUR, USABLE, FILLED = range(-5, 0)  # places of the last channels


@dataclass(frozen=True)
class MapLayout:
    """Where the cells of a mosaic lie. shape_px: (height, width) of the mosaic."""

    shape_px: tuple[int, int]
    window_px: int
    stride_px: int
    edges: str

    @classmethod
    def of(cls, made: dict) -> Self:
        """Of a map's store, by its attributes."""
        return cls(tuple(made["shape_px"]), made["window_px"], made["stride_px"], made["edges"])

    @cached_property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        return tuple(tiles.cell_grid(length, self.stride_px) for length in self.shape_px)

    def centres_px(self, axis: int) -> np.ndarray:
        """Centres of all rows (axis 0) or columns (1), in px from the edge."""
        return tiles.centre_px(np.arange(self.cells[axis]), self.stride_px)

    @property
    def overlap(self) -> float:
        """How many windows hold a place, along an axis."""
        return self.window_px / self.stride_px

    @cached_property
    def block_cells(self) -> tuple[int, int]:
        """Cells of the fixed block: one shard, or the whole map where that is smaller."""
        return tuple(min(SHARD_CELLS, count) for count in self.cells)

    @cached_property
    def units(self) -> list[tuple[slice, slice]]:
        """Cells of every unit, row by row."""
        return tiles.shards(self.cells, SHARD_CELLS)

    def window_of(self, unit: int) -> tuple[int, int, int, int]:
        """y0, y1, x0, x1 of the picture's block behind a unit, possibly beyond the edges."""
        overlap = (self.window_px - self.stride_px) // 2
        y0, x0 = (part.start * self.stride_px - overlap for part in self.units[unit])
        height, width = ((n - 1) * self.stride_px + self.window_px for n in self.block_cells)
        return y0, y0 + height, x0, x0 + width

    def starts_px(self, axis: int) -> np.ndarray:
        """First pixel of the windows of all rows (axis 0) or columns (1), possibly below 0."""
        return np.arange(self.cells[axis]) * self.stride_px - (self.window_px - self.stride_px) // 2

    def crosses_edge(self, axis: int) -> np.ndarray:
        """Which rows (axis 0) or columns (1) have windows beyond the mosaic's edge."""
        start = self.centres_px(axis) - self.window_px / 2
        return (start < 0) | (start + self.window_px > self.shape_px[axis])


def stored_units(path: str | Path) -> tuple[Callable[[int], np.ndarray], int]:
    """How a unit of a map's store is read back, and how many there are. Raises UserError of a broken store."""
    made, cells = ngff.read_attributes(path), ngff.open_array(path, ngff.RAW)
    layout = MapLayout.of(made)
    return lambda unit: cells[(slice(None), *layout.units[unit])], len(layout.units)


def unit_px(study: dict) -> int | None:
    """Side of a unit, by a study's config."""
    stride = (study.get("map") or {}).get("stride_px")
    return stride and stride * SHARD_CELLS


def channels(model) -> list[dict]:
    """Channels of a map: the PSF parameters; the half-width of each one's 90 % interval; validity,
    alarm, whether another blur than the model's is seen, how much of the window shows light as it was
    (finite, neither dead nor hot nor saturated), and whether the cell was filled."""
    named = [{"name": p.name, "unit": p.unit} for p in model.parameters]
    return [
        *named,
        *({"name": f"{p['name']}_uncertainty", "unit": p["unit"]} for p in named),
        {"name": "validity", "unit": "probability"},
        {"name": "alarm", "unit": "probability"},
        {"name": "other_blur", "unit": "probability"},
        {"name": "usable", "unit": "share of the window"},
        {"name": "filled", "unit": "0 or 1"},
    ]


def at_cutoff(model: PsfModel, cutoff: float | None) -> tuple[PsfModel, int]:
    """The PSF model at a picture's own cut-off (cycles/px), and how many pixels a side its network
    wants taken together.

    Pixels taken together are one larger pixel, so a network for cut-offs from c to 2 c can be used for
    every one below 2 c. cutoff None: the picture's optics are not known, and the network's own are taken.
    Raises UserError where the network cannot be used for it.
    """
    low, high = model.cutoff_range
    if cutoff is None and low < high:
        raise UserError(
            f"this network is for cut-offs from {low:g} to {high:g} cycles/px and must be told the "
            "picture's: give NA, wavelength and pixel size"
        )
    if cutoff is None or not model.knows_cutoff:
        return model, 1
    together = max(1, math.ceil(low / cutoff - 0.02))
    if cutoff * together > 1.02 * high:
        raise UserError(
            f"the picture's cut-off, {cutoff:.3g} cycles/px (NA * pixel size / wavelength), is not one "
            f"that this network is for: {low:g} to {high:g}, or less by a whole factor; train one for it"
        )
    size = model.size_px * together
    excitation = model.spec["excitation_cutoff"]
    spec = model.spec | {
        "cutoff": cutoff,
        "cutoff_range": None,
        "excitation_cutoff": excitation and excitation * cutoff / model.cutoff,
        "size_px": size + 1 - size % 2,
    }
    return make_psf_model(spec), together


def check_window(window_px: int, together: int, shape_px: tuple[int, int]) -> None:
    """Raises UserError where pixels are taken together until no window fits into the picture.

    window_px: of the network, in its own pixels. A picture smaller than the window itself is mapped all the same, as
    its optics are not to blame.
    """
    window = window_px * together
    if together > 1 and window > min(shape_px):
        raise UserError(
            f"the picture is so finely sampled that {together} x {together} pixels would be taken together, and the "
            f"network's window of {window_px} px would be {window} px of the picture, which has {shape_px[0]} x "
            f"{shape_px[1]}: check NA, wavelength and pixel size (in um); else give a larger picture, or coarser pixels"
        )


def strides(window_px: int, together: int) -> list[int]:
    """Distances between cells, in px of the picture, that a network's window (its own px) allows."""
    step, window = STEP_PX * together, window_px * together
    return [stride for stride in range(step, window + 1, step) if window % stride == 0]
