"""A critic of patches, which learns to tell a target from a network's result (Isola 2017, PatchGAN; Mao 2017, least squares)."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Says of every patch of 34 px whether it is of a target, given the input: near 1, or of a network's result: near 0.

    Parameters
    ----------
    width : int
        Channels of its first layer.

    Examples
    --------
    >>> Critic(8)(torch.zeros(2, 1, 64, 64), torch.zeros(2, 1, 64, 64)).shape
    torch.Size([2, 1, 14, 14])
    """

    def __init__(self, width: int = 32):
        super().__init__()
        widths = (2, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after, step in zip(widths, widths[1:], (2, 2, 1), strict=False):
            # Spectral norms keep it from running away from the network.
            layers += [spectral_norm(nn.Conv2d(before, after, 4, step, 1)), nn.LeakyReLU(0.2, True)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, 1, 1)))

    def forward(self, low: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """low, shown : (n, 1, h, w) input, and target or result."""
        return self.layers(torch.cat([low, shown], 1))


def critic_loss(critic: Critic, low: torch.Tensor, high: torch.Tensor, made: torch.Tensor):
    """What the critic lowers; no gradient reaches the network."""
    return 0.5 * (
        (critic(low, high) - 1).square().mean() + critic(low, made.detach()).square().mean()
    )


def deceived(critic: Critic, low: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """What the network lowers beside its error: how far its results are from being taken for targets."""
    return (critic(low, made) - 1).square().mean()
