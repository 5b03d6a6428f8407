"""Ways to learn: from inputs alone, from unpaired fields, by a walk among latents, and with layers of another network."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from isoplan.applications.enhancement import fields, report, scores, trials
from isoplan.applications.enhancement.networks import Enhancer, statistics
from isoplan.applications.enhancement.pairs import Pair, Scale
from isoplan.applications.enhancement.perceptual import BLOCKS, Features
from isoplan.applications.enhancement.task import Enhancement
from isoplan.base.errors import UserError
from isoplan.config.validation import validate
from isoplan.networks import store
from isoplan.training.loop import train
from safetensors.torch import save_file

PAIRS = {"name": "made", "kinds": ["filaments"], "train_mosaics": 2, "test_mosaics": 1}
PAIRS |= {"mosaic_px": 128, "field_px": 64, "methods": ["gaussian"], "networks": ["small"]}
SMALL = {"name": "small", "trained_on": "made", "width": 4, "levels": 2, "patch_px": 32, "turns": 1}
SMALL |= {"samples": 60, "epoch_samples": 20, "batch": 4}
VARIATIONAL = {"architecture": "variational", "latents": 4}


def study(**keys) -> dict:
    return validate({"enhancements": [PAIRS], "enhancers": [SMALL | keys]})


def task(folder, **keys) -> Enhancement:
    made = study(**keys)
    pairs, spec = made["enhancements"][0], made["enhancers"][0]
    file = folder / "choice.json"
    file.write_text(json.dumps({"layout": asdict(fields.lay_out(pairs, 0))}))
    cpu = torch.device("cpu")
    return Enhancement.of_config({"enhancement": pairs}, spec, seed=0, device=cpu, validation=file)


def gains(file) -> list[float]:
    """PSNR over the input's, of each test field."""
    made, pairs = Enhancer.load(file), study()["enhancements"][0]
    layout, found = fields.lay_out(pairs, 0), []
    for place in layout.test:
        pair = fields.read(pairs, layout, place, 0)
        result = made.apply(pair.low, *statistics(pair.low))
        own, raw = (scores.against(one, pair.high)["PSNR"] for one in (result, pair.low))
        found.append(own - raw)
    return found


@pytest.mark.parametrize(
    "keys",
    [
        {"learns_from": "inputs"},
        {"learns_from": "unpaired", "cycle": 5},
        VARIATIONAL,
        VARIATIONAL | {"learns_from": "walk"},
    ],
    ids=["inputs", "unpaired", "variational", "walk"],
)
def test_each_way_resumes_exactly_and_gives_a_network(tmp_path, keys):
    folders = [tmp_path / name for name in ("through", "broken")]
    assert train(task(tmp_path, **keys), folders[0])
    for _ in range(2):
        assert not train(task(tmp_path, **keys), folders[1], stop_after_s=0)
    assert train(task(tmp_path, **keys), folders[1])
    one, other = (store.read(folder / "network.safetensors")[1] for folder in folders)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert np.isfinite(gains(folders[0] / "network.safetensors")).all()
    if keys.get("learns_from") == "walk":
        assert one["walk"].abs().max() > 0


def test_inputs_alone_teach_to_take_noise_away(tmp_path):
    keys = {"learns_from": "inputs", "samples": 400, "epoch_samples": 100}
    made = task(tmp_path, **keys)
    pairs = {id(pair): pair for pair in made._held(0)}
    for pair in pairs.values():  # targets have no say
        pair.high[:] = np.nan
    made.validate = lambda: {"validation_loss": 1.0, "validation_psnr": 0.0}
    assert train(made, tmp_path / "net")
    assert min(gains(tmp_path / "net/network.safetensors")) > 1


def test_unpaired_targets_come_to_the_inputs_scale():
    """By statistics over all fields: no target's own input is asked."""
    rng = np.random.default_rng(0)
    lights = [np.kron(rng.random((16, 16)), np.ones((8, 8))) * 100 for _ in range(6)]
    lows = [rng.poisson(light).astype(float) for light in lights]
    highs = [3 * light + 50 for light in lights]
    scale = Scale.of(lows[:3], highs[3:])
    assert scale.slope == pytest.approx(1 / 3, rel=0.15)
    for low, high in zip(lows, highs, strict=True):
        pair, apart = Pair.of(low, high), Pair.of(low, high, scale)
        np.testing.assert_array_equal(pair.low, apart.low)
        assert apart.high.std() == pytest.approx(pair.high.std(), rel=0.3)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """Four convolutions as torchvision names them, and the same as Keras stores them, for pictures of its own scale."""
    folder = tmp_path_factory.mktemp("vgg")
    chance = torch.Generator().manual_seed(0)
    channels = [one for block in BLOCKS for one in block][:4]
    places, tensors = (0, 2, 5, 7), {}
    for place, a, b in zip(places, [3, *channels], channels, strict=False):
        tensors[f"features.{place}.weight"] = torch.randn((b, a, 3, 3), generator=chance) / (
            3 * a**0.5
        )
        tensors[f"features.{place}.bias"] = torch.randn(b, generator=chance) / 10
    torch.save(tensors, folder / "vgg.pth")
    with h5py.File(folder / "vgg.h5", "w") as file:
        for number in range(4):
            kernel = tensors[f"features.{places[number]}.weight"]
            file[f"block/conv{number}/0"] = kernel.permute(2, 3, 1, 0).numpy()
            file[f"block/conv{number}/1"] = tensors[f"features.{places[number]}.bias"].numpy()
    save_file({"features.0.weight": torch.zeros(8, 3, 3, 3)}, folder / "other.safetensors")
    return folder


