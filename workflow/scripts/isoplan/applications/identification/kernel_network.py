"""A network that makes the kernel from a picture: an auto-encoder that is told the optics (seed 003)."""

from pathlib import Path
from typing import Self

import torch
from torch import nn

from isoplan.base.errors import UserError
from isoplan.networks import store
from isoplan.networks.unet import Levels, upto_step

TASK = "kernel"
CUTOFF, WAVES = 0.25, 0.15  # units of what it is told


class KernelNetwork(Levels):
    """From pictures, cut-offs and largest amplitudes to kernels.

    What is told goes in as channels that are the same everywhere. The picture is coded as one vector, from which the
    decoder makes a kernel that is positive and of sum 1 (softmax). 48 channels and 6 levels are 64 million weights.

    Parameters
    ----------
    size_px
        Side of the kernels, odd.
    width, levels
        See `networks.unet.Levels`.

    Examples
    --------
    >>> network = KernelNetwork(size_px=33, width=4, levels=4)
    >>> told = torch.tensor([0.2]), torch.tensor([0.15])
    >>> kernel = network(torch.rand(1, 128, 128), *told)
    >>> kernel.shape, round(float(kernel.detach().sum()), 4)
    (torch.Size([1, 33, 33]), 1.0)
    """

    def __init__(self, size_px: int, width: int, levels: int):
        super().__init__(channels=3, width=width, levels=levels, bridges=False)
        self.size_px = size_px
        across = -(-size_px // self.step_px)
        wide = width * 2 ** (levels - 1)
        self.place = nn.Parameter(torch.randn(1, wide, across, across) / wide**0.5)

    def forward(
        self, pictures: torch.Tensor, cutoff: torch.Tensor, most_waves: torch.Tensor
    ) -> torch.Tensor:
        """(n, h, w), (n,) in cycles/px, (n,) in waves -> (n, size_px, size_px)."""
        spread = pictures.std((1, 2), keepdim=True).clamp_min(1e-6)
        seen = (pictures - pictures.mean((1, 2), keepdim=True)) / spread
        told = [
            (value / unit)[:, None, None].expand_as(seen)
            for value, unit in ((cutoff, CUTOFF), (most_waves, WAVES))
        ]
        code = self.encoded(upto_step(torch.stack([seen, *told], 1), self.step_px))[-1]
        begun = code.mean((2, 3), keepdim=True) + self.place
        # Without bridges the decoder reads the last one alone.
        whole = self.decoded([begun] * self.levels)[:, 0]
        first = (whole.shape[-1] - self.size_px) // 2
        kept = whole[:, first : first + self.size_px, first : first + self.size_px]
        return kept.flatten(1).softmax(1).view_as(kept)

    @classmethod
    def load(cls, file: str | Path) -> tuple[Self, dict]:
        """A trained network and its card. Raises UserError if the file is none."""
        card, weights = store.read(file, TASK)
        try:
            spec = card["network"]
            network = cls(card["psf"]["size_px"], spec["width"], spec["levels"])
            network.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{file}: its weights and its card do not go together ({error})"
            ) from None
        return network.eval(), card
