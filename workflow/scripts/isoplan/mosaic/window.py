"""What every mosaic offers, whatever it is read from: one grey picture, read by window."""

from collections.abc import Callable, Iterator
from typing import Self

import numpy as np

from isoplan.mosaic.tiles import shards


class Picture:
    """One grey picture (H, W) that is read by window.

    shape: (H, W) in px. dtype: the file's. slice: the slice of a stack that is read, None where there
    is but one. channels: names of the channels there are, where more than one. luminance: whether
    colours were weighed. by_window: False where `read` would decode pieces too large for it. gaps:
    whether pixels may be covered by nothing, or hold no measurement. chunk_px: rows and columns that are decoded at once, (1, 1)
    where a window costs only itself. optics: what the file's header knows, by the table's columns. files: all that is read. notes: what was chosen or converted, for the log.
    """

    path: str
    shape: tuple[int, int]
    dtype: np.dtype
    luminance: bool = False
    slice: int | None = None
    by_window: bool = True
    gaps: bool = False
    chunk_px: tuple[int, int] = (1, 1)
    optics: dict[str, float]
    files: list[str]
    channels: list[str]
    notes: list[str]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The window [y0, y1) x [x0, x1), inside the picture: float32 (y1 - y0, x1 - x0), file units.

        Raises ValueError where the window leaves the picture, UserError where the file is damaged.
        """
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def check_window(self, y0: int, y1: int, x0: int, x1: int) -> None:
        if not (0 <= y0 < y1 <= self.shape[0] and 0 <= x0 < x1 <= self.shape[1]):
            raise ValueError(f"window ({y0}:{y1}, {x0}:{x1}) leaves the picture {self.shape}")

    def windows(self, block_px: int = 1024) -> Iterator[tuple[int, int, int, int]]:
        """Windows (y0, y1, x0, x1) of about block_px^2 px that cover the picture once."""
        for rows, columns in shards(self.shape, block_px):
            yield rows.start, rows.stop, columns.start, columns.stop

    def blocks(self, rows: int = 256) -> Iterator[tuple[tuple[int, int, int, int], np.ndarray]]:
        """The whole picture once, as (window, float32 block)."""
        for window in self.windows():
            yield window, self.read(*window)

    def read_reflected(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Any window, also outside: the picture goes on as its mirror image, as often as needed.

        The edge pixel is repeated (numpy's mode "symmetric"). float32 (y1 - y0, x1 - x0).
        """
        rows, columns = _mirror(y0, y1, self.shape[0]), _mirror(x0, x1, self.shape[1])
        top, left = rows.min(), columns.min()
        block = self.read(int(top), int(rows.max()) + 1, int(left), int(columns.max()) + 1)
        return block[np.ix_(rows - top, columns - left)]

    def middle(self, side_px: int = 1024) -> np.ndarray:
        """The middle of the picture, (side_px, side_px) or less, float32."""
        y0, x0 = (max(0, (length - side_px) // 2) for length in self.shape)
        return self.read(y0, min(self.shape[0], y0 + side_px), x0, min(self.shape[1], x0 + side_px))

    def seamless(
        self, tops: np.ndarray, lefts: np.ndarray, side_px: int
    ) -> Iterator[tuple[Callable[..., np.ndarray], np.ndarray]]:
        """Views (read, served) in which the windows at tops x lefts (px, may lie beyond the edges) are
        free of seams.

        read(y0, y1, x0, x1) takes any window, also outside. served (len(tops), len(lefts)): the
        windows of side_px that this view is for; each is in one view or, where no exposure holds it
        whole, in none. A picture of one piece is its own one view, mirrored at its edges.
        """
        yield self.read_reflected, np.ones((len(tops), len(lefts)), bool)

    def covered(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray | None:
        """Which pixels of a window were exposed at all; None where all were."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _mirror(start: int, stop: int, length: int) -> np.ndarray:
    if start >= stop:
        raise ValueError(f"window {start}:{stop} is empty")
    index = np.arange(start, stop) % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)
