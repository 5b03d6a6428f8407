"""Statistics of a mosaic in one pass: extremes, mean, percentiles, bad and saturated pixels.

Memory is bounded: one window of about block_px^2 px and two histograms of at most 32 MiB each.
"""

import numpy as np

from isoplan.mosaic.window import Picture

# Float histograms bin by the leading bits of a float32 (sign, exponent, 13 bits of mantissa). The
# relative width of a bin is 2^-13, and integers up to 2^14 have a bin each.
_KEPT_BITS = 22
_DROPPED_BITS = 32 - _KEPT_BITS
_PERCENTILES = {"p01": 0.01, "p50": 0.5, "p999": 0.999}
SATURATED_SHARE = 1e-4
# The darkest parts are found from means of squares, which have an eighth of a pixel's noise.
DARK_PX, DARK_SHARE = 8, 0.01
# A dead, weak or hot line of a camera: nearly all its pixels lie on the same side of the mean of both
# neighbouring lines, and the difference is a good part of the light there.
LINE_SIDED, LINE_SHARE, LEAST_LINE_PX, MOST_LINES = 0.9, 0.2, 64, 20
RIM = 8  # px at the border where lines are not judged


def _levels(values: np.ndarray) -> np.ndarray:
    """Order-preserving integer level of each float32; the bits of negative numbers are flipped."""
    bits = (values + np.float32(0)).view(np.uint32)  # adding 0 turns -0 into 0
    ordered = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
    return ordered >> _DROPPED_BITS


def _value_of_level(level: int) -> float:
    """The value of smallest magnitude in a level."""
    ordered = np.uint32(level << _DROPPED_BITS)
    if ordered >> 31 == 1:
        bits = ordered & np.uint32(0x7FFFFFFF)
    else:
        bits = ~(ordered | np.uint32((1 << _DROPPED_BITS) - 1))
    return float(np.array(bits, np.uint32).view(np.float32))


class _Histogram:
    """Histogram: exact for integers of 8 and 16 bits, else with a relative resolution of 2^-13."""

    def __init__(self, dtype: np.dtype, exact: bool):
        self.lowest = np.iinfo(dtype).min if exact else None
        size = 2 ** (8 * dtype.itemsize) if exact else 2**_KEPT_BITS
        self.counts = np.zeros(size, np.int64)

    def add(self, values: np.ndarray) -> None:
        if self.lowest is None:
            levels = _levels(values)
        else:
            levels = values.astype(np.int64) - self.lowest
        found = np.bincount(levels)
        self.counts[: found.size] += found

    def percentile(self, share: float) -> float:
        """The smallest value that at least this share of the pixels does not exceed."""
        reached = np.cumsum(self.counts)
        level = int(np.searchsorted(reached, share * reached[-1]))
        return _value_of_level(level) if self.lowest is None else float(level + self.lowest)

    def piled_up(self) -> int:
        """Number of pixels at the highest value, if more than at the next lower one; else 0."""
        occupied = np.flatnonzero(self.counts)
        top, below = self.counts[occupied[-1]], self.counts[occupied[-2]]
        return int(top) if top > below else 0


class _LineDifferences:
    """For each line along one axis, its difference from the mean of its two neighbours."""

    def __init__(self, count: int):
        self.pixels, self.sided = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.difference, self.light = np.zeros(count), np.zeros(count)

    def add(self, first: int, block: np.ndarray, offset: float) -> None:
        """Add a block (lines, pixels) that starts at line `first`."""
        beside = (block[:-2] + block[2:]) / 2
        difference = block[1:-1] - beside
        known = np.isfinite(difference)
        place = slice(first + 1, first + len(block) - 1)
        self.pixels[place] += known.sum(axis=1)
        self.sided[place] += np.where(known, np.sign(difference), 0).sum(axis=1).astype(np.int64)
        self.difference[place] += np.where(known, difference, 0).sum(axis=1, dtype=np.float64)
        self.light[place] += np.where(known, np.abs(beside - offset), 0).sum(
            axis=1, dtype=np.float64
        )

    def found(self) -> list[int]:
        """Bad lines; of adjacent ones, only the one that differs most."""
        enough = self.pixels >= LEAST_LINE_PX
        share = np.abs(self.difference) / np.maximum(self.light, 1e-9)
        bad = enough & (np.abs(self.sided) >= LINE_SIDED * self.pixels) & (share >= LINE_SHARE)
        # The border of a picture is often dark, and it rings if the picture was deconvolved.
        bad[:RIM], bad[-RIM:] = False, False
        near = np.pad(np.where(bad, np.abs(self.difference), 0), 1)
        highest = np.maximum(near[:-2], near[2:])
        return np.flatnonzero(bad & (near[1:-1] >= highest)).tolist()


