"""The command line: one picture, one network, and what it says to wrong input."""

import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import yaml
from isoplan import training
from isoplan.cli.arguments import main
from isoplan.networks import store
from isoplan.optics.psf import make_psf_model
from scipy.ndimage import gaussian_filter

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
PSF = {
    "name": "g",
    "model": "gaussian-2",
    "form": "isoplan",
    "size_px": 15,
    "cutoff": 0.25,
    "excitation_cutoff": None,
    "width_px": [1.5, 5],
    "focus_waves": [0, 0.5],
    "cylinder_waves": [0, 0.25],
    "file": None,
}
STUDY = {
    "study": "cli",
    "psfs": [{"name": "g", "model": "gaussian-2", "size_px": 15, "width_px": [1.5, 5]}],
    "objects": [{"name": "scenes", "kinds": ["poi", "fractals"]}],
    "networks": [
        {
            "name": "net",
            "psf": "g",
            "width": 4,
            "samples": 16,
            "scenes": 8,
            "fresh_scenes": 2,
            "batch": 4,
            "epoch_samples": 8,
            "validation_samples": 8,
        }
    ],
    "test_sets": [{"name": "scenes", "psf": "g", "samples": 16}],
    "tests": [{"network": "net", "test_set": "scenes"}],
    "simulations": [],
    "mosaics": None,
    "map": {"window_px": 96, "stride_px": 32},
}


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    return file


@pytest.fixture
def network(tmp_path):
    """An untrained network that takes every patch for valid."""
    model = make_psf_model(PSF)
    spec = {"architecture": "isoplan", "width": 4}
    torch.manual_seed(1)
    made = store.build(spec, 96, model.n_targets + 1)
    with torch.no_grad():
        made.head[-1].bias[-1] = -20
    card = {"psf": PSF, "network": spec, "window_px": 96, "fingerprint": "0"}
    store.save(tmp_path / "network.safetensors", made, card)
    return tmp_path / "network.safetensors"


@pytest.fixture
def picture(tmp_path):
    blurred = gaussian_filter(np.random.default_rng(0).gamma(2, 2000, (200, 240)), 1.5)
    tifffile.imwrite(tmp_path / "picture.tif", (100 + blurred).astype(np.uint16))
    return tmp_path / "picture.tif"


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def test_map_writes_table_and_figures(picture, network, tmp_path):
    out = tmp_path / "out"
    assert run("map", picture, "--network", network, "--out", out, "--offset", 100) == 0
    table = pd.read_csv(out / "psf_map.csv")
    # Half a window of 96 px between estimates.
    assert len(table) == 5 * 5
    assert list(table) == ["y_px", "x_px", "width_y_px", "width_x_px", "validity", "filled"]
    assert table.loc[0, ["y_px", "x_px"]].tolist() == [24, 24]
    assert table["width_x_px"].between(1.5, 5).all()
    assert {file.name for file in out.glob("*.png")} == {"psfs.png", "width_x.png", "width_y.png"}


def test_restore_writes_float_counts_above_the_offset(picture, network, tmp_path, capsys):
    out = tmp_path / "new" / "restored.tif"
    options = ["--offset", 100, "--pixel-size-um", 0.5, "--iterations", 5, "--tv-weight", 0]
    assert run("restore", picture, "--network", network, "--out", out, *options) == 0
    restored, observed = tifffile.imread(out), tifffile.imread(picture).astype(float) - 100
    assert restored.dtype == np.float32 and restored.shape == observed.shape
    assert restored.mean() == pytest.approx(observed.mean(), rel=0.02)
    assert restored.std() > observed.std()
    assert (out.parent / "restored-map" / "psf_map.csv").exists()
    assert sorted(file.name for file in out.parent.iterdir()) == ["restored-map", "restored.tif"]
    assert str(out) in capsys.readouterr().out
    with tifffile.TiffFile(out) as file:
        assert file.pages[0].tags["XResolution"].value[0] == pytest.approx(20000)


def test_a_constant_picture_comes_back_as_it_is(network, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((200, 200), 7, np.uint8))
    out = tmp_path / "restored.tif"
    assert run("restore", tmp_path / "flat.tif", "--network", network, "--out", out) == 0
    assert (tifffile.imread(out) == 7).all()
    assert "0 of 25 cells are valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, words",
    [
        ({"picture": "no.tif"}, "no.tif"),
        ({"network": "no.safetensors"}, "no such network"),
        ({"out": "restored.png"}, "is no TIFF's name"),
        ({"stride": 40}, "multiple of 16 that divides 96"),
        ({"iterations": 0}, "iterations: 0 is out of range"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    change, words, picture, network, tmp_path, capsys
):
    given = {"picture": picture, "network": network, "out": "restored.tif", "stride": 32}
    given |= {"iterations": 2} | change
    code = run(
        *("restore", given["picture"], "--network", given["network"]),
        *("--out", tmp_path / given["out"], "--stride-px", given["stride"]),
        *("--iterations", given["iterations"]),
    )
    error = capsys.readouterr().err.strip().splitlines()
    assert code == 1 and error[-1].startswith("isoplan: ") and words in error[-1]
    assert not list(tmp_path.glob("*restored*.tif"))


def test_the_picture_itself_is_never_written_over(picture, network, capsys):
    before = picture.read_bytes()
    assert run("restore", picture, "--network", network, "--out", picture) == 1
    assert "is the picture itself" in capsys.readouterr().err
    assert picture.read_bytes() == before


def test_training_in_slices_gives_the_same_network(study, tmp_path, capsys, monkeypatch):
    whole, slices = tmp_path / "whole", tmp_path / "slices"
    assert run("train", study, "net", "--folder", whole) == 0
    # A clock that goes on by a second whenever it is asked: time for one epoch of two.
    clock = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr(training, "time", clock)
    minutes = ["--stop-after-minutes", 2 / 60]
    capsys.readouterr()
    assert run("train", study, "net", "--folder", slices, *minutes) == 3
    assert "run the same command again" in capsys.readouterr().out
    assert not (slices / "network.safetensors").exists()
    assert run("train", study, "net", "--folder", slices, *minutes) == 0
    trained = [store.load(folder / "network.safetensors")[0] for folder in (whole, slices)]
    for one, other in zip(*(net.state_dict().values() for net in trained), strict=True):
        assert torch.equal(one, other)


def test_evaluate_writes_the_rows_of_regression_csv(study, tmp_path):
    assert run("train", study, "net", "--folder", tmp_path / "net") == 0
    weights, out = tmp_path / "net" / "network.safetensors", tmp_path / "new" / "regression.csv"
    assert run("evaluate", study, "net", weights, "--out", out) == 0
    table = pd.read_csv(out)
    assert set(table["test_set"]) == {"scenes"} and set(table["psf_model"]) == {"gaussian-2"}
    assert {"width_x", "width_y", "validity"} == set(table["parameter"])


def test_an_unknown_network_is_named_with_those_there_are(study, tmp_path, capsys):
    assert run("train", study, "other", "--folder", tmp_path / "net") == 1
    assert "known: net" in capsys.readouterr().err


def test_training_needs_neither_zarr_nor_snakemake(study, tmp_path):
    absent = ("zarr", "snakemake", "rich", "timm", "tifffile", "matplotlib", "jinja2")
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"  # importing one of them fails
        "from isoplan.cli.arguments import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "train", study, "net", "--folder", tmp_path / "net"]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=SCRIPTS
    )
    assert done.returncode == 0, done.stderr


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("map", "restore", "train", "evaluate"))
