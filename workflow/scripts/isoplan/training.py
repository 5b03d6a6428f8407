"""Training: one loop over `task.step(batch)`, resumed exactly after a kill.

A task owns its networks, losses and optimisers, so that the same loop serves regressors and GANs.
"""

import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from isoplan.base.errors import UserError
from isoplan.base.fingerprint import fingerprint
from isoplan.base.progress import Progress
from isoplan.metrics.regression import summarise
from isoplan.networks import store
from isoplan.synthesis import INVALID, VALID, Batch, Recipe, SceneBank, make_set, training_batch

CHECK_BLOCK = 128  # samples at a time outside training
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


def regression_loss(outputs: torch.Tensor, targets: torch.Tensor, invalid: torch.Tensor):
    """Thesis, eq. 2.11 with gamma = 1: (a0 - a0~)^2 + (1 - a0) / (2 N) sum (a - a~)^2, averaged.

    outputs: (n, N + 1), the last a logit of a0. targets: (n, N). invalid: (n,), a0; samples whose
    a0 is undecided count in neither term.
    """
    decided = (invalid >= 0).float()
    usable = (invalid == VALID).float()
    flag = (torch.sigmoid(outputs[:, -1]) - invalid).square() * decided
    error = (outputs[:, :-1] - targets).square().mean(dim=1) / 2 * usable
    return (flag + error).mean()


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
        self.network = store.build(spec, recipe.window_px, self.model.n_targets + 1).to(device)
        decay = [p for p in self.network.parameters() if p.ndim > 1]
        rest = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": spec["weight_decay"]},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=spec["learning_rate"],
        )

    def step(self, batch: Batch, rate: float) -> float:
        """One optimiser step at the given learning rate; returns the loss."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with self._precision():
            outputs = self.network(batch.patches)[:, :, 0, 0]
        loss = regression_loss(outputs.float(), self.model.encode(batch.params), batch.invalid)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return loss.item()

    def _precision(self):
        # bf16 is slower than float32 on most CPUs, and three times faster on GPUs.
        return torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda")

    def outputs(self, patches: torch.Tensor) -> torch.Tensor:
        """(n, 1, window, window) -> (n, N + 1) in evaluation mode, float32."""
        return predict(self.network, patches.to(self.device))

    def validate(self, batch: Batch) -> dict:
        """validation_loss and the mean R2 over the parameters (eq. 2.13) of a held-out set."""
        outputs = self.outputs(batch.patches).cpu()
        loss = regression_loss(outputs, self.model.encode(batch.params), batch.invalid).item()
        estimated = self.model.decode(outputs[:, :-1]).numpy()
        usable = (batch.invalid == VALID).numpy()
        rows = summarise(batch.params.numpy(), estimated, usable, self.model.parameters)
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
def predict(network: torch.nn.Module, patches: torch.Tensor) -> torch.Tensor:
    """Outputs of single windows, (n, 1, window, window) -> (n, outputs), in blocks."""
    network.eval()
    return torch.cat([network(block)[:, :, 0, 0] for block in patches.split(CHECK_BLOCK)])


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
    cleanly at the end of the epoch after that many seconds, to be called again.
    Raises UserError where the training diverges.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark = fingerprint(recipe.__dict__, spec, seed, library)
    task = RegressionTask(recipe, spec, seed, device)
    if validation is None:
        validation = make_validation(recipe, spec, seed)
    steps_an_epoch = max(1, spec["epoch_samples"] // spec["batch"])
    epochs = max(1, round(spec["samples"] / (steps_an_epoch * spec["batch"])))
    bank = SceneBank(
        recipe, seed, f"training/{spec['name']}",
        size=spec["scenes"], fresh=spec["fresh_scenes"], split="train", device=device,
    )  # fmt: skip
    history, best = _resume(folder, mark, task, device)
    begun = time.monotonic()
    bar = Progress(f"training {spec['name']}, epochs", epochs, every_s=0, done=len(history))

    for epoch in range(len(history), epochs):
        if _exhausted(history, spec["patience_epochs"]):
            break
        started, losses = time.monotonic(), []
        for inner in range(steps_an_epoch):
            step = epoch * steps_an_epoch + inner
            rate = learning_rate(
                step, epochs * steps_an_epoch, spec["learning_rate"], spec["warmup_share"]
            )
            batch = training_batch(recipe, task.model, bank, epoch, step, spec["batch"])
            losses.append(task.step(batch, rate))
        row = {
            "epoch": epoch + 1,
            "step": step + 1,
            "samples": (step + 1) * spec["batch"],
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
        if epoch + 1 < epochs and time.monotonic() - begun > stop_after_s:
            return False

    task.network.load_state_dict(best)
    _write_history(folder, history)  # once more, for a run whose checkpoint was complete already
    card = _card(task, history) | {"seed": seed, "fingerprint": mark}
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    store.save(folder / "network.safetensors", task.network, card)
    return True


def _card(task: RegressionTask, history: list[dict]) -> dict:
    """What a network's file says of itself, without times: the same training gives the same file."""
    best = min(history, key=lambda row: row["validation_loss"])
    return {
        **asdict(task.recipe),
        "network": task.spec,
        "samples": history[-1]["samples"],
        "parameters": sum(p.numel() for p in task.network.parameters()),
        "device": task.device.type,
        "torch": torch.__version__,
        "best": {key: best[key] for key in HISTORY if key != "seconds"},
    }


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


def evaluate(network, model, batch: Batch, device) -> tuple[list[dict], pd.DataFrame]:
    """Regression metrics per parameter and the predictions behind them, on a stored set.

    Returns tidy rows (parameter, metric, value, n), the share of samples whose validity is judged
    rightly among them, and a table (parameter, true, estimated, valid) of up to 2000 samples.
    """
    outputs = predict(network, batch.patches.to(device)).cpu()
    estimated = model.decode(outputs[:, :-1]).numpy()
    true, invalid = batch.params.numpy(), batch.invalid.numpy()
    usable = invalid == VALID
    rows = summarise(true, estimated, usable, model.parameters)
    decided = (invalid == VALID) | (invalid == INVALID)
    judged = (outputs[:, -1].numpy() > 0) == (invalid == INVALID)
    rows.append(
        {
            "parameter": "validity",
            "metric": "accuracy",
            "value": float(judged[decided].mean()) if decided.any() else float("nan"),
            "n": int(decided.sum()),
        }
    )
    shown = slice(0, 2000)
    table = pd.concat(
        pd.DataFrame(
            {
                "parameter": parameter.name,
                "true": true[shown, k],
                "estimated": estimated[shown, k],
                "valid": usable[shown].astype(int),
            }
        )
        for k, parameter in enumerate(model.parameters)
    )
    return rows, table
