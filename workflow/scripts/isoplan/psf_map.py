"""The PSF map: parameters and validity of every cell of a mosaic (thesis, 2.2.6).

Cells are squares of stride_px that cover the mosaic whole; the window that estimates a cell is
centred on it. Windows that cross the mosaic's edge see it mirrored (edges "reflect"), or leave
their cell invalid, to be filled from its neighbours (edges "valid"). In a mosaic of tiles, windows
that no tile holds whole do the latter, at edges and seams alike. Units are shards of
SHARD_CELLS x SHARD_CELLS cells, each computed from one block of fixed size, 2112 x 2112 px at a
stride of 64 px, in bands of as many rows of cells as the memory is to hold.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch.nn import functional as F

from isoplan.base.device import at_once, in_batches
from isoplan.base.errors import UserError
from isoplan.exposure import Exposure, mend, sort_pixels
from isoplan.kriging import krige
from isoplan.metrics.regression import summarise
from isoplan.mosaic import ngff, tiles
from isoplan.networks import sliding
from isoplan.networks.onepass import STEP_PX
from isoplan.networks.outputs import read
from isoplan.optics.gaussian import Gaussian
from isoplan.optics.psf import PsfModel, make_psf_model

SHARD_CELLS = 32
# Of a band's working memory: what to count for a pixel, with room to spare, and all on a processor.
PIXEL_BYTES, BAND_BYTES = 160, 192 * 2**20
VALIDITY, ALARM, OTHER_BLUR, USABLE, FILLED = range(-5, 0)  # places of the last channels
QUANTILE = 1.645  # half-width of a 90 % interval in deviations of the normal distribution


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


def served(model: PsfModel, cutoff: float | None) -> tuple[PsfModel, int]:
    """The PSF model at a picture's own cut-off (cycles/px), and how many pixels a side its network
    wants taken together.

    Pixels taken together are one larger pixel, so a network for cut-offs from c to 2 c serves every
    one below 2 c. cutoff None: the picture's optics are not known, and the network's own are taken.
    Raises UserError where the network cannot serve it.
    """
    low, high = model.cutoff_range
    if cutoff is None and low < high:
        raise UserError(
            f"this network serves cut-offs from {low:g} to {high:g} cycles/px and must be told the "
            "picture's: give NA, wavelength and pixel size"
        )
    if cutoff is None or isinstance(model, Gaussian):
        return model, 1
    together = max(1, math.ceil(low / cutoff - 0.02))
    if cutoff * together > 1.02 * high:
        raise UserError(
            f"the picture's cut-off, {cutoff:.3g} cycles/px (NA * pixel size / wavelength), is none "
            f"that this network serves: {low:g} to {high:g}, or less by a whole factor; train one for it"
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


def strides(window_px: int, together: int) -> list[int]:
    """Distances between cells, in px of the picture, that a network's window (its own px) allows."""
    step, window = STEP_PX * together, window_px * together
    return [stride for stride in range(step, window + 1, step) if window % stride == 0]


@torch.no_grad()
def estimate_cells(
    network,
    model,
    picture: np.ndarray,
    stride_px: int,
    device,
    *,
    together: int = 1,
    usable: np.ndarray | None = None,
) -> np.ndarray:
    """Cells of one block: (h, w) counts above offset -> (channels, ny, nx) float32.

    model, together: of `served`. usable: (h, w) bool, of which each cell tells its window's share; without
    it, where the picture is finite. A cell is invalid for certain where its window holds a pixel that is
    not finite, or no two different values; its parameters are then NaN and its validity 0.
    """
    bad = ~np.isfinite(picture)
    known = picture[~bad]
    filled = np.where(bad, np.float32(known.mean() if known.size else 0), picture)
    window = network.window_px * together
    rows = (picture.shape[0] - window) // stride_px + 1

    def band(first: int, last: int) -> np.ndarray:
        part = slice(first * stride_px, (last - 1) * stride_px + window)
        return _estimate_band(network, model, filled[part], bad[part], stride_px, device, together)

    size = at_once(PIXEL_BYTES * stride_px * picture.shape[1], device, BAND_BYTES)
    cells = np.concatenate(in_batches(band, rows, size), axis=1)
    shown = torch.from_numpy(np.asarray(~bad if usable is None else usable, np.float32))
    cells[USABLE] = sliding.means(shown, window, stride_px)
    return cells


