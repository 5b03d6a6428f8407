"""Tasks: found by name, trained by one loop, stored, released and proved, whatever they are for."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import denoising_task
import pandas as pd
import pytest
import torch
import yaml
from denoising_task import Denoising, DenoisingJudge
from isoplan import tasks
from isoplan.base.errors import UserError
from isoplan.base.fingerprint import library_hashes
from isoplan.base.imports import load_named
from isoplan.base.rows import TaskRow
from isoplan.cli import models
from isoplan.networks import store
from isoplan.report.network import curve_figures
from isoplan.report.results import Network
from isoplan.training.loop import train, training_fingerprint
from isoplan.training.psf_regression import PsfRegression
from isoplan.training.task import Judge, Task
from test_models import RELEASE, run

SCRIPTS = Path(models.__file__).resolve().parents[2]
CPU = torch.device("cpu")
EPOCHS = 3
ROW = TaskRow(
    denoising_task.NAME,
    samples="denoising_task:store_set",
    task="denoising_task:Denoising",
    judge="denoising_task:DenoisingJudge",
    words="denoising_task",
)


@pytest.fixture
def spec(settings):
    keys = {"samples": EPOCHS * 640, "epoch_samples": 640, "batch": 16, "passes": 1}
    return settings("networks", width=8, learning_rate=0.01, **keys)


@pytest.fixture
def task(spec):
    """task(): the task as it begins."""
    return lambda: Denoising.of_config({}, spec, seed=1, device=CPU)


def weights(folder) -> dict:
    return store.read(folder / "network.safetensors")[1]


def same(one: Path, other: Path) -> bool:
    tables = [
        pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (one, other)
    ]
    a, b = weights(one), weights(other)
    return tables[0].equals(tables[1]) and all(torch.equal(a[name], b[name]) for name in a)


# One loop for all ------------------------------------------------------------------------------


def test_two_optimisers_learn_and_a_kill_changes_nothing(task, tmp_path, monkeypatch):
    """A U-Net and its discriminator, undisturbed; ended after every epoch; killed within one."""
    whole, ended, killed = (tmp_path / name for name in ("whole", "ended", "killed"))
    assert train(task(), whole)
    history = pd.read_csv(whole / "history.csv")
    assert tuple(history.columns[5:]) == (*Denoising.history_columns, "best")
    assert len(history) == EPOCHS and history.notna().all(axis=None)
    # Against the noisy picture itself, on pictures that it did not learn from: 5.3 dB.
    judge = DenoisingJudge(whole / "network.safetensors", CPU)
    figures = judge.judge(judge.samples({"test_set": "other", "seed": 7}, 64)).regression
    assert figures["value"].item() > 4

    calls = 1
    while not train(task(), ended, stop_after_s=0):
        calls += 1
    assert calls == EPOCHS and same(ended, whole)

    step, taken = Denoising.step, []

    def last(self, *args):
        taken.append(1)
        if len(taken) == 50:  # of 40 in an epoch
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(Denoising, "step", last)
    with pytest.raises(KeyboardInterrupt):
        train(task(), killed)
    monkeypatch.undo()
    assert train(task(), killed) and same(killed, whole)


def test_the_report_draws_the_columns_that_there_are():
    def drawn(*told) -> list[str]:
        columns = ["epoch", "step", "samples", "seconds", "learning_rate", *told, "best"]
        history = pd.DataFrame([range(1, len(columns)), range(2, len(columns) + 1)])
        history = history.assign(best=True).set_axis(columns, axis=1)
        figures = curve_figures(Network("net", history, {}))
        for figure in figures:
            figure.draw()
        return [f"{figure.name}: {figure.title}" for figure in figures]

    assert drawn(*Denoising.history_columns) == [
        "training_net_loss: Loss",
        "training_net_gain_db: Gain db",
    ]
    assert drawn(*PsfRegression.history_columns) == [
        "training_net_loss: Loss",
        "training_net_r2: R² on the validation set",
    ]


def test_a_card_without_a_psf(task, spec, tmp_path):
    made = task()
    made.spec = spec | {"samples": 32, "epoch_samples": 32}
    assert train(made, tmp_path)
    file = tmp_path / "network.safetensors"
    card, _ = store.read(file)
    assert card == json.loads((tmp_path / "card.json").read_text())
    assert card["task"] == "denoising" and "psf" not in card
    assert card["best"]["gain_db"] and "validation_r2" not in card["best"]
    judge = DenoisingJudge(file, CPU)
    assert not judge.network.training
    for name, tensor in judge.network.state_dict().items():
        assert torch.equal(tensor, made.network.state_dict()[name])
    with pytest.raises(UserError, match="is a network for denoising, not for psf-regression"):
        store.load(file)


def test_a_network_for_psfs_serves_no_other_task(settings, gaussian, recipe, tmp_path):
    spec = settings("networks", architecture="spectrum-fit")
    row = tasks.of(spec)
    made = load_named(row.task)(recipe, spec, 1, CPU)
    assert train(made, tmp_path)
    file = tmp_path / "network.safetensors"
    assert load_named(row.judge)(file, CPU).card["psf"] == gaussian
    with pytest.raises(UserError, match="is a network for psf-regression, not for denoising"):
        DenoisingJudge(file, CPU)


def test_the_mark_is_of_task_settings_seed_and_code(task, spec):
    mark = training_fingerprint(task(), {"a": "1"})
    assert mark == training_fingerprint(task(), {"a": "1"})
    others = [Denoising.of_config({"noise": 0.2}, spec, seed=1, device=CPU), task(), task()]
    others[1].seed, others[2].name = 2, "other"
    marks = {
        mark,
        training_fingerprint(task(), {"a": "2"}),
        *(training_fingerprint(other, {"a": "1"}) for other in others),
    }
    assert len(marks) == 5


# By name ---------------------------------------------------------------------------------------


def test_rows_name_what_is_there():
    for name, row in tasks.TASKS.items():
        assert load_named(row.task).name == name
    for row in (*tasks.TASKS.values(), ROW):
        for part, protocol in ((row.task, Task), (row.judge, Judge)):
            has, wanted = dir(load_named(part)), vars(protocol)
            methods = {key for key in wanted if not key.startswith("_") and callable(wanted[key])}
            assert methods <= set(has), part
        assert row.samples is None or callable(load_named(row.samples))
        told = import_module(row.study)
        assert callable(told.recipe) and callable(told.code) and callable(told.asked)
        words = import_module(row.words)
        assert callable(words.limits) and callable(words.markdown)
    assert store.PSF_REGRESSION == tasks.PSF_REGRESSION


def test_an_entry_or_a_card_that_names_no_task_is_for_psf_regression():
    assert tasks.of({}) is tasks.of({"task": "psf-regression"})
    with pytest.raises(UserError, match="no task segmentation; known: psf-regression"):
        tasks.of({"task": "segmentation"})


def test_names_load_no_task():
    code = (
        "import sys, isoplan.tasks\n"
        "assert 'torch' not in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('isoplan.training')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=True)


def test_a_task_that_is_not_used_reruns_nothing():
    """No script reads the list of tasks, and its hash has the code of its own task alone."""
    for script in SCRIPTS.glob("[a-z]*.py"):
        assert "isoplan.tasks" not in library_hashes(script), script
    script, row = SCRIPTS / "train_network.py", tasks.of({})
    alone = library_hashes(script)
    assert "isoplan.training.psf_regression" not in alone
    used = library_hashes(script, row.task)
    assert {"isoplan.training.psf_regression", "isoplan.training.samples"} <= set(used)
    assert not {"isoplan.training.psf_judging", "isoplan.training.psf_card"} & set(used)


# Released --------------------------------------------------------------------------------------


def test_release_and_verify(tmp_path, monkeypatch, capsys):
    """A study's network of another task, to a file whose card proves it; and proved wrong where it was altered."""
    # Entries of a study name no task yet, so they are all for this one; its card names it.
    monkeypatch.setattr(tasks, "TASKS", {tasks.PSF_REGRESSION: ROW, denoising_task.NAME: ROW})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(RELEASE))
    folders = ["--folder", tmp_path / "networks", "--out", tmp_path / "models"]
    assert run("release", tmp_path / "study.yaml", "net", *folders) == 0
    file = tmp_path / "models" / "denoising.safetensors"
    card, _ = store.read(file)
    assert card["limits"] == ["Noise of 0.3."] and len(card["tests"]) == 3
    assert file.with_suffix(".md").read_text().startswith("# denoising\n")
    assert run("verify", file) == 0
    said = capsys.readouterr().out
    assert "denoising on scenes" in said and "gain_db picture" in said
    network = DenoisingJudge(file, CPU).network
    with torch.no_grad():
        network.last.bias += 0.3
    store.save(file, network, card)
    assert run("verify", file) == 1
    assert "DIFFERS" in capsys.readouterr().out
