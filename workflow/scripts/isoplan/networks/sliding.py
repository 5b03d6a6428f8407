"""Sums and maxima over sliding windows, and large products: where networks spend most of their time."""

import math

import torch
from torch.nn import functional as F

STEP_PX = 32  # distances between windows are multiples of this


def product(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """rows (..., k) times columns (n, k): (..., n), the same as rows @ columns.T.

    On a CPU it is computed as a 1 x 1 convolution. torch's products use MKL, which is half as fast on
    AMD processors as oneDNN, which convolutions use.
    """
    if rows.device.type != "cpu" or rows.dtype != torch.float32 or not rows.numel():
        return rows @ columns.T
    places = rows.reshape(1, 1, -1, rows.shape[-1]).permute(0, 3, 1, 2)  # channels last
    found = pointwise(places, columns[:, :, None, None])
    return found.permute(0, 2, 3, 1).reshape(*rows.shape[:-1], len(columns))


def pointwise(values: torch.Tensor, weight: torch.Tensor, bias=None) -> torch.Tensor:
    """1 x 1 convolution of (n, c, h, w) with (d, c, 1, 1)."""
    # With one thread torch uses MKL, unless there is a dilation, which does not change a 1 x 1 kernel.
    dilation = 2 if values.device.type == "cpu" else 1
    return F.conv2d(values, weight, bias, dilation=dilation)


def sums(values: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """Sums over squares of `side` pixels every `step` pixels: (..., h, w) -> (..., ny, nx)."""
    return sums_along(sums_along(values, side, step, -2), side, step, -1)


def means(values: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """Means over squares of `side` pixels every `step` pixels, as in `sums`."""
    return sums(values, side, step) / side**2


def sums_along(values: torch.Tensor, side: int, step: int, dim: int) -> torch.Tensor:
    """Sums over `side` pixels every `step` pixels along a dimension (counted from the last: -1, -2)."""
    # A window consists of whole steps and the beginning of the next, so partial sums are shared.
    whole, rest = divmod(side, step)
    heads = values.unfold(dim, rest, step).sum(-1) if rest else 0
    if not whole:
        return heads
    tails = (
        values.narrow(dim, rest, values.shape[dim] - rest).unfold(dim, step - rest, step).sum(-1)
    )
    count = (values.shape[dim] - side) // step + 1
    steps = tails if not rest else tails + heads.narrow(dim, 0, tails.shape[dim])
    found = steps.unfold(dim, whole, 1).sum(-1).narrow(dim, 0, count)
    return found + heads.narrow(dim, whole, count) if rest else found


def strided_sums(values: torch.Tensor, side: int, step: int, dims: tuple[int, int]) -> torch.Tensor:
    """Sums over `side` elements every `step`, along two dimensions; for small sides.

    Whole slices are added, so the memory layout of the other dimensions does not matter.
    """
    for dim in dims:
        count = (values.shape[dim] - side) // step + 1
        every = (slice(None),) * dim
        stop = (count - 1) * step + 1
        parts = [values[(*every, slice(k, k + stop, step))] for k in range(side)]
        values = sum(parts[1:], parts[0])
    return values


def maxima(values: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """Maxima of squares of `side` pixels every `step` pixels: (..., h, w) -> (..., ny, nx)."""
    tile = math.gcd(side, step)
    for dim in (-2, -1):
        values = _tiles(values, tile, dim).amax(dim)
        values = values.unfold(dim, side // tile, step // tile).amax(-1)
    return values


def count_maxima(values: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """How many pixels have the maximum of their square, as floats; arguments as in `maxima`."""
    tile = math.gcd(side, step)
    tiles = _tiles(_tiles(values, tile, -1), tile, -3)  # rows, y, columns, x
    top = tiles.amax((-3, -1))
    number = (
        (tiles - top[..., None, :, None]).eq_(0).sum((-3, -1))
    )  # subtracting is faster than converting a boolean mask
    tops, numbers = (
        part.unfold(-2, side // tile, step // tile).unfold(-2, side // tile, step // tile)
        for part in (top, number)
    )
    return (numbers * (tops == tops.amax((-2, -1), keepdim=True))).sum((-2, -1))


def _tiles(values: torch.Tensor, tile: int, dim: int) -> torch.Tensor:
    """Split a dimension (negative index) into (number of tiles, tile); the rest is dropped."""
    length = values.shape[dim] // tile * tile
    return values.narrow(dim, 0, length).unflatten(dim, (-1, tile))
