"""From how likely each distance is in each cell to one surface.

Cells are joined by loopy belief propagation (Pearl, 1988), in sweeps along columns and rows, so that each cell has a
probability of every distance: the product of its own and of what reaches it from four sides. Neighbours are likely to lie at similar distances; a step of any height is
possible. Then parabolas are fitted around each cell, robustly, so that the far side of a step has no weight
(LOESS of degree 2; Cleveland, J. Am. Stat. Assoc. 74, 1979, in two dimensions).
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

FLOOR = 10.0  # a cell's own log probabilities fall no deeper below the largest
SLOPE, STEP = 0.5, 20.0  # cost of a node's difference between neighbours, and of any step
SWEEPS = 2  # along columns and along rows
REACH, NARROW = 4, 2  # cells on either side that a parabola is fitted to
TOLERANCE, LEAST_WEIGHT, ROUNDS = 2.0, 0.02, 3  # of the robust fit
# Pulls the terms of a fit to 0, relative to the weight of all cells: where cells are few or in a line, it is level.
LEVEL = (1e-6, *(1e-4,) * 2, *(0.1,) * 3)
NARROW_LEVEL = (1e-6, *(1e-4,) * 2, *(0.01,) * 3)
WINDOW_VARIANCE = 0.6  # of where a window looks, along each axis in cells^2
NOISE = 1.5  # excess up to which narrow and wide parabolas differ by noise alone
BENT = 1.5  # variance that is added, of the excess: what even narrow ones do not follow


def joined(log_posterior: torch.Tensor) -> torch.Tensor:
    """Probabilities (ny, nx, Z) of the distances of each cell, joined with its neighbours'.

    log_posterior: (ny, nx, Z); cells in which all distances are as likely say nothing.

    Examples
    --------
    >>> told = torch.zeros(1, 3, 11)
    >>> told[0, 0, 2] = told[0, 2, 2] = 9.0
    >>> joined(told)[0, 1].argmax().item()
    2
    """
    own = (log_posterior - log_posterior.amax(-1, keepdim=True)).clamp_min(-FLOOR).exp()
    apart = torch.arange(own.shape[-1], device=own.device)
    apart = (apart[:, None] - apart).abs()
    passed = torch.exp(-(SLOPE * apart).clamp_max(STEP))
    passed = passed / passed.sum(1, keepdim=True)
    along = {dim: torch.ones_like(own) for dim in (0, 1)}  # what reaches a cell from both sides
    for _ in range(SWEEPS):
        for dim in (0, 1):
            known = own * along[1 - dim]
            known = known / known.sum(-1, keepdim=True)
            after = _from_before(known.flip(dim), passed, dim).flip(dim)
            along[dim] = _from_before(known, passed, dim) * after
    found = own * along[0] * along[1]
    return found / found.sum(-1, keepdim=True)


def _from_before(own: torch.Tensor, passed: torch.Tensor, dim: int) -> torch.Tensor:
    """What reaches each cell from those before it along a dimension, (ny, nx, Z)."""
    told = torch.ones_like(own.select(dim, 0))
    found = []
    for cells in own.unbind(dim):
        found.append(told)
        told = (told * cells) @ passed
        told = told / told.sum(-1, keepdim=True)
    return torch.stack(found, dim)


def moments(probability: torch.Tensor, z_um: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and standard deviations (ny, nx) of the distances (Z,)."""
    mean = probability @ z_um
    square = probability @ z_um.square() - mean.square()
    return mean, square.clamp_min(0).sqrt()


@dataclass(frozen=True)
class Smoothed:
    """Distances after parabolas were fitted around each cell.

    distance_um: (ny, nx); NaN where no cell within REACH is known. excess: (ny, nx) by how much the surface bends beyond what parabolas follow,
    as a share of the cells' own variance.
    """

    distance_um: torch.Tensor
    excess: torch.Tensor


def smoothed(mean: torch.Tensor, deviation: torch.Tensor, least: float) -> Smoothed:
    """Fit parabolas around each cell.

    Wide ones, within REACH, leave little of the noise; narrow ones, within NARROW, follow steps and waves, and take out that a window averages over what it sees. Where the two
    differ by more than the noise, the result is narrow, else wide, and in between a mixture (shrinkage; James and Stein, Proc. Fourth Berkeley Symp., 1961).

    Parameters
    ----------
    mean, deviation
        (ny, nx); NaN where nothing is known.
    least
        No cell counts as surer than this standard deviation.
    """
    variance = deviation.square() + least**2
    wide = _fitted(mean, variance, REACH, LEVEL, 0.0)
    narrow = _fitted(mean, variance, NARROW, NARROW_LEVEL, WINDOW_VARIANCE)
    narrow = torch.where(narrow.isfinite(), narrow, wide)
    apart = narrow - wide
    told = mean.isfinite() & apart.isfinite() & variance.isfinite()
    near = _near(REACH)[0]
    count = _around(told.float(), 2 * REACH + 1) @ near
    ratio = torch.where(told, apart.square() / variance, 0.0)
    excess = (_around(ratio, 2 * REACH + 1) @ near) / count.clamp_min(1e-6)
    share = (1 - NOISE / excess.clamp_min(1e-9)).clamp(0, 1)
    return Smoothed(wide + share * apart, excess)


def _near(reach: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights (n,) of the cells within reach, and their places y and x."""
    y, x = torch.meshgrid(*(torch.arange(-reach, reach + 1.0),) * 2, indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (1 - (torch.hypot(y, x) / (reach + 0.7)) ** 3).clamp_min(0) ** 3, y, x


def _fitted(mean, variance, reach: int, level, blur: float) -> torch.Tensor:
    """Values (ny, nx) of parabolas within reach, seen by windows that blur with a variance in cells^2."""
    side = 2 * reach + 1
    near, y, x = _near(reach)
    # Blur makes y^2 of a parabola y^2 + its variance.
    terms = torch.stack([torch.ones(side**2), y, x, y * y + blur, x * y, x * x + blur], 1)
    known = mean.isfinite() & variance.isfinite()
    value = _around(torch.where(known, mean, 0.0), side)
    precision = _around(torch.where(known, 1 / variance, 0.0), side)
    plain = near * precision
    weight, fitted = plain, value
    for _ in range(ROUNDS):
        normal = torch.einsum("...k,ki,kj->...ij", weight, terms, terms)
        normal = normal + normal[..., :1, :1].clamp_min(1e-12) * torch.diag(torch.tensor(level))
        told = torch.einsum("...k,ki->...i", weight * value, terms)
        fitted = torch.linalg.solve(normal, told[..., None])[..., 0]
        wrong = (value - fitted @ terms.T).square() * precision / TOLERANCE**2
        weight = plain * (1 - wrong).clamp_min(math.sqrt(LEAST_WEIGHT)) ** 2
    return torch.where(plain.sum(-1) > 0, fitted[..., 0], torch.nan)


def _around(values: torch.Tensor, side: int) -> torch.Tensor:
    """(ny, nx, side * side): the cells around each, 0 outside."""
    padded = F.pad(values, (side // 2,) * 4)
    return padded.unfold(0, side, 1).unfold(1, side, 1).flatten(2)
