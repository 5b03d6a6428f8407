"""The interface of every mosaic: one grey picture that is read by window."""

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Self

import numpy as np

from isoplan.mosaic.tiles import shards


class Picture:
    """One grey picture (H, W) that is read by window.

    Attributes
    ----------
    path
        The file, folder or table that it is read from.
    shape
        (H, W) in px.
    dtype
        Data type of the file.
    luminance
        Whether colours are converted to luminance.
    slice
        The slice of a stack that is read, None if there is only one.
    slices
        How many slices there are, 1 if there is no stack.
    stack
        Letter of the axis that they lie along, None if there is no stack.
    by_window
        False if `read` would have to decode pieces that are too large.
    gaps
        Whether pixels may be missing: covered by no tile, or without a measurement.
    chunk_px
        Rows and columns that are decoded at once; (1, 1) if a window costs only itself.
    optics
        Optics in the file's header, keyed by the table's column names.
    files
        All files that are read.
    channels
        Names of the channels, if there are several.
    notes
        What was chosen or converted, for the log.
    """

    path: str
    shape: tuple[int, int]
    dtype: np.dtype
    luminance: bool = False
    slice: int | None = None
    slices: int = 1
    stack: str | None = None
    by_window: bool = True
    gaps: bool = False
    chunk_px: tuple[int, int] = (1, 1)
    optics: dict[str, float]
    files: list[str]
    channels: list[str]
    notes: list[str]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Read the window [y0, y1) x [x0, x1), which must lie inside the picture.

        Returns
        -------
        numpy.ndarray
            float32 (y1 - y0, x1 - x0), in the units of the file.

        Raises
        ------
        ValueError
            If the window leaves the picture.
        UserError
            If the file is damaged.
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
        """Read any window; beyond its edges the picture is continued by reflection.

        The edge pixel is repeated (numpy's padding mode "symmetric"). float32 (y1 - y0, x1 - x0).
        """
        rows, columns = _mirror(y0, y1, self.shape[0]), _mirror(x0, x1, self.shape[1])
        top, left = rows.min(), columns.min()
        block = self.read(int(top), int(rows.max()) + 1, int(left), int(columns.max()) + 1)
        return block[np.ix_(rows - top, columns - left)]

    def dask(self, block_px: int = 1024):
        """The picture as a lazy dask array, for notebooks and other tools.

        Parameters
        ----------
        block_px
            Side of its blocks in px. Blocks are read one at a time, whatever dask's scheduler, as files are not
            safe to read from several threads.

        Returns
        -------
        dask.array.Array
            (H, W) float32, in the units of the file. It reads until the picture is closed.

        Examples
        --------
        >>> from isoplan.mosaic.reader import open_mosaic
        >>> coins = open_mosaic("scikit-image:coins.png").dask(block_px=128)
        >>> coins.numblocks, round(float(coins[:50].mean().compute()), 1)
        ((3, 3), 117.6)
        """
        import dask.array

        lock = Lock()

        def read(block_info: dict) -> np.ndarray:
            (y0, y1), (x0, x1) = block_info[None]["array-location"]
            with lock:
                return self.read(y0, y1, x0, x1)

        chunks = dask.array.core.normalize_chunks(block_px, self.shape)
        empty = np.empty((0, 0), np.float32)
        return dask.array.map_blocks(read, chunks=chunks, dtype=np.float32, meta=empty)

    def middle(self, side_px: int = 1024) -> np.ndarray:
        """The middle of the picture, at most (side_px, side_px), float32."""
        y0, x0 = (max(0, (length - side_px) // 2) for length in self.shape)
        return self.read(y0, min(self.shape[0], y0 + side_px), x0, min(self.shape[1], x0 + side_px))

    def seamless(
        self, tops: np.ndarray, lefts: np.ndarray, side_px: int
    ) -> Iterator[tuple[Callable[..., np.ndarray], np.ndarray]]:
        """Views of the picture in which given windows have no seams.

        A picture that is not made of tiles has one view, reflected at its edges.

        Parameters
        ----------
        tops, lefts
            First rows and columns of the windows in px; they may lie beyond the edges. All their
            combinations are windows.
        side_px
            Side of the windows in px.

        Yields
        ------
        read
            Function (y0, y1, x0, x1) that reads any window, also beyond the edges.
        windows
            Boolean array (len(tops), len(lefts)): the windows to read from this view. Each window
            belongs to one view, or to none if no single exposure contains it.
        """
        yield self.read_reflected, np.ones((len(tops), len(lefts)), bool)

    def exposures(self, tops: np.ndarray, lefts: np.ndarray, side_px: int) -> np.ndarray:
        """The exposure that each window of `seamless` is read from.

        Returns
        -------
        numpy.ndarray
            (len(tops), len(lefts), 4): its y0, y1, x0, x1 in px of the picture; -1 where there is none.
        """
        height, width = self.shape
        return np.broadcast_to([0, height, 0, width], (len(tops), len(lefts), 4))

    def covered(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray | None:
        """Mask of the pixels of a window that were exposed; None if all were."""
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
