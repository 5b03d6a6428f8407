"""Training of networks that tell maps of weights, from simulated pictures: a `training.task.Task`."""

from pathlib import Path
from typing import Self

import torch

from isoplan.applications.weight_maps.lessons import LESSONS, decibels
from isoplan.applications.weight_maps.samples import Sample, Samples
from isoplan.applications.weight_maps.schemes import MODEL, restored
from isoplan.base.errors import UserError
from isoplan.base.seeds import torch_rng
from isoplan.networks import store
from isoplan.networks.weight_maps import TASK, choices_of

VALIDATION, BATCH = 96, 8  # pictures to validate on, and how many of them at a time
BANDS = 4  # of light, in each of which one weight is the best for all of its pictures
LARGEST_GRADIENT = 1.0


class WeightMaps:
    """A network of an entry of `weight_networks`.

    Parameters
    ----------
    recipe : dict
        `objects`, an entry of the config's `objects`, and `psfs`, a list of entries of `psfs`.
    spec : dict
        The entry.
    seed : int
        Of the study.
    device : torch.device
        Where the network is trained.
    """

    name = TASK
    history_columns = ("train_loss", "validation_loss", "validation_psnr", "validation_gain_db")
    score = "validation_loss"
    learns = True

    def __init__(self, recipe: dict, spec: dict, seed: int, device: torch.device):
        spec = {key: value for key, value in spec.items() if key != "stamp"}  # cards tell no dates
        self.recipe, self.spec, self.seed, self.device = recipe, spec, seed, device
        self.released_as = f"weight-maps/{spec['name']}"
        self.lesson = LESSONS[spec["learns"]](spec)
        torch.manual_seed(seed)
        self.network = self.lesson.build().to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters())
        self.samples = self._samples("train")
        self._validation: list[tuple[Sample, torch.Tensor]] = []

    def _samples(self, split: str) -> Samples:
        stream = f"weight-maps/{self.spec['name']}/{split}"
        return Samples(self.recipe, self.spec, self.seed, stream, split, self.device)

    @classmethod
    def of_config(
        cls, recipe: dict, spec: dict, *, seed: int, device: torch.device, validation=None
    ) -> Self:
        """As in `training.task.Task`; pictures to validate on are always made."""
        return cls(recipe, spec, seed, device)

    @staticmethod
    def take(weights: str | Path, recipe: dict, spec: dict) -> dict:
        """Card of a trained network; as in `training.task.Task`."""
        card, _ = store.read(weights, TASK)
        for key in ("learns", *MODEL):
            if card["network"][key] != spec[key]:
                raise UserError(
                    f"{weights}: {key} is {card['network'][key]}, but {spec['name']} wants {spec[key]}"
                )
        return card

    def settings(self) -> list:
        """What the pictures are made of, and the entry."""
        return [self.recipe, self.spec]

    def batches(self, epoch: int, steps: int):
        """New pictures for every step."""
        for step in range(epoch * steps, (epoch + 1) * steps):
            rng = torch_rng(self.seed, f"weight-maps/{self.spec['name']}/step", step, self.device)
            yield self.samples.draw(epoch, step, self.spec["batch"]), rng

    def step(self, batch: tuple[Sample, torch.Generator], rate: float) -> dict[str, float]:
        """One step of Adam, whose gradient is bounded."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self.lesson.loss(self.network, *batch)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        return {"train_loss": float(loss.detach())}

    def validate(self) -> dict[str, float]:
        """Loss and PSNR of pictures that are held back, and the gain over one weight for all pictures of about as many photons.

        That weight is the best of CHOICES, taken with the truth.
        """
        if not self._validation:
            self._validation = self._held_back()
        losses, gains, psnr = [], [], []
        with torch.inference_mode():
            for number, (sample, rival) in enumerate(self._validation):
                rng = torch_rng(self.seed, f"weight-maps/{self.spec['name']}/validation", number)
                losses.append(self.lesson.loss(self.network, sample, rng))
                psnr.append(decibels(self.lesson.made(self.network, sample), sample))
                gains.append(psnr[-1] - rival)
        return {
            "validation_loss": float(torch.stack(losses).mean()),
            "validation_psnr": float(torch.cat(psnr).mean()),
            "validation_gain_db": float(torch.cat(gains).mean()),
        }

    def _held_back(self) -> list[tuple[Sample, torch.Tensor]]:
        """Pictures to validate on, and the PSNR (n,) of each by the best weight of its light."""
        source = self._samples("validation")
        held = [source.draw(0, k, BATCH) for k in range(VALIDATION // BATCH)]
        found = []
        with torch.inference_mode():
            for sample in held:
                choices = choices_of(*sample.seen[2:4])
                made = (
                    restored(
                        sample,
                        one.view(-1, 1, 1).expand_as(sample.widths),
                        self.spec,
                        self.spec["iterations"],
                    )
                    for one in choices.unbind(1)
                )
                found.append(torch.stack([decibels(one, sample) for one in made]))
        psnr = torch.cat(found, 1)
        low, high = (torch.tensor(float(value)).log() for value in self.spec["photons"])
        light = torch.cat([sample.bright for sample in held]).log()
        band = ((light - low) / (high - low).clamp(min=1e-6) * BANDS).clamp(0, BANDS - 1).int()
        best = torch.empty(psnr.shape[1], device=psnr.device)
        for number in range(BANDS):
            own = band == number
            if own.any():
                best[own] = psnr[psnr[:, own].mean(1).argmax(), own]
        return list(zip(held, best.split(BATCH), strict=True))

    def state(self) -> dict:
        """Network and optimiser."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state(self, state: dict) -> None:
        """Restore a state that `state` returned."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def finish(self) -> None:
        """Nothing is left."""

    def card(self) -> dict:
        """What it learnt from, and how windows of a picture agree (`restoration.weight_store`)."""
        return {
            "halo_px": self.network.halo_px,
            "step_px": self.network.step_px,
            "objects": self.recipe["objects"],
            "psfs": self.recipe["psfs"],
        }

    def close(self) -> None:
        """Stop processes that make samples; there are none."""
        self.samples.bank.close()
