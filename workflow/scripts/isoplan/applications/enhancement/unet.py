"""A small U-Net that enhances a picture, and the same without its bridges: a convolutional auto-encoder."""

from typing import Any, Self

import torch
from torch import nn

from isoplan.networks.unet import Levels, gaussian_profiles, smoothed, upto_step

BLURS_PX = (1.2, 2.6, 6.0)  # standard deviations of the Gaussians that it sees beside the picture
CHANNELS = 1 + len(BLURS_PX)
BASE = 2  # of these, by number in the input's channels, the one that it adds to
REACH = 4.0  # standard deviations, at which Gaussians end


class OverGaussians(nn.Module):
    """What networks have in common that see a picture beside Gaussians of it."""

    blurs: torch.Tensor
    step_px: int

    def __init__(self, **others: Any):
        super().__init__(**others)
        self.register_buffer("blurs", gaussian_profiles(BLURS_PX, REACH), False)

    def taught(
        self, pictures: torch.Tensor, chance: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward` while it learns, and what is to be lowered beside the error. chance: where it draws from."""
        return self(pictures), torch.zeros(())

    def seen(self, pictures: torch.Tensor) -> torch.Tensor:
        """The picture and its Gaussians: (n, CHANNELS, h, w), up to a multiple of `step_px`."""
        pictures = upto_step(pictures, self.step_px)
        return torch.cat([pictures, smoothed(pictures, self.blurs)], 1)


class UNet(OverGaussians, Levels):
    """From a standardised picture to the same with less noise.

    It sees the picture and three Gaussians of it, and gives what is to be added to the Gaussian of BLURS_PX[1].

    Parameters
    ----------
    width, levels : int
        See `networks.unet.Levels`.
    bridges : bool
        Without them the network is an auto-encoder, and adds to nothing.

    Examples
    --------
    >>> network = UNet(width=8, levels=2)
    >>> network(torch.zeros(1, 1, 30, 41)).shape
    torch.Size([1, 1, 30, 41])
    """

    def __init__(self, width: int = 16, levels: int = 3, bridges: bool = True):
        super().__init__(channels=CHANNELS, width=width, levels=levels, bridges=bridges)

    @classmethod
    def of(cls, spec: dict) -> Self:
        """The network of an entry of `enhancers`."""
        return cls(spec["width"], spec["levels"], bridges=spec["architecture"] == "unet")

    @property
    def halo_px(self) -> int:
        """How far around a pixel the picture counts, as a multiple of `step_px`."""
        reach = self.reach_px + self.blurs.shape[-1] // 2
        return -(-reach // self.step_px) * self.step_px

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, 1, h, w) standardised -> the same. Borders are mirrored, up to a multiple of `step_px`."""
        h, w = pictures.shape[-2:]
        seen = self.seen(pictures)
        base = seen[:, BASE : BASE + 1] if self.bridges else 0.0
        return (base + self.decoded(self.encoded(seen)))[..., :h, :w]
