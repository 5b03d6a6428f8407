"""The command line: one picture, one network, and what it says to wrong input."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import yaml
import zarr
from isoplan.cli import picture as commands
from isoplan.cli.arguments import main
from isoplan.cli.picture import stem_of
from isoplan.config import entries
from isoplan.mosaic import ngff, reader
from isoplan.mosaic.reader import open_mosaic
from isoplan.mosaic.table import read_table
from isoplan.networks import store
from isoplan.optics.psf import make_psf_model
from isoplan.registration import is_restoration
from isoplan.report import plots
from isoplan.training import loop as training
from safetensors.torch import save
from scipy.ndimage import gaussian_filter
from tile_folders import own, write_tiles

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
PSF = {
    "name": "g",
    "model": "gaussian-2",
    "form": "isoplan",
    "size_px": 15,
    "cutoff": 0.25,
    "cutoff_range": None,
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
    "tests": [
        {"network": "net", "test_set": "scenes"},
        {"network": "net", "test_set": "scenes", "degradation": "poisson", "strengths": [0.1, 0.5]},
    ],
    "simulations": [],
    "mosaics": None,
    "map": {"window_px": 96, "stride_px": 32},
}


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Figures of few pixels: to draw them in full would take two thirds of the time of all that runs here."""
    monkeypatch.setattr(plots, "DOTS_PER_INCH", 40)


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    return file


@pytest.fixture
def network(tmp_path):
    """An untrained network that takes every patch for valid."""
    model = make_psf_model(PSF)
    spec = {"architecture": "isoplan", "width": 4, "fit": "none"}  # `focus` fits
    torch.manual_seed(1)
    made = store.build(spec, 96, model)
    flags(made, alarm=-20)
    card = {"psf": PSF, "network": spec, "window_px": 96, "fingerprint": "0"}
    store.save(tmp_path / "network.safetensors", made, card)
    return tmp_path / "network.safetensors"


def flags(network, alarm: float) -> None:
    """Logits of invalid, alarm and other blur that nothing of the picture changes."""
    with torch.no_grad():
        network.head[-1].weight[-3:] = 0
        network.head[-1].bias[-3:] = torch.tensor([-20.0, alarm, -20.0])


