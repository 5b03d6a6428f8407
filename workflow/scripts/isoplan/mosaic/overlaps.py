"""Whether tiles show the same where they overlap. Positions that were mistaken give themselves away so.

Some overlaps are compared: between neighbours in x and between neighbours in y, as a wrong sign of y leaves
all pairs in x right. The poorer of both correlations counts. One wrong tile among many hardly changes it: each tile is
compared with its own neighbours, too.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy import ndimage

from isoplan.mosaic.placed import PlacedMosaic
from isoplan.mosaic.window import Picture

LOOKED = 200  # along x, and along y, at most
PAIRS = 12  # of these, for positions as a mistake explains them
LEAST_PX, LARGEST_PX = 6, 1024  # of an overlap's sides; of longer ones a part is read
BIN_PX = 8  # means over squares of this side at most are compared,
SHIFTS = 3  # with positions that are off by so many of them
ALIKE = 0.5
UNLIKE = 0.35  # below this a tile and its neighbours disagree,
SURE = 0.6  # where half of the other overlaps reach this
NAMED = 5  # tiles, at most
BETTER, LEAST = 0.2, 0.4  # by which other positions must agree better, and how well, to be named
EQUAL = 0.02  # mistakes whose correlations differ by less explain it equally well
HARDLY = "along {} they hardly overlap, so that"
STRUCTURE = 0.5  # correlation of neighbouring squares from which on there is more than noise


def notes_on_overlaps(picture: Picture) -> list[str]:
    """How well a mosaic's tiles agree where they overlap; CAUTION where they do not, with a table's usual mistake
    where it explains it, and of single tiles that disagree where the others do not. Nothing of other pictures, and
    of tiles that do not overlap in any arrangement.

    Raises UserError where a tile is damaged.
    """
    if not isinstance(picture, PlacedMosaic):
        return []
    pairs = _neighbours(picture.boxes)
    found = tuple(_compared(picture, _spread(one, LOOKED)) for one in pairs)
    looked, count = (sum(map(len, both)) for both in (found, pairs))
    of = f" in {looked} of {count} overlaps" if looked < count else ""
    wrong = _wrong_tiles(found)
    single = [_of_single(picture, *one) for one in list(wrong.items())[:NAMED]]
    if len(wrong) > NAMED:
        single.append(f"CAUTION: {len(wrong) - NAMED} other tiles do not show the same as theirs")
    alike, structure = _agreement(found)
    if wrong:
        left = tuple([pair for pair in one if not wrong.keys() & {*pair.tiles}] for one in found)
        others = _agreement(left)[0]
        if others is not None and others >= ALIKE:
            words = (
                f"the other tiles show the same where they overlap (correlation {others:.2f}){of}"
            )
            return [*single, words + _shifted(left) + _unshown(picture.boxes)]
    if alike is not None and alike >= ALIKE:
        words = f"tiles show the same where they overlap (correlation {alike:.2f}){of}"
        return [words + _shifted(found) + _unshown(picture.boxes)]
    mistakes = [(_of_mistake(picture, boxes), words, boxes) for words, boxes in _mistakes(picture)]
    highest = max(best for best, *_ in mistakes)
    if highest >= max((alike or 0) + BETTER, LEAST):
        # Of those that explain it as well the simplest: where nothing overlaps along an axis, its sign changes nothing.
        equal = [one for one in mistakes if one[0] >= highest - EQUAL]
        best, words, boxes = min(equal, key=lambda one: (len(one[1]), -one[0]))
        told = "tiles do not overlap" if alike is None else f"tiles do not agree ({alike:.2f})"
        return [
            f"CAUTION: {told} where the table puts them; with {' and '.join(words)} they show the same where they"
            f" overlap (correlation {best:.2f}): correct the table"
            + "".join(
                f"; {HARDLY.format(axis)} the sign of {axis} cannot be told"
                for axis in _unseen(boxes)
            )
        ]
    if alike is None:
        return []
    if structure < STRUCTURE:
        return [
            "whether the tiles' positions are right is not known: where they overlap lies little but noise"
            f" (correlation {alike:.2f}){of}"
        ]
    return [
        f"CAUTION: tiles hardly show the same where they overlap (correlation {alike:.2f}){of}: check their"
        " positions, which may be off by tens of px or more; or there is too little light"
    ]


def _wrong_tiles(found: tuple[list["_Pair"], list["_Pair"]]) -> dict[int, list["_Pair"]]:
    """Tiles that disagree with their neighbours, which agree with one another; with the pairs that show it.

    The worst is taken out first, as it makes its neighbours look wrong. A stage's error may spoil one overlap, so that
    two count at least, but of a tile at the end of a row. Empty where more than a quarter of the tiles were wrong,
    and where the others agree only after shifts: one may need a larger shift than is tried.
    """
    held: dict[int, list[_Pair]] = {}
    overlaps: Counter = Counter()
    for pair in [*found[0], *found[1]]:
        overlaps.update(pair.tiles)
        if pair.structured >= STRUCTURE:
            for number in pair.tiles:
                held.setdefault(number, []).append(pair)
    wrong: dict[int, list[_Pair]] = {}
    while True:
        agreement = {
            number: _correlation(np.sum([pair.sums for pair in pairs], axis=0))
            for number, pairs in held.items()
            if len(pairs) >= min(2, overlaps[number])
        }
        worst = min(agreement, key=agreement.get, default=None)
        if worst is None or agreement[worst] >= UNLIKE:
            break
        wrong[worst] = held.pop(worst)
        for pair in wrong[worst]:
            other = sum(pair.tiles) - worst
            held[other] = [one for one in held[other] if one is not pair]
        held = {number: pairs for number, pairs in held.items() if pairs}
    rest = [pair for pairs in held.values() for pair in pairs]
    sure = rest and np.median([pair.alike for pair in rest]) >= SURE and not _shift_px(rest)
    return wrong if sure and len(wrong) <= max(1, len(overlaps) // 4) else {}


def _of_single(mosaic: PlacedMosaic, number: int, pairs: list["_Pair"]) -> str:
    names = [
        Path(mosaic.files[1 + n]).name
        for n in (number, *(sum(p.tiles) - number for p in pairs[:3]))
    ]
    alike = _correlation(np.sum([pair.sums for pair in pairs], axis=0))
    return (
        f"CAUTION: {names[0]} does not show the same as {', '.join(names[1:])} where they overlap (correlation"
        f" {alike:.2f}), though other tiles do: check its position and its file"
    )


def _shift_px(pairs: list["_Pair"]) -> float:
    """How far off tiles agree, by the median, where that is more than one square; else 0."""
    pairs = [pair for pair in pairs if pair.structured >= STRUCTURE and pair.alike >= ALIKE]
    if not pairs or np.median([pair.shift for pair in pairs]) <= 1:
        return 0.0
    return float(np.median([pair.shift_px for pair in pairs]))


def _shifted(found: tuple[list["_Pair"], list["_Pair"]]) -> str:
    px = _shift_px([*found[0], *found[1]])
    words = f", but only after shifts of about {px:.0f} px (median): so far are their positions off"
    return words if px else ""


def _unseen(boxes: np.ndarray) -> list[str]:
    """Axes along which tiles lie apart, and no overlap shows whether in the right order."""
    sides = zip("xy", _neighbours(boxes), (boxes[:, 2:], boxes[:, :2]), strict=True)
    return [
        axis
        for axis, pairs, side in sides
        if not pairs and side[:, 0].max() > side[:, 1].min() - LEAST_PX
    ]


def _unshown(boxes: np.ndarray) -> str:
    return "".join(
        f"; {HARDLY.format(axis)} a mistake there would not show" for axis in _unseen(boxes)
    )


def _of_mistake(mosaic: PlacedMosaic, boxes: np.ndarray) -> float:
    pairs = _neighbours(boxes)
    return _agreement(tuple(_compared(mosaic, _spread(one, PAIRS)) for one in pairs))[0] or 0


def _mistakes(mosaic: PlacedMosaic):
    """(what was mistaken, in words for each slip, the boxes (n, 4) that the tiles had without it)."""
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
            yield words, np.stack([starts, starts + sizes], axis=2).reshape(-1, 4)


@dataclass(frozen=True)
class _Pair:
    """Two tiles compared. sums: of products and of both squares, at the shift (px) at which they correlate
    best; structure: sums of products of neighbouring squares and of their mean squares, of each tile."""

    tiles: tuple[int, int]
    squares: int
    sums: np.ndarray
    shift_px: int
    shift: int
    structure: np.ndarray

    @property
    def alike(self) -> float:
        return _correlation(self.sums)

    @property
    def structured(self) -> float:
        return min(_ratio(*part) for part in self.structure)


def _compared(mosaic: PlacedMosaic, pairs: list) -> list[_Pair]:
    """Neighbours of one axis of `_neighbours`, with what they show."""
    found = []
    for one, other, boxes, (y0, y1, x0, x1) in pairs:
        side = int(np.clip(min(y1 - y0, x1 - x0) // 8, 1, BIN_PX))
        parts = []
        for number, (top, left) in zip((one, other), boxes, strict=True):
            window = y0 - top, y1 - top, x0 - left, x1 - left
            parts.append(_levelled(mosaic.read_tile(number, window), side))
        sums, shift = _likest(*parts)
        structure = np.array([_structure(part) for part in parts])
        found.append(_Pair((one, other), parts[0].size, sums, side * shift, shift, structure))
    return found


def _agreement(found: tuple[list[_Pair], list[_Pair]]) -> tuple[float | None, float]:
    """The poorer correlation of tiles beside each other in x and in y, None where none are; and of squares with
    their neighbours there."""
    held = [pairs for pairs in found if pairs]
    if not held:
        return None, 0.0
    alike = min(_correlation(np.sum([pair.sums for pair in pairs], axis=0)) for pairs in held)
    structure = np.sum([pair.structure.sum(axis=0) for pairs in held for pair in pairs], axis=0)
    return alike, _ratio(*structure)


def _correlation(sums: np.ndarray) -> float:
    both, one, other = sums
    return _ratio(both, np.sqrt(one * other))


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else 0.0


def _neighbours(boxes: np.ndarray) -> tuple[list, list]:
    """Neighbours in x and in y, (tile, tile, where both begin, the window that they share)."""
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
            starts = (y0, x0), tuple(later[k, ::2].tolist())
            found[int(along_x[k] > along_y[k])].append(
                (number, number + 1 + k, starts, [int(edge) for edge in window])
            )
    return found


def _spread(pairs: list, most: int) -> list:
    """So many of them at most, from first to last."""
    return [
        pairs[k]
        for k in np.unique(np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int))
    ]


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


def _likest(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, int]:
    """Sums of products and of both squares, for the shift at which two parts correlate best, and that shift."""
    found = []
    for dy, dx in product(range(-SHIFTS, SHIFTS + 1), repeat=2):
        a = one[max(dy, 0) : len(one) + min(dy, 0), max(dx, 0) : one.shape[1] + min(dx, 0)]
        b = other[max(-dy, 0) : len(one) - max(dy, 0), max(-dx, 0) : one.shape[1] - max(dx, 0)]
        sums = np.array([(a * b).sum(), (a * a).sum(), (b * b).sum()])
        found.append((sums, max(abs(dy), abs(dx))))
    return max(found, key=lambda one: _correlation(one[0]))


def _structure(part: np.ndarray) -> np.ndarray:
    """Sums of products of neighbouring squares, and of their mean squares."""
    sums = np.zeros(2)
    for whole in (part, part.T):
        a, b = whole[1:], whole[:-1]
        sums += (a * b).sum(), (a * a + b * b).sum() / 2
    return sums
