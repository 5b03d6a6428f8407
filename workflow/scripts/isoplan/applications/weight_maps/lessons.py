"""What a network of weights learns by: each lesson gives a loss that falls as the network improves."""

from dataclasses import replace

import torch
from torch.nn.functional import avg_pool2d, pad

from isoplan.applications.weight_maps.direct import DirectNetwork
from isoplan.applications.weight_maps.samples import Sample
from isoplan.applications.weight_maps.schemes import inner, restored
from isoplan.networks.weight_maps import CHOICES, WeightNetwork, choices_of
from isoplan.restoration.held_out import HELD_OUT

LEAST = 1e-5  # of a mean squared error, as a share of the brightness squared, below which less is no gain
AROUND_PX = 16  # side of the square whose error counts for the weight at its middle


def errors(made: torch.Tensor, sample: Sample) -> torch.Tensor:
    """Mean squared error (n,) of restored pictures, as a share of their brightness squared."""
    apart = (made - inner(sample.truth, sample.blurs.margin)) / sample.bright.view(-1, 1, 1)
    return apart.square().mean((1, 2))


def blurred_again(made: torch.Tensor, sample: Sample) -> torch.Tensor:
    """What a camera would see (n, h / factor, w / factor) of restored pictures, which go on beyond their rim as at it."""
    margin = sample.blurs.margin
    return sample.blurs.forward(pad(made[:, None], (margin,) * 4, mode="replicate")[:, 0])


def decibels(made: torch.Tensor, sample: Sample) -> torch.Tensor:
    """PSNR (n,) in dB of the brightness."""
    return -10 * torch.log10(errors(made, sample).clamp(min=1e-12))


class Lesson:
    """How a network of an entry of `weight_networks` learns. spec: the entry."""

    def __init__(self, spec: dict):
        self.spec = spec

    def build(self) -> WeightNetwork:
        """The network, with random weights."""
        return WeightNetwork.of(self.spec)

    def made(self, network: WeightNetwork, sample: Sample, gradients: int | None = None):
        """The pictures (n, h, w) that a network leads to."""
        maps = network.maps(*sample.seen)
        how = {"lines": maps.lines, "noise": maps.noise, "gradients": gradients}
        return restored(sample, maps.logs.exp(), self.spec, self.spec["iterations"], **how)

    def compared(self, made: torch.Tensor, sample: Sample) -> torch.Tensor:
        """What of pictures that were made is compared with the truth: blurred again if that is as blurred as the picture."""
        alike = self.spec["pictures"] == "mosaics" and self.spec["references"] == "alike"
        return blurred_again(made, sample) if alike else made

    def loss(self, network: WeightNetwork, sample: Sample, rng: torch.Generator) -> torch.Tensor:
        """The loss of a batch."""
        raise NotImplementedError


class Restoration(Lesson):
    """End to end: the error of what is restored with the map (Kofler et al. 2023), through the scheme's iterations."""

    def loss(self, network, sample, rng):
        made = self.made(network, sample, self.spec["gradients"])
        return torch.log(errors(self.compared(made, sample), sample) + LEAST).mean()


class Patches(Lesson):
    """From patches: by what factor the error around a pixel misses the least one, with the weight that the network tells there.

    Pictures are restored with each of some weights all over. Their squared errors around the pixel, on a logarithmic scale, are
    linear between these weights.
    """

    def loss(self, network, sample, rng):
        found = []
        with torch.no_grad():
            choices = choices_of(*sample.seen[2:4])
            for weights in choices.unbind(1):
                flat = weights.view(-1, 1, 1).expand_as(sample.widths)
                made = restored(sample, flat, self.spec, self.spec["iterations"])
                made = self.compared(made, sample)
                apart = (made - inner(sample.truth, sample.blurs.margin)).square()
                found.append(self._around(apart / sample.bright.view(-1, 1, 1).square()))
            missed = torch.log(torch.stack(found, 1) + LEAST)
            missed = missed - missed.amin(1, keepdim=True)
            first, last = choices[:, :1, None].log(), choices[:, -1:, None].log()
        place = (network(*sample.seen) - first) / (last - first) * (CHOICES - 1)
        below = place.detach().floor().clamp(0, CHOICES - 2)
        index = below.long()[:, None]
        low, high = missed.gather(1, index)[:, 0], missed.gather(1, index + 1)[:, 0]
        return torch.lerp(low, high, place - below).mean()

    @staticmethod
    def _around(values: torch.Tensor) -> torch.Tensor:
        half = AROUND_PX // 2
        wide = pad(values[:, None], (half, half - 1) * 2, mode="replicate")
        return avg_pool2d(wide, AROUND_PX, 1)[:, 0]


class HeldOut(Lesson):
    """Without the truth: photons that were held out of the restoration, and how far it misses them."""

    def loss(self, network, sample, rng):
        fit, test = held_out(sample, rng)
        made = self.made(network, fit, self.spec["gradients"])
        # Beyond the picture the object is that of its nearest pixel: the pixels that see it do not count.
        share = HELD_OUT / (1 - HELD_OUT)
        seen = share * (blurred_again(made, sample) + fit.floor.view(-1, 1, 1))
        noise = HELD_OUT * (sample.photons.clamp(min=0) + sample.floor.view(-1, 1, 1))
        rim = sample.blurs.margin // 2 // sample.blurs.factor
        apart, noise = (inner(one, rim) for one in ((test - seen).square(), noise))
        return (apart.sum((1, 2)) / noise.sum((1, 2)).clamp(min=1)).mean()


def held_out(sample: Sample, rng: torch.Generator) -> tuple[Sample, torch.Tensor]:
    """A sample of the photons that are not held out, and the pictures (n, h, w) of those that are (`restoration.held_out`).

    The latter still hold their share of `floor`, as read noise counts as that of so many photons.
    """
    floor = sample.floor.view(-1, 1, 1)
    whole = (sample.photons + floor).round().clamp(min=0)
    test = torch.binomial(whole, torch.full_like(whole, HELD_OUT), generator=rng)
    rest = 1 - HELD_OUT
    fit = replace(
        sample,
        photons=whole - test - rest * floor,
        truth=rest * sample.truth,
        peak=rest * sample.peak,
        bright=rest * sample.bright,
        level=rest * sample.level,
        floor=rest * sample.floor,
    )
    return fit, test


class Direct(Lesson):
    """Without a model: the network makes the picture."""

    def build(self) -> WeightNetwork:
        return DirectNetwork.of(self.spec)

    def made(self, network, sample, gradients=None):
        return network(*sample.seen)

    def loss(self, network, sample, rng):
        return torch.log(errors(self.made(network, sample), sample) + LEAST).mean()


LESSONS = {
    "restoration": Restoration,
    "patches": Patches,
    "held-out": HeldOut,
    "direct": Direct,
}
