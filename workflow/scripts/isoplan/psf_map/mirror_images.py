"""Brings the mirror images of a map into line, before anything is interpolated between cells.

A window tells a PSF from its mirror image (all odd modes with the other sign) with some doubt, and a wrong
one beside a right one would average to a PSF that is neither. But PSFs change little from cell to cell. So
neighbours whose odd modes agree better with the other sign take it: along a spanning tree of the surest
pairs, which leaves out pairs that say little. Then all cells of a tree vote.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

QUANTILE = 1.645  # half-width of a 90 % interval of a normal distribution, in standard deviations
CHANGE_WAVES = 0.03  # by which a mode changes from a cell to the next, one standard deviation
LEAST = 2.0  # log odds from which a pair of neighbours says which mirror images go together
SUREST = 0.999


def in_line(raw: np.ndarray, model, valid: np.ndarray, overlap: float) -> np.ndarray:
    """A raw map whose cells show mirror images that go together.

    Parameters
    ----------
    raw
        (channels, ny, nx), see `layout.channels`.
    model
        The PSF model; maps of models without mirror images are returned as they are.
    valid
        (ny, nx) bool: cells that vote.
    overlap
        Number of windows over a place, along one axis; their votes are not independent.

    Returns
    -------
    numpy.ndarray
        A copy, with the odd modes of some cells turned and the channel `mirror` as sure as the whole tree is.
    """
    if not model.mirrors or not valid.any():
        return raw
    count = len(model.parameters)
    odd = raw[model.odd].astype(np.float64)
    variance = (raw[[count + k for k in model.odd]].astype(np.float64) / QUANTILE) ** 2
    chance = np.clip(raw[2 * count].astype(np.float64), 1 - SUREST, SUREST)
    vote = np.log(chance / (1 - chance)) / max(overlap, 1.0) ** 2
    number = np.arange(valid.size).reshape(valid.shape)
    pairs = [
        _pairs(number[one], number[other], odd[(..., *one)], odd[(..., *other)],
               variance[(..., *one)] + variance[(..., *other)], valid[one] & valid[other])
        for one, other in (
            ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
            ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        )
    ]  # fmt: skip
    first, second, agree = (np.concatenate(part) for part in zip(*pairs, strict=True))
    sign, tree = _signs(first, second, agree, valid.size)
    where = valid.ravel()
    votes = np.bincount(tree, np.where(where, sign * vote.ravel(), 0.0))
    sign = np.where(votes[tree] < 0, -sign, sign)
    sure = 1 / (1 + np.exp(-np.abs(votes[tree])))
    out = raw.copy()
    turned = (where & (sign < 0)).reshape(valid.shape)
    for k in model.odd:
        out[k, turned] *= -1
    out[2 * count, valid] = sure.reshape(valid.shape)[valid]
    return out


def _pairs(first, second, one, other, variance, valid):
    """Numbers of neighbouring cells, and the log odds that their signs go together."""
    odds = (2 * one * other / (variance + CHANGE_WAVES**2)).sum(0)
    kept = valid & (np.abs(odds) >= LEAST)  # NaN is not kept
    return first[kept], second[kept], odds[kept]


def _signs(first, second, agree, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sign of each cell relative to the first of its tree, and the number of its tree."""
    weight = -np.abs(agree)  # the spanning tree of the largest odds
    graph = coo_array((weight, (first, second)), shape=(count, count)).tocsr()
    spanning = minimum_spanning_tree(graph)
    together = coo_array((agree, (first, second)), shape=(count, count)).tocsr()
    number, tree = connected_components(spanning, directed=False)
    sign = np.ones(count)
    sizes = np.bincount(tree, minlength=number)
    _, roots = np.unique(tree, return_index=True)
    for root in roots[sizes > 1]:
        order, parent = breadth_first_order(spanning, root, directed=False)
        for cell in order[1:]:
            above = parent[cell]
            odds = together[above, cell] or together[cell, above]
            sign[cell] = sign[above] * (1.0 if odds > 0 else -1.0)
    return sign, tree
