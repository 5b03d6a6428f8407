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
    """R(x) = sum of weights h(|B grad x|), with Huber's function h and a symmetric matrix B at every pixel.

    Attributes
    ----------
    tv : {"isotropic", "anisotropic"}
        Whether the two components count by their length or each by itself.
    huber : float or (..., 1, 1) tensor
        In the unit of x. Steps shorter than this are smoothed rather than flattened: h(t) = t^2 / (2 huber) up to it, and
        t - huber / 2 beyond. 0 is total variation.
    lines : (2, ..., h, w) tensor or None
        Of directional total variation: (1 - a) (cos 2t, sin 2t), shorter than 1, where lines have the direction t in radians, from
        x towards y, and differences along them count a, where those across count 1.

    Notes
    -----
    With `lines` this is the weighted directional TV of Calatroni, Lanza, Pragliola and Sgallari (SIAM J. Imaging Sci. 12, 2019),
    with exponents of 1: their turn before and after does not change a length.
    """

    tv: str = "isotropic"
    huber: float | torch.Tensor = 0.0
    lines: torch.Tensor | None = None

    def __post_init__(self):
        if self.tv not in TV:
            raise ValueError(f"tv: {self.tv!r} is not one of {', '.join(TV)}")
        if self.huber is not None and (torch.as_tensor(self.huber) < 0).any():
            raise ValueError("huber: is negative")

    @property
    def _rounded(self) -> bool:
        return torch.is_tensor(self.huber) or self.huber > 0

    def analysed(self, x: torch.Tensor) -> torch.Tensor:
        """B grad x: (2, ..., h, w)."""
        return self._weighed(gradient(x))

    def returned(self, field: torch.Tensor) -> torch.Tensor:
        """The transpose of `analysed`."""
        return -divergence(self._weighed(field))

    def _weighed(self, field: torch.Tensor) -> torch.Tensor:
        """B times a field: I - (1 - a) t t', t the lines' unit vector."""
        if self.lines is None:
            return field
        even, odd = self.lines
        length = (even.square() + odd.square() + 1e-12).sqrt()
        y, x = field
        return torch.stack(
            [
                y - ((length - even) * y + odd * x) / 2,
                x - (odd * y + (length + even) * x) / 2,
            ]
        )

    def value(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """R(x) of every picture: (...)."""
        steps = self._lengths(self.analysed(x))
        if self._rounded:
            short = steps.square() / (2 * self.huber)
            steps = torch.where(steps < self.huber, short, steps - self.huber / 2)
        if self.tv == "anisotropic":
            steps = steps.sum(0)
        return (weights * steps).sum((-2, -1))

    def bounded(self, dual: torch.Tensor, weights: torch.Tensor, step) -> torch.Tensor:
        """The proximal map of R's conjugate at a dual field (2, ..., h, w), with a step (a number, or (..., 1, 1))."""
        weights = weights.clamp(min=torch.finfo(dual.dtype).tiny)
        if self._rounded:
            dual = dual / (1 + step * self.huber / weights)
        return dual / (self._lengths(dual) / weights).clamp(min=1)

    def _lengths(self, field: torch.Tensor) -> torch.Tensor:
        if self.tv == "anisotropic":
            return field.abs()
        # The root has no gradient at 0.
        return field.square().sum(0).clamp(min=torch.finfo(field.dtype).tiny).sqrt()
