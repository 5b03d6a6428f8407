"""Training: one loop over any task, resumed exactly after a kill.

A task (task.py) owns its networks, losses and optimisers, so the same loop trains regressors and GANs.
"""

import json
import math
import os
import time
from contextlib import closing
from pathlib import Path

import pandas as pd
import torch

from isoplan.base.cards import read_card
from isoplan.base.errors import UserError
from isoplan.base.fingerprint import fingerprint
from isoplan.base.progress import Progress
from isoplan.cluster.timelimit import TimeLimit
from isoplan.networks import store
from isoplan.training.task import Task


def train(
    task: Task,
    folder: str | Path,
    *,
    library: dict | None = None,
    stop_after_s: float = math.inf,
) -> bool:
    """Trains a network of the config's `networks` into `folder`; True when it is finished.

    Writes network.safetensors (the best epoch on the validation set), history.csv (a row an epoch), card.json
    and checkpoint.pt (after every epoch; rerun after a kill and it goes on, with the numbers of an
    undisturbed run). A checkpoint of other settings or other library code is not used.

    stop_after_s: leaves cleanly at the end of the epoch after that many seconds, to be called again; so it
    does where another epoch would not end within the job's time limit.
    Raises UserError where the training diverges.
    """
    folder, spec, mark = Path(folder), task.spec, mark_of(task, library)
    folder.mkdir(parents=True, exist_ok=True)
    epochs, steps = _extent(spec) if task.learns else (0, 0)
    history, best = _resume(folder / "checkpoint.pt", mark, task)
    begun, limit = time.monotonic(), TimeLimit()
    bar = Progress(f"training {spec['name']}, epochs", epochs, every_s=0, done=len(history))

    with closing(task):
        for epoch in range(len(history), epochs):
            if _exhausted(history, spec["patience_epochs"]):
                break
            started, losses = time.monotonic(), []
            updates = spec["passes"] * steps  # of the weights, in an epoch
            for batch in _repeated(task.batches(epoch, steps), spec["passes"]):
                step = epoch * updates + len(losses)
                rate = learning_rate(
                    step, epochs * updates, spec["learning_rate"], spec["warmup_share"]
                )
                losses.append(task.step(batch, rate))
            row = {
                "epoch": epoch + 1,
                "step": step + 1,
                "samples": (epoch + 1) * steps * spec["batch"],
                "seconds": time.monotonic() - started,
                "learning_rate": rate,
                **{name: sum(loss[name] for loss in losses) / len(losses) for name in losses[0]},
                **task.validate(),
            }
            if not all(math.isfinite(row[name]) for name in (*losses[0], task.score)):
                raise UserError(
                    f"network {spec['name']}: the loss is no longer finite in epoch {epoch + 1}; "
                    "lower learning_rate"
                )
            row["best"] = all(row[task.score] < past[task.score] for past in history)
            if row["best"]:
                best = _copy(task.network)
            history.append(row)
            _save_checkpoint(folder / "checkpoint.pt", mark, task, history, best)
            _write_history(folder, task, history)
            bar.step(", ".join(f"{n.replace('_', ' ')} {row[n]:.4f}" for n in task.history_columns))
            limit.step()
            late = limit.reached() or time.monotonic() - begun > stop_after_s
            if epoch + 1 < epochs and late:
                return False

    task.network.load_state_dict(best)
    task.finish()
    _write_history(folder, task, history)  # again, for a run whose checkpoint was complete already
    card = _card(task, history) | {"seed": task.seed, "fingerprint": mark}
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    store.save(folder / "network.safetensors", task.network, card)
    return True


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Linear warm-up, then a cosine to zero."""
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _extent(spec: dict) -> tuple[int, int]:
    """Epochs, and the steps of each that bring new samples."""
    steps = max(1, spec["epoch_samples"] // spec["batch"])
    return max(1, round(spec["samples"] / (steps * spec["batch"]))), steps


def history_header(task: Task | type[Task]) -> tuple[str, ...]:
    """Columns of a task's history.csv."""
    counted = ("epoch", "step", "samples", "seconds", "learning_rate")
    return (*counted, *task.history_columns, "best")


def mark_of(task: Task, library: dict | None = None) -> str:
    """Fingerprint of a training: its task and settings, its seed and the library's code."""
    return fingerprint(task.name, task.settings(), task.seed, library)


def of_another(file: Path, mark: str) -> bool:
    """Whether a network, checkpoint or card is of a training of another fingerprint; a damaged one is of none."""
    try:
        if file.suffix == ".json":
            told = json.loads(file.read_text())
        elif file.suffix == ".pt":
            told = torch.load(file, map_location="cpu", weights_only=True)
        else:
            told = read_card(file)
        return told.get("fingerprint") != mark
    except Exception:  # none there, or cut off in the middle of writing
        return False


def _repeated(batches, passes: int):
    """The batches of an epoch, `passes` times over; they are held where that is more than once."""
    held = []
    for batch in batches:
        yield batch
        if passes > 1:
            held.append(batch)
    for _ in range(passes - 1):
        yield from held


def _copy(network: torch.nn.Module) -> dict:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _card(task: Task, history: list[dict]) -> dict:
    """What a network's file says of itself, without times: the same training gives the same file."""
    card = {
        "task": task.name,
        **task.card(),
        "network": task.spec,
        "samples": history[-1]["samples"] if history else 0,
        "parameters": sum(p.numel() for p in task.network.parameters()),
        "device": task.device.type,
        "torch": torch.__version__,
    }
    if history:
        best = min(history, key=lambda row: row[task.score])
        card["best"] = {key: best[key] for key in history_header(task) if key != "seconds"}
    return card


def _write_history(folder: Path, task: Task, history: list[dict]) -> None:
    table = pd.DataFrame(history, columns=history_header(task))
    table.to_csv(folder / "history.csv", index=False)


def _exhausted(history: list[dict], patience: int) -> bool:
    """Early stopping: no better epoch among the last `patience` (0: never)."""
    return (
        patience > 0 and len(history) > patience and not any(r["best"] for r in history[-patience:])
    )


def _save_checkpoint(path: Path, mark: str, task: Task, history: list, best: dict) -> None:
    part = path.with_suffix(".part")
    torch.save({"fingerprint": mark, "task": task.state(), "history": history, "best": best}, part)
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(path)


def _resume(path: Path, mark: str, task: Task) -> tuple[list, dict]:
    """History and best weights of a fitting checkpoint; a damaged or foreign one is left aside."""
    try:
        kept = torch.load(path, map_location=task.device, weights_only=True)
    except Exception:  # none yet, or cut off in the middle of writing
        return [], _copy(task.network)
    if kept.get("fingerprint") != mark:
        return [], _copy(task.network)
    task.load_state(kept["task"])
    return kept["history"], kept["best"]
