"""Critics that tell frames of a sequence from generated ones.

A Wasserstein critic (Gulrajani et al., NeurIPS 2017) is to have slopes of 1 between real and generated frames, which a
penalty holds it to. Slopes are per unit of what the critic reads. FluoGAN as published reads counts, of hundreds, and
ends in a sigmoid from weights near 0: its slopes are about 0 whatever it learns, its penalty is the constant
weight * (0 - 1)^2, and it is no Wasserstein critic. `Critic` reads frames in units of their own noise, without a
sigmoid: its penalty acts.
"""

import torch
from torch import nn

WEIGHT = 10.0  # of the penalty
RATE = 5e-4  # of Adam
WIDTHS = (16, 32)
PUBLISHED_WIDTHS, PUBLISHED_WEIGHT = (32, 64, 128), 200.0


class Critic(nn.Module):
    """A critic with one number per run of frames, and no bound.

    Parameters
    ----------
    std : Tensor
        (h, w) standard deviation of the real frames' pixels, in electrons. Frames are read as (y - mean) / std.
    frames : int
        Of a run; they are its channels.

    Notes
    -----
    Emitters differ from place to place, so the last layer has weights of its own for each, on a grid of 4 px.
    """

    def __init__(self, std: torch.Tensor, frames: int):
        super().__init__()
        self.register_buffer("std", std)
        first, second = WIDTHS
        h, w = ((n + 3) // 4 for n in std.shape)
        self.layers = nn.Sequential(
            nn.Conv2d(frames, first, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(first, second, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(second * h * w, 1),
        )

    def standard(self, fluctuations: torch.Tensor) -> torch.Tensor:
        """What the critic reads, of frames less their mean: (..., h, w) without unit."""
        return fluctuations / self.std

    def forward(self, standard: torch.Tensor) -> torch.Tensor:
        """(n,) of (n, frames, h, w), as `standard` made them."""
        return self.layers(standard)[:, 0]


class PublishedCritic(nn.Module):
    """As published, for the comparison: reads counts and ends in a sigmoid.

    Parameters
    ----------
    shape : tuple of int
        (h, w) of a frame. A third layer of convolutions is left out where the frame has no room for it.

    Notes
    -----
    Convolutions of 5 px with maxima over 2 px, 32-64-128 wide, then 10 and 1; weights N(0, 0.01^2), biases 0.01
    (the code of Cachia et al., HAL hal-03790156).
    """

    def __init__(self, shape: tuple[int, int]):
        super().__init__()
        layers, width = [], 1
        h, w = (n - 2 for n in shape)  # it leaves out a pixel on every side
        for wider in PUBLISHED_WIDTHS:
            if min(h, w) < 6:
                break
            layers += [nn.Conv2d(width, wider, 5), nn.MaxPool2d(2), nn.LeakyReLU()]
            h, w, width = (h - 4) // 2, (w - 4) // 2, wider
        layers += [nn.Flatten(), nn.Linear(width * h * w, 10), nn.ReLU(), nn.Linear(10, 1)]
        self.layers = nn.Sequential(*layers, nn.Sigmoid())
        for layer in self.layers:
            if hasattr(layer, "weight"):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.constant_(layer.bias, 0.01)

    def standard(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames as they are."""
        return frames

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(n,) of (n, 1, h, w) counts, 0 to 1."""
        return self.layers(frames[..., 1:-1, 1:-1])[:, 0]


def slopes(
    critic: nn.Module, real: torch.Tensor, made: torch.Tensor, rng: torch.Generator
) -> torch.Tensor:
    """Norms of the critic's gradient at points between real and generated runs.

    Parameters
    ----------
    critic : Module
        `Critic` or `PublishedCritic`.
    real, made : Tensor
        (n, frames, h, w), as the critic's `standard` made them.
    rng : Generator
        Chooses the points.

    Returns
    -------
    Tensor
        (n,).
    """
    share = torch.rand(len(real), 1, 1, 1, generator=rng)
    between = (share * real + (1 - share) * made).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return gradient.flatten(1).norm(dim=1)


def teach(
    critic: nn.Module,
    optimiser: torch.optim.Optimizer,
    real: torch.Tensor,
    made: torch.Tensor,
    rng: torch.Generator,
    weight: float = WEIGHT,
) -> tuple[float, float]:
    """One step of a critic.

    Parameters
    ----------
    critic, real, made, rng
        See `slopes`.
    optimiser : Optimizer
        Of the critic's weights.
    weight : float
        Of the penalty (slope - 1)^2.

    Returns
    -------
    tuple of float
        By how much it rates real runs above generated ones, and the mean slope, both before the step.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> rng = torch.Generator().manual_seed(0)
    >>> critic = Critic(torch.ones(8, 8), 1)
    >>> optimiser = torch.optim.Adam(critic.parameters(), 1e-3)
    >>> for _ in range(100):
    ...     real = critic.standard(0.3 + torch.randn(16, 1, 8, 8, generator=rng))
    ...     made = critic.standard(torch.randn(16, 1, 8, 8, generator=rng))
    ...     gap, slope = teach(critic, optimiser, real, made, rng)
    >>> gap > 1, abs(slope - 1) < 0.3
    (True, True)
    """
    gap = critic(real).mean() - critic(made).mean()
    slope = slopes(critic, real, made, rng)
    loss = weight * ((slope - 1) ** 2).mean() - gap
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(gap.detach()), float(slope.mean().detach())