def _estimate_band(network, model, picture, bad, stride_px: int, device, together: int):
    """`estimate_cells` in one pass; bad: (h, w), the pixels that were not finite."""
    block = torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None, None].to(device)
    touched = torch.from_numpy(bad.astype(np.float32))[None, None].to(device)
    if together > 1:
        block, touched = F.avg_pool2d(block, together), F.max_pool2d(touched, together)
    window, stride = network.window_px, stride_px // together
    cutoff = block.new_full((1,), model.cutoff * together)
    outputs = network(block, stride, cutoff)[0]
    ny, nx = outputs.shape[1:]
    found = read(outputs.flatten(1).T.cpu(), model)
    hopeless = sliding.highest(block, window, stride) == -sliding.highest(-block, window, stride)
    hopeless |= sliding.highest(touched, window, stride) > 0
    hopeless = hopeless.flatten().cpu()
    found.params[hopeless] = found.half_width[hopeless] = torch.nan
    found.validity[hopeless] = found.alarm[hopeless] = found.other_blur[hopeless] = 0
    parts = [found.params.T, found.half_width.T]
    parts += [flag[None] for flag in (found.validity, found.alarm, found.other_blur)]
    cells = torch.cat([*parts, torch.zeros(2, ny * nx)])
    return cells.reshape(-1, ny, nx).numpy().astype(np.float32)


def map_unit(
    network,
    model,
    mosaic,
    layout: MapLayout,
    unit: int,
    *,
    offset: float,
    device,
    together: int = 1,
    exposure: Exposure | None = None,
) -> np.ndarray:
    """Raw map of one unit, (channels, rows, columns): the part of the block inside the map.

    A mosaic of tiles is estimated once per view without seams (`Picture.seamless`), in the same block;
    a cell whose window no tile holds whole is NaN, and its validity 0. exposure: what the
    camera did, where that is known: dead and hot pixels are mended first, and saturated ones not usable.
    """
    rows, columns = layout.units[unit]
    shape = rows.stop - rows.start, columns.stop - columns.start
    cells = np.full((len(channels(model)), *shape), np.nan, np.float32)
    cells[[VALIDITY, ALARM, OTHER_BLUR, FILLED]] = 0
    tops, lefts = layout.starts_px(0)[rows], layout.starts_px(1)[columns]
    for read_view, served_cells in mosaic.seamless(tops, lefts, layout.window_px):
        picture = read_view(*layout.window_of(unit)) - np.float32(offset)
        pixels = sort_pixels(picture, exposure or Exposure())
        found = estimate_cells(
            *(network, model, mend(picture, pixels.lone), layout.stride_px, device),
            together=together,
            usable=pixels.usable & ~pixels.saturated,
        )
        np.copyto(cells, found[:, : shape[0], : shape[1]], where=served_cells)
    if layout.edges == "valid":
        crossing = layout.crosses_edge(0)[rows, None] | layout.crosses_edge(1)[None, columns]
        cells[:VALIDITY, crossing], cells[VALIDITY, crossing] = np.nan, 0
    return cells


def map_whole(
    network, model, mosaic, layout: MapLayout, settings: dict, *, step=None, **how
) -> np.ndarray:
    """Filled map of a whole picture, (channels, ny, nx). settings: the config's `map`. how: of `map_unit`. step:
    called after each unit."""
    raw = np.full((len(channels(model)), *layout.cells), np.nan, np.float32)
    for unit, (rows, columns) in enumerate(layout.units):
        raw[:, rows, columns] = map_unit(network, model, mosaic, layout, unit, **how)
        if step:
            step()
    return fill_invalid(
        raw,
        model,
        threshold=settings["validity_threshold"],
        neighbours=settings["neighbours"],
        smooth=settings["smoothing"] == "kriging",
        alarm_threshold=settings["alarm_threshold"],
        overlap=layout.overlap,
    )


def fill_invalid(
    raw: np.ndarray,
    model,
    *,
    threshold: float,
    neighbours: int,
    smooth: bool = False,
    alarm_threshold: float = 1.0,
    overlap: float = 2.0,
) -> np.ndarray:
    """The map that serves: invalid cells filled (thesis, 2.2.6), and all smoothed as far as they bear it out.

    raw: (channels, ny, nx) -> the same with `filled` set. Valid is a cell whose validity reaches
    `threshold` and whose alarm stays up to `alarm_threshold`. Invalid cells become the mean of their
    nearest valid neighbours by inverse distance. Smooth: every cell becomes what is likeliest of all valid
    ones (`kriging`), so that where these differ by no more than their errors the map has one PSF. In
    both a valid cell weighs by the inverse square of its uncertainty and by its validity.
    Both are taken over the identifiable targets, so that angles average rightly; a filled cell is as
    uncertain as the most uncertain of its neighbours. Where no cell is valid, those whose validity alone
    falls short serve by their own estimates, and all are `filled`; without any such cell every parameter
    is NaN. overlap: how many windows hold a place, along an axis (`MapLayout.overlap`).
    Works on the whole map: about 300 bytes a cell, 700 MB for a mosaic of 100,000 px a side.
    """
    count = len(model.parameters)
    out = raw.copy()
    half = raw[count : 2 * count]
    possible = np.isfinite(raw[: 2 * count]).all(axis=0) & (raw[ALARM] <= alarm_threshold)
    valid = possible & (raw[VALIDITY] >= threshold)
    out[FILLED] = ~valid
    own = valid if valid.any() else possible  # a doubtful PSF restores more than none
    if not own.any():
        out[: 2 * count] = np.nan
        return out
    targets = model.encode(torch.from_numpy(raw[:count, own].T.copy())).numpy()
    # One weight a cell: of each parameter's precision relative to the map's, the least.
    typical = np.median(half[:, own], axis=1, keepdims=True)
    weights = 1 / np.maximum(half[:, own] / np.maximum(typical, 1e-9), 0.1).max(axis=0) ** 2
    weights *= np.maximum(raw[VALIDITY, own], 1e-6)  # of doubtful ones it may be 0
    whole = np.empty((targets.shape[1], *own.shape), np.float32)
    whole[:, own] = targets.T
    changed = ~own
    if changed.any():
        tree = cKDTree(np.argwhere(own))
        known = min(neighbours, len(targets))
        distance, nearest = tree.query(np.argwhere(changed), k=known)
        nearest = nearest.reshape(-1, known)
        share = weights[nearest] / distance.reshape(-1, known)
        share /= share.sum(axis=1, keepdims=True)
        whole[:, changed] = (share[..., None] * targets[nearest]).sum(axis=1).T
        out[count : 2 * count, changed] = half[:, own][:, nearest].max(axis=2)
    if smooth:
        trusted = np.ones(own.shape)
        trusted[own] = weights
        noise = _noise(model, raw[:count, own], half[:, own])
        whole, changed = krige(whole, own, trusted, noise, overlap), np.ones_like(own)
    out[:count, changed] = model.decode(torch.from_numpy(whole[:, changed].T.copy())).numpy().T
    return out


