"""PSF regression: training networks that estimate a patch's PSF parameters (thesis, 2.2.5)."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Self
from zlib import crc32

import torch

from isoplan.config.entries import learns
from isoplan.metrics.regression import summarise
from isoplan.networks import store
from isoplan.networks.outputs import (
    log_errors,
    mirror_logit,
    pinball_loss,
    predict,
    split,
    to_estimate,
)
from isoplan.objects.scenes import SOFT, SYNTHETIC, draw_scenes
from isoplan.optics.model import PsfModel
from isoplan.training.intervals import fit_intervals
from isoplan.training.samples import (
    INVALID,
    Batch,
    Recipe,
    SceneBank,
    load_set,
    make_set,
    training_batch,
)

WEIGHED_SPREADS = (0.05, 1.0)  # half-widths, in units of the range, that limit a sample's weight
SPREAD_WEIGHT = 0.05  # the loss of half-widths is about 1, the other losses are far below
# A PSF clearly differs from its mirror image if its odd modes are as large as this, in waves RMS.
MIRROR_WAVES = 0.1
PREPARING_SCENES = 3000  # sharp scenes that a fit learns spectra from, at most
SPECTRUM_PX = 256  # and their side
FEATURE_BLOCK = {"cpu": 1024, "cuda": 8192}  # samples at a time: about 1 GB, and 8 GB


def regression_loss(outputs: torch.Tensor, batch: Batch, model: PsfModel) -> torch.Tensor:
    """Training loss of a regressor, averaged over the samples.

    For the targets it is eq. 2.11 of the thesis with gamma = 1,
    (a0 - a0~)^2 + (1 - a0) / (2 N) sum (a - a~)^2. The alarm is treated like a0, and the half-widths have
    the `pinball_loss`. Deviation from the thesis: errors of targets are weighted by the half-width of the
    most certain parameter, as in weighted least squares. Otherwise samples in low light, whose errors stay
    large, would dominate. An undecided a0 does not count. Samples that were processed or blurred by
    another PSF only count for the flags, and other blur only for raw samples with some texture.

    Parameters
    ----------
    outputs
        (n, channels), see `networks.outputs`.
    batch
        The samples.
    model
        The PSF model.
    """
    targets, spread, invalid, alarm, other_blur = split(outputs, model)
    decided = (batch.invalid >= 0).float()
    shown = ((batch.invalid != INVALID) & (batch.processed == 0)).float()
    usable = shown * (1 - batch.other_blur)
    flag = (torch.sigmoid(invalid) - batch.invalid).square() * decided
    flag = flag + (torch.sigmoid(alarm) - batch.processed).square()
    flag = flag + (torch.sigmoid(other_blur) - batch.other_blur).square() * shown
    weight = usable * spread.detach().amin(dim=1).exp().clamp(*WEIGHED_SPREADS) ** -2
    weight = weight * usable.sum() / weight.sum().clamp_min(1e-9)
    error = (targets - model.encode(batch.params)).square().mean(dim=1) / 2 * weight
    interval = pinball_loss(log_errors(model, batch.params, targets), spread) * usable
    loss = (flag + error + SPREAD_WEIGHT * interval).mean()
    if model.mirrors:
        loss = loss + mirror_loss(outputs, batch, model, usable)
    return loss


def mirror_loss(outputs, batch: Batch, model: PsfModel, usable) -> torch.Tensor:
    """Cross-entropy of the mirror's logit, averaged over usable samples whose PSF differs from its mirror image."""
    logit = mirror_logit(outputs, model)
    with torch.no_grad():
        side = model.same_side(model.decode(split(outputs, model)[0]), batch.params)
        weight = usable * (side.abs() / MIRROR_WAVES**2).clamp_max(1)
    wrong = torch.nn.functional.binary_cross_entropy_with_logits(
        logit, (side > 0).float(), reduction="none"
    )
    return (weight * wrong).sum() / weight.sum().clamp_min(1)


