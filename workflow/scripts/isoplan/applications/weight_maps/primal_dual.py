"""Restoration with a map of the regularisation's weight by a primal-dual scheme, whose limit is the minimum.

For a fixed map the problem is convex. Chambolle and Pock's iterations (J. Math. Imaging Vis. 40, 2011) are differentiable
throughout, so a network that makes the map can be trained through them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from isoplan.applications.weight_maps.regularisers import Regulariser

# The primal over the dual step is the square of BALANCE start^1.5: the object is as large as the light, and the dual fields, errors
# in units of the noise's variance, as small as the inverse of its root.
BALANCE = 0.5
GRADIENT = 8.0  # bound of the squared norm of the gradient


@dataclass(frozen=True)
class Data:
    """How counts scatter about their mean m.

    Attributes
    ----------
    loss : callable
        (m, y) -> negative logarithm of the likelihood of every pixel, without its constant.
    dual : callable
        (q, y, step) -> the proximal map of the loss' conjugate, step by step.
    """

    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    dual: Callable[[torch.Tensor, torch.Tensor, float | torch.Tensor], torch.Tensor]


def poisson() -> Data:
    """Counts of photons: m - y log m."""

    def dual(q, y, step):
        return (1 + q - ((q - 1).square() + 4 * step * y).sqrt()) / 2

    return Data(lambda m, y: m - torch.special.xlogy(y, m), dual)


def gaussian(variance: float | torch.Tensor) -> Data:
    """Noise of a variance in counts^2, one for all or of each pixel its own: (m - y)^2 / (2 variance)."""

    def dual(q, y, step):
        return (q - step * y) / (1 + step * variance)

    return Data(lambda m, y: (m - y).square() / (2 * variance), dual)


class _Linear(torch.autograd.Function):
    """A linear map, whose gradient is its adjoint of what comes back. Its own operations may be in place."""

    @staticmethod
    def forward(context, x, linear, adjoint):
        context.adjoint = adjoint
        return linear(x)

    @staticmethod
    def backward(context, *grads):
        return context.adjoint(grads[0].contiguous()), None, None


def objective(
    x: torch.Tensor,
    y: torch.Tensor,
    blur,
    weights: torch.Tensor,
    data: Data,
    *,
    background: float = 0.0,
    regulariser: Regulariser = Regulariser(),
) -> torch.Tensor:
    """What `restored` lowers, of every picture: data.loss(A x + background, y) + regulariser.value(x, weights).

    Raises
    ------
    ValueError
        If a shape is wrong.
    """
    error = data.loss(blur.forward(x) + background, y).sum((-2, -1))
    return error + regulariser.value(x, weights)


def restored(
    y: torch.Tensor,
    blur,
    weights: torch.Tensor,
    data: Data,
    *,
    iterations: int,
    start: float | torch.Tensor,
    background: float = 0.0,
    regulariser: Regulariser = Regulariser(),
) -> torch.Tensor:
    """The objects x >= 0 that lower `objective`.

    Parameters
    ----------
    y : (..., h, w) tensor
        Counts above the offset.
    blur : SpaceVariantBlur or Blurs
        The blur A of PSFs of sum 1, with its adjoint; `blurs.Blurs` for a batch of pictures.
    weights : (..., H, W) tensor
        Weight >= 0 at every pixel of the objects, in one over counts for Poisson data.
    data : Data
        `poisson()`, or `gaussian(variance)`.
    iterations : int
        Steps, of one `blur.forward` and one `blur.adjoint` each.
    start : float or (...) tensor
        Initial value of every object pixel in counts, above 0, such as the mean of the picture. It is also the brightness
        that the steps' lengths are balanced for.
    background : float
        Counts >= 0 that do not come from the object.
    regulariser : Regulariser
        What the weights are of.

    Returns
    -------
    (..., H, W) tensor
        The objects in counts. Gradients reach `weights`, and the maps of `regulariser` and `data`.

    Raises
    ------
    ValueError
        If a shape is wrong, a weight is negative, or start is not above 0.

    Examples
    --------
    Where the weight is large, noise is smoothed; where it is 0, the object follows the counts:

    >>> from isoplan.optics.blur import SpaceVariantBlur
    >>> blur = SpaceVariantBlur(torch.ones(1, 1, 1, 1), [0], [0], (32, 32))
    >>> y = torch.poisson(torch.full((32, 32), 50.0), generator=torch.Generator().manual_seed(0))
    >>> weights = torch.zeros(32, 32)
    >>> weights[:, 16:] = 1.0
    >>> x = restored(y, blur, weights, poisson(), iterations=300, start=50.0)
    >>> bool(x[:, 18:].std() < 0.2 * x[:, :14].std()), bool((x - y)[:, :14].abs().max() < 0.01)
    (True, True)
    """
    if tuple(weights.shape[-2:]) != tuple(blur.object_shape):
        text = f"shape {tuple(weights.shape)} is not the object's {tuple(blur.object_shape)}"
        raise ValueError(f"weights: {text}")
    if not (weights >= 0).all():
        raise ValueError("weights: are negative or no numbers")
    start = torch.as_tensor(start, dtype=y.dtype, device=y.device)[..., None, None]
    if not (start > 0).all():
        raise ValueError("start: must be above 0")
    norm = (
        (1 + GRADIENT) ** 0.5
    )  # of A and the gradient together: PSFs of sum 1 take no light from pixel to pixel twice
    balance = BALANCE * start**1.5
    tau, sigma = balance / norm, 1 / (balance * norm)
    x = ahead = start.expand(weights.shape)
    p, q = torch.zeros_like(y), x.new_zeros(2, *x.shape)
    for _ in range(iterations):
        mean = _Linear.apply(ahead, blur.forward, blur.adjoint) + background
        p = data.dual(p + sigma * mean, y, sigma)
        q = regulariser.bounded(q + sigma * regulariser.analysed(ahead), weights, sigma)
        before = x
        descent = _Linear.apply(p, blur.adjoint, blur.forward) + regulariser.returned(q)
        x = (x - tau * descent).clamp(min=0)
        ahead = 2 * x - before
    return x
