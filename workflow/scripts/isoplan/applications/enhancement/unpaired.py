"""Learning from inputs and targets that show other places (CycleGAN, Zhu 2017)."""

from typing import Any

import torch
from torch import nn

from isoplan.applications.enhancement.critic import Critic, critic_loss, deceived
from isoplan.applications.enhancement.lessons import Batch, adam, descend
from isoplan.applications.enhancement.pairs import Pair

CYCLE, LIKENESS = 2.0, 1.0  # as in the schema
RINGS = 16  # of spatial frequencies, in which results are compared with targets


class Unpaired:
    """Two networks, there and back. Each deceives a critic that knows single pictures of its side, and both together give back
    what they were given (`cycle` weighs that, as the mean absolute difference in units of the input's noise). Critics alone leave
    too much or too little noise, so mean spectra are compared too (`likeness`).

    Parameters
    ----------
    network, back : nn.Module
        From inputs to targets, which is kept, and from targets to inputs.
    """

    pairs = False

    def __init__(self, network: nn.Module, back: nn.Module, spec: dict, device: torch.device):
        self.network, self.back, self.cycle = network, back, spec.get("cycle", CYCLE)
        self.likeness = spec.get("likeness", LIKENESS)
        self.critics = nn.ModuleList([Critic(1), Critic(1)]).to(device)
        betas = (0.5, 0.9)
        self.optimisers = [adam(one, spec, betas) for one in (network, back, self.critics)]

    def parts(self) -> dict[str, Any]:
        names = ("network", "back", "critics")
        found: dict[str, Any] = dict(
            zip(names, (self.network, self.back, self.critics), strict=True)
        )
        optimisers = zip(names, self.optimisers, strict=True)
        return found | {f"{name}_optimiser": one for name, one in optimisers}

    def learn(self, batch: Batch) -> dict[str, float]:
        low, high = batch.low, batch.high
        good, poor = self.network(low), self.back(high)
        of_good, of_poor = self.critics
        told = critic_loss(of_good, [high], [good]) + critic_loss(of_poor, [low], [poor])
        told = descend([(self.optimisers[2], self.critics)], told)
        loss = deceived(of_good, good) + deceived(of_poor, poor)
        loss = loss + self.likeness * (apart(good, high) + apart(poor, low))
        again = (self.back(good) - low).abs().mean() + (self.network(poor) - high).abs().mean()
        taught = list(zip(self.optimisers, (self.network, self.back), strict=False))
        return {
            "train_loss": descend(taught, loss + self.cycle * again),
            "critic_loss": told,
        }

    def error(self, pairs: list[Pair], made: list[torch.Tensor]) -> float:
        """How far the spectrum of all results is from that of all targets: mean absolute difference of logarithms of power."""
        highs = [torch.from_numpy(pair.high) for pair in pairs]
        own, other = (sum(map(spectrum, ones)) for ones in (made, highs))
        return float((own / other).log().abs().mean())

    def finish(self, pairs: list[Pair]) -> None:
        """Nothing is left to do."""


def apart(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """How far the mean spectra of two batches differ: mean absolute difference of logarithms of power."""
    return (spectrum(made) / spectrum(real)).log().abs().mean()


def spectrum(pictures: torch.Tensor) -> torch.Tensor:
    """Mean power in RINGS rings of spatial frequency up to .5 cycles/px: (RINGS,), of pictures (..., h, w) without their means.

    Examples
    --------
    >>> white = torch.randn((128, 128), generator=torch.Generator().manual_seed(0))
    >>> bool((spectrum(white)[2:].log().abs() < 0.3).all())
    True
    """
    h, w = pictures.shape[-2:]
    window = (torch.hann_window(h)[:, None] * torch.hann_window(w)).to(pictures.device)
    level = pictures.mean((-2, -1), keepdim=True)
    power = torch.fft.fft2((pictures - level) * window).abs().square() / window.square().sum()
    power = power.reshape(-1, h, w).mean(0)
    radius = torch.hypot(torch.fft.fftfreq(h)[:, None], torch.fft.fftfreq(w))
    ring = (radius * 2 * RINGS).long()
    inside = ring < RINGS
    counts = torch.bincount(ring[inside], minlength=RINGS).clamp(min=1).to(pictures.device)
    inside, ring = inside.to(pictures.device), ring.to(pictures.device)
    sums = power.new_zeros(RINGS).index_add(0, ring[inside], power[inside])
    return sums / counts + 1e-12
