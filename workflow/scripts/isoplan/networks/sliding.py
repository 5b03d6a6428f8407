"""Sums and maxima over sliding windows, and large products: most of what the networks' time goes into."""

import math

import torch
from torch.nn import functional as F


def product(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """rows (..., k) times columns (n, k): (..., n), as rows @ columns.T.

    On a processor as a 1 x 1 convolution: oneDNN uses the vector units of every maker, MKL, which does
    torch's products, only half of them on AMD's.
    """
    if rows.device.type != "cpu" or rows.dtype != torch.float32 or not rows.numel():
        return rows @ columns.T
    places = rows.reshape(1, 1, -1, rows.shape[-1]).permute(0, 3, 1, 2)  # channels last
    found = F.conv2d(places, columns[:, :, None, None])
    return found.permute(0, 2, 3, 1).reshape(*rows.shape[:-1], len(columns))


def sums(values: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """Sums over squares of `side` places every `step`: (..., h, w) -> (..., ny, nx)."""
    return sums_along(sums_along(values, side, step, -2), side, step, -1)


def means(values: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """As `sums`, divided by the number of places."""
    return sums(values, side, step) / side**2


def sums_along(values: torch.Tensor, side: int, step: int, dim: int) -> torch.Tensor:
    """Sums over `side` places every `step` along a dimension (negative), of tiles first."""
    tile = math.gcd(side, step)
    tiles = _tiles(values, tile, dim).sum(dim)
    return tiles.unfold(dim, side // tile, step // tile).sum(-1)


def pooled(values: torch.Tensor, side: int, step: int, dims: tuple[int, int]) -> torch.Tensor:
    """Sums over few places, `side` every `step`, along two dimensions: the others stay as they lie."""
    for dim in dims:
        count = (values.shape[dim] - side) // step + 1
        every = (slice(None),) * dim
        stop = (count - 1) * step + 1
        parts = [values[(*every, slice(k, k + stop, step))] for k in range(side)]
        values = sum(parts[1:], parts[0])
    return values


def highest(values: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """Highest values of squares of `side` places every `step`: (..., h, w) -> (..., ny, nx)."""
    tile = math.gcd(side, step)
    for dim in (-2, -1):
        values = _tiles(values, tile, dim).amax(dim)
        values = values.unfold(dim, side // tile, step // tile).amax(-1)
    return values


def count_highest(values: torch.Tensor, side: int, step: int) -> torch.Tensor:
    """How many places have their square's highest value: as `highest`, floats."""
    tile = math.gcd(side, step)
    tiles = _tiles(_tiles(values, tile, -1), tile, -3)  # rows, y, columns, x
    top = tiles.amax((-3, -1))
    number = (tiles == top[..., None, :, None]).to(values.dtype).sum((-3, -1))
    tops, numbers = (
        part.unfold(-2, side // tile, step // tile).unfold(-2, side // tile, step // tile)
        for part in (top, number)
    )
    return (numbers * (tops == tops.amax((-2, -1), keepdim=True))).sum((-2, -1))


def _tiles(values: torch.Tensor, tile: int, dim: int) -> torch.Tensor:
    """A dimension (negative) cut into whole tiles: their number stands before it, their places at it."""
    length = values.shape[dim] // tile * tile
    return values.narrow(dim, 0, length).unflatten(dim, (-1, tile))
