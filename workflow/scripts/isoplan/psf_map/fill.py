"""Fills invalid cells of a raw map, smooths it, and summarises it (thesis, 2.2.6)."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from isoplan.metrics.regression import summarise
from isoplan.mosaic import ngff
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.kriging import krige
from isoplan.psf_map.layout import ALARM, FILLED, OTHER_BLUR, QUANTILE, VALIDITY
from isoplan.psf_map.mirror_images import even_in_line, in_line


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
    """Fill the invalid cells of a raw map (thesis, 2.2.6), and optionally smooth it.

    Before that, mirror images are brought into line (`psf_map.mirror_images`).
    Invalid cells become the mean of their nearest valid neighbours, weighted by inverse distance, by the
    inverse square of uncertainty and by validity. A filled cell is as uncertain as the most uncertain of
    its neighbours. Smoothing by `kriging` replaces every cell by the most likely value given all valid
    ones. If these differ by no more than their errors, the whole map has one PSF. Means are taken over
    the identifiable targets, so that angles average correctly.

    If no cell is valid, cells without an alarm keep their own estimates, and all are marked as filled. If
    there are none either, every parameter is NaN. Memory is about 300 bytes per cell, 700 MB for a
    mosaic of 100,000 px a side.

    Parameters
    ----------
    raw
        (channels, ny, nx), see `layout.channels`.
    model
        The PSF model.
    threshold
        Validity from which a cell is valid,
    alarm_threshold
        unless its alarm is above this.
    neighbours
        Number of neighbours that an invalid cell is filled from.
    smooth
        Whether to smooth the map by kriging.
    overlap
        Number of windows over a place, along one axis (`MapLayout.overlap`).

    Returns
    -------
    numpy.ndarray
        (channels, ny, nx), with the channel `filled` set.
    """
    count = len(model.parameters)
    possible = np.isfinite(raw[: 2 * count]).all(axis=0) & (raw[ALARM] <= alarm_threshold)
    valid = possible & (raw[VALIDITY] >= threshold)
    raw = in_line(raw, model, valid, overlap)
    out = raw.copy()
    half = raw[count : 2 * count]
    out[FILLED] = ~valid
    own = valid if valid.any() else possible  # a doubtful PSF is better than none
    if not own.any():
        out[: 2 * count] = np.nan
        return out
    targets = model.encode(torch.from_numpy(raw[:count, own].T.copy())).numpy()
    # One weight per cell: the lowest precision of its parameters, relative to those of the map.
    typical = np.median(half[:, own], axis=1, keepdims=True)
    weights = 1 / np.maximum(half[:, own] / np.maximum(typical, 1e-9), 0.1).max(axis=0) ** 2
    weights *= np.maximum(raw[VALIDITY, own], 1e-6)  # may be 0 in doubtful cells
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
        noise = _target_variance(model, raw[:count, own], half[:, own])
        whole, changed = krige(whole, own, trusted, noise, overlap), np.ones_like(own)
    out[:count, changed] = model.decode(torch.from_numpy(whole[:, changed].T.copy())).numpy().T
    return even_in_line(out, model)


def _target_variance(model, values: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Variance (n,) of each target of a typical cell, from its intervals. values, half: (P, cells)."""
    plain = model.encode(torch.from_numpy(values.T.copy()))
    variance = torch.zeros_like(plain)
    for k, deviation in enumerate(half / QUANTILE):
        moved = values.copy()
        moved[k] += deviation
        variance += (model.encode(torch.from_numpy(moved.T.copy())) - plain).square()
    return variance.median(0).values.numpy()


def mean_parameters(filled: np.ndarray, model) -> list[float] | None:
    """Parameters of a map's mean PSF: decoded from the mean target of its valid cells.

    If no cell is valid, it is that of all cells; None if these have no values.
    """
    count = len(model.parameters)
    valid = filled[FILLED] == 0
    if not valid.any():
        valid = np.isfinite(filled[:count]).all(axis=0)
    if not valid.any():
        return None
    targets = model.encode(torch.from_numpy(filled[:count, valid].T.copy()))
    return model.decode(targets.mean(dim=0, keepdim=True))[0].tolist()


def width_uncertainty(cells: np.ndarray, model) -> float | None:
    """Relative standard deviation of the PSF's width in the median cell, from the intervals.

    cells: (channels, ...). Returns None if no cell has values.
    """
    largest, half = _largest_size(cells, model)
    share = half / largest
    return float(np.nanmedian(share)) / QUANTILE if np.isfinite(share).any() else None


def _largest_size(cells: np.ndarray, model) -> np.ndarray:
    """The largest of the size parameters, which dominates the PSF, and its half-width: (2, ...)."""
    count = len(model.parameters)
    sizes = [k for k, p in enumerate(model.parameters) if p.size and not p.period]
    both = np.stack([np.abs(cells[sizes]), cells[[count + k for k in sizes]]])
    largest = both[0].argmax(axis=0)[None, None]
    return np.take_along_axis(both, largest, 1)[:, 0]


def _spread(cells: np.ndarray, model) -> float | None:
    """Relative standard deviation of the PSFs' width over cells (channels, n); None if the mean is 0."""
    width, _ = _largest_size(cells, model)
    return float(width.std() / width.mean()) if width.mean() > 0 else None


def summarise_map(filled: np.ndarray, model, alarm_threshold: float = 0.5) -> dict:
    """Summary of a filled map.

    Parameters
    ----------
    filled
        (channels, ny, nx), from `fill_invalid`.
    model
        The PSF model.
    alarm_threshold
        Cells whose alarm is above this are counted.

    Returns
    -------
    dict
        - cells, valid_cells, alarm_cells, and other_blur_cells (of the valid ones): numbers of cells,
        - mean, median: parameters by name,
        - doubt: `width_uncertainty`,
        - spread: relative standard deviation of the PSFs' width over the map.

        Values that no cell has are None.
    """
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
        "doubt": width_uncertainty(filled[:, valid] if valid.any() else filled, model),
        "spread": _spread(filled[:, valid], model) if valid.any() else None,
    }


def map_errors(estimated_store, true_store) -> list[dict]:
    """Compare an estimated map with the true one, over its valid cells.

    Parameters
    ----------
    estimated_store, true_store
        Stores of both maps.

    Returns
    -------
    list of dict
        Rows (parameter, metric, value, n) with R2 and errors, and the share of valid cells. Empty if
        the maps have different PSF models.
    """
    model = make_psf_model(ngff.read_attributes(true_store)["psf"])
    if ngff.read_attributes(estimated_store)["psf"]["model"] != model.spec["model"]:
        return []  # another model's parameters cannot be compared
    count = len(model.parameters)
    estimated = ngff.open_array(estimated_store)[:]
    valid = (estimated[FILLED] == 0).ravel()
    cells, true = (
        torch.from_numpy(np.asarray(found[:count], np.float32).reshape(count, -1).T.copy())
        for found in (estimated, ngff.open_array(true_store))
    )
    nearest = model.nearest(cells, true).numpy()
    rows = summarise(true.numpy(), nearest, valid, model.parameters)
    share = {"parameter": "validity", "metric": "valid_share", "value": float(valid.mean())}
    rows.append(share | {"n": int(valid.size)})
    if model.mirrors and valid.any():
        right = (model.same_side(cells, true) > 0).numpy()[valid]
        rows.append(
            {"parameter": "mirror", "metric": "accuracy", "value": float(right.mean())}
            | {"n": int(valid.sum())}
        )
    return rows