@pytest.fixture
def picture(tmp_path):
    blurred = gaussian_filter(np.random.default_rng(0).gamma(2, 2000, (200, 240)), 1.5)
    tifffile.imwrite(tmp_path / "picture.tif", (100 + blurred).astype(np.uint16))
    return tmp_path / "picture.tif"


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def made_by(file) -> dict:
    """How a TIFF that isoplan restored says it was made."""
    with tifffile.TiffFile(file) as tiff:
        told = json.loads(tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Description"])
    assert is_restoration(file)
    return told


def test_map_writes_table_and_figures(picture, network, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("map", picture, "--network", network, "--out", out, "--offset", 100) == 0
    table = pd.read_csv(out / "psf_map.csv")
    # The largest stride up to half a window that divides 96 px and is a multiple of 32.
    assert len(table) == 7 * 8
    assert list(table) == [
        *("y_px", "x_px", "width_y_px", "width_x_px"),
        *("width_y_uncertainty_px", "width_x_uncertainty_px"),
        *("validity", "alarm", "other_blur", "usable", "filled"),
    ]
    assert table.loc[0, ["y_px", "x_px"]].tolist() == [16, 16]
    assert table["width_x_px"].between(1.5, 5).all()
    assert table["width_x_uncertainty_px"].between(0, 3.5).all()
    assert (table["alarm"] < 1e-6).all()
    assert {"psfs.png", "width_x.png", "width_y.png"} <= {file.name for file in out.glob("*.png")}
    said = capsys.readouterr().out
    assert "20 of 56 cells are valid (36 %)" in said and "raise the alarm" not in said
    assert "width_y:" in said and "(90 % interval)" in said and "of their window" not in said


def test_map_says_how_much_of_the_windows_is_saturated(picture, network, tmp_path, capsys):
    counts = tifffile.imread(picture)
    counts[:60, :48] = 65535
    tifffile.imwrite(picture, counts)
    out = tmp_path / "out"
    assert run("map", picture, "--network", network, "--out", out, "--offset", 100) == 0
    usable = pd.read_csv(out / "psf_map.csv")["usable"].to_numpy().reshape(7, 8)
    # Windows of 96 px start at -32, where they see the picture mirrored.
    assert usable[0, 0] == pytest.approx(1 - 92 * 80 / 96**2, abs=1e-3)
    assert usable[1, 1] == pytest.approx(1 - 60 * 48 / 96**2, abs=1e-3)
    assert (usable[3:] == 1).all() and (usable[:, 3:] == 1).all()
    words = f"{(usable < 0.99).sum()} cells see less than 99 % of their window"
    assert words in capsys.readouterr().out


def test_restore_writes_float_counts_above_the_offset(picture, network, tmp_path, capsys):
    out = tmp_path / "new" / "restored.tif"
    options = ["--offset", 100, "--pixel-size-um", 0.5, "--iterations", 5, "--tv-weight", 0]
    options += ["--psf-scale", 1, "--resolution-px", 0]
    assert run("restore", picture, "--network", network, "--out", out, *options) == 0
    restored, observed = tifffile.imread(out), tifffile.imread(picture).astype(float) - 100
    assert restored.dtype == np.float32 and restored.shape == observed.shape
    assert restored.mean() == pytest.approx(observed.mean(), rel=0.02)
    assert restored.std() > observed.std()
    assert (out.parent / "restored-psf-map" / "psf_map.csv").exists()
    beside = ["restored-preview.png", "restored-psf-map", "restored-psf-map.ome.zarr"]
    names = [*beside, "restored.tif"]
    assert sorted(file.name for file in out.parent.iterdir()) == names
    height, width = plt.imread(out.with_name("restored-preview.png")).shape[:2]
    assert width > 2.5 * height  # before, after, map
    assert str(out) in capsys.readouterr().out
    with tifffile.TiffFile(out) as file:
        assert file.pages[0].tags["XResolution"].value[0] == pytest.approx(20000)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert pixels["PhysicalSizeX"] == 0.5 and pixels["PhysicalSizeXUnit"] == "µm"
    made = made_by(out)
    assert made["restoration"]["iterations"] == 5 and made["psf"]["model"] == "gaussian-2"


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_a_picture_of_one_row_is_restored(network, tmp_path, shape):
    counts = np.random.default_rng(0).poisson(100, shape).astype(np.uint16)
    tifffile.imwrite(tmp_path / "line.tif", counts, photometric="minisblack")
    out = tmp_path / "restored.tif"
    assert run("restore", tmp_path / "line.tif", "--network", network, "--out", out) == 0
    assert tifffile.imread(out).shape == shape


def test_restore_chooses_what_is_left_open(picture, network, tmp_path, capsys):
    out = tmp_path / "restored.ome.zarr"
    options = ["--offset", 100, "--iterations", 3, "--tv-weight", "auto", "--gain", 2]
    assert run("restore", picture, "--network", network, "--out", out, *options) == 0
    used = ngff.read_attributes(out)["restoration"]
    said = capsys.readouterr().out
    assert used["iterations"] == 3 and used["tv_weight"] > 0 and "held out" in used["reason"]
    assert f"3 iterations with a TV weight of {used['tv_weight']:g}" in said and "held out" in said


@pytest.mark.parametrize("command", ["map", "restore"])
def test_an_offset_above_most_of_the_picture_is_refused_before_any_work(
    command, picture, network, tmp_path, capsys
):
    out = tmp_path / "out.tif" if command == "restore" else tmp_path / "out"
    assert run(command, picture, "--network", network, "--out", out, "--offset", 9e4) == 1
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert f"{picture}: no light is left above the offset of 90000 counts" in error
    assert not list(tmp_path.glob("out*"))


def test_a_picture_without_its_background_is_told(network, tmp_path, capsys):
    rng = np.random.default_rng(0)
    spots = 600 * gaussian_filter((rng.random((256, 256)) < 0.004) * 1.0, 3) * 56
    counts = rng.poisson(100 + spots) - 180
    tifffile.imwrite(tmp_path / "taken-off.tif", counts.astype(np.int16))
    out = tmp_path / "map"
    assert run("map", tmp_path / "taken-off.tif", "--network", network, "--out", out) == 0
    assert "% of the picture lies below the offset of 0 counts by more than noise" in (
        capsys.readouterr().out
    )


def test_a_gain_that_cannot_be_is_refused(picture, network, tmp_path, capsys):
    options = ["--network", network, "--out", tmp_path / "out.tif", "--offset", 100, "--gain"]
    assert run("restore", picture, *options, 4e-9) == 1
    assert "with a gain of 4e-09 its brightest pixels would hold" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("restore", picture, *options, 0)
    assert "--gain: gain is 0; it must be finite, above 0" in capsys.readouterr().err
    for offset in ("nan", "inf"):
        with pytest.raises(SystemExit):
            run("restore", picture, "--out", tmp_path / "r.tif", "--offset", offset)
        assert f"--offset: offset is {offset}; it must be finite" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_restore_leaves_a_picture_as_it_is_whose_gain_it_does_not_tell(network, tmp_path, capsys):
    flat = 0.5 + 0.05 * np.random.default_rng(0).normal(size=(256, 256))
    tifffile.imwrite(tmp_path / "grain.tif", (1e4 * flat).astype(np.uint16))
    out = tmp_path / "restored.tif"
    assert run("restore", tmp_path / "grain.tif", "--network", network, "--out", out) == 0
    said = capsys.readouterr().out
    assert "gain and read noise are unknown: " in said and "the camera's gain is not known" in said


def test_a_picture_without_a_valid_cell_is_restored_by_doubtful_psfs(
    picture, network, tmp_path, capsys
):
    made, _, card = store.load(network)
    with torch.no_grad():
        made.head[-1].bias[-3] = 20.0  # every window is invalid, and has its estimate
    store.save(network, made, card)
    out = tmp_path / "restored.tif"
    assert run("restore", picture, "--network", network, "--out", out, "--offset", 100) == 0
    said = capsys.readouterr().out
    assert "0 of 56 cells are valid" in said and "every PSF is doubtful" in said
    assert tifffile.imread(out).std() > tifffile.imread(picture).astype(float).std()
    assert (tmp_path / "restored-psf-map" / "psfs.png").exists()


def test_a_constant_picture_comes_back_as_it_is(network, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((200, 200), 7, np.uint8))
    out = tmp_path / "restored.tif"
    assert run("restore", tmp_path / "flat.tif", "--network", network, "--out", out) == 0
    assert (tifffile.imread(out) == 7).all()
    assert "0 of 49 cells are valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, words",
    [
        ({"picture": "no.tif"}, "no.tif"),
        ({"network": "no.safetensors"}, "no such network"),
        ({"out": "restored.png"}, "the name must end in .ome.zarr or .tif"),
        ({"stride": 40}, "give one of 32, 96, which divide the network's 96"),
        ({"stride": 0}, "stride_px 0: give one of 32, 96"),
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


@pytest.mark.parametrize(
    "options, words",
    [
        (["--alarm-threshold", 2], "map.alarm_threshold: 2.0 is out of range"),
        (["--iterations", 0], "restoration.iterations: 0 is out of range"),
        (["--psf-shape", "square 4"], "restoration.psf_shape: 'square 4' is not a PSF"),
        (["--force", "--psf-scale", 0.5], "--psf-scale 0.5: contradicts --force, which uses"),
        (["--force", "--resolution-px", 2], "--resolution-px 2: contradicts --force, which uses"),
        (["--psf-shape", "disk 4", "--psf-scale", 0.5], "restoration.psf_scale: 0.5 is of the map"),
        (
            ["--psf-shape", "motion 6 30", "--psf-scale", 0],
            "restoration.psf_scale: 0 is of the map",
        ),
    ],
)
def test_wrong_options_are_refused_before_the_picture_is_read(tmp_path, capsys, options, words):
    assert run("restore", tmp_path / "no.tif", "-o", tmp_path / "out.tif", *options) == 1
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert words in error and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option, value, range",
    [
        ("--wavelength-um", 520, "above 0 and at most 20"),  # nm
        ("--na", 140, "above 0 and at most 2"),
        ("--pixel-size-um", 6500, "above 0 and at most 1000"),
        ("--offset", "nan", "it must be finite (check the unit)"),
        ("--offset", "1_00", "not a number"),
    ],
)
def test_optics_have_the_ranges_of_the_table(tmp_path, capsys, option, value, range):
    with pytest.raises(SystemExit):
        run("map", tmp_path / "no.tif", option, value)
    error = capsys.readouterr().err.splitlines()[-1]
    assert (
        f"argument {option}: {option.strip('-').replace('-', '_')} is" in error and range in error
    )


def test_a_stride_or_psf_that_cannot_be_is_refused_before_any_work(
    picture, network, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(commands, "measure", None)
    for options, words in (
        (["--stride-px", 40], "stride_px 40: give one of 32, 96"),
        (["--psf-shape", "disk 9"], "is larger than the PSFs' square of 15 px"),
    ):
        out = tmp_path / "out.tif"
        assert run("restore", picture, "--network", network, "-o", out, *options) == 1
        assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_what_agrees_with_a_psf_s_shape_or_with_force_is_taken(picture, network, tmp_path):
    options = ["--network", network, "--offset", 100, "--iterations", 1, "--tv-weight", 0]
    for number, more in enumerate(
        (
            ["--psf-shape", "disk 4", "--psf-scale", 1, "--resolution-px", 0],
            ["--psf-shape", "disk 4", "--force"],
            ["--force", "--psf-scale", 1, "--resolution-px", 0],
        )
    ):
        out = tmp_path / f"out{number}.tif"
        assert run("restore", picture, "-o", out, *options, *more) == 0
        used = made_by(out)["restoration"]
        assert (used["psf_scale"], used["resolution_px"]) == (1, 0)
        assert used["psf_shape"] == ("disk 4" if "disk 4" in more else "auto")


def test_restore_writes_ome_zarr_with_a_pyramid(picture, network, tmp_path):
    out, tiff = tmp_path / "restored.ome.zarr", tmp_path / "plain.tif"
    options = ["--network", network, "--offset", 100, "--iterations", 3, "--tv-weight", 0.001]
    options += ["--force", "--pixel-size-um", 0.5]
    wide = np.tile(tifffile.imread(picture), (1, 5))
    tifffile.imwrite(picture, wide)
    for path in (tiff, out, out):
        assert run("restore", picture, "-o", path, *options, "--overwrite") == 0
    assert np.array_equal(ngff.open_array(out)[:], tifffile.imread(tiff))
    group = zarr.open_group(out, mode="r")
    scales = group.attrs["ome"]["multiscales"][0]
    assert scales["name"] == "restored" and len(scales["datasets"]) == 3
    assert scales["datasets"][0]["coordinateTransformations"][0]["scale"] == [0.5, 0.5]
    assert np.isfinite(group["2"][:]).all()
    assert ngff.read_attributes(out)["psf"]["model"] == "gaussian-2"
    judged = ngff.open_array(out / "trust")[:]
    assert judged.shape[1:] == tuple(-(-length // 32) for length in wide.shape)
    assert np.isfinite(judged[0]).all()
    assert (tmp_path / "restored-preview.png").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_restored_picture_s_map_is_not_replaced_by_another_s(picture, network, tmp_path, capsys):
    options = [
        "--network",
        network,
        "--offset",
        100,
        "--iterations",
        1,
        "--tv-weight",
        0,
        "--force",
    ]
    first, second = tmp_path / "picture.ome.zarr", tmp_path / "picture.tiff"
    for _ in range(2):  # picture.tif, which is read, is no result
        assert run("restore", picture, "-o", first, *options, "--overwrite") == 0
    map_ = tmp_path / "picture-psf-map" / "psf_map.csv"
    before = map_.read_bytes(), map_.stat().st_mtime_ns
    capsys.readouterr()
    assert run("restore", picture, "-o", second, *options, "--overwrite") == 1
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert f"{second}: {first} is another restored picture" in error and "another name" in error
    assert (map_.read_bytes(), map_.stat().st_mtime_ns) == before and not second.exists()
    assert run("restore", picture, "-o", tmp_path / "other.tif", *options) == 0
    assert run("restore", picture, "-o", tmp_path / "other.ome.zarr", *options, "--overwrite") == 1
    assert f"{tmp_path / 'other.tif'} is another restored picture" in capsys.readouterr().err


def test_a_pixel_size_that_nobody_gave_is_no_fact(picture, network, tmp_path, capsys):
    restored, converted = tmp_path / "restored.ome.zarr", tmp_path / "converted.ome.zarr"
    how = ["--network", network, "--offset", 100, "--iterations", 1, "--tv-weight", 0, "--force"]
    for size, told in (([], None), (["--pixel-size-um", 0.5], 0.5)):
        more = [*size, "--overwrite"]
        assert run("restore", picture, "-o", restored, *how, *more) == 0
        assert run("convert", picture, "-o", converted, *more) == 0
        said = capsys.readouterr().out
        words = "its pixel size is not known, so lengths are in pixels there; give --pixel-size-um"
        for store_, cell in ((restored, 1), (converted, 1), (restored / "trust", 32)):
            (scales,) = zarr.open_group(store_, mode="r").attrs["ome"]["multiscales"]
            scale = scales["datasets"][0]["coordinateTransformations"][0]["scale"]
            assert scale[-2:] == [cell * (told or 1)] * 2
            units = {axis.get("unit") for axis in scales["axes"][-2:]}
            assert units == {told and "micrometer"}
            if cell == 1:
                assert (f"{store_}: {words}" in said) == (told is None)
                with open_mosaic(store_) as mosaic:
                    assert mosaic.optics.get("pixel_size_um") == told
        assert run("convert", restored, "-o", tmp_path / "again.ome.zarr", "--overwrite") == 0
        assert ("as the file says" in capsys.readouterr().out) == (told is not None)


@pytest.mark.parametrize("command", ["restore", "convert"])
@pytest.mark.parametrize("name", [".tif", ".ome.zarr"])
def test_an_ending_is_no_name(picture, tmp_path, capsys, command, name):
    assert run(command, picture, "-o", tmp_path / name) == 1
    (error,) = capsys.readouterr().err.strip().splitlines()
    wanted = (
        "is an extension without a name"
        if "zarr" in name or command == "restore"
        else "the name must end"
    )
    assert f"{tmp_path / name}: {wanted}" in error
    assert [file.name for file in tmp_path.iterdir()] == ["picture.tif"]


def test_the_folder_of_a_map_is_named_after_the_picture(picture, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("map", picture.name, "--network", network) == 0
    assert (tmp_path / "picture-map" / "psf_map.csv").exists()
    for name, stem in (
        ("scikit-image:retina.jpg", "retina"),
        ("a/b.ome.tif", "b"),
        ("a/b.c.ome.zarr", "b.c"),
        ("a/b.lsm", "b"),
    ):
        assert stem_of(name) == stem


def test_tiles_and_pictures_in_one_piece(picture, network, tmp_path, monkeypatch, capsys):
    """A folder of tiles is restored like a picture; one huge piece is refused, and converted when asked."""
    whole, out = tifffile.imread(picture), tmp_path / "out.ome.zarr"
    height, width = whole.shape
    boxes = [(0, height, 0, width // 2 + 40), (0, height, width // 2, width)]
    names = write_tiles(tmp_path / "tiles", whole, boxes)
    (tmp_path / "tiles" / "where.tsv").write_text(own(names, [(0, 0), (0, width // 2)]))
    assert run("restore", tmp_path / "tiles", "--network", network, "-o", out) == 0
    with open_mosaic(out) as mosaic:
        assert np.isfinite(mosaic.read(0, height, 0, width)).all()
    assert "positions are those of where.tsv" in capsys.readouterr().out

    assert run("convert", tmp_path / "tiles", "-o", out, "--overwrite") == 0
    with open_mosaic(out) as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, height, 0, width), whole)

    strip = tmp_path / "strip.tif"
    tifffile.imwrite(strip, whole, compression="zlib", rowsperstrip=height)
    for name in ("HOLD_PX", "HELD_BYTES", "PIECE_BYTES"):
        monkeypatch.setattr(reader, name, 100)
    assert run("map", strip, "--network", network, "-o", tmp_path / "map") == 1
    assert "isoplan convert" in capsys.readouterr().err
    made = tmp_path / "strip.ome.zarr"
    assert run("convert", strip, "-o", made) == 0
    monkeypatch.undo()
    with open_mosaic(made) as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, height, 0, width), whole)


# One exposure as two -------------------------------------------------------------------------------


@pytest.fixture
def exposure(tmp_path):
    """A soft picture in counts, without noise, and its exposure: gain .5, offset 200, 6 e read noise."""
    rng = np.random.default_rng(2)
    light = gaussian_filter(rng.gamma(0.5, 800, (600, 700)), 6) + np.linspace(0, 900, 700)
    electrons = rng.poisson(light) + rng.normal(0, 6, light.shape)
    tifffile.imwrite(tmp_path / "cells.tif", (200 + 0.5 * electrons).round().astype(np.uint16))
    return tmp_path / "cells.tif", 0.5 * light


@pytest.mark.parametrize("options", [[], ["--offset", 200, "--gain", 0.5, "--read-noise", 6]])
def test_split_gives_two_independent_pictures_and_their_table(exposure, tmp_path, capsys, options):
    picture, light = exposure
    folder = tmp_path / "parts"
    options = ["--out", folder, "--share", 0.2, "--pixel-size-um", 0.1, *options]
    assert run("split", picture, *options) == 0
    said = capsys.readouterr().out
    assert ("estimated from the picture's noise" in said) == (len(options) == 6)
    (row,) = read_table(folder / "pairs.tsv")
    assert row["mosaic"] == "cells" and row["pixel_size_um"] == 0.1
    dark, rest = tifffile.imread(row["path"]), tifffile.imread(row["reference"])
    assert dark.dtype == np.float32 and dark.shape == light.shape
    noise = dark - 0.2 * light, rest - 0.8 * light
    # Photons alone would have them anticorrelated, by .4 and more.
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05
    told = row["gain"] * (dark.mean() - row["offset"]) + (row["gain"] * row["read_noise_e"]) ** 2
    assert noise[0].var() == pytest.approx(told, rel=0.15)
    if len(options) > 6:
        assert dark.mean() - row["offset"] == pytest.approx(0.2 * light.mean(), rel=0.01)
    with tifffile.TiffFile(row["path"]) as file:
        assert file.pages[0].tags["XResolution"].value[0] == pytest.approx(100000)

    assert run("split", picture, *options, "--overwrite") == 0
    np.testing.assert_array_equal(tifffile.imread(row["path"]), dark)
    assert run("split", picture, *options, "--seed", 2, "--overwrite") == 0
    assert (tifffile.imread(row["path"]) != dark).any()
    assert sorted(f.name for f in folder.iterdir()) == [
        "cells-dark.tif",
        "cells-rest.tif",
        "pairs.tsv",
    ]


def test_split_gives_names_that_a_table_takes(exposure, tmp_path, capsys):
    picture, _ = exposure
    odd = picture.rename(tmp_path / "mein Schnitt (ä).tif")
    options = ["--out", tmp_path / "parts", "--offset", 200, "--gain", 0.5, "--read-noise", 6]
    assert run("split", odd, *options) == 0
    assert f"{odd}: is called mein-Schnitt in the table" in capsys.readouterr().out
    (row,) = read_table(tmp_path / "parts" / "pairs.tsv")
    assert row["mosaic"] == "mein-Schnitt" and Path(row["path"]).name == "mein-Schnitt-dark.tif"
    assert Path(row["path"]).exists() and Path(row["reference"]).exists()
    same = tmp_path / "mein-Schnitt.tif"
    same.write_bytes(odd.read_bytes())
    assert run("split", odd, same, *options, "--overwrite") == 1
    assert "mein-Schnitt: two pictures have this name" in capsys.readouterr().err


def test_split_tells_what_it_cannot_count(exposure, tmp_path, capsys):
    picture, _ = exposure
    counts = tifffile.imread(picture)
    counts[:8, :50], counts[100, :30] = 0, 65535
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.stack([counts, counts // 2]), metadata={"axes": "ZYX"})
    folder = tmp_path / "parts"
    assert run("split", picture, stack, "--out", folder, "--slice", 0) == 0
    said = capsys.readouterr().out
    assert "30 saturated pixels" in said and "400 pixels are empty in both parts" in said
    assert "the table says 1 um" in said
    rows = read_table(folder / "pairs.tsv")
    assert [row["mosaic"] for row in rows] == ["cells", "stack"]
    for key in ("path", "reference"):
        assert np.isnan(tifffile.imread(rows[1][key])).sum() == 400


def test_split_refuses_what_is_no_exposure(exposure, tmp_path, capsys):
    picture, _ = exposure
    counts = tifffile.imread(picture)
    wrong = {
        "flat": np.full_like(counts, 300),
        "burnt": np.minimum(counts, 400),
        "colour": np.stack([(counts // 8).astype(np.uint8)] * 3, -1),
    }
    for name, pixels in wrong.items():
        tifffile.imwrite(
            tmp_path / f"{name}.tif", pixels, photometric="rgb" if pixels.ndim == 3 else None
        )
    for arguments, words in (
        (["no.tif"], "no.tif"),
        ([tmp_path / "flat.tif"], "the gain cannot be estimated"),
        ([tmp_path / "burnt.tif"], "are saturated"),
        ([tmp_path / "colour.tif"], "choose one colour by --channel"),
        ([picture, "--share", 0.7], "--share 0.7: give a number above 0 and at most 0.5"),
        ([picture, "--share", 0], "--share 0"),
        ([picture, "--offset", 600], "give a lower --offset"),
        ([picture, picture], "two pictures have this name"),
    ):
        assert run("split", *arguments, "--out", tmp_path / "parts") == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("isoplan: ") and words in error
    assert not list((tmp_path / "parts").iterdir())


def test_cells_that_raise_the_alarm_are_told_and_not_used(picture, network, tmp_path, capsys):
    made, _, card = store.load(network)
    flags(made, alarm=20)
    store.save(network, made, card)
    assert run("map", picture, "--network", network, "--out", tmp_path / "out") == 0
    assert (pd.read_csv(tmp_path / "out" / "psf_map.csv")["alarm"] > 0.99).all()
    said = capsys.readouterr().out
    assert "56 cells raise the alarm" in said and "0 of 56 cells are valid" in said
    options = ["--network", network, "--out", tmp_path / "all", "--alarm-threshold", 1]
    assert run("map", picture, *options) == 0
    assert "20 of 56 cells are valid" in capsys.readouterr().out


def test_without_a_network_the_released_one_serves(picture, network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(entries, "MODELS", tmp_path / "models")
    out = tmp_path / "out"
    assert run("map", picture, "--out", out) == 1
    assert "no network is released for gaussian-2; released: none at all" in capsys.readouterr().err
    (tmp_path / "models").mkdir()
    network.rename(tmp_path / "models" / "gaussian-2.safetensors")
    assert run("map", picture, "--out", out) == 0
    assert run("map", picture, "--out", tmp_path / "other", "--psf-model", "zernike-1") == 1
    assert "released for zernike-1; released: gaussian-2" in capsys.readouterr().err
    file = tmp_path / "models" / "gaussian-2.safetensors"
    assert run("map", picture, "--network", file, "--psf-model", "gaussian-1") == 1
    assert "estimates gaussian-2, not gaussian-1" in capsys.readouterr().err


@pytest.fixture
def focus(tmp_path):
    """An untrained network for cut-offs from .2 to .4 cycles/px."""
    psf = PSF | {"model": "zernike-1", "size_px": 31, "cutoff_range": [0.2, 0.4]}
    spec = {"architecture": "isoplan", "width": 4, "fit": "spectrum"}
    torch.manual_seed(1)
    made = store.build(spec, 96, make_psf_model(psf))
    flags(made, alarm=-20)
    card = {"psf": psf, "network": spec, "window_px": 96, "fingerprint": "0"}
    store.save(tmp_path / "focus.safetensors", made, card)
    return tmp_path / "focus.safetensors"


def test_optics_reach_the_network(picture, focus, tmp_path, capsys):
    maps = []
    for number, optics in enumerate(
        (
            ["--cutoff", 0.3],
            ["--na", 0.5, "--wavelength-um", 0.5, "--pixel-size-um", 0.3],
            ["--cutoff", 0.25],
            ["--cutoff", 0.15],
        )
    ):
        out = tmp_path / str(number)
        assert run("map", picture, "--network", focus, "--out", out, *optics) == 0
        maps.append(pd.read_csv(out / "psf_map.csv"))
    said = capsys.readouterr().out
    assert (
        "cut-off 0.3 cycles/px (NA" in said
        and "as given" not in said
        and "2 x 2 pixels are binned" in said
    )
    pd.testing.assert_frame_equal(maps[0], maps[1])
    assert not maps[0]["focus_waves"].equals(maps[2]["focus_waves"])
    assert len(maps[3]) == 4 * 4  # windows and strides of twice the side


def test_a_cutoff_that_contradicts_the_optics_is_told(picture, focus, tmp_path, capsys):
    optics = ["--na", 0.5, "--wavelength-um", 0.5, "--pixel-size-um", 0.3]
    said = []
    for cutoff in (0.25, 0.301):
        out = tmp_path / str(cutoff)
        options = ["--network", focus, "--out", out, "--cutoff", cutoff, *optics]
        assert run("map", picture, *options) == 0
        said.append(capsys.readouterr().out)
    words = "cut-off is 0.25 cycles/px as given, though NA * pixel size / wavelength is 0.3"
    assert words in said[0] and "cut-off" not in said[1]


@pytest.mark.parametrize(
    "optics, words",
    [
        ([], "give na, wavelength_um and pixel_size_um"),
        (["--na", 0.5, "--pixel-size-um", 0.3], "give na, wavelength_um and pixel_size_um"),
        (["--cutoff", 0.9], "does not fit this network, which is for 0.2 to 0.4"),
        (["--cutoff", 0.0003], "667 x 667 pixels would be binned"),
    ],
)
def test_optics_that_are_missing_or_impossible(optics, words, picture, focus, tmp_path, capsys):
    assert run("map", picture, "--network", focus, "--out", tmp_path / "out", *optics) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_network_are_told_apart(picture, network, tmp_path, capsys):
    whole = network.read_bytes()
    tensors = {"weight": torch.zeros(3)}
    reversed_range = store.load(network)[2]
    reversed_range["psf"]["width_px"] = [6, 0.5]
    files = {
        "cut.safetensors": (whole[: len(whole) // 2], "not a readable safetensors file"),
        "picture.safetensors": (picture.read_bytes(), "not a readable safetensors file"),
        "foreign.safetensors": (save(tensors, {"format": "pt"}), "has no isoplan card"),
        "changed.safetensors": (
            save(tensors, {"card": json.dumps(store.load(network)[2])}),
            "its weights do not fit its card",
        ),
        "half.safetensors": (save(tensors, {"card": '{"psf": {}}'}), "has no isoplan card"),
        "deep.safetensors": (
            save(tensors, {"card": "[" * 100_000 + "]" * 100_000}),
            "deep.safetensors: has no isoplan card",
        ),
        "reversed.safetensors": (
            save(tensors, {"card": json.dumps(reversed_range)}),
            "reversed.safetensors: its card does not fit this version of isoplan",
        ),
        "older.safetensors": (
            save(tensors, {"card": '{"psf": {}, "network": {}, "window_px": 96}'}),
            "its card does not fit this version of isoplan",
        ),
    }
    for name, (content, words) in files.items():
        (tmp_path / name).write_bytes(content)
        assert run("map", picture, "--network", tmp_path / name, "--out", tmp_path / "out") == 1
        assert words in capsys.readouterr().err, name
        assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize("finished", [True, False])
def test_another_training_s_network_is_replaced_only_if_asked(
    study, tmp_path, capsys, monkeypatch, finished
):
    folder, edited = tmp_path / "net", tmp_path / "edited.yaml"
    edited.write_text(yaml.safe_dump(STUDY | {"seed": 2}))
    assert run("train", study, "net", "--folder", folder) == 0
    if not finished:
        for name in ("network.safetensors", "card.json"):
            (folder / name).unlink()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(training, "train", None)  # refused before anything is done
        assert run("train", edited, "net", "--folder", folder) == 1
    (error,) = capsys.readouterr().err.strip().splitlines()
    name = "network.safetensors" if finished else "checkpoint.pt"
    assert f"{folder / name}: comes from a training with other settings or code" in error
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert run("train", study, "net", "--folder", folder) == 0
    assert store.load(folder / "network.safetensors")[2]["seed"] == 1
    assert run("train", edited, "net", "--folder", folder, "--overwrite") == 0
    assert store.load(folder / "network.safetensors")[2]["seed"] == 2


def test_evaluate_writes_the_rows_of_regression_csv(study, tmp_path):
    assert run("train", study, "net", "--folder", tmp_path / "net") == 0
    weights, out = tmp_path / "net" / "network.safetensors", tmp_path / "new" / "regression.csv"
    assert run("evaluate", study, "net", weights, "--out", out) == 0
    table = pd.read_csv(out)
    assert set(table["test_set"]) == {"scenes"} and set(table["psf_model"]) == {"gaussian-2"}
    assert set(table["parameter"]) == {
        "width_x",
        "width_y",
        "mean",
        "validity",
        "alarm",
        "other_blur",
    }
    assert set(table["degradation"]) == {"none", "poisson"} and set(table["level"]) == {0, 0.1, 0.5}
    for name in ("calibration", "abstention"):
        beside = pd.read_csv(out.with_name(f"regression.{name}.csv"))
        assert set(beside["parameter"]) == {"width_x", "width_y"}


def test_an_unknown_network_is_named_with_those_there_are(study, tmp_path, capsys):
    assert run("train", study, "other", "--folder", tmp_path / "net") == 1
    assert "known: net" in capsys.readouterr().err


def test_training_needs_neither_zarr_nor_snakemake(study, tmp_path):
    """Nor does a release, which goes on with what was trained."""
    absent = ("zarr", "snakemake", "rich", "timm", "tifffile", "matplotlib", "jinja2")
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"  # importing one of them fails
        "from isoplan.cli.arguments import main\n"
        "study = sys.argv[1]\n"
        "code = main(['train', study, 'net', '--folder', 'networks/net'])\n"
        "sys.exit(code or main(['release', study, '--folder', 'networks', '--out', 'out']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(study)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").glob("*.safetensors"))


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    commands = ("map", "restore", "convert", "train", "evaluate", "release", "verify")
    assert all(name in shown for name in commands)