def test_layers_of_another_network_teach_too(tmp_path, vgg):
    keys = {"perceptual": 0.5, "perceptual_weights": str(vgg / "vgg.pth")}
    keys |= {"perceptual_layers": ["relu1_2", "relu2_2"]}
    assert train(task(tmp_path, **keys), tmp_path / "net")
    assert min(gains(tmp_path / "net/network.safetensors")) > 0
    assert not any("kernel" in key for key in store.read(tmp_path / "net/network.safetensors")[1])
    plain, other = task(tmp_path), task(tmp_path, **keys)
    batch = next(iter(plain.batches(0, 1)))
    assert other.step(batch, 0.0)["train_loss"] > plain.step(batch, 0.0)["train_loss"]


def test_layers_see_differences_and_no_brightness(vgg):
    features = Features.load(vgg / "vgg.pth", ["relu2_2"])
    chance = torch.Generator().manual_seed(1)
    target = torch.randn((2, 1, 32, 32), generator=chance)
    assert features.apart(target, target) == 0
    near, far = (features.apart(target + k * torch.randn_like(target), target) for k in (0.1, 1))
    assert 0 < near < far
    again = features.apart(3 * target + 0.3 + 7, 3 * target + 7)
    assert again == pytest.approx(float(features.apart(target + 0.1, target)), rel=1e-3)
    keras = Features.load(vgg / "vgg.h5", ["relu2_2"])
    assert torch.equal(keras.kernel1, features.kernel1)
    assert keras.scale.flatten().tolist() == [255.0] * 3


def test_what_cannot_be_is_refused(tmp_path, vgg):
    for file, words in (
        ("other.safetensors", "does not begin with the 2 convolutions of VGG16 that relu1_2 want"),
        ("none.pth", "no such file; `perceptual_weights` names weights that you have"),
    ):
        with pytest.raises(UserError, match=words):
            Features.load(vgg / file, ["relu1_2"])
    for keys, words in (
        ({"learns_from": "walk"}, "walk needs the latent space"),
        ({"learns_from": "unpaired", "adversarial": 0.1}, "goes with pairs alone"),
        ({"perceptual": 0.1}, "perceptual needs a file"),
    ):
        with pytest.raises(UserError, match=words):
            study(**keys)


@pytest.fixture
def apart(tmp_path):
    """A folder whose inputs and targets show other places, under other names."""
    rng = np.random.default_rng(0)
    for part, count, efficiency in (("low", 3, 0.2), ("high", 2, 0.5)):
        (tmp_path / "pictures" / part).mkdir(parents=True)
        for number in range(count):
            light = 400 * np.kron(rng.random((10, 12)), np.ones((8, 8)))
            seen = rng.poisson(efficiency * light).astype(np.uint16)
            tifffile.imwrite(tmp_path / "pictures" / part / f"{part}-{number}.tif", seen)
    return str(tmp_path / "pictures")


def test_two_sets_that_show_other_places(tmp_path, apart):
    entry = {
        "name": "made",
        "folder": apart,
        "paired": False,
        "field_px": 40,
        "networks": ["small"],
        "gain": 1,
        "read_noise_e": 0,
    }
    network = SMALL | {"learns_from": "unpaired", "samples": 40}
    made = validate({"enhancements": [entry], "enhancers": [network]})
    entry, spec = made["enhancements"][0], made["enhancers"][0]
    choice = json.loads(json.dumps(trials.prepared(entry, 0)))
    layout = fields.Layout.of(choice["layout"])
    low, high = (
        {place.mosaic for place in places} for places in (layout.train, layout.elsewhere["train"])
    )
    assert low and high and not low & {place.mosaic for place in layout.test}
    assert all(name.startswith("low") for name in low) and all(
        name.startswith("high") for name in high
    )
    (tmp_path / "choice.json").write_text(json.dumps(choice))
    of = Enhancement.of_config(
        *({"enhancement": entry}, spec),
        seed=0,
        device=torch.device("cpu"),
        validation=tmp_path / "choice.json",
    )
    assert train(of, tmp_path / "net")
    trial = trials.Trial(entry, 0, choice, (str(tmp_path / "net/network.safetensors"),))
    assert trial.names == ["raw", "small", "target", "truth"]
    rows = trials.table(
        [trial], [np.concatenate([trial.unit(k) for k in range(len(trial.places))])]
    )
    assert not rows["metric"].isin(["PSNR", "MSE"]).any()
    assert {"Noise-share", "doubted"} <= set(rows[rows["method"] == "small"]["metric"])
    empty = pd.DataFrame(columns=trials.SETTINGS)
    tables = {report.TABLE: rows, report.SETTINGS_TABLE: empty}
    seen = SimpleNamespace(config={"enhancements": [entry]}, table=tables.get, folder=tmp_path)
    assert "show other places" in report.headline(seen, entry)[0]
    assert report.score(seen) is None and report.cautions(seen) == []
    assert len(report.parts(seen)[1].tables) == 1
    figure = report.picture_figure(**trial.pictures(0), paired=False)
    assert sum(bool(axes.get_images()) for axes in figure.axes) == 4

    with pytest.raises(UserError, match=r"none.tif is neither in low/ nor in high/"):
        fields.lay_out(entry | {"test_files": ["none.tif"]}, 0)
    with pytest.raises(UserError, match="wants pairs, which made has none of"):
        validate({"enhancements": [entry], "enhancers": [network | {"learns_from": "pairs"}]})
    with pytest.raises(UserError, match="goes with a folder"):
        validate({"enhancements": [PAIRS | {"paired": False, "networks": []}]})
