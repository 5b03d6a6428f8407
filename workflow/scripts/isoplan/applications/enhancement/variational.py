"""A variational auto-encoder of pictures, and a walk in its latent space from noisy pictures to clean ones."""

from typing import Any, Self

import torch
from torch import nn

from isoplan.applications.enhancement.lessons import Batch, adam, descend, mean
from isoplan.applications.enhancement.pairs import Pair
from isoplan.applications.enhancement.unet import UNet


class Variational(UNet):
    """The auto-encoder of `UNet` whose narrowest level is drawn from Gaussians (Kingma and Welling 2014).

    Parameters
    ----------
    width, levels : int
        As in `UNet`.
    latents : int
        Channels of its narrowest level.
    divergence : float
        Weight of the Kullback-Leibler divergence from standard normal latents, per latent, beside the error.

    Examples
    --------
    >>> network = Variational(width=4, levels=2, latents=3, divergence=0.01)
    >>> network(torch.zeros(1, 1, 30, 41)).shape
    torch.Size([1, 1, 30, 41])
    """

    def __init__(self, width: int, levels: int, latents: int, divergence: float):
        super().__init__(width, levels, bridges=False)
        narrow = width * 2 ** (levels - 1)
        self.divergence = divergence
        self.told = nn.Conv2d(narrow, 2 * latents, 1)
        self.back = nn.Conv2d(latents, narrow, 1)
        self.register_buffer("walk", torch.zeros(latents))

    @classmethod
    def of(cls, spec: dict) -> Self:
        """The network of an entry of `enhancers`."""
        return cls(spec["width"], spec["levels"], spec["latents"], spec["divergence"])

    def latent(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and logarithms of variances: (n, latents, h / step_px, w / step_px) each, of (n, 1, h, w)."""
        found = self.told(self.encoded(self.seen(pictures))[-1])
        means, variances = found.chunk(2, 1)
        return means, variances.clamp(-10, 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """As `UNet`: the means, as far along as the walk says."""
        h, w = pictures.shape[-2:]
        means, _ = self.latent(pictures)
        return self._decoded(means + self.walk[:, None, None])[..., :h, :w]

    def taught(
        self, pictures: torch.Tensor, chance: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `UNet`, from latents that are drawn."""
        h, w = pictures.shape[-2:]
        means, variances = self.latent(pictures)
        drawn = torch.randn(means.shape, generator=chance).to(means.device)
        made = self._decoded(means + drawn * (variances / 2).exp())[..., :h, :w]
        apart = 0.5 * (means.square() + variances.exp() - variances - 1).mean()
        return made, self.divergence * apart

    def _decoded(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decoded([self.back(latents)] * self.levels)


class Walk:
    """Inputs and targets are encoded and given back alike. The mean way from the latents of inputs to those of their targets
    is then added to those of any picture."""

    pairs = True

    def __init__(self, network: Variational, spec: dict, device: torch.device):
        self.network, self.optimiser = network, adam(network, spec)

    def parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimiser": self.optimiser}

    def learn(self, batch: Batch) -> dict[str, float]:
        both = torch.cat([batch.low, batch.high])
        made, divergence = self.network.taught(both, batch.chance)
        errors = (made - both).square().mean((1, 2, 3)) * batch.weights.repeat(2)
        loss = descend([(self.optimiser, self.network)], errors.mean() + divergence)
        return {"train_loss": loss, "critic_loss": 0.0}

    def error(self, pairs: list[Pair], made: list[torch.Tensor]) -> float:
        """Of what is given back; `made` are inputs given back, as there is no walk yet."""
        return mean(
            pair.weight * float((one - torch.from_numpy(pair.low)).square().mean())
            for pair, one in zip(pairs, made, strict=True)
        )

    def finish(self, pairs: list[Pair]) -> None:
        ways = []
        for pair in pairs:
            shown = (
                torch.from_numpy(one)[None, None].to(self.network.walk)
                for one in (pair.low, pair.high)
            )
            with torch.inference_mode():
                low, high = (self.network.latent(one)[0].mean((0, 2, 3)) for one in shown)
            ways.append(high - low)
        self.network.walk.copy_(torch.stack(ways).mean(0))
