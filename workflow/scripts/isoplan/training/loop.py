"""The training loop for any task, which resumes exactly after a kill.

A task (`task`) owns its networks, losses and optimisers, so the same loop trains regressors and GANs.
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
    """Train a network of the config's `networks`.

    Writes network.safetensors (the best epoch on the validation set), history.csv (one row per epoch),
    card.json and checkpoint.pt (after every epoch) to `folder`. After a kill, the same call continues
    from the checkpoint and gives the numbers of an undisturbed run. A checkpoint of other settings or
    other library code is not used.

    Parameters
    ----------
    task
        What is trained.
    folder
        Folder of the results.
    library
        Hashes of the library's code, part of the training's fingerprint.
    stop_after_s
        Stop at the end of an epoch after so many seconds. Training also stops if another epoch would
        exceed the job's time limit.

    Returns
    -------
    bool
        Whether training is finished; if not, call it again.

    Raises
    ------
    UserError
        If the training diverges.
    """
    folder, spec, mark = Path(folder), task.spec, training_fingerprint(task, library)
    folder.mkdir(parents=True, exist_ok=True)
    epochs, steps = _epochs_and_steps(spec) if task.learns else (0, 0)
    history, best = _resume(folder / "checkpoint.pt", mark, task)
    begun, limit = time.monotonic(), TimeLimit()
    bar = Progress(f"training {spec['name']}, epochs", epochs, every_s=0, done=len(history))

    with closing(task):
        for epoch in range(len(history), epochs):
            if _out_of_patience(history, spec["patience_epochs"]):
                break
            started, losses = time.monotonic(), []
            updates = spec["passes"] * steps  # updates of the weights per epoch
            for batch in _repeat(task.batches(epoch, steps), spec["passes"]):
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
                best = _copy_weights(task.network)
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
    _write_history(folder, task, history)  # needed if the checkpoint was already complete
    card = _card(task, history) | {"seed": task.seed, "fingerprint": mark}
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    store.save(folder / "network.safetensors", task.network, card)
    return True


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Learning rate of a step: linear warm-up to `peak`, then a cosine to zero.

    Examples
    --------
    >>> [round(learning_rate(step, 10, 1e-3, 0.2), 6) for step in (0, 1, 5, 9)]
    [0.0005, 0.001, 0.000691, 3.8e-05]
    """
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _epochs_and_steps(spec: dict) -> tuple[int, int]:
    """Number of epochs, and of batches of new samples per epoch."""
    steps = max(1, spec["epoch_samples"] // spec["batch"])
    return max(1, round(spec["samples"] / (steps * spec["batch"]))), steps


def history_header(task: Task | type[Task]) -> tuple[str, ...]:
    """Columns of a task's history.csv."""
    counted = ("epoch", "step", "samples", "seconds", "learning_rate")
    return (*counted, *task.history_columns, "best")


def training_fingerprint(task: Task, library: dict | None = None) -> str:
    """Fingerprint of a training: its task, settings and seed, and the library's code."""
    return fingerprint(task.name, task.settings(), task.seed, library)


def is_of_other_training(file: Path, mark: str) -> bool:
    """Whether a network, checkpoint or card has another training's fingerprint; False if damaged."""
    try:
        if file.suffix == ".json":
            told = json.loads(file.read_text())
        elif file.suffix == ".pt":
            told = torch.load(file, map_location="cpu", weights_only=True)
        else:
            told = read_card(file)
        return told.get("fingerprint") != mark
    except Exception:  # the file is missing or incomplete
        return False


def _repeat(batches, passes: int):
    """The batches of an epoch, repeated `passes` times; they stay in memory if that is more than once."""
    held = []
    for batch in batches:
        yield batch
        if passes > 1:
            held.append(batch)
    for _ in range(passes - 1):
        yield from held


def _copy_weights(network: torch.nn.Module) -> dict:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _card(task: Task, history: list[dict]) -> dict:
    """The card of a network, without times, so that the same training gives the same file."""
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


def _out_of_patience(history: list[dict], patience: int) -> bool:
    """Early stopping: whether the last `patience` epochs were not better (0: never stop)."""
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
    """History and best weights of a matching checkpoint; a damaged or foreign one is ignored."""
    try:
        kept = torch.load(path, map_location=task.device, weights_only=True)
    except Exception:  # the file is missing or incomplete
        return [], _copy_weights(task.network)
    if kept.get("fingerprint") != mark:
        return [], _copy_weights(task.network)
    task.load_state(kept["task"])
    return kept["history"], kept["best"]
