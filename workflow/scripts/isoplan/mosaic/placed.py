"""A mosaic of unstitched tiles, placed at their listed positions without blending or registration.

Where tiles overlap, each pixel comes from the tile whose centre is nearest, or from the first in the
table if two are equally near. This depends only on positions and sizes, so every window sees the same
mosaic. Pixels that no tile covers are NaN. Brightness, focus and registration may jump at a seam, so a
PSF estimated across it would be meaningless: `seamless` gives each window pixels of one tile only.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic import slices
from isoplan.mosaic.positions import Positions
from isoplan.mosaic.table import SLICES
from isoplan.mosaic.window import Picture

OPEN_TILES = 64
OPEN_BYTES = 2**27  # pixels of open tiles that are held in memory
# If tiles cover less than a thousandth of the area that they span, a position is wrong.
LEAST_COVERED = 1e-3
MOST_NOTES = 20  # different notes of tiles
MOST_COVERED = 3  # mean number of tiles per pixel; 3 means an overlap of 42 % along both axes


def _equal(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0.02)
    return one == other


def _in_units(fact: object) -> str:
    return f"{fact:g} um" if isinstance(fact, float) else str(fact)


@dataclass(frozen=True)
class _SheetView:
    """Reads the tiles of one sheet, which do not overlap, as a picture with NaN between them."""

    mosaic: "PlacedMosaic"
    sheet: int

    def __call__(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        block = np.full((y1 - y0, x1 - x0), np.nan, np.float32)
        for number in self.mosaic.tiles_in(y0, y1, x0, x1):
            if self.mosaic.sheets[number] == self.sheet:
                inner, own = self.mosaic.overlap(number, y0, y1, x0, x1)
                block[inner] = self.mosaic.read_tile(number, own)
        return block


class PlacedMosaic(Picture):
    """Tiles at listed positions, read by window like any picture. Use `open_mosaic` to open one.

    A read opens the tiles that it needs. Up to 64 stay open, fewer if their pixels are held in memory.

    Attributes
    ----------
    boxes
        (n, 4): y0, y1, x0, x1 of every tile, in px of the mosaic.
    sheets
        (n,): a number per tile, such that tiles with the same number do not overlap. A grid needs four.
    """

    gaps = True

    def __init__(
        self,
        positions: Positions,
        open_tile: Callable[[str, int | None, int], Picture],
        channel: int | None,
        slice_index: int | str | None,
    ):
        """Open and compare all tiles.

        Parameters
        ----------
        positions
            The table of positions.
        open_tile
            Function (path, channel, slice) that opens one tile.
        channel, slice_index
            As in `open_mosaic`.

        Raises
        ------
        UserError
            If a tile cannot be read, if tiles differ in type, channels or slices, or if they cover
            less than a thousandth of the area that they span.
        """
        self.path = positions.table
        self.files = [positions.table, *positions.tiles]
        self.notes = list(positions.notes)
        self._tiles, self._open_tile = positions.tiles, open_tile
        self._channel, self.slice = channel, slice_index
        self._open: OrderedDict[int, Picture] = OrderedDict()
        places = np.array([positions.y_px, positions.x_px])
        rounded = np.rint(places).astype(np.int64)
        sizes, self.dtype = self._check_tiles()
        starts = rounded - rounded.min(axis=1, keepdims=True)
        stops = starts + sizes
        self.boxes = np.stack([starts[0], stops[0], starts[1], stops[1]], axis=1)
        self.shape = int(stops[0].max()), int(stops[1].max())
        self._check_distinct_positions(rounded.T.tolist())
        self._check_extent()
        if moved := np.abs(places - rounded).max():
            self.notes.append(f"positions are rounded to whole px, by at most {moved:.2f} px")
        self.sheets = self._sort_into_sheets()
        self._centres = (
            self.boxes[:, ::2] + self.boxes[:, 1::2] - 1
        )  # twice the centre, whole numbers
        self._choose_slice()

    def _check_tiles(self) -> tuple[np.ndarray, np.dtype]:
        """Heights and widths (2, n) in px, and the data type that all tiles share."""
        sizes, first, notes = [], {}, {}
        first_slice = self.slice if isinstance(self.slice, int) else 0
        self.optics = {}
        for path in self._tiles:
            with self._open_tile(path, self._channel, first_slice) as tile:
                facts = {
                    "type": tile.dtype.name,
                    "channels": tile.channels or 1,
                    "slices": tile.slices,
                    "colours": "RGB" if tile.luminance else "grey",
                    **tile.meaning,
                    # A tile may not state it; the others are compared with the first that does.
                    "pixel size": tile.optics.get("pixel_size_um"),
                }
                for what, value in facts.items():
                    if value is None:
                        continue
                    told, other = first.setdefault(what, (value, path))
                    if not _equal(value, told):
                        raise UserError(
                            f"{self.path}: tiles differ: {other} has {what} {_in_units(told)},"
                            f" {path} {_in_units(value)}; save them alike"
                        )
                if not sizes:
                    self.slices, self.channels = tile.slices, tile.channels
                    self.stack = tile.stack
                    self.luminance = tile.luminance
                self.optics = tile.optics | self.optics
                # The slice is chosen for the whole mosaic, so its note is not the tile's own.
                for note in tile.notes:
                    if not note.startswith(slices.UNITS):
                        notes.setdefault(note, []).append(Path(path).name)
                sizes.append(tile.shape)
                dtype = tile.dtype
        self.notes += self._tile_notes(notes)
        return np.array(sizes, np.int64).T, dtype

    def _tile_notes(self, notes: dict[str, list[str]]) -> list[str]:
        """Each note once, with the tiles that it is about unless it is about all; at most MOST_NOTES."""
        found = []
        for note, names in list(notes.items())[:MOST_NOTES]:
            if len(names) < len(self._tiles):
                more = len(names) - 1
                of = f"{names[0]} and {more} more of {len(self._tiles)} tiles" if more else names[0]
                note += f" ({of})"
            found.append(note)
        if len(notes) > MOST_NOTES:
            found.append(
                f"CAUTION: there are {len(notes) - MOST_NOTES} more notes on tiles: look at their files"
            )
        return found

    def _check_distinct_positions(self, places: list[list[int]]) -> None:
        """Refuse two tiles at the same position, as the second would never be visible."""
        first: dict[tuple, int] = {}
        for number, place in enumerate(map(tuple, places)):
            other = first.setdefault(place, number)
            if other != number:
                raise UserError(
                    f"{self.path}: {Path(self._tiles[other]).name} and {Path(self._tiles[number]).name} lie at the same"
                    " position, to a pixel; keep one, or give positions in px"
                )

    def _check_extent(self) -> None:
        heights, widths = self.boxes[:, 1] - self.boxes[:, 0], self.boxes[:, 3] - self.boxes[:, 2]
        share = float((heights * widths).sum()) / (float(self.shape[0]) * self.shape[1])
        if share < LEAST_COVERED:
            middle = np.median(self.boxes[:, ::2], axis=0)
            far = int(np.abs(self.boxes[:, ::2] - middle).max(axis=1).argmax())
            raise UserError(
                f"{self.path}: the tiles cover only {100 * share:.1g} % of the {self.shape[0]} x"
                f" {self.shape[1]} px that their positions span; {Path(self._tiles[far]).name} lies"
                " farthest off. Correct its position, or list distant groups as mosaics of their own"
            )
        if share > MOST_COVERED:
            self.notes.append(
                f"CAUTION: the tiles overlap so much that a pixel lies in {share:.2g} of them on average; check that"
                " their positions are in px"
            )

    def _sort_into_sheets(self) -> np.ndarray:
        """For each tile the lowest number that no earlier, overlapping tile has."""
        sheets = np.zeros(len(self.boxes), np.int64)
        for number, (y0, y1, x0, x1) in enumerate(self.boxes):
            taken = set(sheets[:number][self._meets(y0, y1, x0, x1)[:number]].tolist())
            sheets[number] = next(n for n in range(len(taken) + 1) if n not in taken)
        return sheets

    def _choose_slice(self) -> None:
        if self.slices == 1:
            self.slice = None
        elif not isinstance(self.slice, int):
            tallies = 0
            for path in self._tiles:
                with self._open_tile(path, self._channel, 0) as tile:
                    tallies = tallies + tile.tallies()
            self.slice, note = slices.choose(tallies, self.slice or SLICES[0], self.stack)
            self.notes.append(f"every tile: {note}")

    # Tiles ---------------------------------------------------------------------------------------

    def _meets(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        boxes = self.boxes
        rows = (boxes[:, 0] < y1) & (boxes[:, 1] > y0)
        return rows & (boxes[:, 2] < x1) & (boxes[:, 3] > x0)

    def tiles_in(self, y0: int, y1: int, x0: int, x1: int) -> list[int]:
        """The tiles that reach into a window, in the table's order."""
        return np.flatnonzero(self._meets(y0, y1, x0, x1)).tolist()

    def overlap(self, number: int, y0: int, y1: int, x0: int, x1: int) -> tuple[tuple, tuple]:
        """What a tile and a window share: as slices of the window, and as a window of the tile."""
        top, bottom, left, right = self.boxes[number].tolist()
        rows, columns = (max(y0, top), min(y1, bottom)), (max(x0, left), min(x1, right))
        inner = slice(rows[0] - y0, rows[1] - y0), slice(columns[0] - x0, columns[1] - x0)
        return inner, (rows[0] - top, rows[1] - top, columns[0] - left, columns[1] - left)

    def read_tile(self, number: int, window: tuple[int, int, int, int]) -> np.ndarray:
        """A window of one tile, float32; the tile stays open for the next read."""
        tile = self._open.pop(number, None)
        if tile is None:
            tile = self._open_tile(self._tiles[number], self._channel, self.slice or 0)
        self._open[number] = tile
        pixels = tile.read(*window)
        held = sum(tile.held_bytes for tile in self._open.values())
        while len(self._open) > 1 and (len(self._open) > OPEN_TILES or held > OPEN_BYTES):
            _, oldest = self._open.popitem(last=False)
            held -= oldest.held_bytes
            oldest.close()
        return pixels

    # Reading -------------------------------------------------------------------------------------

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        self.check_window(y0, y1, x0, x1)
        block = np.full((y1 - y0, x1 - x0), np.nan, np.float32)
        owner = self._owners(y0, y1, x0, x1)
        for number in self.tiles_in(y0, y1, x0, x1):
            (rows, columns), (top, _, left, _) = self.overlap(number, y0, y1, x0, x1)
            own = owner[rows, columns] == number
            if not own.any():
                continue
            r, c = (np.flatnonzero(own.any(axis=axis)) for axis in (1, 0))
            box = np.s_[r[0] : r[-1] + 1, c[0] : c[-1] + 1]
            window = top + r[0], top + r[-1] + 1, left + c[0], left + c[-1] + 1
            pixels = self.read_tile(number, tuple(int(edge) for edge in window))
            np.copyto(block[rows, columns][box], pixels, where=own[box])
        return block

    def _owners(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The number of the tile that each pixel of a window comes from, -1 for none."""
        owner = np.full((y1 - y0, x1 - x0), -1, np.int32)
        nearest = np.full(owner.shape, np.iinfo(np.int64).max)
        for number in self.tiles_in(y0, y1, x0, x1):
            (rows, columns), _ = self.overlap(number, y0, y1, x0, x1)
            # Twice the distance to the centre, squared: integers, so that ties are exact.
            y, x = self._centres[number]
            dy = (2 * (y0 + np.arange(rows.start, rows.stop)) - y) ** 2
            dx = (2 * (x0 + np.arange(columns.start, columns.stop)) - x) ** 2
            distance = dy[:, None] + dx
            closer = distance < nearest[rows, columns]
            nearest[rows, columns][closer] = distance[closer]
            owner[rows, columns][closer] = number
        return owner

    def covered(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray | None:
        covered = np.zeros((y1 - y0, x1 - x0), bool)
        for number in self.tiles_in(y0, y1, x0, x1):
            covered[self.overlap(number, y0, y1, x0, x1)[0]] = True
        return None if covered.all() else covered

    def seamless(
        self, tops: np.ndarray, lefts: np.ndarray, side_px: int
    ) -> Iterator[tuple[Callable[..., np.ndarray], np.ndarray]]:
        """As in `Picture`: a window belongs to the tile that contains it and whose centre is nearest.

        There is one view per sheet. So however small the tiles are, a block is processed at most as
        often as tiles overlap (four times in a grid).
        """
        holder = self._holders(tops, lefts, side_px)
        held = holder >= 0
        of_sheet = np.where(held, self.sheets[holder], -1)
        for sheet in np.unique(of_sheet[held]):
            yield _SheetView(self, int(sheet)), of_sheet == sheet

    def exposures(self, tops: np.ndarray, lefts: np.ndarray, side_px: int) -> np.ndarray:
        holder = self._holders(tops, lefts, side_px)
        return np.where(holder[..., None] >= 0, self.boxes[holder], -1)

    def _holders(self, tops: np.ndarray, lefts: np.ndarray, side_px: int) -> np.ndarray:
        """(len(tops), len(lefts)): the tile that each window belongs to, -1 for none."""
        tops, lefts = (np.asarray(starts).astype(np.int64) for starts in (tops, lefts))
        holder = np.full((len(tops), len(lefts)), -1)
        nearest = np.full(holder.shape, np.iinfo(np.int64).max)
        last = int(tops[-1]) + side_px, int(lefts[-1]) + side_px
        for number in self.tiles_in(int(tops[0]), last[0], int(lefts[0]), last[1]):
            y0, y1, x0, x1 = self.boxes[number]
            y, x = self._centres[number]
            whole = ((tops >= y0) & (tops + side_px <= y1))[:, None]
            whole = whole & ((lefts >= x0) & (lefts + side_px <= x1))
            distance = ((2 * tops + side_px - 1 - y) ** 2)[:, None]
            distance = distance + (2 * lefts + side_px - 1 - x) ** 2
            closer = whole & (distance < nearest)
            nearest[closer], holder[closer] = distance[closer], number
        return holder

    def middle(self, side_px: int = 1024) -> np.ndarray:
        """The middle of the tile nearest to the middle of the mosaic, so that it has no seam."""
        distance = ((self._centres - (np.array(self.shape) - 1)) ** 2).sum(axis=1)
        number = int(distance.argmin())
        height, width = self.boxes[number, 1::2] - self.boxes[number, ::2]
        y0, x0 = (max(0, (int(length) - side_px) // 2) for length in (height, width))
        return self.read_tile(
            number, (y0, min(int(height), y0 + side_px), x0, min(int(width), x0 + side_px))
        )

    def close(self) -> None:
        for tile in self._open.values():
            tile.close()
        self._open.clear()
