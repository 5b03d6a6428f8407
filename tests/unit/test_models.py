"""Released networks: from a study to a file with its card, and the proof that the card is true."""

import itertools
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from isoplan.base.errors import UserError
from isoplan.cli import models
from isoplan.cli.arguments import main
from isoplan.config import entries
from isoplan.config.entries import MODELS, weights_file
from isoplan.config.schema import ROOT, choices
from isoplan.config.validation import load, validate
from isoplan.networks import store
from isoplan.training import psf_card
from safetensors import safe_open
from test_cli import STUDY

RELEASED = sorted(MODELS.glob("*.safetensors"))
NETWORK = STUDY["networks"][0] | {"weight_decay": 0}
SCENES = {"name": "scenes", "psf": "g", "samples": 24}
RELEASE = STUDY | {
    "networks": [NETWORK],
    "test_sets": [
        SCENES,
        {"name": "dark", "psf": "g", "camera": "dark", "samples": 12},
        {"name": "processed", "psf": "g", "samples": 8, "processed_share": 0.5},
    ],
    "cameras": [
        {"name": "training"},
        {"name": "field", "photons": [1e5, 1e5]},
        {"name": "dark", "photons": [1e4, 2e4], "read_noise_e": [0, 0]},
    ],
    "tests": [{"network": "net", "test_set": name} for name in ("scenes", "dark", "processed")],
}


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def write(folder: Path, study: dict) -> Path:
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny network, released: the folder with study.yaml, networks/ and models/."""
    folder = tmp_path_factory.mktemp("released")
    kept, models.QUICK_SAMPLES = models.QUICK_SAMPLES, 10
    try:
        code = run(
            *("release", write(folder, RELEASE), "net"),
            *("--folder", folder / "networks", "--out", folder / "models"),
        )
    finally:
        models.QUICK_SAMPLES = kept
    assert code == 0
    return folder


@pytest.fixture
def released(made, tmp_path):
    """A copy of the released network and its card."""
    shutil.copytree(made / "models", tmp_path / "models")
    return tmp_path / "models" / "gaussian-2.safetensors"


def test_files_lie_flat_and_weights_have_16_bits(released):
    names = sorted(path.name for path in released.parent.iterdir())
    assert names == ["gaussian-2.md", "gaussian-2.safetensors"]
    with safe_open(released, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        assert (tensor.dtype == torch.float16) == (tensor.ndim > 1), name


def test_the_network_is_the_trained_one_rounded(made, released):
    network, model, _ = store.load(released)
    trained, _, _ = store.load(made / "networks" / "net" / "network.safetensors")
    for ours, theirs in zip(*(net.parameters() for net in (network, trained)), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    assert model.n_targets == 2


def test_the_card_says_what_was_done(released):
    card = store.load(released)[2]
    assert card["psf"]["width_px"] == [1.5, 5] and card["seed"] == 1 and card["samples"] == 16
    command = "isoplan release study.yaml net"
    assert card["released"]["command"] == command and card["released"]["isoplan"]
    scenes, dark, processed = card["tests"]
    assert [scenes["test_set"], scenes["seed"], scenes["samples"]] == ["scenes", 1, 24]
    assert scenes["recipe"]["psf"]["name"] == "g" and dark["recipe"]["camera"]["name"] == "dark"
    assert scenes["first"]["samples"] == 10 and "first" not in processed
    keys = {(row["parameter"], row["metric"]) for row in scenes["figures"]}
    assert {("width_x", "R2"), ("width_y", "R2"), ("mean", "R2")} <= keys
    assert ("alarm", "found") in {(r["parameter"], r["metric"]) for r in processed["figures"]}
    for row in scenes["figures"]:
        assert set(row) == {"parameter", "metric", "value", "low", "high", "n"}
    assert {row["group"] for row in dark["calibration"]} >= {"all", "spread fifth"}
    assert {row["kept_share"] for row in dark["abstention"]} >= {1, 0.8}
    assert "NaN" not in json.dumps(card)


def test_the_markdown_card(released):
    text = released.with_suffix(".md").read_text()
    card = store.load(released)[2]
    assert text == psf_card.markdown(card)
    for part in ("# gaussian-2", "## How well", "## How sure", "## Known limits", "## Training"):
        assert f"\n{part}\n" in f"\n{text}"
    assert "| scenes | width_x |" in text and "release study.yaml net" in text
    assert "| processed | processed patches that raise the alarm |" in text
    assert "| processed | width_x |" not in text
    assert "width_x 1.5 to 5 px" in text and "cut-off" not in text
    assert str(released.parent.parent) not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.count("|") in (3, 4, 5, 6, 7, 8), line


def test_a_zernike_card_names_the_optics(released, settings):
    card = store.load(released)[2]
    psf = settings("psfs", model="zernike-3", size_px=63, cutoff_range=[0.2, 0.4])
    text = " ".join(psf_card.limits(card | {"psf": psf}))
    assert "cut-off (NA * pixel size / wavelength) 0.2 to 0.4 cycles/px" in text
    assert "axis" in text and "focus and astigmatism carry no sign" in text


def test_verify_finds_what_the_card_says(released, capsys):
    assert run("verify", released, "--whole") == 0
    said = capsys.readouterr().out
    assert "gaussian-2 on scenes, 24 samples" in said and "gaussian-2 on dark, 12 samples" in said
    assert "all figures match the cards" in said
    assert len(re.findall(r"R2 \w+: card -?[\d.]+, now -?[\d.]+$", said, re.MULTILINE)) == 9
    assert run("verify", released) == 0
    said = capsys.readouterr().out
    assert "on scenes, 10 samples" in said and "on processed, 8 samples" in said


def test_verify_fails_for_altered_weights(released, capsys):
    network, _, card = store.load(released)
    with torch.no_grad():
        network.head[-1].bias[0] += 0.5
    store.save(released, network, card)
    assert run("verify", released) == 1
    said = capsys.readouterr().out
    assert "R2 width_y" in said and "DIFFERS" in said and "figures differ from the cards" in said


def test_verify_fails_for_a_card_that_is_not_the_file_s(released, capsys):
    card = released.with_suffix(".md")
    card.write_text(card.read_text().replace("Known limits", "No limits"))
    assert run("verify", released) == 1
    assert "gaussian-2.md beside it does not match its card" in capsys.readouterr().out


def test_verify_wants_released_networks(made, tmp_path, monkeypatch, capsys):
    assert run("verify", made / "networks" / "net" / "network.safetensors") == 1
    assert "its card names no test sets" in capsys.readouterr().err
    monkeypatch.setattr(entries, "MODELS", tmp_path)
    assert run("verify") == 1
    assert "has no released network" in capsys.readouterr().err


def test_slices_give_the_same_release(made, tmp_path, monkeypatch, capsys):
    """A clock that goes on by a second whenever it is asked, and time for a few looks at it."""
    study = write(tmp_path, RELEASE)
    clock = SimpleNamespace(monotonic=itertools.count().__next__)
    for module in (models, models.training):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(models, "QUICK_SAMPLES", 10)
    command = [
        *("release", study, "--folder", tmp_path / "networks", "--out", tmp_path / "models"),
        *("--stop-after-minutes", 9 / 60),
    ]
    codes = []
    while not codes or codes[-1] == 3:
        codes.append(run(*command))
    assert codes[-1] == 0 and len(codes) > 1
    assert "run the same command again" in capsys.readouterr().out
    file = "models/gaussian-2.safetensors"
    one, other = (store.load(folder / file)[2] for folder in (made, tmp_path))
    assert one["tests"] == other["tests"]
    assert (made / file).read_bytes() == (tmp_path / file).read_bytes()


def test_what_cannot_be_released_is_told_before_training(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "networks"

    def error(study: dict, *names) -> str:
        options = ["--folder", folder, "--out", tmp_path / "models"]
        assert run("release", write(tmp_path, study), *names, *options) == 1
        assert not folder.exists()
        return capsys.readouterr().err

    assert "has no network other; known: net" in error(RELEASE, "other")
    assert "names no test set for net" in error(RELEASE | {"tests": []}, "net")
    degraded = RELEASE["tests"][0] | {"degradation": "poisson", "strengths": [0.1]}
    assert "names no test set for net" in error(RELEASE | {"tests": [degraded]}, "net")
    twins = [NETWORK, NETWORK | {"name": "twin"}]
    tests = [{"network": network["name"], "test_set": "scenes"} for network in twins]
    twice = error(RELEASE | {"networks": twins, "tests": tests})
    assert "two networks would be written to" in twice and "gaussian-2.safetensors" in twice
    taken = [NETWORK | {"weights": "x.safetensors"}]
    assert "net has weights" in error(RELEASE | {"networks": taken})
    monkeypatch.setattr(models, "LARGEST_BYTES", 1000)
    assert "exceed the 0 MB" in error(RELEASE)


@pytest.mark.parametrize("own", ["models/gaussian-2.md", "models/gaussian-2.safetensors", "networks/net/history.csv", "networks/net/card.json", "networks/net/checkpoint.pt", "networks/net/network.safetensors"])  # fmt: skip
def test_a_users_file_is_not_written_over(tmp_path, capsys, own):
    (tmp_path / own).parent.mkdir(parents=True)
    (tmp_path / own).write_text("mine")
    study = write(tmp_path, RELEASE)
    options = ["--folder", tmp_path / "networks", "--out", tmp_path / "models"]
    assert run("release", study, *options) == 1
    assert f"{own}: was not made by isoplan" in capsys.readouterr().err
    if own.startswith("networks"):
        assert run("train", study, "net", "--folder", tmp_path / "networks" / "net") == 1
        assert f"{own}: was not made by isoplan" in capsys.readouterr().err
    assert (tmp_path / own).read_text() == "mine"


def test_no_git_no_commit(monkeypatch, tmp_path):
    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert models._commit() is None


@pytest.mark.parametrize(
    "place", ["networks/net/network.safetensors", "models/gaussian-2.safetensors"]
)
def test_another_training_s_network_is_replaced_only_if_asked(made, tmp_path, capsys, place):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    folder = "models" if place.startswith("networks") else "networks"
    shutil.rmtree(tmp_path / folder)
    before = (tmp_path / place).read_bytes()
    study = write(tmp_path, RELEASE | {"seed": 2})
    command = ["release", study, "--folder", tmp_path / "networks", "--out", tmp_path / "models"]
    assert run(*command) == 1
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert f"{tmp_path / place}: comes from a training with other settings or code" in error
    assert (tmp_path / place).read_bytes() == before and not (tmp_path / folder).exists()
    assert run(*command, "--overwrite") == 0
    assert store.load(tmp_path / place)[2]["seed"] == 2


def test_a_study_takes_the_released_network(released, tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "MODELS", tmp_path / "models")
    study = validate(RELEASE | {"networks": [NETWORK | {"weights": "released"}]})
    monkeypatch.chdir(tmp_path)
    network = study["networks"][0]
    assert weights_file(study, network) == "models/gaussian-2.safetensors"
    assert weights_file(study, network | {"weights": None}) is None
    monkeypatch.setattr(entries, "MODELS", tmp_path / "none")
    with pytest.raises(UserError, match=r"networks\[0\]\.weights: no network is released"):
        validate(RELEASE | {"networks": [NETWORK | {"weights": "released"}]})


@pytest.mark.parametrize(
    "psf, wrong",
    [
        ({}, None),
        ({"focus_waves": [0.1, 0.3], "size_px": 31}, None),
        ({"cutoff": 0.4}, None),
        ({"cutoff_range": [0.25, 0.3]}, None),
        ({"cylinder_waves": [0, 3]}, None),  # zernike-1 has none
        ({"cutoff": 0.19}, r"cutoff_range \[0.2, 0.4\], but the study wants \[0.19, 0.19\]"),
        ({"cutoff_range": [0.3, 0.5]}, "cutoff_range"),
        ({"focus_waves": [0, 0.6]}, r"focus_waves \[0, 0.5\], but the study wants \[0, 0.6\]"),
        ({"excitation_cutoff": 0.3}, "excitation_cutoff None"),
        ({"model": "zernike-2"}, "model zernike-1"),
    ],
)
def test_a_network_serves_a_study_within_its_ranges(psf, wrong, settings):
    card = {
        "psf": settings("psfs", model="zernike-1", size_px=79, cutoff_range=[0.2, 0.4]),
        "network": {"architecture": "isoplan"},
        "window_px": 128,
    }
    asked = settings("psfs", model="zernike-1", size_px=79) | psf
    if wrong is None:
        store.check_fits("file", card, asked, 128)
    else:
        with pytest.raises(UserError, match=wrong):
            store.check_fits("file", card, asked, 128)


# What is released ----------------------------------------------------------------------------------


def test_every_released_network_has_its_card():
    for file in RELEASED:
        _, model, card = store.load(file)
        assert card["psf"]["model"] == file.stem
        assert file.with_suffix(".md").read_text() == psf_card.markdown(card), file
        assert file.stat().st_size <= models.LARGEST_BYTES
        assert {"released", "limits", "tests", "seed", "samples"} <= set(card)
        names = {p.name for p in model.parameters}
        for test in card["tests"]:
            assert names <= {row["parameter"] for row in test["figures"]}, file


def test_nothing_else_lies_among_the_released_networks():
    known = {"README.md", "EXPERIMENTS.md", "enhancement", "weight-maps"}
    known |= {f"{file.stem}{ending}" for file in RELEASED for ending in (".safetensors", ".md")}
    assert {path.name for path in MODELS.iterdir()} <= known


def test_released_studies_judge_every_network():
    for scale in ("small", "full"):
        study = load(ROOT / "config" / "studies" / f"released.{scale}.yaml")
        psfs = {network["name"]: network["psf"] for network in study["networks"]}
        known = {model for model, told in choices("psfs").items() if told["parameters"]}
        # Fits of other numbers of modes learn within minutes, in a study of their own.
        assert set(psfs) == known - {"zernike-5", "zernike-7", "zernike-12"}
        for name in psfs:
            sets = models.candidates(study)[name].asked
            assert len(sets) == 6
            # A fit takes a third of a second a sample.
            least = {"full": 4000, "small": 300 if name == "zernike-8" else 2000}[scale]
            assert min(each["samples"] for each in sets) >= least


def test_the_table_of_released_networks_says_what_the_cards_say():
    """Every figure of resources/models/README.md's table, to its last digit."""
    lines = (MODELS / "README.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): line.split("|")[3:5] for line in lines if "|" in line}
    for file in RELEASED:
        card = store.load(file)[2]
        for kind, text in zip(("synthetic", "natural"), rows[file.stem], strict=True):
            figures = next(t for t in card["tests"] if t["test_set"].startswith(kind))["figures"]
            wanted = []
            for row in figures:
                axis = row["parameter"] == "axis"
                if row["metric"] == "circular-median":
                    wanted.append(f"{math.degrees(row['value']):.1f}")
                elif row["metric"] == "R2" and not axis and row["parameter"] != "mean":
                    wanted.append(f"{row['value']:.3f}".lstrip("0"))
            if file.stem in ("gaussian-2", "zernike-8"):  # one figure for all
                wanted = [
                    f"{next(r['value'] for r in figures if r['parameter'] == 'mean'):.3f}"[1:]
                ]
            assert re.findall(r"\d*\.\d+", text) == wanted, file.stem