@np.errstate(invalid="ignore")  # of infinite pixels
def measure(mosaic: Picture, block_px: int = 1024, *, offset: float = 0.0) -> dict:
    """Statistics of a mosaic's finite pixels, in the units of its file.

    Parameters
    ----------
    mosaic
        The picture to read.
    block_px
        Side of the windows that are read, in px.
    offset
        Offset of the camera, in counts.

    Returns
    -------
    dict
        - height_px, width_px, dtype,
        - minimum, maximum, mean,
        - p01, p50, p999: 1st, 50th and 99.9th percentile, exact for integers of 8 and 16 bits, else
          to a relative 2^-13,
        - dark: 1st percentile of the means of 8 x 8 px squares, to a relative 2^-13,
        - below_offset: share of the pixels that lie below the offset by more than noise,
        - bad_rows, bad_columns: at most MOST_LINES lines that differ from both neighbours along
          their length, as dead lines of a camera do; empty for a mosaic of tiles, where every tile
          has its own lines,
        - nonfinite_pixels, uncovered_pixels (where no tile is),
        - saturated_pixels, saturation: the value from which pixels count as saturated, None if none do,
        - constant: whether all pixels are equal.

        If no pixel is finite, the statistics are None and `constant` is True. `dark` is also None if
        no square is finite throughout.

    Raises
    ------
    UserError
        If the file is damaged.

    Notes
    -----
    Only integer data can be saturated. Pixels at the maximum of the type count as saturated. For
    cameras of fewer bits, pixels at the observed maximum do too, if they are more than 0.01 % of all
    pixels and more than those at the next lower value. (A dim picture has many pixels at its maximum,
    but even more just below.) A constant picture is saturated only at the maximum of its type.
    """
    height, width = mosaic.shape
    integer = mosaic.dtype.kind in "ui"
    exact = integer and mosaic.dtype.itemsize <= 2 and not mosaic.luminance
    top = np.iinfo(mosaic.dtype).max - 0.5 if integer else np.inf
    histogram, squares = _Histogram(mosaic.dtype, exact), _Histogram(np.dtype("float32"), False)
    low, high, total, finite_pixels, saturated, uncovered = np.inf, -np.inf, 0.0, 0, 0, 0
    below, floor = 0, _lowest_by_noise(mosaic.middle(), offset, rounded=integer)
    lines = [_LineDifferences(length) for length in (height, width)]
    for y0, y1, x0, x1 in mosaic.windows(block_px):
        block = mosaic.read(y0, y1, x0, x1)
        covered = mosaic.covered(y0, y1, x0, x1)
        uncovered += 0 if covered is None else int(covered.size - covered.sum())
        values = block[np.isfinite(block)]
        if not values.size:
            continue
        finite_pixels += values.size
        for axis, first, along in ((0, y0, block), (1, x0, block.T)):
            if len(along) > 2:  # every fourth pixel of a long line is enough
                lines[axis].add(first, along[:, :: 4 if along.shape[1] >= 512 else 1], offset)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        total += float(values.sum(dtype=np.float64))
        saturated += int(np.count_nonzero(values > top))
        histogram.add(values)
        below += int(np.count_nonzero(values < floor))
        means = _squares(block).mean((1, 3), dtype=np.float32)  # not finite if one pixel is not
        squares.add(means[np.isfinite(means)])

    result: dict = {"height_px": height, "width_px": width, "dtype": mosaic.dtype.name}
    if finite_pixels:
        result |= {"minimum": low, "maximum": high, "mean": total / finite_pixels}
        for name, share in _PERCENTILES.items():
            result[name] = min(max(histogram.percentile(share), low), high)
        dark = squares.percentile(DARK_SHARE) if squares.counts.any() else None
        result["dark"] = dark if dark is None else min(max(dark, low), high)
        result["below_offset"] = below / finite_pixels
    else:
        result |= dict.fromkeys(
            ("minimum", "maximum", "mean", *_PERCENTILES, "dark", "below_offset")
        )
    constant = not low < high
    for name, found in zip(("bad_rows", "bad_columns"), lines, strict=True):
        result[name] = [] if mosaic.gaps else found.found()[:MOST_LINES]
    saturation = float(np.iinfo(mosaic.dtype).max) if saturated else None
    if integer and not constant and not mosaic.luminance and saturated == 0:
        piled = histogram.piled_up()
        if piled > SATURATED_SHARE * height * width:
            saturated, saturation = piled, high
    return result | {
        "nonfinite_pixels": height * width - finite_pixels - uncovered,
        "uncovered_pixels": uncovered,
        "saturated_pixels": saturated,
        "saturation": saturation,
        "constant": constant,
    }


