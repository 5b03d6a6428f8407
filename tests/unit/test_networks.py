"""Networks: one pass equals the windows, and files that can be trusted."""

import json
import math
import shutil

import pytest
import timm
import torch
from isoplan.base.errors import UserError
from isoplan.config.validation import validate
from isoplan.networks import store
from isoplan.networks.onepass import TRACES, OnePass, spectra, traces
from isoplan.networks.spectrum_fit import SpectrumFit
from isoplan.networks.windowed import Windowed
from isoplan.optics.psf import make_psf_model
from isoplan.training.psf_regression import PsfRegression
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
        if isinstance(module, torch.nn.Conv2d):
            with torch.no_grad():
                module.weight.add_(0.01 * torch.randn(module.weight.shape, generator=rng))
    return network.eval()


@pytest.fixture(scope="module")
def model(gaussian):
    return make_psf_model(gaussian)


@pytest.fixture(scope="module", params=["isoplan", "isoplan without fit", "resnet34"])
def network(request, model):
    torch.manual_seed(0)
    if request.param == "resnet34":
        return lively(Windowed(WINDOW, 7))
    return lively(OnePass(WINDOW, model, 16, fit=request.param == "isoplan"))


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


def test_what_has_not_learnt_yet_says_what_the_fit_says(model, picture):
    network = OnePass(WINDOW, model, 16).eval()
    fit = SpectrumFit(WINDOW, model)
    targets = slice(model.n_targets)
    found, expected = outputs(network, picture), outputs(fit, picture)
    torch.testing.assert_close(found[:, targets], expected[:, targets])
    assert found[:, model.n_targets :].std() > 0


@pytest.mark.parametrize("stride", [32, 64])
def test_one_pass_equals_the_windows(network, picture, stride):
    dense = outputs(network, picture, stride)
    ny, nx = ((length - WINDOW) // stride + 1 for length in picture.shape[-2:])
    assert dense.shape == (2, 7, ny, nx)
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
    assert outputs(network, picture[..., :WINDOW, :WINDOW]).shape == (2, 7, 1, 1)


def test_neither_scale_nor_offset_matters(network, picture):
    window = picture[..., :WINDOW, :WINDOW]
    plain = outputs(network, window)
    # A power of two: other factors round the pixels, which the weakest frequencies see.
    torch.testing.assert_close(outputs(network, window / 128), plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs(network, window - 150), plain, rtol=5e-3, atol=5e-3)


def test_the_cut_off_counts_frequencies():
    """A picture and its cut-off stretched alike show the same spectrum."""
    y = torch.arange(256.0)[:, None]

    def lines(scale):  # 3 cycles a square at cut-off 0.25, sharp lines in y and a ramp in x
        return (100 + 10 * torch.cos(2 * math.pi * 3 / 64 * scale * y).expand(256, 256))[None, None]

    peaks = []
    for scale in (0.8, 1.0, 1.4):
        power, _, seen = spectra(lines(scale), 64, 32, torch.tensor([0.5 * scale]), 33)
        spectrum = (power * seen)[0, :, 0, 0].reshape(33, 64)  # kx, ky
        peaks.append(divmod(int(spectrum.argmax()), 64))
        assert seen.float().mean() == pytest.approx(1.0 if scale <= 1 else 0.5, abs=0.02)
    assert peaks == [(0, 3)] * 3


def test_a_flat_or_black_window_gives_numbers(network):
    for level in (0.0, 1e-3, 5e4):
        assert outputs(network, torch.full((1, 1, WINDOW, WINDOW), level)).isfinite().all()


def test_what_is_not_learnt_is_seen_once(model, picture):
    torch.manual_seed(0)
    network = lively(OnePass(WINDOW, model, 16))
    with torch.no_grad():
        fixed = network.fixed_features(picture, 32)
        assert not any(part.requires_grad for part in fixed)
        torch.testing.assert_close(network.regress(fixed, 32), outputs(network, picture, 32))


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (lambda x: x.clamp_max(x.quantile(0.7)), "equal"),
        (lambda x: x.clamp_max(x.quantile(0.95)), "top"),
        (lambda x: torch.where((x - 200).abs() < 20, 200, x), "tails"),
        (lambda x: x.unfold(2, 8, 8).unfold(3, 8, 8).mean((-2, -1)).repeat_interleave(8, 2).repeat_interleave(8, 3), "grid 0"),
    ],
)  # fmt: skip
def test_traces_show_what_was_done(what, name):
    rng = torch.Generator().manual_seed(0)
    raw = torch.poisson(torch.full((4, 1, 128, 128), 200.0), generator=rng)
    raw = raw + torch.randn(raw.shape, generator=rng)
    done = what(raw)
    before, after = (traces(x, 96, 32)[:, TRACES.index(name)] for x in (raw, done))
    assert (after - before).abs().min() > 5 * before.std()


