"""A network that enhances is released with its card, proved by it, and proved wrong where it was altered."""

import numpy as np
import pytest
import torch
import yaml
from isoplan.applications.enhancement import card as words
from isoplan.applications.enhancement.networks import Enhancer
from isoplan.cli import models
from isoplan.cli.arguments import main
from isoplan.config.entries import MODELS
from isoplan.networks import store

STUDY = {
    "study": "tiny",
    "enhancements": [
        {
            "name": "made",
            "kinds": ["filaments"],
            "train_mosaics": 2,
            "test_mosaics": 2,
            "mosaic_px": 96,
            "field_px": 48,
        }
        | {"methods": ["gaussian"], "networks": ["small"]}
    ],
    "enhancers": [
        {"name": "small", "trained_on": "made", "width": 4, "levels": 2, "patch_px": 32, "turns": 1}
        | {"samples": 400, "epoch_samples": 200, "batch": 4}
    ],
}
RELEASED = sorted((MODELS / "enhancement").glob("*.safetensors"))


@pytest.fixture
def study(tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return str(tmp_path / "study.yaml")


def test_release_and_verify(tmp_path, study, capsys):
    places = ["--folder", str(tmp_path / "nets"), "--out", str(tmp_path / "models")]
    assert main(["release", study, "small", *places]) == 0
    file = tmp_path / "models/enhancement/made.safetensors"
    made, weights = store.read(file)
    assert any(one.dtype == torch.float16 for one in weights.values())
    figures = {(r["parameter"], r["metric"]): r["value"] for r in made["tests"][0]["figures"]}
    assert figures["result", "PSNR"] > figures["raw", "PSNR"] + 1
    page = file.with_suffix(".md").read_text()
    assert page.startswith("# enhancement/made\n") and "**this network**" in page
    assert main(["verify", str(file)]) == 0
    network = Enhancer.load(file).network
    with torch.no_grad():
        network.last.weight += 0.5
    store.save(file, network, made)
    capsys.readouterr()
    assert main(["verify", str(file)]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_it_goes_on_from_the_same_training(tmp_path, study):
    """`train` and `release` share their checkpoints."""
    assert main(["train", study, "small", "--folder", str(tmp_path / "nets/small")]) == 0
    before = (tmp_path / "nets/small/history.csv").read_bytes()
    places = ["--folder", str(tmp_path / "nets"), "--out", str(tmp_path / "models")]
    assert main(["release", study, "small", *places]) == 0
    assert (tmp_path / "nets/small/history.csv").read_bytes() == before


def test_evaluate_sends_to_the_report(tmp_path, study, capsys):
    net = str(tmp_path / "net.safetensors")
    assert main(["evaluate", study, "small", net, "--out", str(tmp_path / "f.csv")]) == 1
    assert "a study's own tables judge" in capsys.readouterr().err


def test_nothing_is_released_that_nothing_judges(tmp_path, capsys):
    alone = STUDY | {"enhancements": [STUDY["enhancements"][0] | {"networks": []}]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(alone))
    places = ["--folder", str(tmp_path / "nets"), "--out", str(tmp_path / "models")]
    assert main(["release", str(tmp_path / "study.yaml"), "small", *places]) == 1
    assert "nothing judges it" in capsys.readouterr().err


def test_what_is_released_has_its_card():
    assert RELEASED
    for file in RELEASED:
        made = Enhancer.load(file)
        assert file.with_suffix(".md").read_text() == words.markdown(made.card), file
        assert made.card["enhancement"]["name"] == file.stem
        assert file.stat().st_size <= models.LARGEST_BYTES
        picture = np.random.default_rng(0).poisson(50, (64, 64)).astype(np.float32)
        result = made.apply(picture, float(picture.mean()), float(picture.std()))
        assert result.std() < 0.3 * picture.std()
