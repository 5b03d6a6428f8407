"""Training of networks that tell maps of weights, from simulated pictures: a `training.task.Task`."""

import copy
import math
from contextlib import closing
from pathlib import Path
from typing import Self

import torch

from isoplan.applications.weight_maps import own_samples
from isoplan.applications.weight_maps.lessons import LESSONS, decibels
from isoplan.applications.weight_maps.own_samples import OwnSamples
from isoplan.applications.weight_maps.samples import Sample, Samples
from isoplan.applications.weight_maps.schemes import MODEL, restored
from isoplan.base.errors import UserError
from isoplan.base.seeds import torch_rng
from isoplan.config.entries import weight_network_file
from isoplan.networks import store
from isoplan.networks.weight_maps import TASK, choices_of

SIZES = ("width", "levels", "regulariser")  # keys of an entry that say how large its network is
VALIDATION, BATCH = 96, 8  # pictures to validate on, and how many of them at a time
BANDS = 4  # of light, in each of which one weight is the best for all of its pictures
LARGEST_GRADIENT = 1.0


class WeightMaps:
    """A network of an entry of `weight_networks`.

    Parameters
    ----------
    recipe : dict
        `objects`, an entry of the config's `objects`, and `psfs`, a list of entries of `psfs`. For the study's own mosaics
        `mosaics`, a list of what `own_samples.Source` is told, each with `sums`, the file of its map's summary.
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
    kept_start = False

    def __init__(self, recipe: dict, spec: dict, seed: int, device: torch.device):
        spec = {key: value for key, value in spec.items() if key != "stamp"}  # cards tell no dates
        self.recipe, self.spec, self.seed, self.device = recipe, spec, seed, device
        self.released_as = f"weight-maps/{spec['name']}"
        self.lesson = LESSONS[spec["learns"]](spec)
        torch.manual_seed(seed)
        self.network = self.lesson.build().to(device)
        if spec["start"]:
            self._load_start()
        self._start = copy.deepcopy(self.network.state_dict())
        self.optimiser = torch.optim.Adam(self.network.parameters())
        self.samples = self._samples("train")
        self._validation: list[tuple[Sample, torch.Tensor]] = []

    @property
    def own(self) -> bool:
        """Whether it learns from the study's own mosaics."""
        return self.spec["pictures"] == "mosaics"

    def _samples(self, split: str) -> Samples | OwnSamples:
        stream = f"weight-maps/{self.spec['name']}/{split}"
        kind = OwnSamples if self.own else Samples
        return kind(self.recipe, self.spec, self.seed, stream, split, self.device)

    def _load_start(self) -> None:
        """Take the weights that training starts from."""
        file = weight_network_file({"weight_network": self.spec["start"]})
        card, weights = store.read(file, TASK)
        try:
            self.network.load_state_dict(weights)
        except RuntimeError:
            told = ", ".join(f"{key} {card['network'].get(key)}" for key in SIZES)
            raise UserError(f"{file}: is of another size; to start from it, give {told}") from None

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
        return [own_samples.marks(self.recipe) if self.own else self.recipe, self.spec]

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

        That weight is the best of CHOICES, taken with the truth. The latter two are NaN where no truth is known.
        """
        gains, psnr = [], []
        with torch.inference_mode():
            for sample, rival in self._held_back():
                made = self.lesson.compared(self.lesson.made(self.network, sample), sample)
                psnr.append(decibels(made, sample))
                gains.append(psnr[-1] - rival)
        return {
            "validation_loss": float(self._losses().mean()),
            "validation_psnr": float(torch.cat(psnr).mean()),
            "validation_gain_db": float(torch.cat(gains).mean()),
        }

    def _losses(self) -> torch.Tensor:
        """Loss of each batch of the pictures to validate on."""
        found = []
        with torch.inference_mode():
            for number, (sample, _) in enumerate(self._held_back()):
                rng = torch_rng(self.seed, f"weight-maps/{self.spec['name']}/validation", number)
                found.append(self.lesson.loss(self.network, sample, rng))
        return torch.stack(found)

    def _held_back(self) -> list[tuple[Sample, torch.Tensor]]:
        """Pictures to validate on, and the PSNR (n,) of each by the best weight of its light, NaN if no truth is known."""
        if not self._validation:
            with closing(self._samples("validation")) as source:
                held = [source.draw(0, k, BATCH) for k in range(VALIDATION // BATCH)]
            unknown = torch.full((BATCH,), torch.nan, device=self.device)
            blind = self.own and self.spec["learns"] == "held-out"
            rivals = [unknown] * len(held) if blind else self._rivals(held)
            self._validation = list(zip(held, rivals, strict=True))
        return self._validation

    def _rivals(self, held: list[Sample]) -> list[torch.Tensor]:
        """PSNR (n,) of each picture of each sample by the best weight of its light."""
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
                found.append(
                    torch.stack(
                        [decibels(self.lesson.compared(one, sample), sample) for one in made]
                    )
                )
        psnr = torch.cat(found, 1)
        low, high = (torch.tensor(float(value)).log() for value in self.spec["photons"])
        light = torch.cat([sample.bright for sample in held]).log()
        band = ((light - low) / (high - low).clamp(min=1e-6) * BANDS).clamp(0, BANDS - 1).int()
        best = torch.empty(psnr.shape[1], device=psnr.device)
        for number in range(BANDS):
            own = band == number
            if own.any():
                best[own] = psnr[psnr[:, own].mean(1).argmax(), own]
        return list(best.split(BATCH))

    def state(self) -> dict:
        """Network and optimiser."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state(self, state: dict) -> None:
        """Restore a state that `state` returned."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def finish(self) -> None:
        """Take back the weights that training started from if, of the pictures held back, what was learnt is not clearly better.

        Without a start, say so if one weight for all of them is better.
        """
        if not self.spec["start"]:
            gain = self.validate()["validation_gain_db"]
            if gain < 0:
                print(
                    f"network {self.spec['name']}: restores worse than one weight for all pictures, by {-gain:.2f} dB; train "
                    "longer, or with a smaller learning_rate"
                )
            return
        found, learnt = self._losses(), copy.deepcopy(self.network.state_dict())
        self.network.load_state_dict(self._start)
        apart = self._losses() - found
        self.kept_start = bool(apart.mean() <= apart.std() / math.sqrt(len(apart)))
        if self.kept_start:
            print(
                f"network {self.spec['name']}: learnt nothing that is clearly better than its start, which is kept"
            )
        else:
            self.network.load_state_dict(learnt)

    def card(self) -> dict:
        """What it learnt from, and how windows of a picture agree (`restoration.weight_store`)."""
        return {
            "halo_px": self.network.halo_px,
            "step_px": self.network.step_px,
            "kept_start": self.kept_start,
            **({} if self.own else {key: self.recipe[key] for key in ("objects", "psfs")}),
        }

    def close(self) -> None:
        """Stop processes that make samples."""
        self.samples.close()
