"""Total variation and its kin: what the map of weights is multiplied by. All of it differentiable, and for batches of pictures."""

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

TV = ("isotropic", "anisotropic")


def gradient(x: torch.Tensor) -> torch.Tensor:
    """Forward differences (2, ..., h, w) of pictures (..., h, w) along y and x; 0 in the last row and column."""
    rows, columns = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
    return torch.stack([pad(rows, (0, 0, 0, 1)), pad(columns, (0, 1))])


def divergence(field: torch.Tensor) -> torch.Tensor:
    """Minus the transpose of `gradient`.

    Examples
    --------
    >>> x, field = torch.rand(3, 5, 6), torch.rand(2, 3, 5, 6)
    >>> bool(torch.isclose((gradient(x) * field).sum(), -(x * divergence(field)).sum()))
    True
    """
    rows, columns = field[0][..., :-1, :], field[1][..., :-1]
    along_y = pad(rows, (0, 0, 0, 1)) - pad(rows, (0, 0, 1, 0))
    return along_y + pad(columns, (0, 1)) - pad(columns, (1, 0))


@dataclass(frozen=True)
class Regulariser:
    """R(x) = sum of weights h(|B grad x|), with Huber's function h and a turn and stretch B of every pixel's gradient.

    Attributes
    ----------
    tv : {"isotropic", "anisotropic"}
        Whether the two components count by their length or each by itself.
    huber : float
        In the unit of x. Steps shorter than this are smoothed rather than flattened: h(t) = t^2 / (2 huber) up to it, and
        t - huber / 2 beyond. 0 is total variation.
    angle : (..., h, w) tensor or None
        Of directional total variation, the direction of the lines in radians, from x towards y.
    along : (..., h, w) tensor or None
        How much differences along the lines count, from 0 to 1, where those across count 1.

    Notes
    -----
    With `angle` and `along` this is the weighted directional TV of Calatroni, Lanza, Pragliola and Sgallari (SIAM J. Imaging
    Sci. 12, 2019), with exponents of 1.
    """

    tv: str = "isotropic"
    huber: float = 0.0
    angle: torch.Tensor | None = None
    along: torch.Tensor | None = None

    def __post_init__(self):
        if self.tv not in TV:
            raise ValueError(f"tv: {self.tv!r} is not one of {', '.join(TV)}")
        if self.huber < 0:
            raise ValueError("huber: is negative")
        if (self.angle is None) != (self.along is None):
            raise ValueError("angle and along: give both or none")

    def analysed(self, x: torch.Tensor) -> torch.Tensor:
        """B grad x: (2, ..., h, w), across the lines and along them."""
        field = gradient(x)
        if self.angle is None:
            return field
        sine, cosine = self.angle.sin(), self.angle.cos()
        y, x = field
        return torch.stack([cosine * y - sine * x, self.along * (sine * y + cosine * x)])

    def returned(self, field: torch.Tensor) -> torch.Tensor:
        """The transpose of `analysed`."""
        if self.angle is not None:
            sine, cosine = self.angle.sin(), self.angle.cos()
            across, along = field[0], self.along * field[1]
            field = torch.stack([cosine * across + sine * along, cosine * along - sine * across])
        return -divergence(field)

    def value(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """R(x) of every picture: (...)."""
        steps = self._lengths(self.analysed(x))
        if self.huber:
            short = steps.square() / (2 * self.huber)
            steps = torch.where(steps < self.huber, short, steps - self.huber / 2)
        if self.tv == "anisotropic":
            steps = steps.sum(0)
        return (weights * steps).sum((-2, -1))

    def bounded(self, dual: torch.Tensor, weights: torch.Tensor, step) -> torch.Tensor:
        """The proximal map of R's conjugate at a dual field (2, ..., h, w), with a step (a number, or (..., 1, 1))."""
        weights = weights.clamp(min=torch.finfo(dual.dtype).tiny)
        if self.huber:
            dual = dual / (1 + step * self.huber / weights)
        return dual / (self._lengths(dual) / weights).clamp(min=1)

    def _lengths(self, field: torch.Tensor) -> torch.Tensor:
        if self.tv == "anisotropic":
            return field.abs()
        # The root has no gradient at 0.
        return field.square().sum(0).clamp(min=torch.finfo(field.dtype).tiny).sqrt()
