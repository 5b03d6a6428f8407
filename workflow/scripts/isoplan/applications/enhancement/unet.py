"""A small U-Net that enhances a picture, and the same without its bridges: a convolutional auto-encoder."""

from typing import Self

import torch
from torch import nn
from torch.nn.functional import interpolate, max_pool2d, pad

BLURS_PX = (1.2, 2.6, 6.0)  # standard deviations of the Gaussians that it sees beside the picture
CHANNELS = 1 + len(BLURS_PX)
BASE = 2  # of these, by number in the input's channels, the one that it adds to
REACH = 4.0  # standard deviations, at which Gaussians end
SLOPE = 0.1  # of activations below zero, where narrow networks would else stay dark for good


class OverGaussians(nn.Module):
    """What networks have in common that see a picture beside Gaussians of it."""

    blurs: torch.Tensor
    step_px: int

    def __init__(self):
        super().__init__()
        self.register_buffer("blurs", torch.stack([_gaussian(s) for s in BLURS_PX])[:, None], False)

    def taught(
        self, pictures: torch.Tensor, chance: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward` while it learns, and what is to be lowered beside the error. chance: where it draws from."""
        return self(pictures), torch.zeros(())

    def seen(self, pictures: torch.Tensor) -> torch.Tensor:
        """The picture and its Gaussians: (n, CHANNELS, h, w), up to a multiple of `step_px`."""
        h, w = pictures.shape[-2:]
        rest = -h % self.step_px, -w % self.step_px
        pictures = pad(pictures, (0, rest[1], 0, rest[0]), mode=_border(pictures, max(rest)))
        side = self.blurs.shape[-1] // 2
        wide = pad(pictures, (side,) * 4, mode=_border(pictures, side))
        return torch.cat([pictures, _blurred(wide, self.blurs)], 1)


class UNet(OverGaussians):
    """From a standardised picture to the same with less noise.

    It sees the picture and three Gaussians of it, and gives what is to be added to the Gaussian of BLURS_PX[1].

    Parameters
    ----------
    width : int
        Channels at full resolution; each level below has twice as many.
    levels : int
        Resolutions, each half as fine as the one above.
    bridges : bool
        Whether each level of the decoder sees the encoder's of its resolution (Ronneberger 2015). Without them the network is
        an auto-encoder, through whose narrowest level everything goes, and adds to nothing.

    Examples
    --------
    >>> network = UNet(width=8, levels=2)
    >>> network(torch.zeros(1, 1, 30, 41)).shape
    torch.Size([1, 1, 30, 41])
    """

    def __init__(self, width: int = 16, levels: int = 3, bridges: bool = True):
        super().__init__()
        self.levels, self.bridges = levels, bridges
        widths = [width * 2**level for level in range(levels)]
        before = [CHANNELS, *widths]
        self.down = nn.ModuleList(_pair(a, b) for a, b in zip(before, widths, strict=False))
        self.up = nn.ModuleList(
            _pair(b + (a if bridges else 0), a)
            for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.last = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @classmethod
    def of(cls, spec: dict) -> Self:
        """The network of an entry of `enhancers`."""
        return cls(spec["width"], spec["levels"], bridges=spec["architecture"] == "unet")

    @property
    def step_px(self) -> int:
        """Windows that are worked on alone begin at multiples of this, as its levels do."""
        return 2 ** (self.levels - 1)

    @property
    def halo_px(self) -> int:
        """How far around a pixel the picture counts, as a multiple of `step_px`."""
        # Two convolutions a level on the way down and up, and what pooling and nearest neighbours join.
        reach = sum(5 * 2**level for level in range(self.levels)) + self.blurs.shape[-1] // 2
        return -(-reach // self.step_px) * self.step_px

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, 1, h, w) standardised -> the same. Borders are mirrored, up to a multiple of `step_px`."""
        h, w = pictures.shape[-2:]
        seen = self.seen(pictures)
        base = seen[:, BASE : BASE + 1] if self.bridges else 0.0
        return (base + self.decoded(self.encoded(seen)))[..., :h, :w]

    def encoded(self, seen: torch.Tensor) -> list[torch.Tensor]:
        """What each level makes of it, the finest first."""
        x, kept = seen, []
        for level, pair in enumerate(self.down):
            x = pair(max_pool2d(x, 2) if level else x)
            kept.append(x)
        return kept

    def decoded(self, kept: list[torch.Tensor]) -> torch.Tensor:
        """(n, 1, h, w) of what `encoded` gave; without bridges of its last level alone."""
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


def _border(pictures: torch.Tensor, side: int) -> str:
    """Mirrored where the picture is large enough."""
    return "reflect" if min(pictures.shape[-2:]) > side else "replicate"


def _gaussian(sigma_px: float) -> torch.Tensor:
    """A profile as long as the widest: (2 reach + 1,), sum 1."""
    reach = int(REACH * max(BLURS_PX))
    x = torch.arange(-reach, reach + 1, dtype=torch.float32)
    profile = torch.exp(-0.5 * (x / sigma_px) ** 2)
    return profile / profile.sum()


def _blurred(wide: torch.Tensor, profiles: torch.Tensor) -> torch.Tensor:
    """Each Gaussian of (n, 1, h + s, w + s) pictures: (n, profiles, h, w)."""
    rows = nn.functional.conv2d(wide, profiles[..., None])
    return nn.functional.conv2d(rows, profiles[:, :, None], groups=len(profiles))
