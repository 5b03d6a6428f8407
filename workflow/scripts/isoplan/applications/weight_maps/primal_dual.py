"""Restoration with a map of the regularisation's weight by a primal-dual scheme, whose limit is the minimum.

For a fixed map the problem is convex. Chambolle and Pock's iterations (J. Math. Imaging Vis. 40, 2011) are differentiable
throughout, so a network that makes the map can be trained through them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from isoplan.optics.blur import SpaceVariantBlur
from isoplan.restoration.richardson_lucy import divergence, gradient

# The primal over the dual step is the square of BALANCE start^1.5: the object is as large as the light, and the dual fields, errors
# in units of the noise's variance, as small as the inverse of its root.
BALANCE = 0.5
GRADIENT = 8.0  # bound of the squared norm of `gradient`


@dataclass(frozen=True)
class Data:
    """How counts scatter about their mean m.

    Attributes
    ----------
    loss : callable
        (m, y) -> sum of the negative logarithm of the likelihood, without its constant.
    dual : callable
        (q, y, step) -> the proximal map of the loss' conjugate, step by step.
    """

    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    dual: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def poisson() -> Data:
    """Counts of photons: sum m - y log m."""

    def dual(q, y, step):
        return (1 + q - ((q - 1).square() + 4 * step * y).sqrt()) / 2

    return Data(lambda m, y: (m - torch.special.xlogy(y, m)).sum(), dual)


def gaussian(variance: float) -> Data:
    """Noise of one variance in counts^2: sum (m - y)^2 / (2 variance)."""

    def dual(q, y, step):
        return (q - step * y) / (1 + step * variance)

    return Data(lambda m, y: ((m - y).square() / (2 * variance)).sum(), dual)


def isotropic(field: torch.Tensor) -> torch.Tensor:
    """Length of a field (2, h, w) at each pixel: (h, w)."""
    return torch.linalg.vector_norm(field, dim=0)


def anisotropic(field: torch.Tensor) -> torch.Tensor:
    """Each component by itself: (2, h, w)."""
    return field.abs()


LENGTHS = {"isotropic": isotropic, "anisotropic": anisotropic}


class _Linear(torch.autograd.Function):
    """A linear map, whose gradient is its adjoint of what comes back."""

    @staticmethod
    def forward(context, x, linear, adjoint):
        context.adjoint = adjoint
        return linear(x)

    @staticmethod
    def backward(context, *grads):
        return context.adjoint(grads[0].contiguous()), None, None


def _returned(field: torch.Tensor) -> torch.Tensor:
    """The adjoint of `gradient`."""
    return -divergence(field)


def objective(
    x: torch.Tensor,
    y: torch.Tensor,
    blur: SpaceVariantBlur,
    weights: torch.Tensor,
    data: Data,
    *,
    background: float = 0.0,
    tv: str = "isotropic",
) -> float:
    """What `restored` lowers: data.loss(A x + background, y) + sum weights |gradient x|.

    Raises
    ------
    ValueError
        If a shape is wrong.
    """
    steps = weights * LENGTHS[tv](gradient(x))
    return float(data.loss(blur.forward(x) + background, y) + steps.sum())


def restored(
    y: torch.Tensor,
    blur: SpaceVariantBlur,
    weights: torch.Tensor,
    data: Data,
    *,
    iterations: int,
    start: float,
    background: float = 0.0,
    tv: str = "isotropic",
) -> torch.Tensor:
    """The object x >= 0 that lowers `objective`.

    Parameters
    ----------
    y : (h, w) tensor of `blur.shape`
        Counts above the offset.
    blur : SpaceVariantBlur
        The blur A of PSFs of sum 1, with its adjoint.
    weights : tensor of `blur.object_shape`
        Weight >= 0 of the total variation at every pixel of the object, in one over counts for Poisson data.
    data : Data
        `poisson()`, or `gaussian(variance)`.
    iterations : int
        Steps, of one `blur.forward` and one `blur.adjoint` each.
    start : float
        Initial value of every object pixel in counts, above 0, such as the mean of the picture. It is also the brightness
        that the steps' lengths are balanced for.
    background : float
        Counts >= 0 that do not come from the object.
    tv : {"isotropic", "anisotropic"}
        Whether the differences along y and x count together or each by itself.

    Returns
    -------
    tensor of `blur.object_shape`
        The object in counts. No operation is in place, so gradients reach `weights`.

    Raises
    ------
    ValueError
        If a shape is wrong, a weight is negative, or start is not above 0.

    Examples
    --------
    Where the weight is large, noise is smoothed; where it is 0, the object follows the counts:

    >>> blur = SpaceVariantBlur(torch.ones(1, 1, 1, 1), [0], [0], (32, 32))
    >>> y = torch.poisson(torch.full((32, 32), 50.0), generator=torch.Generator().manual_seed(0))
    >>> weights = torch.zeros(32, 32)
    >>> weights[:, 16:] = 1.0
    >>> x = restored(y, blur, weights, poisson(), iterations=300, start=50.0)
    >>> bool(x[:, 18:].std() < 0.2 * x[:, :14].std()), bool((x - y)[:, :14].abs().max() < 0.01)
    (True, True)
    """
    if tuple(weights.shape) != blur.object_shape:
        text = f"shape {tuple(weights.shape)} is not the object's {blur.object_shape}"
        raise ValueError(f"weights: {text}")
    if not (weights >= 0).all():
        raise ValueError("weights: are negative or no numbers")
    if not start > 0:
        raise ValueError("start: must be above 0")
    length = LENGTHS[tv]
    norm = (
        (1 + GRADIENT) ** 0.5
    )  # of A and the gradient together: PSFs of sum 1 take no light from pixel to pixel twice
    balance = BALANCE * start**1.5
    tau, sigma = balance / norm, 1 / (balance * norm)
    x = ahead = torch.full(blur.object_shape, float(start), dtype=y.dtype, device=y.device)
    p, q = torch.zeros_like(y), x.new_zeros(2, *x.shape)
    tiny = torch.finfo(y.dtype).tiny
    for _ in range(iterations):
        mean = _Linear.apply(ahead, blur.forward, blur.adjoint) + background
        p = data.dual(p + sigma * mean, y, sigma)
        q = q + sigma * _Linear.apply(ahead, gradient, _returned)
        q = q / (length(q) / weights.clamp(min=tiny)).clamp(min=1)
        before = x
        descent = _Linear.apply(p, blur.adjoint, blur.forward)
        descent = descent + _Linear.apply(q, _returned, gradient)
        x = (x - tau * descent).clamp(min=0)
        ahead = 2 * x - before
    return x
