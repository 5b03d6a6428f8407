"""Half-widths fitted once more, where softness is common."""

import dataclasses

import pytest
import torch
from isoplan.networks import store
from isoplan.networks.outputs import log_errors, pinball_loss, split
from isoplan.training.intervals import fit_intervals
from isoplan.training.samples import make_set

SEED = 3


@pytest.fixture(scope="module")
def spec(settings):
    return settings("networks", width=8, samples=1280, interval_soft=0.75)


@pytest.fixture(scope="module")
def soft(recipe):
    return dataclasses.replace(recipe, objects=recipe.objects | {"kinds": ["glyphs", "nuclei"]})


def fitted(recipe, spec):
    """A network that begins with half-widths far too large, and the same with these fitted."""
    torch.manual_seed(SEED)
    network = store.build(spec, recipe.window_px, recipe.model)
    with torch.no_grad():
        network.spread_head[-1].bias += 2
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fit_intervals(network, recipe, spec, SEED)
    return before, network


def test_only_the_head_of_the_half_widths_changes_and_fits_soft_scenes_better(soft, spec):
    before, network = fitted(soft, spec)
    changed = {key for key, value in network.state_dict().items() if (value != before[key]).any()}
    assert changed and all(key.startswith("spread_head") for key in changed)

    nuclei = dataclasses.replace(soft, objects=soft.objects | {"kinds": ["nuclei"]})
    batch = make_set(nuclei, 64, seed=SEED, stream="judged", split="test")

    def loss() -> float:
        network.eval()
        with torch.no_grad():
            targets, spread, *_ = split(network(batch.patches)[:, :, 0, 0], soft.model)
        wrong = log_errors(soft.model, batch.params, targets)
        return float(pinball_loss(wrong, spread)[batch.measurable].mean())

    after = loss()
    network.load_state_dict(before)
    assert after < 0.7 * loss()


@pytest.mark.parametrize("over", [{"interval_soft": 0.0}, {"kinds": ["glyphs"]}])
def test_nothing_is_fitted_without_soft_scenes(soft, spec, over):
    if "kinds" in over:
        soft = dataclasses.replace(soft, objects=soft.objects | over)
        over = {}
    before, network = fitted(soft, spec | over)
    assert all((value == before[key]).all() for key, value in network.state_dict().items())


def test_pinball_is_least_where_nine_in_ten_errors_are_held():
    wrong = torch.linspace(-3, 0, 1001)[:, None]
    tried = torch.linspace(-3, 0, 301)
    losses = torch.stack([pinball_loss(wrong, spread.expand(1001, 1)).mean() for spread in tried])
    assert tried[losses.argmin()] == pytest.approx(-0.3, abs=0.02)
