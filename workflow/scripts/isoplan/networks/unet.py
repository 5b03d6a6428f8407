"""The levels of a U-Net (Ronneberger 2015), without any normalisation over a picture, so that windows of it agree."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate, max_pool2d

SLOPE = 0.1  # of activations below zero, where narrow networks would else stay dark for good


class Levels(nn.Module):
    """Encoder and decoder over several resolutions, each half as fine as the one above.

    Parameters
    ----------
    channels : int
        Of the input.
    width : int
        Channels at full resolution; each level below has twice as many.
    levels : int
        Resolutions.
    bridges : bool
        Whether each level of the decoder sees the encoder's of its resolution. Without them everything goes through the
        narrowest level.
    outputs : int
        Channels of the output, which begin as 0.

    Examples
    --------
    >>> network = Levels(channels=3, width=8, levels=2, outputs=2)
    >>> network.decoded(network.encoded(torch.zeros(1, 3, 30, 40))).shape
    torch.Size([1, 2, 30, 40])
    """

    def __init__(
        self,
        channels: int,
        width: int,
        levels: int,
        *,
        bridges: bool = True,
        outputs: int = 1,
        **others: Any,
    ):
        super().__init__(**others)
        self.levels, self.bridges = levels, bridges
        widths = [width * 2**level for level in range(levels)]
        before = [channels, *widths]
        self.down = nn.ModuleList(_pair(a, b) for a, b in zip(before, widths, strict=False))
        self.up = nn.ModuleList(
            _pair(b + (a if bridges else 0), a)
            for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.last = nn.Conv2d(width, outputs, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @property
    def step_px(self) -> int:
        """Windows that are worked on alone begin at multiples of this, as its levels do."""
        return 2 ** (self.levels - 1)

    @property
    def reach_px(self) -> int:
        """How far around a pixel the input counts, at most."""
        # Two convolutions a level on the way down and up, and what pooling and nearest neighbours join.
        return sum(5 * 2**level for level in range(self.levels))

    def encoded(self, seen: torch.Tensor) -> list[torch.Tensor]:
        """What each level makes of (n, channels, h, w), the finest first. h and w are multiples of `step_px`."""
        x, kept = seen, []
        for level, pair in enumerate(self.down):
            x = pair(max_pool2d(x, 2) if level else x)
            kept.append(x)
        return kept

    def decoded(self, kept: list[torch.Tensor]) -> torch.Tensor:
        """(n, outputs, h, w) of what `encoded` gave; without bridges of its last level alone."""
        x = kept[-1]
        for pair, fine in zip(self.up, kept[-2::-1], strict=True):
            x = interpolate(x, scale_factor=2.0, mode="nearest")
            x = pair(torch.cat([x, fine], 1) if self.bridges else x)
        return self.last(x)


def _pair(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        *(
            nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate"),
            nn.LeakyReLU(SLOPE, True),
        ),
        *(
            nn.Conv2d(after, after, 3, padding=1, padding_mode="replicate"),
            nn.LeakyReLU(SLOPE, True),
        ),
    )


def border(pictures: torch.Tensor, side: int) -> str:
    """How to pad pictures (..., h, w) by `side` px: mirrored where they are large enough."""
    return "reflect" if min(pictures.shape[-2:]) > side else "replicate"


def upto_step(pictures: torch.Tensor, step_px: int) -> torch.Tensor:
    """Pictures (n, c, h, w), padded below and on the right to a multiple of `step_px`."""
    h, w = pictures.shape[-2:]
    rest = -h % step_px, -w % step_px
    return nn.functional.pad(pictures, (0, rest[1], 0, rest[0]), mode=border(pictures, max(rest)))


def gaussian_profiles(sigmas_px: tuple[float, ...], reach: float) -> torch.Tensor:
    """Profiles (n, 2 r + 1) of Gaussians with sum 1, all as long as the widest, which ends at `reach` standard deviations."""
    side = int(reach * max(sigmas_px))
    x = torch.arange(-side, side + 1, dtype=torch.float32)
    profiles = torch.stack([torch.exp(-0.5 * (x / sigma) ** 2) for sigma in sigmas_px])
    return profiles / profiles.sum(1, keepdim=True)


def smoothed(pictures: torch.Tensor, profiles: torch.Tensor) -> torch.Tensor:
    """Pictures (n, 1, h, w) through each of the Gaussians (k, s): (n, k, h, w)."""
    side = profiles.shape[-1] // 2
    wide = nn.functional.pad(pictures, (side,) * 4, mode=border(pictures, side))
    rows = nn.functional.conv2d(wide, profiles[:, None, :, None])
    return nn.functional.conv2d(rows, profiles[:, None, None], groups=len(profiles))
