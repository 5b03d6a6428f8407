"""Checks whether tiles show the same where they overlap, which reveals wrong positions.

A sample of overlaps is compared, separately for neighbours in x and in y, since a wrong sign of y
leaves all pairs in x correct. The lower of both correlations counts. A single wrong tile among many
hardly changes it, so each tile is also compared with its own neighbours.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy import ndimage

from isoplan.mosaic.placed import PlacedMosaic
from isoplan.mosaic.window import Picture

MOST_COMPARED = 200  # overlaps along each axis
PAIRS = 12  # overlaps along each axis, to test one possible mistake in the table
LEAST_PX, LARGEST_PX = 6, 1024  # sides of an overlap; of longer ones, only a part is read
BIN_PX = 8  # means over squares of at most this side are compared,
SHIFTS = 3  # at shifts of up to this many squares
AGREE = 0.5  # correlation from which tiles show the same
DISAGREE = 0.35  # correlation below which a tile and its neighbours disagree,
SURE = 0.6  # provided that the median of the other overlaps reaches this
NAMED = 5  # wrong tiles that are named at most
# A mistake is reported if it raises the correlation by BETTER, to at least LEAST_AGREEMENT.
BETTER, LEAST_AGREEMENT = 0.2, 0.4
EQUAL = 0.02  # mistakes whose correlations differ by less are equally good explanations
HARDLY_OVERLAP = "along {} they hardly overlap, so that"
STRUCTURE = 0.5  # correlation of neighbouring squares from which there is more than noise


def notes_on_overlaps(picture: Picture) -> list[str]:
    """Describe how well a mosaic's tiles agree where they overlap.

    Returns
    -------
    list of str
        Notes for the log. A note begins with CAUTION if tiles disagree, and names the usual mistake in
        a table (exchanged axes, a wrong sign) if that explains it. Single tiles that disagree while
        the others agree are named. Empty for pictures that are not made of tiles, and if tiles overlap
        in no arrangement.

    Raises
    ------
    UserError
        If a tile is damaged.
    """
    if not isinstance(picture, PlacedMosaic):
        return []
    pairs = _neighbours(picture.boxes)
    found = tuple(_compare(picture, _evenly_spaced(one, MOST_COMPARED)) for one in pairs)
    looked, count = (sum(map(len, both)) for both in (found, pairs))
    of = f" in {looked} of {count} overlaps" if looked < count else ""
    wrong = _wrong_tiles(found)
    single = [_single_tile_note(picture, *one) for one in list(wrong.items())[:NAMED]]
    if len(wrong) > NAMED:
        single.append(f"CAUTION: {len(wrong) - NAMED} other tiles do not show the same as theirs")
    correlation, structure = _agreement(found)
    if wrong:
        left = tuple([pair for pair in one if not wrong.keys() & {*pair.tiles}] for one in found)
        others = _agreement(left)[0]
        if others is not None and others >= AGREE:
            words = (
                f"the other tiles show the same where they overlap (correlation {others:.2f}){of}"
            )
            return [*single, words + _shift_note(left) + _blind_axes_note(picture.boxes)]
    if correlation is not None and correlation >= AGREE:
        words = f"tiles show the same where they overlap (correlation {correlation:.2f}){of}"
        return [words + _shift_note(found) + _blind_axes_note(picture.boxes)]
    mistakes = [
        (_agreement_of_boxes(picture, boxes), words, boxes)
        for words, boxes in _usual_mistakes(picture)
    ]
    highest = max(best for best, *_ in mistakes)
    if highest >= max((correlation or 0) + BETTER, LEAST_AGREEMENT):
        # Take the simplest of equally good explanations. The sign of an axis without overlaps, for
        # example, changes nothing.
        equal = [one for one in mistakes if one[0] >= highest - EQUAL]
        best, words, boxes = min(equal, key=lambda one: (len(one[1]), -one[0]))
        told = (
            "tiles do not overlap"
            if correlation is None
            else f"tiles do not agree ({correlation:.2f})"
        )
        return [
            f"CAUTION: {told} where the table puts them; with {' and '.join(words)} they show the same where they"
            f" overlap (correlation {best:.2f}): correct the table"
            + "".join(
                f"; {HARDLY_OVERLAP.format(axis)} the sign of {axis} cannot be told"
                for axis in _axes_without_overlap(boxes)
            )
        ]
    if correlation is None:
        return []
    if structure < STRUCTURE:
        return [
            "whether the tiles' positions are right is not known: their overlaps show little but noise"
            f" (correlation {correlation:.2f}){of}"
        ]
    return [
        f"CAUTION: tiles hardly show the same where they overlap (correlation {correlation:.2f}){of}: check their"
        " positions, which may be off by tens of px or more; or there is too little light"
    ]


def _wrong_tiles(found: tuple[list["_Pair"], list["_Pair"]]) -> dict[int, list["_Pair"]]:
    """Tiles that disagree with their neighbours while the others agree, each with the pairs that show it.

    The worst tile is taken out first, as it makes its neighbours look wrong. A stage error may spoil
    one overlap, so a tile needs at least two (unless it has only one). The result is empty if more than
    a quarter of the tiles would be wrong, or if the others agree only when shifted, since a tile may then
    need a larger shift than those that are tried.
    """
    held: dict[int, list[_Pair]] = {}
    overlaps: Counter = Counter()
    for pair in [*found[0], *found[1]]:
        overlaps.update(pair.tiles)
        if pair.structure_correlation >= STRUCTURE:
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
        if worst is None or agreement[worst] >= DISAGREE:
            break
        wrong[worst] = held.pop(worst)
        for pair in wrong[worst]:
            other = sum(pair.tiles) - worst
            held[other] = [one for one in held[other] if one is not pair]
        held = {number: pairs for number, pairs in held.items() if pairs}
    rest = [pair for pairs in held.values() for pair in pairs]
    sure = rest and np.median([pair.correlation for pair in rest]) >= SURE and not _shift_px(rest)
    return wrong if sure and len(wrong) <= max(1, len(overlaps) // 4) else {}


def _single_tile_note(mosaic: PlacedMosaic, number: int, pairs: list["_Pair"]) -> str:
    names = [
        Path(mosaic.files[1 + n]).name
        for n in (number, *(sum(p.tiles) - number for p in pairs[:3]))
    ]
    correlation = _correlation(np.sum([pair.sums for pair in pairs], axis=0))
    return (
        f"CAUTION: {names[0]} does not show the same as {', '.join(names[1:])} where they overlap (correlation"
        f" {correlation:.2f}), though other tiles do: check its position and its file"
    )


def _shift_px(pairs: list["_Pair"]) -> float:
    """Median shift (px) at which tiles agree, if it is more than one square; else 0."""
    pairs = [
        pair
        for pair in pairs
        if pair.structure_correlation >= STRUCTURE and pair.correlation >= AGREE
    ]
    if not pairs or np.median([pair.shift for pair in pairs]) <= 1:
        return 0.0
    return float(np.median([pair.shift_px for pair in pairs]))


def _shift_note(found: tuple[list["_Pair"], list["_Pair"]]) -> str:
    px = _shift_px([*found[0], *found[1]])
    words = f", but only after shifts of about {px:.0f} px (median): so far are their positions off"
    return words if px else ""


def _axes_without_overlap(boxes: np.ndarray) -> list[str]:
    """Axes along which tiles differ in position but do not overlap, so that their order is unchecked."""
    sides = zip("xy", _neighbours(boxes), (boxes[:, 2:], boxes[:, :2]), strict=True)
    return [
        axis
        for axis, pairs, side in sides
        if not pairs and side[:, 0].max() > side[:, 1].min() - LEAST_PX
    ]


def _blind_axes_note(boxes: np.ndarray) -> str:
    return "".join(
        f"; {HARDLY_OVERLAP.format(axis)} a mistake there would not show"
        for axis in _axes_without_overlap(boxes)
    )


def _agreement_of_boxes(mosaic: PlacedMosaic, boxes: np.ndarray) -> float:
    pairs = _neighbours(boxes)
    return _agreement(tuple(_compare(mosaic, _evenly_spaced(one, PAIRS)) for one in pairs))[0] or 0


def _usual_mistakes(mosaic: PlacedMosaic):
    """Usual mistakes in tables: (a list of their names, the boxes (n, 4) of the tiles without them)."""
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
    """Two tiles compared where they overlap.

    tiles: their numbers. squares: how many squares were compared. sums: sum of products and sums of
    both squares, at the best shift. shift_px, shift: that shift in px and in squares. structure
    (2, 2): per tile, sums of products of neighbouring squares and of their mean squares.
    """

    tiles: tuple[int, int]
    squares: int
    sums: np.ndarray
    shift_px: int
    shift: int
    structure: np.ndarray

    @property
    def correlation(self) -> float:
        return _correlation(self.sums)

    @property
    def structure_correlation(self) -> float:
        return min(_ratio(*part) for part in self.structure)


def _compare(mosaic: PlacedMosaic, pairs: list) -> list[_Pair]:
    """Compare neighbours along one axis, as `_neighbours` returns them."""
    found = []
    for one, other, boxes, (y0, y1, x0, x1) in pairs:
        side = int(np.clip(min(y1 - y0, x1 - x0) // 8, 1, BIN_PX))
        parts = []
        for number, (top, left) in zip((one, other), boxes, strict=True):
            window = y0 - top, y1 - top, x0 - left, x1 - left
            parts.append(_detrended(mosaic.read_tile(number, window), side))
        sums, shift = _best_shift(*parts)
        structure = np.array([_structure(part) for part in parts])
        found.append(_Pair((one, other), parts[0].size, sums, side * shift, shift, structure))
    return found


def _agreement(found: tuple[list[_Pair], list[_Pair]]) -> tuple[float | None, float]:
    """The lower of the tiles' correlations in x and in y (None without overlaps), and that of
    neighbouring squares."""
    held = [pairs for pairs in found if pairs]
    if not held:
        return None, 0.0
    correlation = min(_correlation(np.sum([pair.sums for pair in pairs], axis=0)) for pairs in held)
    structure = np.sum([pair.structure.sum(axis=0) for pairs in held for pair in pairs], axis=0)
    return correlation, _ratio(*structure)


def _correlation(sums: np.ndarray) -> float:
    both, one, other = sums
    return _ratio(both, np.sqrt(one * other))


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else 0.0


def _neighbours(boxes: np.ndarray) -> tuple[list, list]:
    """Neighbours in x and in y: (tile, tile, first pixels of both, the window that they share)."""
    found: tuple[list, list] = [], []
    for number, (y0, y1, x0, x1) in enumerate(boxes[:-1].tolist()):
        later = boxes[number + 1 :]
        tops, lefts = np.maximum(later[:, 0], y0), np.maximum(later[:, 2], x0)
        high, wide = np.minimum(later[:, 1], y1) - tops, np.minimum(later[:, 3], x1) - lefts
        # Tiles that share only a corner have too little in common.
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


def _evenly_spaced(pairs: list, most: int) -> list:
    """At most `most` pairs, evenly spaced from the first to the last."""
    return [
        pairs[k]
        for k in np.unique(np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int))
    ]


def _detrended(pixels: np.ndarray, side: int) -> np.ndarray:
    """Means over squares of a part of a tile, minus a quadratic surface.

    Without that, uneven illumination would make any two tiles correlate.
    """
    finite = np.isfinite(pixels)
    filled = np.where(finite, pixels, pixels[finite].mean() if finite.any() else 0)
    filled = ndimage.median_filter(filled, 3)  # hot pixels are the same in all tiles
    rows, columns = (length // side for length in filled.shape)
    whole = filled[: rows * side, : columns * side].astype(np.float64)
    means = whole.reshape(rows, side, columns, side).mean(axis=(1, 3))
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    surface = np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], axis=2).reshape(-1, 6)
    fitted = surface @ np.linalg.lstsq(surface, means.ravel(), rcond=None)[0]
    return means - fitted.reshape(means.shape)


def _best_shift(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, int]:
    """Sum of products and sums of both squares at the shift of best correlation, and that shift."""
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
