"""Detail in squares of a mosaic: the mean magnitude of the gradient, in counts per pixel."""

import numpy as np


def rows(shape, square_px: int) -> list[slice]:
    """Rows of whole squares, one unit each."""
    return [slice(y, y + square_px) for y in range(0, shape[0] - square_px + 1, square_px)]


def detail(mosaic, row: slice, square_px: int) -> np.ndarray:
    """(squares of the row,) float64."""
    counts = mosaic.read(row.start, row.stop, 0, mosaic.shape[1])
    dy, dx = np.gradient(counts.astype(np.float64))
    whole = mosaic.shape[1] // square_px * square_px
    return np.hypot(dy, dx)[:, :whole].reshape(square_px, -1, square_px).mean(axis=(0, 2))


def unit_px(study: dict) -> int:
    return study["textures"][0]["square_px"]
