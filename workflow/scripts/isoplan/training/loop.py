"""Training: one loop over `task.step(batch)`, resumed exactly after a kill.

A task owns its networks, losses and optimisers, so that the same loop serves regressors and GANs.
"""

import json
import math
import os
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from zlib import crc32

import pandas as pd
import torch

from isoplan.base.errors import UserError
from isoplan.base.fingerprint import fingerprint
from isoplan.base.progress import Progress
from isoplan.cluster.timelimit import TimeLimit
from isoplan.metrics.regression import summarise
from isoplan.networks import store
from isoplan.networks.outputs import log_errors, pinball, read, split
from isoplan.optics.model import PsfModel
from isoplan.training.intervals import fit_intervals
from isoplan.training.samples import INVALID, Batch, Recipe, SceneBank, make_set, training_batch

WEIGHED_SPREADS = (0.05, 1.0)  # of a parameter's range; beyond them samples weigh no more or less
SPREAD_WEIGHT = 0.05  # the half-widths' loss is of order 1, the others' far below
LOOK_BLOCK = {"cpu": 1024, "cuda": 8192}  # samples looked at together: about 1 GB, and 8 GB
CHECK_BLOCK = 512  # samples at a time outside training
HISTORY = (
    "epoch",
    "step",
    "samples",
    "seconds",
    "learning_rate",
    "train_loss",
    "validation_loss",
    "validation_r2",
    "best",
)


