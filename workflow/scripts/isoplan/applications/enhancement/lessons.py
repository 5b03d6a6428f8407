"""How a network that enhances learns: from pairs, or from inputs alone. `unpaired` and `walk` have two further ways."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from isoplan.applications.enhancement.critic import Critic, critic_loss, deceived
from isoplan.applications.enhancement.pairs import Pair
from isoplan.applications.enhancement.perceptual import Features

LAYERS = ("relu1_2", "relu2_2", "relu3_3")  # as in the schema
STEEPEST = 1.0  # norm of the gradient, beyond which it is shortened
# Noise2Void: one pixel in so many is hidden, by one at most so far away.
HIDDEN_IN, NEAR_PX = 64, 2


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes
    ----------
    low, high : torch.Tensor
        (n, 1, side, side) squares of inputs and of their targets.
    weights : torch.Tensor
        (n,), how much the errors of each count.
    chance : torch.Generator
        Of this step, on the CPU.
    """

    low: torch.Tensor
    high: torch.Tensor
    weights: torch.Tensor
    chance: torch.Generator


class Lesson(Protocol):
    """A way to learn. `pairs` says whether targets are brought to the scale of their own inputs, `network` what is saved."""

    pairs: bool
    network: Any

    def parts(self) -> dict[str, Any]:
        """Networks and optimisers by name; those of optimisers end in `optimiser`."""

    def learn(self, batch: Batch) -> dict[str, float]:
        """One step of every optimiser; returns train_loss and critic_loss."""

    def error(self, pairs: list[Pair], made: list[torch.Tensor]) -> float:
        """Which epoch is the best: the least. pairs: the fields that are held back; made: (h, w) results."""

    def finish(self, pairs: list[Pair]) -> None:
        """Final work after the last epoch, on fields that it learnt from."""


class Supervised:
    """The least squared error to the target, as a share of a Gaussian's; beside it a critic (Pix2Pix, Isola 2017), and how far
    the layers of a network that knows pictures differ (perceptual loss, Johnson 2016), where the entry gives them a weight."""

    pairs = True

    def __init__(self, network: nn.Module, spec: dict, device: torch.device):
        self.network, self.optimiser = network, adam(network, spec)
        self.adversarial, self.perceptual = spec.get("adversarial", 0), spec.get("perceptual", 0)
        if self.adversarial:
            self.critic = Critic(2).to(device)
            self.critic_optimiser = adam(self.critic, spec, betas=(0.5, 0.9))
        if self.perceptual:
            self.features = Features.load(
                spec["perceptual_weights"], spec.get("perceptual_layers", LAYERS)
            )
            self.features.to(device)

    def parts(self) -> dict[str, Any]:
        found = {"network": self.network, "optimiser": self.optimiser}
        if self.adversarial:
            found |= {"critic": self.critic, "critic_optimiser": self.critic_optimiser}
        return found

    def learn(self, batch: Batch) -> dict[str, float]:
        low, high = batch.low, batch.high
        made, divergence = self.network.taught(low, batch.chance)
        told = 0.0
        if self.adversarial:
            told = descend(
                [(self.critic_optimiser, self.critic)],
                critic_loss(self.critic, [low, high], [low, made]),
            )
        loss = ((made - high).square().mean((1, 2, 3)) * batch.weights).mean() + divergence
        if self.adversarial:
            loss = loss + self.adversarial * deceived(self.critic, low, made)
        if self.perceptual:
            loss = loss + self.perceptual * self.features.apart(made, high)
        loss = descend([(self.optimiser, self.network)], loss)
        return {"train_loss": loss, "critic_loss": told}

    def error(self, pairs: list[Pair], made: list[torch.Tensor]) -> float:
        return mean(
            pair.weight * float((one - torch.from_numpy(pair.high)).square().mean())
            for pair, one in zip(pairs, made, strict=True)
        )

    def finish(self, pairs: list[Pair]) -> None:
        """Nothing is left to do."""


