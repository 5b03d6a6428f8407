"""How a batch of pictures is restored with maps of weights, so that gradients reach these."""

import torch
from torch.nn.functional import avg_pool2d, pad

from isoplan.applications.weight_maps import primal_dual, unrolled
from isoplan.applications.weight_maps.regularisers import Regulariser
from isoplan.applications.weight_maps.samples import Sample

HUBER = 0.02  # of the brightness: steps shorter than this are smoothed rather than flattened
MODEL = ("scheme", "noise", "regulariser", "factor")  # keys of an entry that say what restores


def restored(
    sample: Sample,
    weights: torch.Tensor,
    model: dict,
    iterations: int,
    *,
    lines: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    gradients: int | None = None,
) -> torch.Tensor:
    """The pictures (n, h, w) of the restored objects, in electrons.

    Parameters
    ----------
    sample : Sample
        What is restored, with the PSFs that are taken for the true ones.
    weights : (n, h, w) tensor
        At every pixel of the pictures. Beyond them, objects have that of the nearest pixel.
    model : dict
        An entry with the keys MODEL.
    iterations : int
        Of the scheme.
    lines : (2, n, h, w) tensor or None
        Of directional total variation, as of `Regulariser`; None counts all directions alike.
    noise : (n, h, w) tensor or None
        How many times `floor` the variance of Gaussian noise is taken to be at every pixel of the pictures; None is 1.
    gradients : int or None
        Last iterations of richardson-lucy that gradients pass through; None is all.
    """
    margin = sample.blurs.margin
    wide = _beyond(weights, margin)
    if model["scheme"] == "richardson-lucy":
        objects = unrolled.restored(
            *(sample.photons, sample.blurs, wide),
            iterations=iterations,
            start=sample.level,
            scale=sample.peak,
            shift=sample.floor,
            gradients=gradients,
        )
        return inner(objects, margin)
    floor, counts = sample.floor.view(-1, 1, 1), sample.photons
    if model["noise"] != "poisson":
        variance = floor if noise is None else floor * _of_camera(noise, sample.blurs.factor)
        data, background = primal_dual.gaussian(variance), 0.0
    else:
        data, background, counts = primal_dual.poisson(), floor, (counts + floor).clamp(min=0)
    objects = primal_dual.restored(
        *(counts, sample.blurs, wide, data),
        iterations=iterations,
        start=sample.level,
        background=background,
        regulariser=_regulariser(sample, model["regulariser"], lines),
    )
    return inner(objects, margin)


def _regulariser(sample: Sample, kind: str, lines: torch.Tensor | None) -> Regulariser:
    if kind == "anisotropic":
        return Regulariser("anisotropic")
    if kind == "huber":
        return Regulariser(huber=HUBER * sample.bright.view(-1, 1, 1))
    if kind == "directional" and lines is not None:
        return Regulariser(lines=torch.stack([_beyond(one, sample.blurs.margin) for one in lines]))
    return Regulariser()


def _of_camera(maps: torch.Tensor, factor: int) -> torch.Tensor:
    """Means over a camera's pixels."""
    return avg_pool2d(maps[:, None], factor)[:, 0]


def _beyond(maps: torch.Tensor, margin: int) -> torch.Tensor:
    return pad(maps[:, None], (margin,) * 4, mode="replicate")[:, 0]


def inner(objects: torch.Tensor, margin: int) -> torch.Tensor:
    """Objects (..., H, W) without the margin beyond their pictures."""
    height, width = objects.shape[-2:]
    return objects[..., margin : height - margin, margin : width - margin]
