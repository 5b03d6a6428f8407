"""The training loop and PSF regression: loss, schedule, and an exact resume."""

import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.networks import store
from isoplan.networks.outputs import COVERAGE, errors
from isoplan.training.loop import history_header, learning_rate, train
from isoplan.training.psf_regression import SPREAD_WEIGHT, PsfRegression, regression_loss
from isoplan.training.samples import Batch, make_batch

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
        passes=2,
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
        keys = {"spec": spec, "seed": 1, "library": {"a": "1"}} | over
        task = PsfRegression(recipe, keys.pop("spec"), keys.pop("seed"), CPU, validation)
        return train(task, folder, **keys)

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


def labelled(model, params, invalid, processed, other_blur=None) -> Batch:
    """A batch of labels alone."""
    n = len(invalid)
    none = torch.zeros(n)
    labels = torch.tensor(params), torch.tensor(invalid), none, none, none, torch.tensor(processed)
    other_blur = none if other_blur is None else torch.tensor(other_blur)
    return Batch(torch.zeros(n, 1, 1, 1), *labels, other_blur)


def test_loss_by_hand(recipe):
    model = recipe.model  # two widths
    low, high = model.parameters[0].low, model.parameters[0].high
    middle, end = (low + high) / 2, high
    targets = [[0.5, -0.5], [9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]
    spread = [[math.log(0.25), math.log(0.5)], [9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]
    flags = [[0.0, -50.0, -50.0], [2.0, -50.0, 7.0], [5.0, 0.0, 7.0], [-50.0, -50.0, -1.0]]
    outputs = torch.cat([torch.tensor(part) for part in (targets, spread, flags)], dim=1)
    batch = labelled(
        model,
        [[middle, end], *[[low, low]] * 3],
        [0.0, 1.0, -1.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    )
    # The first: (0 - 1/2)^2 + (0.5^2 + 1.5^2) / (2 * 2), errors of 1/4 and 3/4 of the range for
    # half-widths of 1/4 and 1/2: log(3/2) too small, at 90 %. The second: validity alone. The third:
    # (1 - 1/2)^2 for the alarm, and nothing for a blur that nobody can see through the processing. The
    # fourth: that another PSF blurred it, alone.
    first = 0.25 + 2.5 / 4 + SPREAD_WEIGHT * (0 + 0.9 * math.log(1.5)) / 2
    second = (1 - 1 / (1 + math.exp(-2))) ** 2
    loss = regression_loss(outputs, batch, model)
    fourth = (1 - 1 / (1 + math.e)) ** 2
    assert loss.item() == pytest.approx((first + second + 0.25 + fourth) / 4, rel=1e-5)


def test_errors_weigh_by_how_sure_the_network_is(recipe):
    model = recipe.model
    low, high = model.parameters[0].low, model.parameters[0].high
    middle = [(low + high) / 2] * 2
    flags = [-50.0] * 3
    outputs = torch.tensor([[1.0, 1.0, 0, 0, *flags], [0.5, 0.5, 0, 0, *flags]])
    outputs[:, 2:4] = torch.tensor([[0.1, 0.4], [0.3, 0.2]]).log()
    raw = labelled(model, [middle] * 2, [0.0, -1.0], [0.0, 0.0])

    def slope(batch):
        """Of the loss along the targets."""
        given = outputs.clone().requires_grad_()
        return torch.autograd.grad(regression_loss(given, batch, model), given)[0][:, :2]

    # Undecided validity counts too; 1 / 0.1^2 and 1 / 0.2^2, mean 1: 1.6 and 0.4.
    expected = torch.tensor([[1.6 * 1.0], [0.4 * 0.5]]).expand(2, 2) / (2 * 2)
    torch.testing.assert_close(slope(raw), expected)
    # Samples that were processed or blurred otherwise teach nothing of the PSF, nor do those without texture.
    for other in (
        labelled(model, [middle] * 2, [0.0, -1.0], [0.0, 1.0]),
        labelled(model, [middle] * 2, [0.0, -1.0], [0.0, 0.0], [0.0, 1.0]),
        labelled(model, [middle] * 2, [0.0, 1.0], [0.0, 0.0]),
    ):
        gradient = slope(other)
        assert (gradient[0] > 0).all() and (gradient[1] == 0).all()


def test_what_is_masked_has_no_gradient(recipe):
    model = recipe.model
    outputs = torch.randn(3, 7, requires_grad=True)
    batch = labelled(model, [[3.0, 4.0]] * 3, [0.0, 1.0, -1.0], [0.0, 0.0, 1.0])
    regression_loss(outputs, batch, model).backward()
    gradient = outputs.grad != 0
    assert gradient[0].all()
    assert gradient[1].tolist() == [False] * 4 + [True, True, False]
    assert gradient[2].tolist() == [False] * 5 + [True, False]


def test_the_pinball_loss_finds_the_quantile(recipe):
    """Minimised over one half-width for many errors, 90 % of them are smaller."""
    model, rng = recipe.model, torch.Generator().manual_seed(0)
    low, high = model.parameters[0].low, model.parameters[0].high
    params = (low + high) / 2 + torch.randn(4000, 2, generator=rng) * (high - low) / 30
    batch = labelled(model, params.tolist(), [0.0] * 4000, [0.0] * 4000)
    spread = torch.full((1, 2), -1.0, requires_grad=True)
    optimiser = torch.optim.Adam([spread], lr=0.03)
    for _ in range(200):
        outputs = torch.cat([torch.zeros(4000, 2), spread.expand(4000, 2), torch.zeros(4000, 3)], 1)
        optimiser.zero_grad()
        regression_loss(outputs, batch, model).backward()
        optimiser.step()
    inside = errors(model, params, torch.full((1, 2), (low + high) / 2)) < spread.detach().exp()
    assert inside.float().mean().item() == pytest.approx(COVERAGE, abs=0.01)


def test_learning_rate():
    rates = [learning_rate(step, 100, 2.0, 0.1) for step in range(100)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) * 0.2)
    assert rates[10] == pytest.approx(2)
    assert rates[55] == pytest.approx(1)
    assert 0 < rates[99] < 0.002
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(0, 1, 2.0, 0.1) == 2  # a single step is no division by zero


def test_no_weight_decay_on_norms_and_biases(recipe, spec):
    task = PsfRegression(recipe, spec, 1, CPU)
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
    task = PsfRegression(recipe, spec, 1, CPU)
    losses = [task.step((batch, None), 0.01)["train_loss"] for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]


# The loop --------------------------------------------------------------------------------------


def test_what_training_leaves(undisturbed, spec):
    table = pd.read_csv(undisturbed / "history.csv")
    assert tuple(table.columns) == history_header(PsfRegression)
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    assert table["samples"].tolist() == [32, 64, 96, 128]
    assert table[["train_loss", "validation_loss", "learning_rate"]].notna().all(axis=None)
    card = json.loads((undisturbed / "card.json").read_text())
    _, model, in_file = store.load(undisturbed / "network.safetensors")
    assert in_file == card
    assert card["network"] == spec and card["psf"] == model.spec
    assert card["samples"] == 128 and card["seed"] == 1 and card["task"] == "psf-regression"


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
    task = PsfRegression(recipe, spec, 1, CPU, validation)
    task.network = network
    measured = task.validate()
    assert measured["validation_loss"] == pytest.approx(table["validation_loss"][best], rel=1e-5)


def test_resumed_after_every_epoch_equals_undisturbed(run, undisturbed, tmp_path):
    calls = 1
    while not run(tmp_path, stop_after_s=0):
        assert not (tmp_path / "network.safetensors").exists()
        calls += 1
    assert calls == EPOCHS
    assert same(tmp_path, undisturbed)


def test_an_epoch_that_would_not_end_in_time_is_left_to_the_next_job(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1")  # long past
    assert not run(tmp_path)
    assert len(pd.read_csv(tmp_path / "history.csv")) == 1


def test_killed_within_an_epoch_equals_undisturbed(run, undisturbed, tmp_path, monkeypatch):
    step = PsfRegression.step
    count = 0

    def killed(self, *args):
        nonlocal count
        count += 1
        if count == 11:  # the second pass of the third epoch
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(PsfRegression, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    assert run(tmp_path)
    assert same(tmp_path, undisturbed)


def steps_taken(run, folder, monkeypatch, **over) -> int:
    taken, step = [], PsfRegression.step
    monkeypatch.setattr(PsfRegression, "step", lambda self, *a: taken.append(1) or step(self, *a))
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
    assert steps_taken(run, tmp_path, monkeypatch, **over) == EPOCHS * 2 * 2
    assert same(tmp_path, undisturbed) == (change != "seed")


def test_early_stopping_keeps_the_best(run, spec, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 1.5, 0.5, 0.1])
    kept = []

    def validate(task):
        kept.append({k: v.clone() for k, v in task.network.state_dict().items()})
        return {"validation_loss": next(losses), "validation_r2": 0.0}

    monkeypatch.setattr(PsfRegression, "validate", validate)
    assert run(tmp_path, spec=spec | {"samples": 6 * 32, "patience_epochs": 2})
    assert history(tmp_path)["validation_loss"].tolist() == [3, 1, 2, 1.5]
    assert history(tmp_path)["best"].tolist() == [True, True, False, False]
    network, _, card = store.load(tmp_path / "network.safetensors")
    assert card["best"]["epoch"] == 2
    for name, tensor in network.state_dict().items():
        if name in kept[1]:
            assert torch.equal(tensor, kept[1][name])


def test_a_training_that_diverges_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr(PsfRegression, "step", lambda *_: {"train_loss": math.nan})
    with pytest.raises(UserError, match=r"network extra: .*lower learning_rate"):
        run(tmp_path)
    assert not (tmp_path / "network.safetensors").exists()
