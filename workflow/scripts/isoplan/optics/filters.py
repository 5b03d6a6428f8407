"""Building blocks for processing pictures: random draws, separable filters, transforms of 8 x 8 blocks."""

import math
from functools import cache

import torch

TINY = 1e-12


def apply(functions, choice, pictures, generator) -> torch.Tensor:
    """Apply to each picture the function with the number in choice (n,)."""
    out = pictures.clone()
    for place, function in enumerate(functions):
        index = (choice == place).nonzero()[:, 0]
        if len(index):
            out[index] = function(pictures[index], generator)
    return out


def apply_any(functions, pictures, generator) -> torch.Tensor:
    """Apply a random function to each picture."""
    n, device = len(pictures), pictures.device
    choice = torch.randint(len(functions), (n,), generator=generator, device=device)
    return apply(functions, choice, pictures, generator)


def uniform(pictures, low, high, generator) -> torch.Tensor:
    """Uniform random numbers (n, 1, 1) between low and high."""
    share = torch.rand(len(pictures), 1, 1, generator=generator, device=pictures.device)
    return low + share * (high - low)


def log_uniform(pictures, low, high, generator) -> torch.Tensor:
    """Log-uniform random numbers (n, 1, 1) between low and high."""
    return torch.exp(uniform(pictures, math.log(low), math.log(high), generator))


# Properties of pictures, (n, 1, 1) each ----------------------------------------------------------


def noise_deviation(pictures: torch.Tensor) -> torch.Tensor:
    """Standard deviation of the noise in counts (n, 1, 1), from second differences in both directions.

    It is based on their median, which hardly depends on texture, or on their mean if the median is 0.
    """
    rows = pictures[:, :-2] - 2 * pictures[:, 1:-1] + pictures[:, 2:]
    rest = (rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]).abs().flatten(1) / 6
    median = rest[:, ::3].median(1).values / 0.6745
    mean = rest.mean(1) * math.sqrt(math.pi / 2)
    return torch.where(median > 0, median, mean)[:, None, None]


def deviation(pictures) -> torch.Tensor:
    """Standard deviations (n, 1, 1) of pictures (n, h, w)."""
    return pictures.std((1, 2), keepdim=True)


def ends(pictures, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Black level and range of a picture shown with 8 bits, from 0 or the minimum to 99.9 % or the maximum."""
    flat, draw = pictures.flatten(1), uniform(pictures, 0, 4, generator).long()
    low, high = pictures.amin((1, 2), keepdim=True), pictures.amax((1, 2), keepdim=True)
    most = flat.kthvalue(math.ceil(0.999 * flat.shape[1]), 1).values[:, None, None]
    high = torch.where((draw < 2) & (most > low), most, high)
    low = torch.where(draw % 2 == 0, low.clamp_max(0), low)
    return low, (high - low).clamp_min(TINY)


# Separable linear filters: one matrix product along each axis --------------------


def line_weights(place, length: int, kernel) -> torch.Tensor:
    """Interpolation weights (n, m, length), of sum 1, of a line of pixels at positions (n, m) px."""
    weights = kernel(place[..., None] - torch.arange(length, device=place.device))
    return weights / weights.sum(-1, keepdim=True)


def along_both(pictures, matrix):
    """A function that applies matrix(length) -> (n, m, length) along both axes of pictures of this shape."""
    h, w = pictures.shape[-2:]
    rows = matrix(h)
    columns = (rows if h == w else matrix(w)).transpose(1, 2)
    return lambda x: rows @ x @ columns


def convolution(pictures, kernel):
    """A function that convolves pictures of this shape with kernel(distance in px) along both axes."""

    def matrix(length):
        place = torch.arange(length, device=pictures.device, dtype=pictures.dtype)
        return line_weights(place.expand(len(pictures), -1), length, kernel)

    return along_both(pictures, matrix)


def gaussian(pictures, sigma_px):
    """A function that blurs pictures of this shape by Gaussians of given standard deviations (n, 1, 1)."""
    return convolution(pictures, lambda z: torch.exp(-0.5 * (z / sigma_px) ** 2))


# 8 x 8 blocks ---------------------------------------------------------------------------------


@cache
def _basis(name: str, device: torch.device) -> torch.Tensor:
    """(8, 8) orthonormal transform whose first row is constant."""
    i = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi / 8 * i[:, None] * (i + 0.5))
    if name == "haar":
        basis = torch.ones(1, 1, dtype=torch.float64)
        for _ in range(3):
            fine = torch.eye(len(basis), dtype=torch.float64)
            pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
            basis = torch.cat([torch.kron(basis, pair[:1]), torch.kron(fine, pair[1:])])
    return (basis / basis.norm(dim=1, keepdim=True)).to(device, torch.float32)


def random_corner(pictures, generator) -> torch.Tensor:
    """(2, n) random offsets of the picture's corner within a block."""
    return torch.randint(8, (2, len(pictures)), generator=generator, device=pictures.device)


def in_blocks(pictures, name, change, corner) -> torch.Tensor:
    """Change the coefficients (n, rows, 8, columns, 8) of blocks; pictures are reflected at borders."""
    basis = _basis(name, pictures.device)
    index = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    inside, outside = [], []
    for length, start in zip(pictures.shape[-2:], corner[..., None], strict=True):
        place = torch.arange((length + 14) // 8 * 8, device=pictures.device) - start
        inside.append(length - 1 - (length - 1 - place.abs()).abs())
        outside.append(torch.arange(length, device=pictures.device) + start)
    wide = pictures[index, inside[0][:, :, None], inside[1][:, None, :]]
    n, h, w = wide.shape
    c = (basis @ wide.view(n, h // 8, 8, w)).view(n, h // 8, 8, w // 8, 8) @ basis.T
    back = (basis.T @ (change(c) @ basis).view(n, h // 8, 8, w)).view(n, h, w)
    return back[index, outside[0][:, :, None], outside[1][:, None, :]]
