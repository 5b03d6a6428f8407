"""Whether tiles show the same where they overlap. Positions that were mistaken give themselves away so.

Some overlaps are compared: between neighbours in x and between neighbours in y, as a wrong sign of y leaves
all pairs in x right. The poorer of both correlations counts.
"""

from itertools import product

import numpy as np
from scipy import ndimage

from isoplan.mosaic.placed import PlacedMosaic
from isoplan.mosaic.window import Picture

PAIRS = 12  # along x, and along y, at most
LEAST_PX, LARGEST_PX = 6, 1024  # of an overlap's sides; of longer ones a part is read
BIN_PX = 8  # means over squares of this side at most are compared,
SHIFTS = 3  # with positions that are off by so many of them
ALIKE = 0.5
BETTER = 0.2  # by which other positions must agree better, to be named
STRUCTURE = 0.5  # correlation of neighbouring squares from which on there is more than noise


def notes_on_overlaps(picture: Picture) -> list[str]:
    """How well a mosaic's tiles agree where they overlap; CAUTION where they do not, with a table's usual mistake
    where it explains it. Nothing of other pictures, and of tiles that do not overlap in any arrangement.

    Raises UserError where a tile is damaged.
    """
    if not isinstance(picture, PlacedMosaic):
        return []
    alike, structure = _agreement(picture, picture.boxes)
    if alike is not None and alike >= ALIKE:
        return [f"tiles show the same where they overlap (correlation {alike:.2f})"]
    others = [(_agreement(picture, boxes)[0] or 0, words) for words, boxes in _mistakes(picture)]
    best, words = max(others)
    if best >= (alike or 0) + BETTER:
        found = "tiles do not overlap" if alike is None else f"tiles do not agree ({alike:.2f})"
        return [
            f"CAUTION: {found} where the table puts them; with {words} they show the same where they overlap"
            f" (correlation {best:.2f}): correct the table"
        ]
    if alike is None:
        return []
    if structure < STRUCTURE:
        return [
            "whether the tiles' positions are right is not known: where they overlap lies little but noise"
            f" (correlation {alike:.2f})"
        ]
    return [
        f"CAUTION: tiles hardly show the same where they overlap (correlation {alike:.2f}): check their positions,"
        " which may be off by tens of px or more; or there is too little light"
    ]


def _mistakes(mosaic: PlacedMosaic):
    """(what was mistaken, in words, the boxes (n, 4) that the tiles had without it)."""
    sizes = mosaic.boxes[:, 1::2] - mosaic.boxes[:, ::2]
    for exchanged, signs in product((False, True), product((1, -1), repeat=2)):
        words = ["x and y exchanged"] if exchanged else []
        words += [
            f"the sign of {axis} changed"
            for axis, sign in zip("yx", signs, strict=True)
            if sign < 0
        ]
        if words:
            starts = mosaic.boxes[:, ::2][:, :: -1 if exchanged else 1] * np.array(signs)
            starts = starts - starts.min(axis=0)
            yield " and ".join(words), np.stack([starts, starts + sizes], axis=2).reshape(-1, 4)


def _agreement(mosaic: PlacedMosaic, boxes: np.ndarray) -> tuple[float | None, float]:
    """Correlation of the tiles where boxes (n, 4) of y0, y1, x0, x1 overlap, None where none do; and of squares
    with their neighbours there."""
    found = []
    for pairs in _neighbours(boxes):
        sums = np.zeros(5)
        for one, other, (y0, y1, x0, x1) in pairs:
            side = int(np.clip(min(y1 - y0, x1 - x0) // 8, 1, BIN_PX))
            parts = []
            for number in (one, other):
                top, left = boxes[number, ::2].tolist()
                window = y0 - top, y1 - top, x0 - left, x1 - left
                parts.append(_levelled(mosaic.read_tile(number, window), side))
            sums += [*_likest(*parts), *sum(map(_structure, parts))]
        if pairs:
            found.append(sums)
    if not found:
        return None, 0.0
    correlations = [_ratio(both, np.sqrt(one * other)) for both, one, other, *_ in found]
    return min(correlations), _ratio(*np.sum(found, axis=0)[3:])


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else 0.0


def _neighbours(boxes: np.ndarray) -> tuple[list, list]:
    """Neighbours in x and in y, (tile, tile, the window that they share), spread over the mosaic."""
    found: tuple[list, list] = [], []
    for number, (y0, y1, x0, x1) in enumerate(boxes[:-1].tolist()):
        later = boxes[number + 1 :]
        tops, lefts = np.maximum(later[:, 0], y0), np.maximum(later[:, 2], x0)
        high, wide = np.minimum(later[:, 1], y1) - tops, np.minimum(later[:, 3], x1) - lefts
        # Tiles that share a corner alone show too little.
        along_y, along_x = high / (y1 - y0), wide / (x1 - x0)
        shared = (np.minimum(high, wide) >= LEAST_PX) & (np.maximum(along_y, along_x) >= 0.5)
        for k in np.flatnonzero(shared).tolist():
            window = tops[k], tops[k] + min(high[k], LARGEST_PX)
            window += lefts[k], lefts[k] + min(wide[k], LARGEST_PX)
            found[int(along_x[k] > along_y[k])].append(
                (number, number + 1 + k, [int(edge) for edge in window])
            )
    return tuple(
        [pairs[k] for k in sorted({*np.linspace(0, len(pairs) - 1, PAIRS).astype(int)})]
        if pairs
        else []
        for pairs in found
    )


def _levelled(pixels: np.ndarray, side: int) -> np.ndarray:
    """Means of squares of a part of a tile, less a surface of second order: uneven light is no likeness."""
    finite = np.isfinite(pixels)
    filled = np.where(finite, pixels, pixels[finite].mean() if finite.any() else 0)
    filled = ndimage.median_filter(filled, 3)  # a camera's hot pixels lie in all tiles
    rows, columns = (length // side for length in filled.shape)
    whole = filled[: rows * side, : columns * side].astype(np.float64)
    means = whole.reshape(rows, side, columns, side).mean(axis=(1, 3))
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    surface = np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], axis=2).reshape(-1, 6)
    fitted = surface @ np.linalg.lstsq(surface, means.ravel(), rcond=None)[0]
    return means - fitted.reshape(means.shape)


def _likest(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Sums of products and of both squares, for the shift at which two parts correlate best."""
    found = []
    for dy, dx in product(range(-SHIFTS, SHIFTS + 1), repeat=2):
        a = one[max(dy, 0) : len(one) + min(dy, 0), max(dx, 0) : one.shape[1] + min(dx, 0)]
        b = other[max(-dy, 0) : len(one) - max(dy, 0), max(-dx, 0) : one.shape[1] - max(dx, 0)]
        found.append(((a * b).sum(), (a * a).sum(), (b * b).sum()))
    return max(found, key=lambda sums: _ratio(sums[0], np.sqrt(sums[1] * sums[2])))


def _structure(part: np.ndarray) -> np.ndarray:
    """Sums of products of neighbouring squares, and of their mean squares."""
    sums = np.zeros(2)
    for whole in (part, part.T):
        a, b = whole[1:], whole[:-1]
        sums += (a * b).sum(), (a * a + b * b).sum() / 2
    return sums
