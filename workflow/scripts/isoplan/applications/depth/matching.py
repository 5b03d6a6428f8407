"""From how likely each distance is in each cell to one surface.

Cells are joined by loopy belief propagation (Pearl, 1988), in sweeps along columns and rows, so that each cell has a
probability of every distance: the product of its own and of what reaches it from four sides. Neighbours are likely to lie at similar distances; a step of any height is
possible. Then a parabola is fitted around each cell, robustly, so that the far side of a step has no weight
(LOESS of degree 2; Cleveland, J. Am. Stat. Assoc. 74, 1979, in two dimensions).
"""

import math

import torch
from torch.nn import functional as F

FLOOR = 10.0  # a cell's own log probabilities fall no deeper below the largest
SLOPE, STEP = 0.5, 20.0  # cost of a node's difference between neighbours, and of any step
SWEEPS = 2  # along columns and along rows
REACH = 4  # cells on either side that a parabola is fitted to
TOLERANCE, LEAST_WEIGHT, ROUNDS = 2.0, 0.02, 3  # of the robust fit
# Pulls the terms of a fit to 0, relative to the weight of all cells: where cells are few or in a line, it is level.
LEVEL = (1e-6, *(1e-4,) * 2, *(0.1,) * 3)


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


def smoothed(mean: torch.Tensor, deviation: torch.Tensor, least: float) -> torch.Tensor:
    """Distances (ny, nx) of parabolas that are fitted around each cell.

    Parameters
    ----------
    mean, deviation
        (ny, nx); NaN where nothing is known.
    least
        No cell counts as surer than this standard deviation.

    Returns
    -------
    torch.Tensor
        (ny, nx); NaN where no cell within REACH is known.
    """
    side = 2 * REACH + 1
    y, x = torch.meshgrid(*(torch.arange(-REACH, REACH + 1.0),) * 2, indexing="ij")
    y, x = y.flatten(), x.flatten()
    terms = torch.stack([torch.ones(side**2), y, x, y * y, x * y, x * x], 1)
    near = (1 - (torch.hypot(y, x) / (REACH + 0.7)) ** 3).clamp_min(0) ** 3
    variance = deviation.square() + least**2
    known = mean.isfinite() & variance.isfinite()
    value = _around(torch.where(known, mean, 0.0), side)
    precision = _around(torch.where(known, 1 / variance, 0.0), side)
    plain = near * precision
    weight, fitted = plain, value
    for _ in range(ROUNDS):
        normal = torch.einsum("...k,ki,kj->...ij", weight, terms, terms)
        normal = normal + normal[..., :1, :1].clamp_min(1e-12) * torch.diag(torch.tensor(LEVEL))
        told = torch.einsum("...k,ki->...i", weight * value, terms)
        fitted = torch.linalg.solve(normal, told[..., None])[..., 0]
        wrong = (value - fitted @ terms.T).square() * precision / TOLERANCE**2
        weight = plain * (1 - wrong).clamp_min(math.sqrt(LEAST_WEIGHT)) ** 2
    return torch.where(plain.sum(-1) > 0, fitted[..., 0], torch.nan)


def _around(values: torch.Tensor, side: int) -> torch.Tensor:
    """(ny, nx, side * side): the cells around each, 0 outside."""
    padded = F.pad(values, (side // 2,) * 4)
    return padded.unfold(0, side, 1).unfold(1, side, 1).flatten(2)
