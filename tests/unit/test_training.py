"""The training loop: its loss, its schedule, and an exact resume."""

import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from isoplan import training
from isoplan.base.errors import UserError
from isoplan.networks import store
from isoplan.synthesis import Batch, make_batch
from isoplan.training import (
    HISTORY,
    RegressionTask,
    evaluate,
    learning_rate,
    regression_loss,
    train,
)

CPU = torch.device("cpu")
EPOCHS = 4


@pytest.fixture(scope="module")
def spec(settings):
    return settings(
        "networks",
        width=8,
        samples=EPOCHS * 32,
        epoch_samples=32,
        batch=16,
        scenes=6,
        fresh_scenes=2,
        validation_samples=16,
        patience_epochs=0,
    )


@pytest.fixture(scope="module")
def validation(recipe):
    rng = torch.Generator().manual_seed(5)
    scenes = torch.rand(2, 256, 256, generator=rng) ** 8
    return make_batch(recipe, recipe.model, scenes, 16, rng)


@pytest.fixture(scope="module")
def run(recipe, spec, validation):
    """run(folder, ...): trains into a folder, quietly."""

    def go(folder, **over) -> bool:
        keys = {"seed": 1, "device": CPU, "validation": validation, "library": {"a": "1"}} | over
        return train(recipe, keys.pop("spec", spec), folder, **keys)

    return go


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(folder)
    return folder


def history(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "history.csv").drop(columns="seconds")


def weights(folder) -> bytes:
    network, _, _ = store.load(folder / "network.safetensors")
    return b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())


def same(a, b) -> bool:
    return history(a).equals(history(b)) and weights(a) == weights(b)


# Loss and schedule -----------------------------------------------------------------------------


def test_loss_by_hand():
    outputs = torch.tensor([[0.5, -0.5, 0.0], [9.0, 9.0, 2.0], [9.0, 9.0, 5.0]])
    targets = torch.tensor([[0.0, 0.5, ], [0.0, 0.0], [0.0, 0.0]])  # fmt: skip
    invalid = torch.tensor([0.0, 1.0, -1.0])
    # The first: (0 - 1/2)^2 + (0.25 + 1) / (2 * 2). The second: validity alone. The third: nothing.
    first = 0.25 + 1.25 / 4
    second = (1 - 1 / (1 + math.exp(-2))) ** 2
    loss = regression_loss(outputs, targets, invalid)
    assert loss.item() == pytest.approx((first + second) / 3, rel=1e-6)


def test_what_is_masked_has_no_gradient():
    outputs = torch.randn(3, 4, requires_grad=True)
    regression_loss(outputs, torch.zeros(3, 3), torch.tensor([0.0, 1.0, -1.0])).backward()
    gradient = outputs.grad != 0
    assert gradient[0].all()
    assert gradient[1].tolist() == [False, False, False, True]
    assert not gradient[2].any()


def test_learning_rate():
    rates = [learning_rate(step, 100, 2.0, 0.1) for step in range(100)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) * 0.2)
    assert rates[10] == pytest.approx(2)
    assert rates[55] == pytest.approx(1)
    assert 0 < rates[99] < 0.002
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(0, 1, 2.0, 0.1) == 2  # a single step is no division by zero


