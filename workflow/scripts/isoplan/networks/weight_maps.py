"""A small U-Net that tells from counts, photons and PSFs how much to smooth at every pixel."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import torch

from isoplan.base.errors import UserError
from isoplan.networks import store
from isoplan.networks.unet import Levels, gaussian_profiles, smoothed, upto_step

TASK = "weight-map"
SMOOTHED_PX = (1.2, 2.6, 6.0)  # standard deviations of Gaussians, between which the bands lie
REACH = 4.0  # standard deviations, at which Gaussians end
CHANNELS = len(SMOOTHED_PX) + 4
DOUBTFUL = 0.1  # doubt of PSFs that counts as 1
# Weights are PER_PHOTON over the photons at the brightest pixels, times or by exp(FURTHEST) at most.
PER_PHOTON, FURTHEST = 3.0, 4.0
CHOICES = 9  # weights that are tried, spread evenly over this range on a logarithmic scale


@dataclass(frozen=True)
class Maps:
    """What a network tells at every pixel of n pictures.

    Attributes
    ----------
    logs : (n, h, w) tensor
        Logarithms of weights.
    lines : (2, n, h, w) tensor or None
        Of directional total variation, (1 - a) (cos 2t, sin 2t): t is the lines' direction in radians, from x towards y, and a how
        much differences along them count, where those across count 1.
    noise : (n, h, w) tensor or None
        How many times its mean over the picture the noise's variance is.
    """

    logs: torch.Tensor
    lines: torch.Tensor | None = None
    noise: torch.Tensor | None = None


class WeightNetwork(Levels):
    """From a picture to the logarithm of the TV weight at each of its pixels.

    It sees bands of the picture in units of its noise (after Anscombe's root, which gives photons and read noise a variance of
    1 everywhere), the local and the largest number of photons, and how wide and how doubtful the PSFs are that restore.

    Parameters
    ----------
    width, levels : int
        See `networks.unet.Levels`.
    directs, senses : bool
        Whether it tells the direction of lines too, and how much less differences along them count; and whether it tells
        how the noise varies.

    Examples
    --------
    A network that has learnt nothing gives 3 over the photons:

    >>> network = WeightNetwork(width=8, levels=2)
    >>> photons, widths = torch.full((1, 30, 41), 50.0), torch.full((1, 30, 41), 3.0)
    >>> peak, floor, doubt = torch.tensor([[100.0], [0.0], [0.1]])
    >>> weights = network(photons, widths, peak, floor, doubt).exp()
    >>> weights.shape, round(float(weights[0, 0, 0]), 3)
    (torch.Size([1, 30, 41]), 0.03)
    """

    profiles: torch.Tensor

    def __init__(
        self, width: int = 16, levels: int = 3, directs: bool = False, senses: bool = False
    ):
        super().__init__(CHANNELS, width, levels, outputs=1 + 2 * directs + senses)
        self.directs, self.senses = directs, senses
        self.register_buffer("profiles", gaussian_profiles(SMOOTHED_PX, REACH), False)

    @classmethod
    def of(cls, spec: dict) -> Self:
        """The network of an entry of `weight_networks`."""
        directs, senses = spec["regulariser"] == "directional", spec["noise"] == "uneven"
        return cls(spec["width"], spec["levels"], directs, senses)

    @property
    def halo_px(self) -> int:
        """How far around a pixel the picture counts, as a multiple of `step_px`."""
        reach = self.reach_px + self.profiles.shape[-1] // 2
        return -(-reach // self.step_px) * self.step_px

    def seen(
        self,
        photons: torch.Tensor,
        widths: torch.Tensor,
        peak: torch.Tensor,
        floor: torch.Tensor,
        doubt: torch.Tensor,
    ) -> torch.Tensor:
        """What it sees of pictures: (n, CHANNELS, h, w), up to a multiple of `step_px`. See `forward`."""
        peak, floor = peak.view(-1, 1, 1, 1), floor.view(-1, 1, 1, 1)
        pictures = upto_step(torch.stack([photons, widths], 1), self.step_px)
        photons, widths = pictures[:, :1].clamp(min=0), pictures[:, 1:]
        root = 2 * (photons + floor + 0.375).sqrt()
        levels = torch.cat([root, smoothed(root, self.profiles)], 1)
        bands = torch.asinh(levels[:, :-1] - levels[:, 1:])
        light = 2 * torch.log10(levels[:, 2:3])  # of the root, smoothed
        largest = torch.log10(4 * (peak + floor)).expand_as(light)
        doubts = (doubt / DOUBTFUL).view(-1, 1, 1, 1).expand_as(light)
        return torch.cat([bands, light - 4, light - largest, torch.log2(widths) - 1.5, doubts], 1)

    def told(self, *pictures: torch.Tensor) -> torch.Tensor:
        """What the last layer tells: (n, outputs, h, w). pictures: as of `forward`."""
        h, w = pictures[0].shape[-2:]
        return self.decoded(self.encoded(self.seen(*pictures)))[..., :h, :w]

    def forward(
        self,
        photons: torch.Tensor,
        widths: torch.Tensor,
        peak: torch.Tensor,
        floor: torch.Tensor,
        doubt: torch.Tensor,
    ) -> torch.Tensor:
        """Logarithms of weights (n, h, w).

        Parameters
        ----------
        photons : (n, h, w) tensor
            Photo-electrons: counts above the offset over the gain.
        widths : (n, h, w) tensor
            Width in px of the PSF at every pixel (`optics.model.equivalent_width_px`).
        peak : (n,) tensor
            Electrons at the brightest pixels of the whole mosaic.
        floor : (n,) tensor
            Variance without light in electrons^2.
        doubt : (n,) tensor
            Relative standard deviation of the PSFs' width; 0 if they are known.
        """
        return self.maps(photons, widths, peak, floor, doubt).logs

    def maps(self, *pictures: torch.Tensor) -> Maps:
        """All that it tells. pictures: as of `forward`."""
        _, _, peak, floor, _ = pictures
        told, lines, noise = self.told(*pictures), None, None
        if self.directs:
            lines = told[:, 1:3].movedim(1, 0)
            lines = lines / (1 + lines.square().sum(0)).sqrt()  # shorter than 1
        if self.senses:
            noise = _bounded(told[:, -1]).exp()
            noise = noise / noise.mean((1, 2), keepdim=True)
        middle = math.log(PER_PHOTON) - (peak + floor).log().view(-1, 1, 1)
        return Maps(middle + _bounded(told[:, 0]), lines, noise)


def _bounded(told: torch.Tensor) -> torch.Tensor:
    return FURTHEST * torch.tanh(told / FURTHEST)


def choices_of(peak: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """CHOICES weights (n, CHOICES) from the least to the largest that a network can tell."""
    among = torch.linspace(-FURTHEST, FURTHEST, CHOICES, device=peak.device).exp()
    return PER_PHOTON * among / (peak + floor)[:, None]


@lru_cache(maxsize=4)
def load(file: str | Path) -> tuple[WeightNetwork, dict]:
    """A trained network, in evaluation mode on the CPU, and its card.

    Raises UserError if the file holds no network of weights.
    """
    card, weights = store.read(file, TASK)
    if card["network"]["learns"] == "direct":
        raise UserError(f"{file}: makes pictures and tells no weights; name another network")
    made = store.build_with_weights(
        file, card, weights, lambda told: WeightNetwork.of(told["network"])
    )
    return made, card
