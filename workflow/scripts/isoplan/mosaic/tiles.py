"""Where things lie on a mosaic: cells of a PSF map, shards of a store, windows with a halo.

Two conventions for a position along one axis meet here and differ by half a pixel:

- edge coordinates: pixel i covers [i, i + 1), the picture [0, length). `centre_px` speaks these.
- sample coordinates: the centre of pixel i lies at i. OME-Zarr's `translation` and the centres that
  a blur operator takes speak these; subtract 0.5 px from an edge coordinate to get them.

Slices are row-major everywhere, and the last window of an axis may be shorter than the others.
"""

from collections.abc import Sequence

Window = tuple[slice, slice]


def cell_grid(length_px: int, stride_px: int) -> int:
    """Number of cells that cover `length_px` pixels: ceil(length / stride); the last may be partial."""
    if length_px < 1 or stride_px < 1:
        raise ValueError(f"length {length_px} px and stride {stride_px} px must be at least 1")
    return -(-length_px // stride_px)


def centre_px(cell: int | float, stride_px: int) -> float:
    """Centre of a cell in edge coordinates (px): stride * (cell + 1/2), also for a partial last cell."""
    return stride_px * (cell + 0.5)


def spans(length: int, step: int) -> list[slice]:
    """Consecutive slices of `step` that cover `length`, the last one clipped."""
    if step < 1:
        raise ValueError(f"step {step} must be at least 1")
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def shards(shape: Sequence[int], shard: int | Sequence[int]) -> list[Window]:
    """Work units of a store: (slice_y, slice_x) per shard, row-major, clipped to `shape`.

    shape: the array's last two sizes are used, in px or cells. shard: one size, or (y, x).
    The units are a partition of the picture: each pixel lies in exactly one.
    """
    height, width = shape[-2:]
    step_y, step_x = (shard, shard) if isinstance(shard, int) else shard
    return [(y, x) for y in spans(height, step_y) for x in spans(width, step_x)]


def with_halo(core: Window, halo: int, shape: Sequence[int]) -> Window:
    """The core window grown by `halo` px on every side and clipped to the picture's `shape`."""
    return tuple(
        slice(max(part.start - halo, 0), min(part.stop + halo, length))
        for part, length in zip(core, shape[-2:], strict=True)
    )


def inside(core: Window, outer: Window) -> Window:
    """Where `core` lies within `outer`, so that block[inside(core, outer)] is the core's share."""
    return tuple(
        slice(part.start - around.start, part.stop - around.start)
        for part, around in zip(core, outer, strict=True)
    )
