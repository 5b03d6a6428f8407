"""Training of networks that make the kernel from a picture: a `training.task.Task`."""

import copy
from pathlib import Path
from typing import Self

import torch

from isoplan.applications.identification.acquisition import take
from isoplan.applications.identification.drawn import Sample, draw, mean_kernels
from isoplan.applications.identification.kernel_network import TASK, KernelNetwork
from isoplan.applications.identification.scores import psnr
from isoplan.base.errors import UserError
from isoplan.base.seeds import torch_rng
from isoplan.networks import store
from isoplan.optics.psf import make_psf_model
from isoplan.training.samples import blur_patches

VALIDATION, BATCH = 64, 8  # pictures to validate on, and how many of them at a time
LARGEST_GRADIENT = 1.0


class Kernels:
    """A network of an entry of `kernel_networks`.

    The loss is that of seed 003, eq. 3: |h' - h| summed over the kernel, and reblurred_weight times |h' * x - y| averaged
    over the picture.

    Parameters
    ----------
    recipe : dict
        `objects` and `psf`, entries of the config.
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
        self.recipe, self.spec, self.seed, self.device = recipe, spec, seed, device
        self.released_as = f"kernels/{spec['name']}"
        self.model = make_psf_model(recipe["psf"])
        torch.manual_seed(seed)
        self.network = KernelNetwork(self.model.size_px, spec["width"], spec["levels"]).to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters())
        self._validation: list[tuple[Sample, torch.Tensor]] = []

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
        for key in ("model", "size_px"):
            if card["psf"][key] != recipe["psf"][key]:
                raise UserError(
                    f"{weights}: {key} is {card['psf'][key]}, but {spec['name']} wants {recipe['psf'][key]}"
                )
        return card

    def settings(self) -> list:
        """What the pictures are made of, and the entry."""
        return [self.recipe, self.spec]

    def _draw(self, split: str, number: int, count: int) -> Sample:
        """Pictures of a block, each taken with settings of its own."""
        stream = f"kernel-networks/{self.spec['name']}/{split}"
        spec = self.spec
        sample = draw(
            self.recipe["objects"],
            self.model,
            count,
            spec["patch_px"],
            seed=self.seed,
            stream=stream,
            number=number,
            split=split,
            amplitude_drawn=spec["amplitude_drawn"],
        )
        rng = torch_rng(self.seed, f"{stream}/noise", number)
        unit = torch.rand(count, 4, generator=rng).tolist()
        (dim, bright), (quiet, loud), (few, many) = (
            spec[key] for key in ("gain", "noise", "salt_pepper")
        )
        taken = []
        for clean, (a, b, c, d) in zip(sample.picture, unit, strict=True):
            how = {
                "gain": dim * (bright / dim) ** a,
                "noise": quiet + (loud - quiet) * b,
                "bits": spec["bits"][int(c * len(spec["bits"]))],
                "salt_pepper": few + (many - few) * d,
            }
            taken.append(take(clean[None], how, rng)[0])
        sample.picture = torch.stack(taken)
        return Sample(*(value.to(self.device) for value in vars(sample).values()))

    def _loss(self, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        """Kernels, and the loss."""
        made = self.network(sample.picture, sample.cutoff, sample.most_waves)
        error = (made - sample.kernel).abs().sum((1, 2)).mean()
        again = (blur_patches(sample.scene, made) - sample.picture).abs().mean()
        return made, error + self.spec["reblurred_weight"] * again

    def batches(self, epoch: int, steps: int):
        """New pictures for every step."""
        for step in range(epoch * steps, (epoch + 1) * steps):
            yield self._draw("train", step, self.spec["batch"])

    def step(self, batch: Sample, rate: float) -> dict[str, float]:
        """One step of Adam, whose gradient is bounded."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        _, loss = self._loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        return {"train_loss": float(loss.detach())}

    def validate(self) -> dict[str, float]:
        """Loss and PSNR of pictures that are held back, and the gain over the mean kernel."""
        losses, found, gains = [], [], []
        with torch.inference_mode():
            for sample, rival in self._held_back():
                made, loss = self._loss(sample)
                losses.append(loss)
                found.append(psnr(made, sample.kernel))
                gains.append(found[-1] - rival)
        return {
            "validation_loss": float(torch.stack(losses).mean()),
            "validation_psnr": float(torch.cat(found).mean()),
            "validation_gain_db": float(torch.cat(gains).mean()),
        }

    def _held_back(self) -> list[tuple[Sample, torch.Tensor]]:
        """Pictures to validate on, and the PSNR (n,) of the mean kernel."""
        if not self._validation:
            for number in range(VALIDATION // BATCH):
                sample = self._draw("validation", number, BATCH)
                mean = mean_kernels(self.model, sample.cutoff, sample.most_waves)
                self._validation.append((sample, psnr(mean, sample.kernel)))
        return self._validation

    def state(self) -> dict:
        """Network and optimiser."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state(self, state: dict) -> None:
        """Restore a state that `state` returned."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def finish(self) -> None:
        """Say so if the mean kernel is better."""
        gain = self.validate()["validation_gain_db"]
        if gain < 0:
            print(
                f"network {self.spec['name']}: finds worse kernels than the mean kernel, by {-gain:.2f} dB; train longer"
            )

    def card(self) -> dict:
        """What it learnt from."""
        return copy.deepcopy(self.recipe)

    def close(self) -> None:
        """There is nothing to stop."""