def test_no_weight_decay_on_norms_and_biases(recipe, spec):
    task = RegressionTask(recipe, spec, 1, CPU)
    decayed, free = task.optimiser.param_groups
    assert decayed["weight_decay"] == spec["weight_decay"] and free["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])


def test_training_teaches(recipe, spec):
    """On one batch again and again the loss falls well below that of a guess."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(6)
    scenes = torch.rand(2, 256, 256, generator=rng) ** 8
    batch = make_batch(recipe, recipe.model, scenes, 32, rng)
    task = RegressionTask(recipe, spec, 1, CPU)
    losses = [task.step(batch, 0.01) for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]


# The loop --------------------------------------------------------------------------------------


def test_what_training_leaves(undisturbed, spec):
    table = pd.read_csv(undisturbed / "history.csv")
    assert tuple(table.columns) == HISTORY
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    assert table["samples"].tolist() == [32, 64, 96, 128]
    assert table[["train_loss", "validation_loss", "learning_rate"]].notna().all(axis=None)
    card = json.loads((undisturbed / "card.json").read_text())
    _, model, in_file = store.load(undisturbed / "network.safetensors")
    assert in_file == card
    assert card["network"] == spec and card["psf"] == model.spec
    assert card["samples"] == 128 and card["seed"] == 1


def test_the_best_epoch_is_kept(undisturbed, recipe, spec, validation):
    table = history(undisturbed)
    best = table["validation_loss"].idxmin()
    assert (
        table["best"].tolist()
        == (
            table["validation_loss"] < table["validation_loss"].cummin().shift(fill_value=math.inf)
        ).tolist()
    )
    network, _, _ = store.load(undisturbed / "network.safetensors")
    task = RegressionTask(recipe, spec, 1, CPU)
    task.network = network
    measured = task.validate(validation)
    assert measured["validation_loss"] == pytest.approx(table["validation_loss"][best], rel=1e-5)


def test_resumed_after_every_epoch_equals_undisturbed(run, undisturbed, tmp_path):
    calls = 1
    while not run(tmp_path, stop_after_s=0):
        assert not (tmp_path / "network.safetensors").exists()
        calls += 1
    assert calls == EPOCHS
    assert same(tmp_path, undisturbed)


def test_killed_within_an_epoch_equals_undisturbed(run, undisturbed, tmp_path, monkeypatch):
    step = RegressionTask.step
    count = 0

    def killed(self, batch, rate):
        nonlocal count
        count += 1
        if count == 6:  # the second step of the third epoch
            raise KeyboardInterrupt
        return step(self, batch, rate)

    monkeypatch.setattr(RegressionTask, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    assert run(tmp_path)
    assert same(tmp_path, undisturbed)


def steps_taken(run, folder, monkeypatch, **over) -> int:
    taken, step = [], RegressionTask.step
    monkeypatch.setattr(RegressionTask, "step", lambda self, *a: taken.append(1) or step(self, *a))
    run(folder, **over)
    monkeypatch.undo()
    return len(taken)


def test_a_finished_training_is_not_repeated(run, undisturbed, tmp_path, monkeypatch):
    (tmp_path / "checkpoint.pt").write_bytes((undisturbed / "checkpoint.pt").read_bytes())
    assert steps_taken(run, tmp_path, monkeypatch) == 0
    assert same(tmp_path, undisturbed)


@pytest.mark.parametrize("change", ["seed", "library", "damage", "stray"])
def test_a_checkpoint_that_does_not_fit_is_left_aside(
    change, run, undisturbed, tmp_path, monkeypatch
):
    data = (undisturbed / "checkpoint.pt").read_bytes()
    data = {"damage": data[: len(data) // 2], "stray": b"no checkpoint"}.get(change, data)
    (tmp_path / "checkpoint.pt").write_bytes(data)
    over = {"seed": {"seed": 2}, "library": {"library": {"a": "2"}}}.get(change, {})
    assert steps_taken(run, tmp_path, monkeypatch, **over) == EPOCHS * 2
    assert same(tmp_path, undisturbed) == (change != "seed")


def test_early_stopping_keeps_the_best(run, spec, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 1.5, 0.5, 0.1])
    kept = []

    def validate(task, batch):
        kept.append({k: v.clone() for k, v in task.network.state_dict().items()})
        return {"validation_loss": next(losses), "validation_r2": 0.0}

    monkeypatch.setattr(RegressionTask, "validate", validate)
    assert run(tmp_path, spec=spec | {"samples": 6 * 32, "patience_epochs": 2})
    assert history(tmp_path)["validation_loss"].tolist() == [3, 1, 2, 1.5]
    assert history(tmp_path)["best"].tolist() == [True, True, False, False]
    network, _, card = store.load(tmp_path / "network.safetensors")
    assert card["best"]["epoch"] == 2
    for name, tensor in network.state_dict().items():
        if name in kept[1]:
            assert torch.equal(tensor, kept[1][name])


def test_a_training_that_diverges_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr(RegressionTask, "step", lambda *_: math.nan)
    with pytest.raises(UserError, match=r"networks extra: .*lower learning_rate"):
        run(tmp_path)
    assert not (tmp_path / "network.safetensors").exists()


# Judging ---------------------------------------------------------------------------------------


class Known(torch.nn.Module):
    """A network that gives fixed outputs."""

    def __init__(self, outputs):
        super().__init__()
        self.known = list(outputs.split(training.CHECK_BLOCK))

    def forward(self, patches):
        return self.known.pop(0)[:, :, None, None]


def test_evaluate_by_hand(recipe):
    model = recipe.model
    count = 2100
    params = model.sample(count, torch.Generator().manual_seed(0))
    invalid = torch.tensor([0.0, 0.0, 1.0, -1.0]).repeat(count // 4)
    logits = torch.tensor([-1.0, 1.0, 1.0, 1.0]).repeat(count // 4)  # every second valid one wrong
    outputs = torch.cat([model.encode(params), logits[:, None]], dim=1)
    outputs[2::4, :2] = 0  # what is invalid may be estimated wrongly
    batch = Batch(torch.zeros(count, 1, 8, 8), params, invalid)
    rows, table = evaluate(Known(outputs), model, batch, CPU)
    values = {(row["parameter"], row["metric"]): row for row in rows}
    for name in ("width_y", "width_x"):
        assert values[name, "R2"]["value"] == pytest.approx(1)
        assert values[name, "R2"]["n"] == count // 2
    assert values["validity", "accuracy"]["value"] == pytest.approx(2 / 3)
    assert values["validity", "accuracy"]["n"] == count * 3 // 4
    assert list(table.columns) == ["parameter", "true", "estimated", "valid"]
    assert len(table) == 2 * 2000 and table["valid"].mean() == 0.5