def _noise(model, values: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Variance of each target (n,) of a typical cell, by its intervals. values, half: (P, cells)."""
    plain = model.encode(torch.from_numpy(values.T.copy()))
    variance = torch.zeros_like(plain)
    for k, deviation in enumerate(half / QUANTILE):
        moved = values.copy()
        moved[k] += deviation
        variance += (model.encode(torch.from_numpy(moved.T.copy())) - plain).square()
    return variance.median(0).values.numpy()


def mean_parameters(filled: np.ndarray, model) -> list[float] | None:
    """The one PSF that stands for a map: the mean of its valid cells' targets, without any of all cells';
    None where these have no values."""
    count = len(model.parameters)
    valid = filled[FILLED] == 0
    if not valid.any():
        valid = np.isfinite(filled[:count]).all(axis=0)
    if not valid.any():
        return None
    targets = model.encode(torch.from_numpy(filled[:count, valid].T.copy()))
    return model.decode(targets.mean(dim=0, keepdim=True))[0].tolist()


def width_doubt(cells: np.ndarray, model) -> float | None:
    """Deviation of the PSFs' width as a share of it, as the intervals of cells (channels, ...) say: that of
    the median cell; None where no cell knows it."""
    largest, half = _largest(cells, model)
    share = half / largest
    return float(np.nanmedian(share)) / QUANTILE if np.isfinite(share).any() else None


def _largest(cells: np.ndarray, model) -> np.ndarray:
    """Of the parameters that are sizes the largest, which makes most of the PSF, and its half-width: (2, ...)."""
    count = len(model.parameters)
    sizes = [k for k, p in enumerate(model.parameters) if not p.period]
    both = np.stack([cells[sizes], cells[[count + k for k in sizes]]])
    largest = both[0].argmax(axis=0)[None, None]
    return np.take_along_axis(both, largest, 1)[:, 0]


def _spread(cells: np.ndarray, model) -> float | None:
    """Deviation of the PSFs' width over cells (channels, n) as a share of its mean; None where that is 0."""
    width, _ = _largest(cells, model)
    return float(width.std() / width.mean()) if width.mean() > 0 else None


def sums_of(filled: np.ndarray, model, alarm_threshold: float = 0.5) -> dict:
    """What a filled map says as a whole: cells, valid_cells, alarm_cells, other_blur_cells (of the valid ones); mean and median, of each parameter
    by name; doubt, of `width_doubt`; spread, the deviation of the PSFs' width over the map as a share of its mean. What
    no cell knows is None."""
    names = [p.name for p in model.parameters]
    valid, mean = filled[FILLED] == 0, mean_parameters(filled, model)
    return {
        "cells": int(valid.size),
        "valid_cells": int(valid.sum()),
        "alarm_cells": int((filled[ALARM] > alarm_threshold).sum()),
        "other_blur_cells": int((filled[OTHER_BLUR][valid] > 0.5).sum()),
        "mean": mean and dict(zip(names, mean, strict=True)),
        "median": {
            name: float(np.median(filled[k][valid])) if valid.any() else None
            for k, name in enumerate(names)
        },
        "doubt": width_doubt(filled[:, valid] if valid.any() else filled, model),
        "spread": _spread(filled[:, valid], model) if valid.any() else None,
    }


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
    valid = (estimated[FILLED] == 0).ravel()
    rows = summarise(true, estimated[:count].reshape(count, -1).T, valid, model.parameters)
    share = {"parameter": "validity", "metric": "valid_share", "value": float(valid.mean())}
    return [*rows, share | {"n": int(valid.size)}]
