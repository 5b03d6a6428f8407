"""The best map of weights, found with the truth: what there is to gain."""

import torch
from torch.nn.functional import interpolate

from isoplan.applications.weight_maps.lessons import errors
from isoplan.applications.weight_maps.samples import Sample
from isoplan.applications.weight_maps.schemes import restored

CELL_PX, STEPS, RATE = 16, 30, 0.3


def best_map(
    sample: Sample, start: torch.Tensor, model: dict, iterations: int, gradients: int = 10
) -> torch.Tensor:
    """Weights (n, h, w), linear between cells of CELL_PX on a logarithmic scale, from the best one of each picture.

    Parameters
    ----------
    sample : Sample
        The pictures, of which the truth is used.
    start : (n,) tensor
        One weight for each.
    model : dict
        An entry with the keys `schemes.MODEL`.
    iterations, gradients : int
        See `schemes.restored`.
    """
    h, w = sample.widths.shape[-2:]
    cells = start.log().view(-1, 1, 1, 1).repeat(1, 1, -(-h // CELL_PX) + 1, -(-w // CELL_PX) + 1)
    cells.requires_grad_()
    optimiser = torch.optim.Adam([cells], lr=RATE)
    best, least = None, None
    for _ in range(STEPS + 1):
        weights = interpolate(cells, (h, w), mode="bilinear", align_corners=True)[:, 0].exp()
        found = errors(restored(sample, weights, model, iterations, gradients=gradients), sample)
        told = found.detach()
        if best is None:
            best, least = weights.detach(), told
        better = told < least
        best = torch.where(better.view(-1, 1, 1), weights.detach(), best)
        least = torch.minimum(least, told)
        optimiser.zero_grad()
        found.log().sum().backward()
        optimiser.step()
    return best
