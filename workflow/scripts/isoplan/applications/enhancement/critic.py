"""A critic of patches, which learns to tell a target from a network's result (Isola 2017, PatchGAN; Mao 2017, least squares)."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Says of every patch of 34 px whether it is real: near 1, or made by a network: near 0.

    Parameters
    ----------
    seen : int
        Pictures that it sees: the input and its target or result, or one picture alone.
    width : int
        Channels of its first layer.

    Examples
    --------
    >>> Critic(2, 8)(torch.zeros(2, 1, 64, 64), torch.zeros(2, 1, 64, 64)).shape
    torch.Size([2, 1, 14, 14])
    """

    def __init__(self, seen: int, width: int = 32):
        super().__init__()
        widths = (seen, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after, step in zip(widths, widths[1:], (2, 2, 1), strict=False):
            # Spectral norms keep it from running away from the network.
            layers += [spectral_norm(nn.Conv2d(before, after, 4, step, 1)), nn.LeakyReLU(0.2, True)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, 1, 1)))

    def forward(self, *pictures: torch.Tensor) -> torch.Tensor:
        """pictures : (n, 1, h, w) each, as many as it sees."""
        return self.layers(torch.cat(pictures, 1))


def critic_loss(critic: Critic, real: list[torch.Tensor], made: list[torch.Tensor]) -> torch.Tensor:
    """What the critic lowers; no gradient reaches the network."""
    told = critic(*(one.detach() for one in made))
    return 0.5 * ((critic(*real) - 1).square().mean() + told.square().mean())


def deceived(critic: Critic, *made: torch.Tensor) -> torch.Tensor:
    """What the network lowers beside its error: how far its results are from being taken for real ones."""
    return (critic(*made) - 1).square().mean()
