"""A mosaic's raw map made usable: invalid cells filled, and what it says as a whole (thesis, 2.2.6)."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from isoplan.metrics.regression import summarise
from isoplan.mosaic import ngff
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.kriging import krige
from isoplan.psf_map.layout import ALARM, FILLED, OTHER_BLUR, VALIDITY

QUANTILE = 1.645  # half-width of a 90 % interval in deviations of the normal distribution


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
    """The map to restore with: invalid cells filled (thesis, 2.2.6), and all smoothed as far as their errors allow.

    raw: (channels, ny, nx) -> the same with `filled` set. A cell is valid if its validity reaches
    `threshold` and its alarm does not exceed `alarm_threshold`. Invalid cells become the mean of their
    nearest valid neighbours by inverse distance. Smooth: every cell becomes what is likeliest of all valid
    ones (`kriging`), so that where these differ by no more than their errors the map has one PSF. In
    both a valid cell weighs by the inverse square of its uncertainty and by its validity.
    Both are taken over the identifiable targets, so that angles average correctly; a filled cell is as
    uncertain as the most uncertain of its neighbours. Where no cell is valid, those whose validity alone
    falls short keep their own estimates, and all are `filled`; without any such cell every parameter
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
    sizes = [k for k, p in enumerate(model.parameters) if p.size and not p.period]
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
