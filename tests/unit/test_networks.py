"""Networks: one pass equals the windows, and files that can be trusted."""

import json

import pytest
import torch
from isoplan.base.config import validate
from isoplan.base.errors import UserError
from isoplan.networks import store
from isoplan.networks.onepass import OnePass
from isoplan.networks.windowed import Windowed
from safetensors.torch import save_file

WINDOW = 96


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """In evaluation mode with weights and normalisation that are not those of the start."""
    rng = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            shape = module.running_mean.shape
            module.running_mean.copy_(0.3 * torch.randn(shape, generator=rng))
            module.running_var.copy_(0.5 + torch.rand(shape, generator=rng))
            with torch.no_grad():
                module.weight.copy_(0.5 + torch.rand(shape, generator=rng))
                module.bias.copy_(0.3 * torch.randn(shape, generator=rng))
    return network.eval()


@pytest.fixture(scope="module", params=["isoplan", "resnet34"])
def network(request):
    torch.manual_seed(0)
    made = OnePass(WINDOW, 3, 16) if request.param == "isoplan" else Windowed(WINDOW, 3)
    return lively(made)


@pytest.fixture(scope="module")
def picture():
    rng = torch.Generator().manual_seed(2)
    light = torch.nn.functional.interpolate(
        torch.rand(2, 1, 40, 44, generator=rng), (144, 165), mode="bicubic"
    )
    return 200 + 300 * light + torch.randn(2, 1, 144, 165, generator=rng)


@torch.no_grad()
def outputs(network, picture, stride=None):
    return network(picture, stride)


@pytest.mark.parametrize("stride", [32, 48])
def test_one_pass_equals_the_windows(network, picture, stride):
    dense = outputs(network, picture, stride)
    ny, nx = ((length - WINDOW) // stride + 1 for length in picture.shape[-2:])
    assert dense.shape == (2, 3, ny, nx)
    single = torch.stack(
        [
            outputs(network, picture[..., y : y + WINDOW, x : x + WINDOW])[..., 0, 0]
            for y in range(0, stride * ny, stride)
            for x in range(0, stride * nx, stride)
        ],
        dim=-1,
    ).reshape(dense.shape)
    assert single.std() > 1e-4  # or the comparison would say nothing
    torch.testing.assert_close(dense, single, rtol=1e-5, atol=1e-5)


def test_a_window_is_one_output(network, picture):
    assert outputs(network, picture[..., :WINDOW, :WINDOW]).shape == (2, 3, 1, 1)


def test_neither_scale_nor_offset_matters(network, picture):
    window = picture[..., :WINDOW, :WINDOW]
    plain = outputs(network, window)
    # A power of two: other factors round the pixels, which the weakest frequencies see.
    torch.testing.assert_close(outputs(network, window / 128), plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs(network, window - 150), plain, rtol=5e-3, atol=5e-3)


def test_a_flat_or_black_window_gives_numbers(network):
    for level in (0.0, 1e-3, 5e4):
        assert outputs(network, torch.full((1, 1, WINDOW, WINDOW), level)).isfinite().all()


def test_ours_is_small(settings):
    spec = validate({})["networks"][0]
    assert spec["architecture"] == "isoplan"
    targets = 6  # the most that a model has
    count = sum(p.numel() for p in store.build(spec, 128, targets + 1).parameters())
    assert count <= 3_000_000


@pytest.mark.parametrize("window", [100, 16])
def test_a_window_that_squares_do_not_tile_is_refused(window):
    with pytest.raises(ValueError, match="window_px"):
        OnePass(window, 3, 8)


# Files -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def card(gaussian, settings):
    return {
        "psf": gaussian,
        "network": settings("networks", width=8),
        "window_px": WINDOW,
        "fingerprint": "abc",
    }


@pytest.fixture
def saved(card, tmp_path):
    torch.manual_seed(3)
    network = lively(store.build(card["network"], WINDOW, 3))
    path = tmp_path / "deep" / "network.safetensors"
    store.save(path, network, card)
    return path, network


def test_a_network_comes_back_as_it_was(saved, card, picture):
    path, network = saved
    loaded, model, its_card = store.load(path)
    assert its_card == card and model.n_targets == 2 and not loaded.training
    assert torch.equal(outputs(loaded, picture), outputs(network, picture))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such network"):
        store.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no network at all")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        store.load(tmp_path / "text.safetensors")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        store.load(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"card": "{}"}, {"card": "[1]"}])
def test_weights_without_a_card_are_refused(tmp_path, metadata):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(UserError, match="carries no isoplan card"):
        store.load(path)


def test_a_cut_file_is_refused(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a readable"):
        store.load(path)


def test_weights_of_another_shape_are_refused(saved, card):
    path, network = saved
    wrong = card | {"network": card["network"] | {"width": 4}}
    save_file(network.state_dict(), path, metadata={"card": json.dumps(wrong)})
    with pytest.raises(UserError, match="do not fit the card"):
        store.load(path)


def test_check_fits(card, gaussian):
    same = gaussian | {"name": "other", "cutoff": 0.1}  # Gaussians have no cut-off
    store.check_fits("x.safetensors", card, same, WINDOW)
    with pytest.raises(UserError, match=r"x\.safetensors.*width_px"):
        store.check_fits("x.safetensors", card, gaussian | {"width_px": [1, 9]}, WINDOW)
    with pytest.raises(UserError, match=r"window_px 96.*128"):
        store.check_fits("x.safetensors", card, gaussian, 128)
