"""Estimates the PSF map: parameters and validity of every cell of a mosaic (thesis, 2.2.6).

For windows that cross the mosaic's edge, the picture is reflected (edges "reflect"), or their cell is
invalid and later filled from its neighbours (edges "valid"). In a mosaic of tiles, a cell is invalid if
no single tile contains its window, at edges and at seams. Units are shards of SHARD_CELLS x SHARD_CELLS
cells. Each is computed from one block of fixed size, 2112 x 2112 px at a stride of 64 px, in bands of as
many rows of cells as fit into memory.
"""

import numpy as np
import torch
from torch.nn import functional as F

from isoplan.base.device import at_once, in_batches
from isoplan.networks import sliding
from isoplan.networks.outputs import to_estimate
from isoplan.optics.exposure import Exposure, replace_lone_pixels, sort_pixels
from isoplan.psf_map.fill import fill_invalid
from isoplan.psf_map.layout import ALARM, FILLED, OTHER_BLUR, USABLE, VALIDITY, MapLayout, channels

# Working memory of a band: a generous estimate per pixel, and the limit on a CPU.
PIXEL_BYTES, BAND_BYTES = 160, 192 * 2**20


@torch.no_grad()
def estimate_cells(
    network,
    model,
    picture: np.ndarray,
    stride_px: int,
    device,
    *,
    binning: int = 1,
    usable: np.ndarray | None = None,
) -> np.ndarray:
    """Estimate the cells of one block.

    A cell is certainly invalid if its window contains a pixel that is not finite, or only one value. Then
    its parameters are NaN and its validity is 0.

    Parameters
    ----------
    network
        The network.
    model, binning
        The PSF model and the binning, from `layout.at_cutoff`.
    picture
        (h, w) counts above the offset.
    stride_px
        Distance between cells in px of the picture.
    device
        Where the network lies.
    usable
        (h, w) bool: pixels that count as usable; the finite ones if not given.

    Returns
    -------
    numpy.ndarray
        (channels, ny, nx) float32, see `layout.channels`.
    """
    bad = ~np.isfinite(picture)
    known = picture[~bad]
    filled = np.where(bad, np.float32(known.mean() if known.size else 0), picture)
    window = network.window_px * binning
    rows = (picture.shape[0] - window) // stride_px + 1

    def band(first: int, last: int) -> np.ndarray:
        part = slice(first * stride_px, (last - 1) * stride_px + window)
        return _estimate_band(network, model, filled[part], bad[part], stride_px, device, binning)

    size = at_once(PIXEL_BYTES * stride_px * picture.shape[1], device, BAND_BYTES)
    cells = np.concatenate(in_batches(band, rows, size), axis=1)
    shown = torch.from_numpy(np.asarray(~bad if usable is None else usable, np.float32))
    cells[USABLE] = sliding.means(shown, window, stride_px)
    return cells


def _estimate_band(network, model, picture, bad, stride_px: int, device, binning: int):
    """`estimate_cells` in one pass; bad: (h, w) pixels that were not finite."""
    block = torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None, None].to(device)
    touched = torch.from_numpy(bad.astype(np.float32))[None, None].to(device)
    if binning > 1:
        block, touched = F.avg_pool2d(block, binning), F.max_pool2d(touched, binning)
    window, stride = network.window_px, stride_px // binning
    cutoff = block.new_full((1,), model.cutoff * binning)
    outputs = network(block, stride, cutoff)[0]
    ny, nx = outputs.shape[1:]
    found = to_estimate(outputs.flatten(1).T.cpu(), model)
    hopeless = sliding.maxima(block, window, stride) == -sliding.maxima(-block, window, stride)
    hopeless |= sliding.maxima(touched, window, stride) > 0
    hopeless = hopeless.flatten().cpu()
    found.params[hopeless] = found.half_width[hopeless] = torch.nan
    found.validity[hopeless] = found.alarm[hopeless] = found.other_blur[hopeless] = 0
    parts = [found.params.T, found.half_width.T]
    if found.mirror is not None:
        found.mirror[hopeless] = 0.5
        parts.append(found.mirror[None])
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
    binning: int = 1,
    exposure: Exposure | None = None,
) -> np.ndarray:
    """Estimate the raw map of one unit.

    A mosaic of tiles is estimated once per seamless view (`Picture.seamless`), in the same block. A cell
    is NaN, with validity 0, if no tile contains its window.

    Parameters
    ----------
    network, model, binning, device
        As in `estimate_cells`.
    mosaic
        The picture.
    layout
        Positions of the cells.
    unit
        Number of the unit.
    offset
        Offset of the camera in counts.
    exposure
        Properties of the exposure, if known. Dead and hot pixels are then replaced first, and saturated
        ones are not usable.

    Returns
    -------
    numpy.ndarray
        (channels, rows, columns): the part of the block inside the map.
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
            *(network, model, replace_lone_pixels(picture, pixels.lone), layout.stride_px, device),
            binning=binning,
            usable=pixels.usable & ~pixels.saturated,
        )
        np.copyto(cells, found[:, : shape[0], : shape[1]], where=served_cells)
    if layout.edges == "valid":
        crossing = layout.crosses_edge(0)[rows, None] | layout.crosses_edge(1)[None, columns]
        cells[:VALIDITY, crossing], cells[VALIDITY, crossing] = np.nan, 0
    if model.mirrors:
        mirror = cells[2 * len(model.parameters)]
        mirror[np.isnan(mirror)] = 0.5
    return cells


def map_whole(
    network, model, mosaic, layout: MapLayout, settings: dict, *, step=None, **how
) -> np.ndarray:
    """Estimate and fill the map of a whole picture, (channels, ny, nx).

    settings: the config's `map`. step: called after each unit. **how: arguments of `map_unit`.
    """
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