def test_ours_is_small(settings):
    spec = validate({})["networks"][0]
    assert spec["architecture"] == "isoplan"
    model = make_psf_model(settings("psfs", model="zernike-3", size_px=63))  # has most outputs
    count = sum(p.numel() for p in store.build(spec, 128, model).parameters())
    assert count <= 3_000_000


@pytest.mark.parametrize("window", [100, 16])
def test_a_window_that_squares_do_not_tile_is_refused(window, model):
    with pytest.raises(ValueError, match="window_px"):
        OnePass(window, model, 8)


# Published backbones ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Weights files as users have them: of a fresh ResNet-34, three colours, 1000 classes."""
    torch.manual_seed(4)
    folder = tmp_path_factory.mktemp("imagenet")
    weights = lively(timm.create_model("resnet34", pretrained=False)).state_dict()
    torch.save(weights, folder / "resnet34.pth")
    save_file(weights, folder / "resnet34.safetensors")
    return folder


def test_resnext50_is_its_own_backbone():
    network = Windowed(WINDOW, 6, "resnext50").eval()
    assert 22e6 < sum(p.numel() for p in network.parameters()) < 24e6
    assert outputs(network, torch.rand(1, 1, WINDOW, WINDOW)).shape == (1, 6, 1, 1)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_pretrained_weights_see_a_grey_picture_in_three_colours(imagenet, picture, suffix):
    file = imagenet / f"resnet34.{suffix}"
    network = Windowed(WINDOW, 6, pretrained=True).eval()
    network.take_pretrained(file)
    colours = timm.create_model("resnet34", pretrained=False, num_classes=6)
    theirs = torch.load(imagenet / "resnet34.pth", weights_only=True)
    own = {k: v for k, v in network.backbone.state_dict().items() if k.startswith("fc.")}
    colours.load_state_dict(theirs | own)
    patch = picture[:1, :, :WINDOW, :WINDOW]
    grey = torch.nn.functional.interpolate(
        (patch - patch.mean()) / patch.std(), (224, 224), mode="bilinear"
    )
    expected = colours.eval()(grey.expand(-1, 3, -1, -1)).detach()
    found = outputs(network, patch)[:, :, 0, 0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_pretrained_weights_that_do_not_fit_are_refused(imagenet, tmp_path):
    network = Windowed(WINDOW, 6, pretrained=True)
    with pytest.raises(UserError, match=r"none\.pth: no such file.*nothing is downloaded"):
        network.take_pretrained(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights at all")
    with pytest.raises(UserError, match=r"text\.pth: cannot be read"):
        network.take_pretrained(tmp_path / "text.pth")
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "part.pth")
    with pytest.raises(UserError, match=r"part\.pth: not the ImageNet weights of resnet34"):
        network.take_pretrained(tmp_path / "part.pth")
    other = Windowed(WINDOW, 6, "resnext50", pretrained=True)
    with pytest.raises(UserError, match=r"not the ImageNet weights of resnext50_32x4d"):
        other.take_pretrained(imagenet / "resnet34.pth")


def test_training_starts_from_pretrained_weights_and_its_file_needs_them_no_more(
    imagenet, settings, recipe, tmp_path
):
    file = tmp_path / "resnet34.pth"
    shutil.copy(imagenet / "resnet34.pth", file)
    spec = settings("networks", architecture="resnet34", pretrained=str(file))
    task = PsfRegression(recipe, spec, 1, torch.device("cpu"))
    theirs = torch.load(file, weights_only=True)
    assert torch.equal(
        task.network.backbone.layer1[0].conv1.weight, theirs["layer1.0.conv1.weight"]
    )
    card = {"psf": recipe.psf, "network": spec, "window_px": recipe.window_px}
    store.save(tmp_path / "network.safetensors", task.network, card)
    file.unlink()
    assert store.load(tmp_path / "network.safetensors")[0].pretrained


def test_a_cut_off_that_varies_is_an_input(settings, picture):
    psf = settings("psfs", model="zernike-1", cutoff_range=[0.15, 0.35])
    spec = settings("networks", architecture="resnet34")
    torch.manual_seed(5)
    network = lively(store.build(spec, WINDOW, make_psf_model(psf)))
    patch = picture[:1, :, :WINDOW, :WINDOW].expand(2, -1, -1, -1)
    with torch.no_grad():
        first, second = network(patch, cutoff=torch.tensor([0.15, 0.35]))[:, :, 0, 0]
    assert (first - second).abs().max() > 1e-4


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
    network = lively(store.build(card["network"], WINDOW, make_psf_model(card["psf"])))
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
    with pytest.raises(UserError, match="has no isoplan card"):
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
    with pytest.raises(UserError, match="do not fit its card"):
        store.load(path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_flipped_bit_is_refused(saved, share):
    """Within the weights, wherever it lies, and within the card's text."""
    path, _ = saved
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="was altered since it was written, by a byte at least"):
        store.load(path)
    text = path.read_bytes().replace(b"abc", b"abd")  # the card's fingerprint
    path.write_bytes(text)
    with pytest.raises(UserError, match="was altered since it was written, by a byte at least"):
        store.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(saved, card, value):
    path, network = saved
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    store.save(path, network, card)
    with pytest.raises(UserError, match=r"weights that are not finite \(.*\); train it again"):
        store.load(path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"window_px": 10**9}, r"window_px 1e\+09 must be from 1 to 4096"),
        ({"window_px": -128}, "window_px -128"),
        ({"network": {"width": 10**12}}, r"width 1e\+12"),
        ({"psf": {"size_px": 10**7 + 1}}, r"size_px 1e\+07"),
        ({"window_px": "128"}, "does not fit this version"),
    ],
)
def test_a_card_of_absurd_sizes_is_refused_at_once(saved, card, changed, words):
    path, network = saved
    absurd = card.copy()
    for key, value in changed.items():
        absurd[key] = card[key] | value if isinstance(value, dict) else value
    store.save(path, network, absurd)
    with pytest.raises(UserError, match=words):
        store.load(path)


def test_check_fits(card, gaussian):
    same = gaussian | {"name": "other", "cutoff": 0.1}  # Gaussians have no cut-off
    store.check_fits("x.safetensors", card, same, WINDOW)
    with pytest.raises(UserError, match=r"x\.safetensors.*width_px"):
        store.check_fits("x.safetensors", card, gaussian | {"width_px": [1, 9]}, WINDOW)
    with pytest.raises(UserError, match=r"window_px 96.*128"):
        store.check_fits("x.safetensors", card, gaussian, 128)
    assert card["network"]["architecture"] == "isoplan"
    with pytest.raises(
        UserError, match="has the architecture isoplan, but the study wants resnet34"
    ):
        store.check_fits("x.safetensors", card, gaussian, WINDOW, "resnet34")
    other = card | {"network": {"architecture": "resnet34"}}
    for given in ("isoplan", "resnet34"):  # which is the default, or right
        store.check_fits("x.safetensors", other, gaussian, WINDOW, given)