class PsfRegression:
    """Regression of PSF targets, half-widths and flags from patches; a `training.task.Task`.

    Parameters
    ----------
    recipe
        What samples are made of.
    spec
        An entry of the config's `networks`.
    seed
        The study's seed.
    device
        Where the network is trained.
    validation
        Held-out samples on the CPU; they are made if not given.
    """

    name = store.PSF_REGRESSION
    history_columns = ("train_loss", "validation_loss", "validation_r2")
    score = "validation_loss"

    def __init__(
        self,
        recipe: Recipe,
        spec: dict,
        seed: int,
        device: torch.device,
        validation: Batch | None = None,
    ):
        self.recipe, self.spec, self.seed, self.device = recipe, spec, seed, device
        self.model, self.validation = recipe.model, validation
        self.learns = learns(spec)
        self.released_as = recipe.psf["model"]
        torch.manual_seed(seed)
        self.network = store.build(spec, recipe.window_px, self.model)
        if spec.get("pretrained"):
            self.network.take_pretrained(spec["pretrained"])
        self.network.to(device)
        if self.learns:
            self._begin()

    def _begin(self) -> None:
        spec = self.spec
        decay = [p for p in self.network.parameters() if p.ndim > 1]
        rest = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": spec["weight_decay"]},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=spec["learning_rate"],
            fused=True,
        )
        self.bank = SceneBank(
            self.recipe, self.seed, f"training/{spec['name']}",
            size=spec["scenes"], fresh=spec["fresh_scenes"], split="train", device=self.device,
            workers=max(1, (os.cpu_count() or 2) - 2) if self.device.type == "cuda" else 0,
        )  # fmt: skip

    @classmethod
    def of_config(
        cls, recipe: dict, spec: dict, *, seed: int, device: torch.device, validation=None
    ) -> Self:
        """The task of an entry of `networks`; as in `training.task.Task`."""
        made = Recipe(**recipe)
        made.check()
        stored = load_set(validation) if validation and learns(spec) else None
        return cls(made, spec, seed, device, stored)

    @staticmethod
    def take(weights: str | Path, recipe: dict, spec: dict) -> dict:
        """Card of a trained network that the study can use; as in `training.task.Task`."""
        _, _, card = store.load(weights)
        store.check_fits(weights, card, recipe["psf"], recipe["window_px"], spec["architecture"])
        return card

    def settings(self) -> list:
        """Recipe, entry, and the checksum of pretrained weights."""
        file = self.spec.get("pretrained")
        return [self.recipe.__dict__, self.spec, file and crc32(Path(file).read_bytes())]

    def batches(self, epoch: int, steps: int):
        """Pairs of a batch and its fixed features, made in blocks of FEATURE_BLOCK samples.

        If there are fixed features, the patches are dropped to save memory, since an epoch of several
        passes is kept as a whole. Then it takes about 80 kB per sample.
        """
        self._prepare()
        count = self.spec["batch"]
        block = max(1, FEATURE_BLOCK[self.device.type] // count)
        for first in range(0, steps, block):
            batches = [
                training_batch(self.recipe, self.model, self.bank, epoch, epoch * steps + k, count)
                for k in range(first, min(steps, first + block))
            ]
            seen = self._fixed_features(batches)
            if seen[0] is not None:
                for batch in batches:
                    batch.patches = None
            yield from zip(batches, seen, strict=True)

    def _prepare(self) -> None:
        """Show a fit sharp scenes, before its first batch."""
        if not getattr(self.network, "unprepared", False):
            return
        sharp = [k for k in self.recipe.objects["kinds"] if k not in (*SOFT, "black")]
        count = min(PREPARING_SCENES, max(256, self.spec["samples"]))
        stream = f"training/{self.spec['name']}/spectra"
        self.network.prepare(
            draw_scenes(
                self.recipe.objects | {"kinds": sharp or list(SYNTHETIC)},
                64, SPECTRUM_PX, seed=self.seed, stream=stream, first=first, device=self.device,
            )
            for first in range(0, count, 64)
        )  # fmt: skip

    def _fixed_features(self, batches: list[Batch]) -> list:
        """Features of each batch that do not depend on weights, computed in one block.

        They are None for networks that learn from pixels.
        """
        if not hasattr(self.network, "fixed_features"):
            return [None] * len(batches)
        patches, cutoffs = (
            torch.cat([getattr(b, key) for b in batches]) for key in ("patches", "cutoff")
        )
        parts = self.network.fixed_features(patches, cutoff=cutoffs)
        return list(zip(*(p.split(len(batches[0].patches)) for p in parts), strict=True))

    def step(self, pair: tuple, rate: float) -> dict[str, float]:
        """One optimiser step. pair: from `batches`; its features may be None."""
        batch, seen = pair
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with self._precision():
            if seen:
                outputs = self.network.regress(seen)
            else:
                outputs = self.network(batch.patches, cutoff=batch.cutoff)
        loss = regression_loss(outputs[:, :, 0, 0].float(), batch, self.model)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return {"train_loss": loss.item()}

    def _precision(self):
        # bf16 is slower than float32 on most CPUs, and three times faster on GPUs.
        return torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda")

    def validate(self) -> dict[str, float]:
        """validation_loss, and the mean R2 over the parameters (eq. 2.13)."""
        if self.validation is None:
            self.validation = make_set(
                self.recipe,
                self.spec["validation_samples"],
                seed=self.seed,
                stream=f"validation/{self.spec['name']}",
                split="validation",
            )
        batch = self.validation
        outputs = predict(self.network, batch, self.device)
        loss = regression_loss(outputs, batch, self.model).item()
        estimated = self.model.nearest(
            to_estimate(outputs, self.model).params, batch.params
        ).numpy()
        rows = summarise(
            batch.params.numpy(), estimated, batch.measurable.numpy(), self.model.parameters
        )
        r2 = [row["value"] for row in rows if row["metric"] == "R2"]
        return {"validation_loss": loss, "validation_r2": sum(r2) / len(r2)}

    def state(self) -> dict:
        """Network and optimiser."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state(self, state: dict) -> None:
        """Restore a state that `state` returned."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def finish(self) -> None:
        """Fit the half-widths again, to mostly soft scenes."""
        if self.learns:
            fit_intervals(self.network, self.recipe, self.spec, self.seed)

    def card(self) -> dict:
        """The recipe, without the dates of a folder's files."""
        made = asdict(self.recipe)
        made["objects"].pop("stamp", None)
        return made

    def close(self) -> None:
        """Stop the processes that draw scenes."""
        if self.learns:
            self.bank.close()
