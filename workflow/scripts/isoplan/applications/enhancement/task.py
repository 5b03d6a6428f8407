"""Training of networks that enhance, from pairs of fields: a `training.task.Task`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy import ndimage

from isoplan.applications.enhancement import fields, scores
from isoplan.applications.enhancement.critic import Critic, critic_loss, deceived
from isoplan.applications.enhancement.fields import Layout, Place
from isoplan.applications.enhancement.networks import (
    TASK,
    TURNS,
    Enhancer,
    build,
    check_fits,
    statistics,
    turned,
)
from isoplan.base.errors import UserError
from isoplan.base.seeds import numpy_rng

HELD_BACK = 8  # every so many fields one judges epochs, and is not learnt from
PLAIN_PX = 2.0  # standard deviation of the Gaussian whose errors are the measure
SMOOTH_PX = 3.0  # standard deviation of the Gaussian under which target and input are compared
JUDGES, JUDGED_PX = 16, 256  # at most so many, and the side of their middle


@dataclass(frozen=True)
class Pair:
    """A field as networks learn from it: (h, w) float32 each, standardised as `networks.statistics` of the input say, and how much
    its errors count: as the inverse of a Gaussian's, so that a field that is easy counts as much as a hard one, as in PSNR.

    The target is brought to the input's scale by a line first, as detectors differ, and files may be stretched.
    """

    low: np.ndarray
    high: np.ndarray
    weight: float = 1.0

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray) -> "Pair":
        level, noise = statistics(low)
        # Of smoothed pictures, as the target's noise would flatten the line.
        x, y = (ndimage.gaussian_filter(np.asarray(one, float), SMOOTH_PX) for one in (high, low))
        slope, base = np.polyfit(x.ravel(), y.ravel(), 1) if np.ptp(x) else (0.0, y.mean())
        low, high = ((one - level) / noise for one in (low, slope * high + base))
        plain = np.mean((ndimage.gaussian_filter(low, PLAIN_PX) - high) ** 2)
        weight = float(1 / max(plain, 1e-6))
        return cls(low.astype(np.float32), high.astype(np.float32), weight)

    def crop(self, y: int, x: int, side: int) -> np.ndarray:
        """(2, side, side)."""
        window = (slice(y, y + side), slice(x, x + side))
        return np.stack([self.low[window], self.high[window]]).astype(np.float32)


class Enhancement:
    """A network that takes an input to its target, with the least mean squared error.

    Parameters
    ----------
    recipe : dict
        `enhancement`, an entry of `enhancements`, and `layout`, of its fields.
    spec : dict
        An entry of `enhancers`.
    seed : int
        Of the study.
    device : torch.device
        Where the network is trained.
    """

    name = TASK
    history_columns = ("train_loss", "critic_loss", "validation_loss", "validation_psnr")
    score = "validation_loss"
    learns = True

    def __init__(self, recipe: dict, spec: dict, seed: int, device: torch.device):
        self.recipe, self.spec, self.seed, self.device = recipe, spec, seed, device
        self.layout = Layout.of(recipe["layout"])
        self.learnt, self.judges = held_back(fields.spread(self.layout.train, spec.get("fields")))
        if spec["patch_px"] > recipe["enhancement"]["field_px"]:
            raise UserError(
                f"enhancer {spec['name']}: patch_px {spec['patch_px']} is more than the {recipe['enhancement']['field_px']} px "
                f"of a field of {recipe['enhancement']['name']}; lower it"
            )
        torch.manual_seed(seed)
        self.network = build(spec).to(device, memory_format=torch.channels_last)
        self.released_as = f"enhance-{spec['name']}"
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=spec["learning_rate"], weight_decay=spec["weight_decay"]
        )
        self.adversarial = spec.get("adversarial", 0)
        self.critic = Critic().to(device)
        self.critic_optimiser = torch.optim.AdamW(
            self.critic.parameters(), lr=spec["learning_rate"], betas=(0.5, 0.9)
        )
        self.held: tuple[list[int], list[Pair]] = ([], [])
        self.validation: list[Pair] = []

    @classmethod
    def of_config(
        cls, recipe: dict, spec: dict, *, seed: int, device: torch.device, validation=None
    ) -> Self:
        """As in `training.task.Task`. validation: the file with the layout of the fields (`choose_enhancement`)."""
        layout = json.loads(Path(validation).read_text())["layout"]
        return cls(recipe | {"layout": layout}, spec, seed, device)

    @staticmethod
    def take(weights: str | Path, recipe: dict, spec: dict) -> dict:
        """Card of a trained network; as in `training.task.Task`."""
        card = Enhancer.load(weights).card
        check_fits(weights, card, spec)
        return card

    def settings(self) -> list:
        """The pairs, where their fields lie, and the entry."""
        return [self.recipe, self.spec]

    def batches(self, epoch: int, steps: int):
        """Pairs of (batch, 2, side, side) squares of fields at random, in orientations at random, and their weights."""
        held = self._held(epoch)
        for step in range(epoch * steps, (epoch + 1) * steps):
            rng = numpy_rng(self.seed, f"enhancement/{self.spec['name']}", step)
            chosen = [held[rng.integers(len(held))] for _ in range(self.spec["batch"])]
            squares = torch.stack([self._square(pair, rng) for pair in chosen])
            yield squares, torch.tensor([pair.weight for pair in chosen])

    def _square(self, pair: Pair, rng: np.random.Generator) -> torch.Tensor:
        side = self.spec["patch_px"]
        y, x = (int(rng.integers(n - side + 1)) for n in pair.low.shape)
        square = torch.from_numpy(pair.crop(y, x, side))
        return turned(square, int(rng.integers(TURNS)))

    def _held(self, epoch: int) -> list[Pair]:
        """The fields that an epoch learns from: all, or as many as are held, which take turns."""
        count = min(self.spec["held_fields"], len(self.learnt))
        order = numpy_rng(self.seed, f"enhancement/{self.spec['name']}/order").permutation(
            len(self.learnt)
        )
        wanted = [int(order[(epoch * count + k) % len(order)]) for k in range(count)]
        numbers, pairs = self.held
        if sorted(wanted) != sorted(numbers):
            pairs = [self._read(self.learnt[number]) for number in wanted]
            self.held = wanted, pairs
        return pairs

    def _read(self, place: Place) -> Pair:
        field = fields.read(self.recipe["enhancement"], self.layout, place, self.seed)
        if np.ptp(field.low) == 0:
            return Pair(np.zeros_like(field.low), np.zeros_like(field.high))
        return Pair.of(field.low, field.high)

    def step(self, batch: tuple[torch.Tensor, torch.Tensor], rate: float) -> dict[str, float]:
        """One step of the optimiser."""
        squares, weights = batch
        self.network.train()
        for optimiser in (self.optimiser, self.critic_optimiser):
            for group in optimiser.param_groups:
                group["lr"] = rate
        low, high = (
            squares[:, k : k + 1].to(self.device).contiguous(memory_format=torch.channels_last)
            for k in (0, 1)
        )
        made = self.network(low)
        told = 0.0
        if self.adversarial:
            against = critic_loss(self.critic, low, high, made)
            self.critic_optimiser.zero_grad(set_to_none=True)
            against.backward()
            self.critic_optimiser.step()
            told = against.item()
        errors = (made - high).square().mean((1, 2, 3))
        loss = (errors * weights.to(self.device)).mean()
        if self.adversarial:
            loss = loss + self.adversarial * deceived(self.critic, low, made)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return {"train_loss": loss.item(), "critic_loss": told}

    def validate(self) -> dict[str, float]:
        """Mean squared error, as a share of a Gaussian's, and PSNR of the fields that are held back."""
        self.validation = self.validation or [
            _middle(self._read(place), JUDGED_PX) for place in self.judges
        ]
        self.network.eval()
        losses, psnr = [], []
        for pair in self.validation:
            with torch.inference_mode():
                low = torch.from_numpy(pair.low.astype(np.float32))[None, None].to(self.device)
                made = self.network(low)[0, 0].cpu().numpy()
            losses.append(pair.weight * float(np.mean((made - pair.high) ** 2)))
            psnr.append(scores.against(made, pair.high)["PSNR"])
        return {
            "validation_loss": float(np.mean(losses)),
            "validation_psnr": float(np.mean(psnr)),
        }

    def state(self) -> dict:
        """The network and its critic, each with its optimiser."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state(self, state: dict) -> None:
        """Restore a state that `state` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict:
        return {
            "network": self.network,
            "optimiser": self.optimiser,
            "critic": self.critic,
            "critic_optimiser": self.critic_optimiser,
        }

    def finish(self) -> None:
        """Nothing is left to do."""

    def card(self) -> dict:
        """What it learnt from, without the dates of files."""
        entry = {
            k: v for k, v in self.recipe["enhancement"].items() if k not in ("stamp", "folder")
        }
        mosaics = {place.mosaic for place in self.learnt}
        return {"enhancement": entry, "fields": len(self.learnt), "mosaics": len(mosaics)}

    def close(self) -> None:
        """Nothing runs beside it."""


def held_back(places: list[Place]) -> tuple[list[Place], list[Place]]:
    """Fields to learn from, and fields that say which epoch is the best.

    Raises
    ------
    UserError
        If there are not two.

    Examples
    --------
    >>> learnt, judges = held_back([Place("a", 0, 0, 64 * k) for k in range(9)])
    >>> [place.x for place in judges], len(learnt)
    ([0, 512], 7)
    """
    judges = places[::HELD_BACK][:JUDGES]
    learnt = [place for place in places if place not in judges]
    if not learnt:
        raise UserError(
            "a network cannot learn from one training field alone; give more, or lower field_px"
        )
    return learnt, judges


def _middle(pair: Pair, side: int) -> Pair:
    y, x = (max((n - side) // 2, 0) for n in pair.low.shape)
    return Pair(*pair.crop(y, x, side), pair.weight)
