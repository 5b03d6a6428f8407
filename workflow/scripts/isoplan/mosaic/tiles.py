"""Geometry of a mosaic: cells of a PSF map, shards of a store, windows with a halo.

There are two conventions for a position along an axis, and they differ by half a pixel:

- edge coordinates: pixel i covers [i, i + 1), the picture [0, length). `centre_px` uses these.
- sample coordinates: the centre of pixel i lies at i. OME-Zarr's `translation` and the blur operators
  use these. Subtract 0.5 px from an edge coordinate to get them.

Windows are listed in row-major order, and the last one along an axis may be shorter than the others.
"""

from collections.abc import Sequence

Window = tuple[slice, slice]


def cell_grid(length_px: int, stride_px: int) -> int:
    """Number of cells that cover `length_px` pixels, ceil(length / stride); the last may be partial.

    Examples
    --------
    >>> cell_grid(100, 32)
    4
    """
    if length_px < 1 or stride_px < 1:
        raise ValueError(f"length {length_px} px and stride {stride_px} px must be at least 1")
    return -(-length_px // stride_px)


def centre_px(cell: int | float, stride_px: int) -> float:
    """Centre of a cell in edge coordinates (px), stride * (cell + 1/2), even for a partial last cell.

    Examples
    --------
    >>> centre_px(0, 32)
    16.0
    """
    return stride_px * (cell + 0.5)


def spread(count: int, most: int) -> list[int]:
    """Numbers of at most `most` of so many things, evenly spread.

    Examples
    --------
    >>> spread(10, 4)
    [0, 3, 6, 9]
    """
    some = min(count, most)
    return [round(k * (count - 1) / max(1, some - 1)) for k in range(some)]


def spans(length: int, step: int) -> list[slice]:
    """Consecutive slices of `step` that cover `length`; the last one is clipped.

    Examples
    --------
    >>> spans(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    if step < 1:
        raise ValueError(f"step {step} must be at least 1")
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def shards(shape: Sequence[int], shard: int | Sequence[int]) -> list[Window]:
    """Work units of a store: one window (slice_y, slice_x) per shard, in row-major order.

    Each pixel lies in exactly one window.

    Parameters
    ----------
    shape
        Shape of the array, in px or cells; only its last two sizes are used.
    shard
        Side of a shard, or (y, x).

    Examples
    --------
    >>> shards((4, 6), 4)
    [(slice(0, 4, None), slice(0, 4, None)), (slice(0, 4, None), slice(4, 6, None))]
    """
    height, width = shape[-2:]
    step_y, step_x = (shard, shard) if isinstance(shard, int) else shard
    return [(y, x) for y in spans(height, step_y) for x in spans(width, step_x)]


def with_halo(core: Window, halo: int, shape: Sequence[int]) -> Window:
    """The core window extended by `halo` px on every side and clipped to the picture's `shape`."""
    return tuple(
        slice(max(part.start - halo, 0), min(part.stop + halo, length))
        for part, length in zip(core, shape[-2:], strict=True)
    )


def inside(core: Window, outer: Window) -> Window:
    """Position of `core` within `outer`: if `block` is outer's, block[inside(core, outer)] is core's."""
    return tuple(
        slice(part.start - around.start, part.stop - around.start)
        for part, around in zip(core, outer, strict=True)
    )
