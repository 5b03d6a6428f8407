"""A task that is no PSF regression: a small U-Net takes noise off pictures, trained beside a discriminator.

Two networks and two optimisers, as a GAN needs, on pairs that are made up; all parts that a task has.
"""

from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from isoplan.base.seeds import torch_rng
from isoplan.networks import store
from isoplan.training.task import Judgement
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

NAME = "denoising"
SIZE_PX, CHECKED = 16, 64
WEIGHT = 0.003  # of the discriminator's say


def pairs(noise: float, count: int, *, seed: int, stream: str, number: int = 0):
    """Noisy and clean pictures (count, 1, SIZE_PX, SIZE_PX): smooth fields, half of them above a level."""
    rng = torch_rng(seed, stream, number)
    coarse = torch.rand(count, 1, 5, 5, generator=rng)
    clean = interpolate(coarse, size=SIZE_PX, mode="bicubic", align_corners=True)
    clean = torch.where(torch.arange(count)[:, None, None, None] % 2 == 0, clean, (clean > 0.5) * 1)
    return clean + noise * torch.randn(clean.shape, generator=rng), clean


def store_set(path, recipe, count, *, name, seed, split) -> str:
    torch.save(pairs(recipe["noise"], count, seed=seed, stream=name), path)
    return f"{count} samples in {path}"


class UNet(nn.Module):
    """One level down and up again; what it adds to the picture."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Conv2d(3 * width, 1, 3, padding=1)

    def forward(self, noisy):
        fine = self.first(noisy)
        coarse = interpolate(self.down(fine), scale_factor=2)
        return noisy + self.last(torch.cat([fine, coarse], dim=1))


class Denoising:
    """A `training.task.Task`. recipe: the noise's deviation, of pictures from 0 to 1."""

    name, score, learns, released_as = NAME, "validation_loss", True, NAME
    history_columns = ("generator_loss", "discriminator_loss", "validation_loss", "gain_db")

    def __init__(self, recipe: dict, spec: dict, *, seed: int, device):
        self.noise, self.spec, self.seed, self.device = recipe["noise"], spec, seed, device
        torch.manual_seed(seed)
        self.network = UNet(spec["width"]).to(device)
        self.critic = nn.Sequential(
            nn.Conv2d(1, 8, 4, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4, stride=2)
        ).to(device)
        self.optimisers = {
            "generator": torch.optim.Adam(self.network.parameters(), betas=(0.5, 0.99)),
            "discriminator": torch.optim.Adam(self.critic.parameters(), betas=(0.5, 0.99)),
        }

    @classmethod
    def of_config(cls, recipe, spec, *, seed, device, validation=None):
        return cls({"noise": 0.3} | recipe, spec, seed=seed, device=device)

    @staticmethod
    def take(weights, recipe, spec) -> dict:
        return store.read(weights, NAME)[0]

    def settings(self) -> list:
        return [self.noise, self.spec]

    def batches(self, epoch, steps):
        for step in range(epoch * steps, (epoch + 1) * steps):
            yield pairs(self.noise, self.spec["batch"], seed=self.seed, stream="train", number=step)

    def step(self, batch, rate) -> dict[str, float]:
        noisy, clean = (part.to(self.device) for part in batch)
        made = self.network(noisy)
        real, fake = self.critic(clean), self.critic(made.detach())
        discriminator = _says(real, 1) + _says(fake, 0)
        self._descend("discriminator", discriminator, rate)
        generator = (made - clean).square().mean() + WEIGHT * _says(self.critic(made), 1)
        self._descend("generator", generator, rate)
        return {
            "generator_loss": generator.item(),
            "discriminator_loss": discriminator.item(),
        }

    def _descend(self, name: str, loss, rate: float) -> None:
        optimiser = self.optimisers[name]
        for group in optimiser.param_groups:
            group["lr"] = rate
        # Those of the generator's loss reach the discriminator too, and are not its own.
        for each in self.optimisers.values():
            each.zero_grad()
        loss.backward()
        optimiser.step()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        noisy, clean = pairs(self.noise, CHECKED, seed=self.seed, stream="validation")
        return _errors(self.network, noisy, clean, self.device)

    def state(self) -> dict:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state(self, state) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict:
        return {"network": self.network, "critic": self.critic, **self.optimisers}

    def finish(self) -> None:
        pass

    def card(self) -> dict:
        return {"noise": self.noise}

    def close(self) -> None:
        pass


def _says(found, right: int):
    return binary_cross_entropy_with_logits(found, torch.full_like(found, right))


def _errors(network, noisy, clean, device) -> dict[str, float]:
    """Squared error, and by how much less it is than that of the noisy picture."""
    made = network(noisy.to(device)).cpu()
    wrong, before = (float((some - clean).square().mean()) for some in (made, noisy))
    return {
        "validation_loss": wrong,
        "gain_db": float(10 * torch.log10(torch.tensor(before / wrong))),
    }


class DenoisingJudge:
    """A `training.task.Judge`."""

    compared: ClassVar = {"gain_db": (0.05, 1.0)}

    def __init__(self, file: str | Path, device, recipe=None):
        self.card, weights = store.read(file, NAME)
        build = lambda card: UNet(card["network"]["width"])  # noqa: E731
        self.network, self.device = (
            store.build_with_weights(file, self.card, weights, build).to(device),
            device,
        )

    @staticmethod
    def stored(path):
        return torch.load(path)

    @staticmethod
    def samples(asked, count):
        stream = f"test/{asked['test_set']}"
        return [part[:count] for part in pairs(0.3, 64, seed=asked["seed"], stream=stream)]

    @torch.no_grad()
    def judge(self, samples) -> Judgement:
        gain = _errors(self.network, *samples, self.device)["gain_db"]
        row = {"parameter": "picture", "metric": "gain_db", "value": gain}
        table = pd.DataFrame([row | {"low": None, "high": None, "n": len(samples[0])}])
        return Judgement(table, *[pd.DataFrame()] * 3)

    def judge_test(self, samples, test, *, train_set, seed) -> Judgement:
        return self.judge(samples)


def limits(card) -> list[str]:
    return [f"Noise of {card['noise']:g}."]


def markdown(card) -> str:
    gains = [test["figures"][0]["value"] for test in card["tests"]]
    return f"# {card['task']}\n\n{gains} dB. {card['limits'][0]}\n"
