"""Richardson-Lucy with a map of TV weights for many pictures at once, through which gradients pass to the map."""

import torch

from isoplan.applications.weight_maps.blurs import Blurs
from isoplan.applications.weight_maps.regularisers import Regulariser, divergence, gradient
from isoplan.restoration.richardson_lucy import (
    DUAL_STEPS,
    FADES_AT,
    FADES_FROM,
    FAINT,
    LEAST_SHARE,
    UNSEEN,
)


def restored(
    y: torch.Tensor,
    blurs: Blurs,
    weights: torch.Tensor,
    *,
    iterations: int,
    start: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor | float = 0.0,
    gradients: int | None = None,
) -> torch.Tensor:
    """What `restoration.richardson_lucy` with its defaults makes of each picture.

    Parameters
    ----------
    y : (n, h, w) tensor
        Counts above the offset.
    blurs : Blurs
        Of the pictures.
    weights : (n, H, W) tensor
        TV weight of every object pixel, > 0.
    iterations : int
        Richardson-Lucy steps, each with a proximal TV step and with momentum.
    start, scale, shift : (n,) tensors
        As of `richardson_lucy`.
    gradients : int or None
        Last iterations that gradients pass through; None is all.

    Returns
    -------
    (n, H, W) tensor
        Objects in counts. No operation is in place.

    Examples
    --------
    >>> blurs = Blurs(torch.full((1, 1, 3, 3), 1 / 9), None, (16, 16))
    >>> y = torch.poisson(torch.full((1, 16, 16), 100.0), generator=torch.Generator().manual_seed(0))
    >>> weights = torch.full((1, 18, 18), 0.01, requires_grad=True)
    >>> level = torch.tensor([100.0])
    >>> x = restored(y, blurs, weights, iterations=5, start=level, scale=level)
    >>> x.var().backward()
    >>> bool(x.std() < y.std()), bool(weights.grad.abs().sum() > 0)
    (True, True)
    """
    start, scale, shift = (torch.as_tensor(v).view(-1, 1, 1).to(y) for v in (start, scale, shift))
    y = (y + shift).clamp(min=0)
    dark = (1e-6 * scale).clamp(min=torch.finfo(y.dtype).tiny)
    weight = blurs.adjoint(torch.ones_like(y))
    unseen = (weight <= UNSEEN[y.dtype]).to(y)
    inverse = (1 - unseen) / weight.clamp(min=UNSEEN[y.dtype])
    softness = 1 / weight.clamp(min=FAINT)
    fades = (FADES_AT / weights).clamp(min=FADES_FROM)
    x = before = start.expand(len(y), *blurs.object_shape)
    dual = y.new_zeros(2, len(y), *blurs.object_shape)
    for iteration in range(1, iterations + 1):
        passes = gradients is None or iteration > iterations - gradients
        with torch.set_grad_enabled(passes and torch.is_grad_enabled()):
            point = x
            if iteration > 1:
                share = (iteration - 1) / (iteration + 2) * (fades / iteration).clamp(max=1)
                point = _extrapolated(x, before, share)
            ratio = y / (torch.maximum(blurs.forward(point), dark) + shift)
            z = (unseen + blurs.adjoint(ratio).clamp(min=0) * inverse) * point
            before = x
            x, dual = denoised(z, softness * point, dual, weights)
    return x


def _extrapolated(x: torch.Tensor, before: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """As `richardson_lucy.extrapolate`."""
    share = (1 + weight) / 2
    behind = torch.lerp(x, before, share).clamp(min=torch.finfo(x.dtype).tiny)
    return torch.lerp(before, x, share) / behind * x


def denoised(z, strength, dual, bound) -> tuple[torch.Tensor, torch.Tensor]:
    """As `richardson_lucy.denoise`. Also returns the dual field (2, n, H, W)."""
    below = torch.zeros_like(strength)
    below[..., :-1, :] = strength[..., 1:, :].detach()
    below[..., :-1] = torch.maximum(below[..., :-1], strength[..., 1:].detach())
    # No gradient passes through the steps' lengths, which only say how fast they go.
    step = 1 / (3 * (strength.detach() + below)).clamp(min=torch.finfo(z.dtype).tiny)
    tv = Regulariser()
    for _ in range(DUAL_STEPS):
        u = z + strength * divergence(dual)
        dual = dual + step * gradient(u)
        dual = tv.bounded(dual, bound, step)
    u = z + strength * divergence(dual)
    return torch.maximum(u, LEAST_SHARE * z), dual
