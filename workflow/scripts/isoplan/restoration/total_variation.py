"""Total variation of pictures: its gradient, and denoising by it."""

from itertools import product

import numpy as np
import torch

from isoplan.base.compiled import compiled
from isoplan.base.device import in_threads

# A denoised pixel keeps at least this share of its value, as Richardson-Lucy would leave a pixel of 0 at 0.
LEAST_SHARE = 0.1

# What is denoised at once on a processor, with what its pixels depend on: it stays in the cache.
TILE_PX = 64, 512


def denoise(
    z: torch.Tensor,
    strength: torch.Tensor,
    dual: torch.Tensor,
    steps: int,
    bound: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted total-variation denoising: argmin_u sum (u - z)^2 / (2 strength) + TV(u).

    Parameters
    ----------
    z
        (h, w), >= 0.
    strength
        (h, w), >= 0, in the unit of z.
    dual
        (2, h, w) initial dual field, 0 or from the last call.
    steps
        Number of projected gradient steps.
    bound
        (h, w), >= 0, how much the gradient of each pixel counts in TV; None is 1 for all.
    out
        (2, h, w), other than `dual`, which the next dual field may be written to; None makes a new one.

    Returns
    -------
    u : torch.Tensor
        (h, w), at least LEAST_SHARE z.
    dual : torch.Tensor
        (2, h, w) dual field, for the next call.

    Notes
    -----
    The solution is u = z + strength div p with |p| <= bound (Chambolle 2004), and p is found by projected gradient steps.
    The step length of each pixel depends only on its neighbours, so no maximum over the picture is needed. Pock and
    Chambolle 2011 bound it by 1 / (4 pair), where pair is the strength of a pixel plus the larger one of its lower and
    right neighbours. Steps up to twice as long converge too, but the longest ones oscillate, which few steps would pass
    on to the next call. A processor takes all steps of a tile at once (`_denoise_tile`).

    Examples
    --------
    Noise on a flat picture is smoothed, and its mean is kept:

    >>> z = 10 + torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    >>> u, _ = denoise(z, torch.full_like(z, 0.5), torch.zeros(2, 32, 32), steps=50)
    >>> bool(u.std() < 0.1 * z.std()), bool(torch.isclose(u.mean(), z.mean()))
    (True, True)
    """
    if z.device.type != "cpu":
        return _denoise_whole(z, strength, dual, steps, bound)
    u, new = torch.empty_like(z), torch.empty_like(dual) if out is None else out
    limits = z.new_ones(1, 1) if bound is None else bound
    read = [array.contiguous().numpy() for array in (z, strength, limits, dual)]
    written = new.numpy(), u.numpy()
    starts = (range(0, size, tile) for size, tile in zip(z.shape, TILE_PX, strict=True))

    def tile(start: tuple[int, int]) -> None:
        _denoise_tile(*read, *written, bound is not None, steps, *start, *TILE_PX)

    for _ in in_threads(tile, product(*starts), z.device):
        pass
    return u, new


@compiled
def _denoise_row(target, i, value, soft, down, across):
    """u of row i by the dual field, into `target`, of which the last one is repeated: no gradient across the right edge."""
    columns = len(target) - 1
    for j in range(columns):
        along_y = down[i + 1, j + 1] - down[i, j + 1]
        along_x = across[i + 1, j + 1] - across[i + 1, j]
        target[j] = value[i, j] + soft[i, j] * (along_y + along_x)
    target[columns] = target[columns - 1]


@compiled
def _denoise_tile(z, strength, bound, dual, new, u, bounded, steps, top, left, height, width):
    """`denoise` for `height` x `width` px from (top, left) on, into `new` and `u`.

    The tile is taken with steps + 1 px around it, as far as the picture goes. Each step spoils one more px along its edges.
    """
    number = z.dtype.type
    one, pace, tiny = number(1), number(3), number(np.finfo(z.dtype).tiny)
    bottom, right = min(top + height, z.shape[0]), min(left + width, z.shape[1])
    first_y, first_x = max(top - steps - 1, 0), max(left - steps - 1, 0)
    rows = min(bottom + steps + 1, z.shape[0]) - first_y
    columns = min(right + steps + 1, z.shape[1]) - first_x
    # Row and column 0 of the dual field, and the last ones of the others, lie outside: 0.
    down = np.zeros((rows + 1, columns + 1), z.dtype)
    across = np.zeros((rows + 1, columns + 1), z.dtype)
    value = np.zeros((rows + 1, columns + 1), z.dtype)
    soft = np.zeros((rows + 1, columns + 1), z.dtype)
    for i in range(rows):
        for j in range(columns):
            down[i + 1, j + 1] = dual[0, first_y + i, first_x + j]
            across[i + 1, j + 1] = dual[1, first_y + i, first_x + j]
            value[i, j] = z[first_y + i, first_x + j]
            soft[i, j] = strength[first_y + i, first_x + j]
    here, below = np.empty(columns + 1, z.dtype), np.empty(columns + 1, z.dtype)
    for _ in range(steps):
        _denoise_row(here, 0, value, soft, down, across)
        for i in range(rows):
            if i + 1 < rows:  # from the dual field before this step, as row i still needs it
                _denoise_row(below, i + 1, value, soft, down, across)
            else:  # no gradient across the lower edge
                below[:] = here
            for j in range(columns):
                pair = soft[i, j] + max(soft[i + 1, j], soft[i, j + 1])
                step = one / max(pace * pair, tiny)
                y = down[i + 1, j + 1] + step * (below[j] - here[j])
                x = across[i + 1, j + 1] + step * (here[j + 1] - here[j])
                norm = y * y + x * x
                if bounded:
                    limit = bound[first_y + i, first_x + j]
                    norm /= max(limit * limit, tiny)
                share = one / np.sqrt(max(norm, one))
                down[i + 1, j + 1] = y * share
                across[i + 1, j + 1] = x * share
            here, below = below, here
    least = number(LEAST_SHARE)
    for y in range(top, bottom):
        i = y - first_y
        _denoise_row(here, i, value, soft, down, across)
        for x in range(left, right):
            j = x - first_x
            new[0, y, x] = down[i + 1, j + 1]
            new[1, y, x] = across[i + 1, j + 1]
            u[y, x] = max(here[j], least * value[i, j])


def _denoise_whole(z, strength, dual, steps, bound):
    """`denoise` by whole arrays, as a GPU takes them."""
    dual = dual.clone()
    step = _largest_pair(strength).mul_(3).clamp_(min=torch.finfo(z.dtype).tiny).reciprocal_()
    u, other = torch.empty_like(z), torch.empty_like(z)
    for _ in range(steps):
        torch.addcmul(z, strength, divergence(dual, out=u), out=u)
        dual[0, :-1].addcmul_(step[:-1], torch.sub(u[1:], u[:-1], out=other[:-1]))
        dual[1, :, :-1].addcmul_(step[:, :-1], torch.sub(u[:, 1:], u[:, :-1], out=other[:, :-1]))
        norm = torch.mul(dual[0], dual[0], out=other).addcmul_(dual[1], dual[1])
        if bound is not None:
            norm /= (bound * bound).clamp(min=torch.finfo(z.dtype).tiny)
        dual *= norm.clamp_(min=1).rsqrt_()
    torch.addcmul(z, strength, divergence(dual, out=u), out=u)
    return torch.maximum(u, torch.mul(z, LEAST_SHARE, out=other), out=u), dual


def unit_gradient(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """`gradient` (2, h, w) of a picture (h, w) divided by its length, which is rounded by `epsilon`."""
    field = gradient(x)
    floor = max(epsilon, torch.finfo(x.dtype).tiny)
    return field / torch.hypot(torch.hypot(field[0], field[1]), x.new_tensor(floor))


def gradient(x: torch.Tensor) -> torch.Tensor:
    """Forward differences (2, h, w) of a picture (h, w) along y and x; 0 in the last row and column."""
    field = x.new_empty(2, *x.shape)
    torch.sub(x[1:], x[:-1], out=field[0, :-1])
    torch.sub(x[:, 1:], x[:, :-1], out=field[1, :, :-1])
    field[0, -1] = 0
    field[1, :, -1] = 0
    return field


def divergence(field: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """The divergence (h, w) of a field (2, h, w): minus the transpose of `gradient`.

    The field counts as 0 in the last row along y, and in the last column along x.
    """
    out = torch.add(field[0], field[1], out=out)
    out[-1] -= field[0, -1]
    out[:, -1] -= field[1, :, -1]
    out[1:] -= field[0, :-1]
    out[:, 1:] -= field[1, :, :-1]
    return out


def _largest_pair(strength: torch.Tensor) -> torch.Tensor:
    """Each pixel's strength plus the larger one of its lower and right neighbours."""
    neighbour = torch.zeros_like(strength)
    neighbour[:-1] = strength[1:]
    neighbour[:, :-1] = torch.maximum(neighbour[:, :-1], strength[:, 1:])
    return strength + neighbour
