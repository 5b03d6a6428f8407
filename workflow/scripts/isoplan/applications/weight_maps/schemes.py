"""How a batch of pictures is restored with maps of weights, so that gradients reach these."""

import torch
from torch.nn.functional import pad

from isoplan.applications.weight_maps import primal_dual, unrolled
from isoplan.applications.weight_maps.samples import Sample


def restored(
    sample: Sample,
    weights: torch.Tensor,
    scheme: str,
    iterations: int,
    gradients: int | None = None,
) -> torch.Tensor:
    """The pictures (n, h, w) of the restored objects, in electrons.

    Parameters
    ----------
    sample : Sample
        What is restored, with the PSFs that are taken for the true ones.
    weights : (n, h, w) tensor
        At every pixel of the pictures. Beyond them, objects have that of the nearest pixel.
    scheme : {"richardson-lucy", "primal-dual"}
        The product's, or that of `primal_dual` for Poisson data.
    iterations : int
        Of the scheme.
    gradients : int or None
        Last iterations of "richardson-lucy" that gradients pass through; None is all.
    """
    margin = sample.blurs.margin
    wide = pad(weights[:, None], (margin,) * 4, mode="replicate")[:, 0]
    if scheme == "primal-dual":
        floor = sample.floor.view(-1, 1, 1)
        objects = primal_dual.restored(
            *((sample.photons + floor).clamp(min=0), sample.blurs, wide, primal_dual.poisson()),
            iterations=iterations,
            start=sample.level,
            background=floor,
        )
    else:
        objects = unrolled.restored(
            *(sample.photons, sample.blurs, wide),
            iterations=iterations,
            start=sample.level,
            scale=sample.peak,
            shift=sample.floor,
            gradients=gradients,
        )
    return inner(objects, margin)


def inner(objects: torch.Tensor, margin: int) -> torch.Tensor:
    """Objects (..., H, W) without the margin beyond their pictures."""
    height, width = objects.shape[-2:]
    return objects[..., margin : height - margin, margin : width - margin]
