"""The PSF map: parameters and validity of every cell of a mosaic (thesis, 2.2.6).

Cells are squares of stride_px that cover the mosaic whole; the window that estimates a cell is
centred on it. Windows that cross the mosaic's edge see it mirrored (edges "reflect"), or leave
their cell invalid, to be filled from its neighbours (edges "valid"). Units are shards of
SHARD_CELLS x SHARD_CELLS cells, each computed whole in one block of fixed size: at a stride of
64 px 2112 x 2112 px, under 1 GiB with the network's features.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch.nn import functional as F

from isoplan.mosaic import tiles

SHARD_CELLS = 32


@dataclass(frozen=True)
class MapLayout:
    """Where the cells of a mosaic lie. shape_px: (height, width) of the mosaic."""

    shape_px: tuple[int, int]
    window_px: int
    stride_px: int
    edges: str

    @cached_property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        return tuple(tiles.cell_grid(length, self.stride_px) for length in self.shape_px)

    def centres_px(self, axis: int) -> np.ndarray:
        """Centres of all rows (axis 0) or columns (1), in px from the edge."""
        return tiles.centre_px(np.arange(self.cells[axis]), self.stride_px)

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

    def crosses_edge(self, axis: int) -> np.ndarray:
        """Which rows (axis 0) or columns (1) have windows beyond the mosaic's edge."""
        start = self.centres_px(axis) - self.window_px / 2
        return (start < 0) | (start + self.window_px > self.shape_px[axis])


def channels(model) -> list[dict]:
    """Channels of a map: the PSF parameters, then validity and whether the cell was filled."""
    named = [{"name": p.name, "unit": p.unit} for p in model.parameters]
    return [
        *named,
        {"name": "validity", "unit": "probability"},
        {"name": "filled", "unit": "0 or 1"},
    ]


@torch.no_grad()
def estimate_cells(network, model, picture: np.ndarray, stride_px: int, device) -> np.ndarray:
    """Cells of one block, in one pass: (h, w) counts above offset -> (P + 2, ny, nx) float32.

    A cell is invalid for certain where its window holds a pixel that is not finite, or no two
    different values; its parameters are then NaN and its validity 0.
    """
    window = network.window_px
    bad = ~np.isfinite(picture)
    usable = picture[~bad]
    filled = np.where(bad, np.float32(usable.mean() if usable.size else 0), picture)
    block = torch.from_numpy(np.ascontiguousarray(filled, np.float32))[None, None].to(device)
    outputs = network(block, stride_px)[0]
    ny, nx = outputs.shape[1:]
    targets = outputs[:-1].permute(1, 2, 0).reshape(ny * nx, -1).cpu()
    params = model.decode(targets).reshape(ny, nx, -1).permute(2, 0, 1).numpy()
    validity = 1 - torch.sigmoid(outputs[-1]).cpu().numpy()

    highest = F.max_pool2d(block, window, stride_px)[0, 0].cpu().numpy()
    lowest = -F.max_pool2d(-block, window, stride_px)[0, 0].cpu().numpy()
    touched = F.max_pool2d(torch.from_numpy(bad.astype(np.float32))[None], window, stride_px)[0]
    hopeless = (highest == lowest) | (touched.numpy() > 0)
    params[:, hopeless] = np.nan
    validity[hopeless] = 0
    return np.concatenate([params, validity[None], np.zeros((1, ny, nx))]).astype(np.float32)


def map_unit(
    network, model, mosaic, layout: MapLayout, unit: int, *, offset: float, device
) -> np.ndarray:
    """Raw map of one unit, (P + 2, rows, columns): the part of the block inside the map."""
    picture = mosaic.read_reflected(*layout.window_of(unit)) - np.float32(offset)
    cells = estimate_cells(network, model, picture, layout.stride_px, device)
    rows, columns = layout.units[unit]
    cells = cells[:, : rows.stop - rows.start, : columns.stop - columns.start]
    if layout.edges == "valid":
        crossing = layout.crosses_edge(0)[rows, None] | layout.crosses_edge(1)[None, columns]
        cells[-2, crossing] = 0
    return cells


def fill_invalid(
    raw: np.ndarray, model, *, threshold: float, neighbours: int, median_cells: int = 1
) -> np.ndarray:
    """The map that serves: outliers taken out, invalid cells filled (thesis, 2.2.6).

    raw: (P + 2, ny, nx) -> the same with `filled` set. Each valid cell becomes the median of the
    valid ones among the median_cells x median_cells around it (1: itself; windows overlap, and a PSF
    does not jump). Invalid cells become the mean of their nearest valid neighbours, weighted by
    inverse distance. Both are taken over the identifiable targets, so that angles average rightly.
    Where no cell is valid every parameter is NaN.
    Works on the whole map: about 150 bytes a cell, 350 MB for a mosaic of 100,000 px a side.
    """
    count = len(model.parameters)
    out = raw.copy()
    valid = (raw[count] >= threshold) & np.isfinite(raw[:count]).all(axis=0)
    out[count + 1] = ~valid
    if not valid.any():
        out[:count] = np.nan
        return out
    targets = model.encode(torch.from_numpy(raw[:count, valid].T.copy())).numpy()
    if median_cells > 1:
        targets = np.stack([_median(t, valid, median_cells) for t in targets.T], axis=1)
        out[:count, valid] = model.decode(torch.from_numpy(targets)).numpy().T
    if valid.all():
        return out
    tree = cKDTree(np.argwhere(valid))
    known = min(neighbours, len(targets))
    distance, nearest = tree.query(np.argwhere(~valid), k=known)
    weights = 1 / distance.reshape(-1, known)
    weights /= weights.sum(axis=1, keepdims=True)
    mean = (weights[..., None] * targets[nearest.reshape(-1, known)]).sum(axis=1)
    out[:count, ~valid] = model.decode(torch.from_numpy(mean.astype(np.float32))).numpy().T
    return out


def _median(values: np.ndarray, valid: np.ndarray, side: int) -> np.ndarray:
    """Median of the valid cells in a square around every valid cell: (n,) -> (n,)."""
    half = side // 2
    plane = np.full([length + 2 * half for length in valid.shape], np.nan, np.float32)
    plane[half : half + valid.shape[0], half : half + valid.shape[1]][valid] = values
    around = np.lib.stride_tricks.sliding_window_view(plane, (side, side))[valid]
    return np.nanmedian(around.reshape(len(values), -1), axis=1)


def mean_parameters(filled: np.ndarray, model) -> list[float] | None:
    """The one PSF that stands for a map: the mean of its valid cells' targets; None without any."""
    count = len(model.parameters)
    valid = filled[count + 1] == 0
    if not valid.any():
        return None
    targets = model.encode(torch.from_numpy(filled[:count, valid].T.copy()))
    return model.decode(targets.mean(dim=0, keepdim=True))[0].tolist()