def _squares(block: np.ndarray) -> np.ndarray:
    """The block cut into whole squares of DARK_PX, which lie along axes 1 and 3."""
    rows, columns = (length // DARK_PX for length in block.shape)
    whole = block[: rows * DARK_PX, : columns * DARK_PX]
    return whole.reshape(rows, DARK_PX, columns, DARK_PX)


def _lowest_by_noise(picture: np.ndarray, offset: float, *, rounded: bool) -> float:
    """The lowest value that noise explains: 4 standard deviations, but at least a count, below the offset.

    The deviation is the first quartile over squares of a part of the picture; squares below the offset
    are preferred. rounded: whether values are whole counts.
    """
    squares = _squares(np.where(np.isfinite(picture), picture, np.nan).astype(np.float64))
    means, deviations = squares.mean((1, 3)), squares.std((1, 3))
    noisy = deviations > 0  # False of NaN
    below = noisy & (means < offset)
    deviations = deviations[below if below.any() else noisy]
    deviation = float(np.percentile(deviations, 25)) if deviations.size else 0.0
    return offset - max(4 * deviation, 1.0 if rounded else 0.0)


def describe_facts(facts: dict) -> list[str]:
    """Messages for the log about pixels that cannot be used, from the facts of `measure`."""
    words, pixels = [], facts["height_px"] * facts["width_px"]
    if facts["nonfinite_pixels"]:
        words.append(f"{facts['nonfinite_pixels']} pixels are not finite: invalid cells")
    if facts["saturated_pixels"]:
        words.append(
            f"{facts['saturated_pixels']} pixels are saturated: their true brightness is not known, and the restoration "
            "may be far too bright there and beside them"
        )
    if facts["uncovered_pixels"]:
        words.append(
            f"{100 * facts['uncovered_pixels'] / pixels:.2g} % of the picture is covered by no tile"
        )
    for name in ("rows", "columns"):
        if found := facts.get(f"bad_{name}"):
            few = ", ".join(map(str, found[:5])) + (" and more" if len(found) > 5 else "")
            words.append(
                f"CAUTION: {name} {few} differ from those beside them along their length, as dead or weak lines of a camera "
                "do, or ringing, or stitching: PSFs estimated there are wrong. Fill a camera's dead lines from their "
                "neighbours, or write NaN there"
            )
    if facts["constant"]:
        words.append("the picture is constant: no cell is valid, nothing is restored")
    return words
