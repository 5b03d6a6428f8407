"""Brings the signs of a map's modes into line, before anything is interpolated between cells.

A window tells a PSF from its mirror image (all odd modes with the other sign) with some doubt, and a wrong
one beside a right one would average to a PSF that is neither. But PSFs change little from cell to cell. So
neighbours whose modes agree better with the other sign take it: along a spanning tree of the surest pairs,
which leaves out pairs that say little. Then all cells of a tree vote. The common sign of the even modes, which
does not change the PSF, is brought into line in the same way, so that maps of single modes can be read.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from isoplan.psf_map.layout import QUANTILE

CHANGE_WAVES = 0.03  # by which a mode changes from a cell to the next, one standard deviation
LEAST = 2.0  # log odds from which a pair of neighbours says which signs go together
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
    mirror = 2 * len(model.parameters)
    chance = np.clip(raw[mirror].astype(np.float64), 1 - SUREST, SUREST)
    vote = np.log(chance / (1 - chance)) / max(overlap, 1.0) ** 2
    sign, votes = _elected(raw, model.odd, model, valid, vote)
    out = _turned(raw, model.odd, sign)
    out[mirror, valid] = (1 / (1 + np.exp(-np.abs(votes))))[valid]
    return out


def even_in_line(filled: np.ndarray, model) -> np.ndarray:
    """A filled map with the same PSFs, whose even modes have signs that go together, mostly with focus >= 0."""
    known = np.isfinite(filled[: len(model.parameters)]).all(axis=0)
    if not model.mirrors or not known.any():
        return filled
    sign, _ = _elected(filled, model.even, model, known, np.nan_to_num(filled[model.even[0]]))
    return _turned(filled, model.even, sign)


def _turned(cells: np.ndarray, modes: list[int], sign: np.ndarray) -> np.ndarray:
    out = cells.copy()
    out[modes] *= sign.astype(out.dtype)
    return out


def _elected(cells, modes, model, valid, vote) -> tuple[np.ndarray, np.ndarray]:
    """The sign that each cell's modes take, +1 or -1, and the votes of its tree: (ny, nx) each."""
    count = len(model.parameters)
    values = cells[modes].astype(np.float64)
    half = cells[[count + k for k in modes]].astype(np.float64)
    variance = (half / QUANTILE) ** 2
    number = np.arange(valid.size).reshape(valid.shape)
    right = (slice(None), slice(None, -1)), (slice(None), slice(1, None))
    below = (slice(None, -1), slice(None)), (slice(1, None), slice(None))
    pairs = []
    for one, other in (right, below):
        spread = variance[(..., *one)] + variance[(..., *other)] + CHANGE_WAVES**2
        # Log odds of the same against the other sign, for normal errors.
        odds = (2 * values[(..., *one)] * values[(..., *other)] / spread).sum(0)
        kept = valid[one] & valid[other] & (np.abs(odds) >= LEAST)
        pairs.append((number[one][kept], number[other][kept], odds[kept]))
    first, second, odds = (np.concatenate(part) for part in zip(*pairs, strict=True))
    sign, tree = _signs(first, second, odds, valid.size)
    votes = np.bincount(tree, np.where(valid.ravel(), sign * vote.ravel(), 0.0))[tree]
    sign = np.where(valid.ravel() & (votes < 0), -sign, sign)
    return sign.reshape(valid.shape), votes.reshape(valid.shape)


def _signs(first, second, odds, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sign of each of `count` cells relative to the first of its tree, and the number of its tree."""
    # The smallest tree of negative weights has the largest odds.
    graph = coo_array((-np.abs(odds), (first, second)), shape=(count, count)).tocsr()
    spanning = minimum_spanning_tree(graph)
    together = {(a, b): c for a, b, c in zip(first, second, np.sign(odds), strict=True)}
    number, tree = connected_components(spanning, directed=False)
    _, roots = np.unique(tree, return_index=True)
    sign = np.ones(count)
    for root in roots[np.bincount(tree, minlength=number) > 1]:
        order, parent = breadth_first_order(spanning, root, directed=False)
        for cell in order[1:]:
            above = parent[cell]
            sign[cell] = sign[above] * together[min(above, cell), max(above, cell)]
    return sign, tree
