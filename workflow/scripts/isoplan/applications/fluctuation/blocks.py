"""A sequence of frames, block by block: memory does not grow with its length."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

BLOCK = 100  # frames, from whose own mean deviations are taken


def blocks(frames, block: int = BLOCK) -> Iterator[np.ndarray]:
    """Parts of a sequence, of about `block` frames, as equal in length as can be.

    Parameters
    ----------
    frames : array_like
        (t, y, x), or what gives parts of it by slices, as a Zarr array does.
    block : int
        Frames.

    Yields
    ------
    ndarray
        (n, y, x) float32.

    Raises
    ------
    ValueError
        If there are no frames, or the sequence is not (t, y, x).

    Examples
    --------
    >>> [len(part) for part in blocks(np.zeros((250, 2, 2)), 100)]
    [125, 125]
    """
    if len(frames.shape) != 3 or not len(frames):
        raise ValueError(f"a sequence has the axes (t, y, x); this one's shape is {frames.shape}")
    count = max(1, len(frames) // block)
    for start, end in pairwise(np.linspace(0, len(frames), count + 1).astype(int)):
        yield np.asarray(frames[start:end], np.float32)


def deviations(frames, block: int = BLOCK) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The mean (y, x) of each block, and what its frames (n, y, x) differ from it.

    What is slower than a block does not count so: bleaching, drift of the light, slow background.
    """
    for part in blocks(frames, block):
        mean = part.mean(axis=0, dtype=np.float64).astype(np.float32)
        yield mean, part - mean


def mean_of(frames, block: int = BLOCK) -> np.ndarray:
    """The mean over time: (t, y, x) to (y, x) float32."""
    total = sum(part.sum(axis=0, dtype=np.float64) for part in blocks(frames, block))
    return (total / len(frames)).astype(np.float32)