class BlindSpots:
    """From inputs alone (Noise2Void, Krull 2019): single pixels are hidden by neighbours, and foretold from what is around them.

    Noise that differs from pixel to pixel cannot be foretold, so what is learnt is its mean. Noise that neighbours share is
    learnt as if it were structure.
    """

    pairs = True  # for PSNR beside the loss; nothing is learnt from targets

    def __init__(self, network: nn.Module, spec: dict, device: torch.device):
        self.network, self.optimiser = network, adam(network, spec)

    def parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimiser": self.optimiser}

    def learn(self, batch: Batch) -> dict[str, float]:
        seen, hidden = blinded(batch.low, batch.chance)
        made, divergence = self.network.taught(seen, batch.chance)
        loss = (made - batch.low)[hidden].square().mean() + divergence
        loss = descend([(self.optimiser, self.network)], loss)
        return {"train_loss": loss, "critic_loss": 0.0}

    def error(self, pairs: list[Pair], made: list[torch.Tensor]) -> float:
        """Of hidden pixels, always the same ones."""
        chance, losses = torch.Generator().manual_seed(0), []
        device = next(self.network.parameters()).device
        for pair in pairs:
            low = torch.from_numpy(pair.low)[None, None]
            seen, hidden = blinded(low, chance)
            with torch.inference_mode():
                foretold = self.network(seen.to(device)).cpu()
            losses.append(float((foretold - low)[hidden].square().mean()))
        return mean(losses)

    def finish(self, pairs: list[Pair]) -> None:
        """Nothing is left to do."""


def blinded(low: torch.Tensor, chance: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures with one pixel in HIDDEN_IN replaced by a neighbour, and which ones: (n, 1, h, w) each.

    Examples
    --------
    >>> low = torch.arange(4096.0).reshape(1, 1, 64, 64)
    >>> seen, hidden = blinded(low, torch.Generator().manual_seed(0))
    >>> bool(hidden.any()), bool((seen != low)[hidden].all()), bool((seen == low)[~hidden].all())
    (True, True, True)
    """
    h, w = low.shape[-2:]
    hidden = torch.rand(low.shape, generator=chance) < 1 / HIDDEN_IN
    # Any step within the square but none at all, mirrored at the borders.
    side = 2 * NEAR_PX + 1
    steps = torch.randint(side**2 - 1, low.shape, generator=chance)
    steps = steps + (steps >= side**2 // 2)
    y = _mirrored(torch.arange(h)[:, None] + steps // side - NEAR_PX, h)
    x = _mirrored(torch.arange(w) + steps % side - NEAR_PX, w)
    beside = low.flatten(2).gather(2, (y * w + x).flatten(2).to(low.device)).reshape(low.shape)
    hidden = hidden.to(low.device)
    return torch.where(hidden, beside, low), hidden


def _mirrored(place: torch.Tensor, count: int) -> torch.Tensor:
    """Places beyond a border, mirrored about a line outside it, so that none lands where it came from."""
    place = torch.where(place < 0, -place, place)
    return torch.where(place >= count, 2 * count - 2 - place, place)


def adam(network: nn.Module, spec: dict, betas: tuple[float, float] = (0.9, 0.999)):
    """The optimiser of an entry of `enhancers`."""
    return torch.optim.AdamW(
        network.parameters(),
        lr=spec["learning_rate"],
        weight_decay=spec["weight_decay"],
        betas=betas,
    )


def descend(taught: list[tuple[torch.optim.Optimizer, nn.Module]], loss: torch.Tensor) -> float:
    """A step of each optimiser, with the gradients of its network shortened to STEEPEST; returns the loss."""
    for optimiser, _ in taught:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for optimiser, network in taught:
        nn.utils.clip_grad_norm_(network.parameters(), STEEPEST)
        optimiser.step()
    return loss.item()


def mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