def regression_loss(outputs: torch.Tensor, batch: Batch, model: PsfModel) -> torch.Tensor:
    """What a regressor is trained on, averaged over the samples; outputs: (n, outputs.count(model)).

    Thesis, eq. 2.11 with gamma = 1, (a0 - a0~)^2 + (1 - a0) / (2 N) sum (a - a~)^2, over the targets;
    the alarm in the same way as a0; and for the half-widths the `pinball` loss. Beyond the thesis, the targets' errors are weighed by the half-width of the surest parameter,
    as least squares of uneven noise are: then low light, whose errors are large whatever is
    learnt, does not drown the rest. Where a0 is undecided it does not count; samples that were
    processed or blurred by another PSF count in the flags alone. Whether another PSF blurred them is
    asked of raw samples with some texture.
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
    interval = pinball(log_errors(model, batch.params, targets), spread) * usable
    return (flag + error + SPREAD_WEIGHT * interval).mean()


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Linear warm-up, then a cosine to zero."""
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class RegressionTask:
    """PSF targets and validity from patches (thesis, 2.2.5)."""

    def __init__(self, recipe: Recipe, spec: dict, seed: int, device: torch.device):
        self.recipe, self.spec, self.device = recipe, spec, device
        self.model = recipe.model
        torch.manual_seed(seed)
        self.network = store.build(spec, recipe.window_px, self.model)
        if spec.get("pretrained"):
            self.network.take_pretrained(spec["pretrained"])
        self.network.to(device)
        decay = [p for p in self.network.parameters() if p.ndim > 1]
        rest = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": spec["weight_decay"]},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=spec["learning_rate"],
        )

    def look(self, batches: list[Batch]) -> list:
        """What the network computes of each batch without having learnt it, all in one block; None for
        networks that learn from the pixels."""
        if not hasattr(self.network, "look"):
            return [None] * len(batches)
        patches, cutoffs = (
            torch.cat([getattr(b, key) for b in batches]) for key in ("patches", "cutoff")
        )
        parts = self.network.look(patches, cutoff=cutoffs)
        return list(zip(*(p.split(len(batches[0].patches)) for p in parts), strict=True))

    def step(self, batch: Batch, rate: float, looked=None) -> float:
        """One optimiser step at the given learning rate; returns the loss. looked: of `look`."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with self._precision():
            if looked:
                outputs = self.network.learnt(looked)
            else:
                outputs = self.network(batch.patches, cutoff=batch.cutoff)
        loss = regression_loss(outputs[:, :, 0, 0].float(), batch, self.model)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return loss.item()

    def _precision(self):
        # bf16 is slower than float32 on most CPUs, and three times faster on GPUs.
        return torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda")

    def validate(self, batch: Batch) -> dict:
        """validation_loss and the mean R2 over the parameters (eq. 2.13) of a held-out set."""
        outputs = predict(self.network, batch, self.device)
        loss = regression_loss(outputs, batch, self.model).item()
        estimated = read(outputs, self.model).params.numpy()
        rows = summarise(
            batch.params.numpy(), estimated, batch.measurable.numpy(), self.model.parameters
        )
        r2 = [row["value"] for row in rows if row["metric"] == "R2"]
        return {"validation_loss": loss, "validation_r2": sum(r2) / len(r2)}

    def state(self) -> dict:
        """All that an exact resume needs."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state(self, state: dict) -> None:
        """Takes over a state of `state()`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])


@torch.no_grad()
def predict(network: torch.nn.Module, batch: Batch, device) -> torch.Tensor:
    """Outputs of a batch's windows, (n, outputs) on the CPU, in blocks of CHECK_BLOCK.

    The last block is filled up with its last sample to a multiple of 64: arithmetic differs in the last
    bits between sizes, and the logarithm of a weak spectrum enlarges that.
    """
    network.eval()
    outputs, count = [], len(batch.patches)
    for first in range(0, count, CHECK_BLOCK):
        some = min(CHECK_BLOCK, count - first)
        block = torch.arange(first, first + -(-some // 64) * 64).clamp_max(count - 1)
        patches, cutoff = batch.patches[block].to(device), batch.cutoff[block].to(device)
        outputs.append(network(patches, cutoff=cutoff)[:some, :, 0, 0].cpu())
    return torch.cat(outputs)


def train(
    recipe: Recipe,
    spec: dict,
    folder: str | Path,
    *,
    seed: int,
    device: torch.device,
    validation: Batch | None = None,
    library: dict | None = None,
    stop_after_s: float = math.inf,
) -> bool:
    """Trains a network of the config's `networks` into `folder`; True when it is finished.

    Writes network.safetensors (the best epoch on the validation set), history.csv (a row an epoch)
    and checkpoint.pt (after every epoch; rerun after a kill and it goes on, with the numbers of an
    undisturbed run). A checkpoint of other settings or other library code is not used.

    recipe: what samples are made of. spec: samples, batch, learning_rate, epoch_samples, ...
    validation: held-out samples on the CPU; made here where none are given. stop_after_s: leaves
    cleanly at the end of the epoch after that many seconds, to be called again; so it does where another
    epoch would not end within the job's time limit.
    Raises UserError where the training diverges.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark = mark_of(recipe, spec, seed=seed, library=library)
    if spec["architecture"] == "spectrum-fit":
        return _write_fit(recipe, spec, folder, {"seed": seed, "fingerprint": mark})
    task = RegressionTask(recipe, spec, seed, device)
    if validation is None:
        validation = make_validation(recipe, spec, seed)
    steps_an_epoch = max(1, spec["epoch_samples"] // spec["batch"])
    epochs = max(1, round(spec["samples"] / (steps_an_epoch * spec["batch"])))
    updates = spec["passes"] * steps_an_epoch  # of the weights, in an epoch
    bank = SceneBank(
        recipe, seed, f"training/{spec['name']}",
        size=spec["scenes"], fresh=spec["fresh_scenes"], split="train", device=device,
        workers=max(1, (os.cpu_count() or 2) - 2) if device.type == "cuda" else 0,
    )  # fmt: skip
    history, best = _resume(folder, mark, task, device)
    begun, limit = time.monotonic(), TimeLimit()
    bar = Progress(f"training {spec['name']}, epochs", epochs, every_s=0, done=len(history))

    with closing(bank):
        for epoch in range(len(history), epochs):
            if _exhausted(history, spec["patience_epochs"]):
                break
            started, losses = time.monotonic(), []
            for batch, seen in _samples(task, bank, epoch, steps_an_epoch):
                step = epoch * updates + len(losses)
                rate = learning_rate(
                    step, epochs * updates, spec["learning_rate"], spec["warmup_share"]
                )
                losses.append(task.step(batch, rate, seen))
            row = {
                "epoch": epoch + 1,
                "step": step + 1,
                "samples": (epoch + 1) * steps_an_epoch * spec["batch"],
                "seconds": time.monotonic() - started,
                "learning_rate": rate,
                "train_loss": sum(losses) / len(losses),
                **task.validate(validation),
            }
            if not math.isfinite(row["train_loss"] + row["validation_loss"]):
                raise UserError(
                    f"networks {spec['name']}: the loss is no longer finite in epoch {epoch + 1}; "
                    "lower learning_rate"
                )
            row["best"] = all(row["validation_loss"] < past["validation_loss"] for past in history)
            if row["best"]:
                best = {k: v.detach().clone() for k, v in task.network.state_dict().items()}
            history.append(row)
            _save_checkpoint(folder / "checkpoint.pt", mark, task, history, best)
            _write_history(folder, history)
            bar.step(f"loss {row['train_loss']:.4f}, R2 {row['validation_r2']:.3f}")
            limit.step()
            late = limit.reached() or time.monotonic() - begun > stop_after_s
            if epoch + 1 < epochs and late:
                return False

    task.network.load_state_dict(best)
    fit_intervals(task.network, recipe, spec, seed)
    _write_history(folder, history)  # once more, for a run whose checkpoint was complete already
    card = _card(task, history) | {"seed": seed, "fingerprint": mark}
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    store.save(folder / "network.safetensors", task.network, card)
    return True


def mark_of(recipe: Recipe, spec: dict, *, seed: int, library: dict | None = None) -> str:
    """Fingerprint of a training: its settings, the pretrained weights and the library's code."""
    taken = spec.get("pretrained") and crc32(Path(spec["pretrained"]).read_bytes())
    return fingerprint(recipe.__dict__, spec, taken, seed, library)


def of_another(file: Path, mark: str) -> bool:
    """Whether a network, checkpoint or card is of a training of another fingerprint; a damaged one is of none."""
    try:
        if file.suffix == ".json":
            told = json.loads(file.read_text())
        elif file.suffix == ".pt":
            told = torch.load(file, map_location="cpu", weights_only=True)
        else:
            told = store.card_of(file)
        return told.get("fingerprint") != mark
    except Exception:  # none there, or cut off in the middle of writing
        return False


def _samples(task: RegressionTask, bank: SceneBank, epoch: int, steps: int):
    """Batches of an epoch and what the network sees of them, the epoch `passes` times over.

    For one pass in blocks of LOOK_BLOCK samples; for several the whole epoch is held, without the
    patches where the network has looked at them: about 80 kB a sample.
    """
    recipe, spec = task.recipe, task.spec
    block = max(1, LOOK_BLOCK[task.device.type] // spec["batch"])
    kept = []
    for first in range(0, steps, block):
        batches = [
            training_batch(recipe, task.model, bank, epoch, epoch * steps + k, spec["batch"])
            for k in range(first, min(steps, first + block))
        ]
        seen = task.look(batches)
        if seen[0] is not None:
            for batch in batches:
                batch.patches = None
        pairs = list(zip(batches, seen, strict=True))
        yield from pairs
        kept += pairs if spec["passes"] > 1 else []
    for _ in range(spec["passes"] - 1):
        yield from kept


def _card(task: RegressionTask, history: list[dict]) -> dict:
    """What a network's file says of itself, without times: the same training gives the same file."""
    best = min(history, key=lambda row: row["validation_loss"])
    made = asdict(task.recipe)
    made["objects"].pop("stamp", None)  # dates of a folder's files
    return {
        **made,
        "network": task.spec,
        "samples": history[-1]["samples"],
        "parameters": sum(p.numel() for p in task.network.parameters()),
        "device": task.device.type,
        "torch": torch.__version__,
        "best": {key: best[key] for key in HISTORY if key != "seconds"},
    }


def _write_fit(recipe: Recipe, spec: dict, folder: Path, made: dict) -> bool:
    """The files of the network-free baseline, which has nothing to train: an empty history."""
    network = store.build(spec, recipe.window_px, recipe.model)
    card = {**asdict(recipe), "network": spec, "samples": 0, "parameters": 0, **made}
    _write_history(folder, [])
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    store.save(folder / "network.safetensors", network, card)
    return True


def _write_history(folder: Path, history: list[dict]) -> None:
    pd.DataFrame(history, columns=HISTORY).to_csv(folder / "history.csv", index=False)


def make_validation(recipe: Recipe, spec: dict, seed: int) -> Batch:
    """The validation samples of a network, on the CPU: the same on every machine of one kind."""
    return make_set(
        recipe,
        spec["validation_samples"],
        seed=seed,
        stream=f"validation/{spec['name']}",
        split="validation",
    )


def _exhausted(history: list[dict], patience: int) -> bool:
    """Early stopping: no better epoch among the last `patience` (0: never)."""
    return (
        patience > 0 and len(history) > patience and not any(r["best"] for r in history[-patience:])
    )


def _save_checkpoint(path: Path, mark: str, task, history: list, best: dict) -> None:
    part = path.with_suffix(".part")
    torch.save({"fingerprint": mark, "task": task.state(), "history": history, "best": best}, part)
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(path)


def _resume(folder: Path, mark: str, task, device) -> tuple[list, dict]:
    """History and best weights of a fitting checkpoint; a damaged or foreign one is left aside."""
    fresh = {k: v.detach().clone() for k, v in task.network.state_dict().items()}
    try:
        kept = torch.load(folder / "checkpoint.pt", map_location=device, weights_only=True)
    except Exception:  # none yet, or cut off in the middle of writing
        return [], fresh
    if kept.get("fingerprint") != mark:
        return [], fresh
    task.load_state(kept["task"])
    return kept["history"], kept["best"]
