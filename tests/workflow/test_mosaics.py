"""A user's own mosaics, some of them broken, and mistakes in the study: clear words, nothing lost."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import zarr
from checkout import Checkout, planned
from isoplan.base.config import validate
from isoplan.networks import store
from isoplan.optics.psf import make_psf_model
from ome_zarr_models.v05.image import Image
from safetensors.torch import save_file
from tile_folders import fiji, grid, write_tiles

pytestmark = pytest.mark.slow

STUDY = """
study: own
psfs:
  - {name: gaussian-2, model: gaussian-2, size_px: 15, width_px: [1.5, 5]}
networks:
  - {name: ready, weights: ready.safetensors}
simulations: []
tests: []
mosaics: mosaics.tsv
map: {window_px: 96, stride_px: 32, edges: reflect, validity_threshold: 0}
restoration: {methods: [estimated, none], iterations: 2, core_px: 256}
jobs_per_mosaic: 1
report: {crop_px: 128}
resources: {threads: 1}
"""
GOOD = ("colour", "deep", "holes", "flat", "two-DAPI", "two-FITC", "tiles", "thick")
# Lines of the table: what they are read from, where that is no TIFF of their name.
LINES = ("colour", "deep", "holes", "flat", "two", "tiles", "thick")
PATHS = {"two": "two.ome.tif", "tiles": "tiles", "thick": "thick.ome.zarr", "lost": "lost"}
BAD = ("cut", "gone", "lost", "torn")
BOXES = grid((200, 280), (120, 160), (80, 120))  # four tiles, 40 px of overlap
SLICES = 2700  # in one piece: more than is held
SHAPE = (100, 130)


def pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    light = rng.gamma(2, 0.1, SHAPE).clip(0, 1)
    holes = (1000 * light).astype(np.float32)
    holes[20, 30:33] = np.nan
    return {
        # 8 bits, RGB, smaller than a window
        "colour": (255 * rng.random((60, 70, 3))).astype(np.uint8),
        "deep": (4095 * light).astype(np.uint16),
        "holes": holes,
        "flat": np.full(SHAPE, 700, np.uint16),
        "cut": (4095 * light).astype(np.uint16),
        "two-DAPI": (4095 * light).astype(np.uint16),
        "two-FITC": (2000 * light[::-1]).astype(np.uint16),
        "tiles": rng.gamma(2, 500, (200, 280)).astype(np.uint16),
        "thick": (4095 * light).astype(np.uint16),
        "torn": (4095 * light).astype(np.uint16),
    }


def write_pictures(folder):
    """Everything that the table names, the broken ones too."""
    made = pictures()
    for name in ("colour", "deep", "holes", "flat", "cut"):
        tifffile.imwrite(folder / f"{name}.tif", made[name])
    cut = folder / "cut.tif"
    cut.write_bytes(cut.read_bytes()[:-5000])
    tear(folder / "torn.tif", made["torn"])
    two, metadata = np.stack([made["two-DAPI"], made["two-FITC"]]), {"axes": "CYX"}
    metadata["Channel"] = {"Name": ["DAPI", "FITC"]}
    tifffile.imwrite(folder / "two.ome.tif", two, metadata=metadata)
    for name in ("tiles", "lost"):
        names = write_tiles(folder / name, made["tiles"], BOXES, compression="zlib")
        places = [(y0, x0) for y0, _, x0, _ in BOXES]
        (folder / name / "TileConfiguration.txt").write_text(fiji(names, places))
    (folder / "lost" / "tile2.tif").unlink()
    # One piece holds all slices: more than is decoded to read a window.
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    meta = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    stack = np.zeros((SLICES, *SHAPE), np.uint16)
    stack[3] = made["thick"]
    group = zarr.create_group(folder / "thick.ome.zarr", attributes={"ome": meta})
    group.create_array("0", data=stack, chunks=stack.shape)


def tear(path, picture) -> None:
    """Compressed in strips, one of them, in the middle, damaged: the header is whole."""
    tifffile.imwrite(path, picture, compression="zlib", rowsperstrip=10)
    with tifffile.TiffFile(path) as tiff:
        begin, length = tiff.pages[0].dataoffsets[5], tiff.pages[0].databytecounts[5]
    content = bytearray(path.read_bytes())
    content[begin : begin + length] = bytes(length)
    path.write_bytes(content)


def table(names, **gains) -> str:
    rows = ["mosaic\tpath\tpixel_size_um\tgain\toffset\tslice"]
    for name in names:
        path, slice_ = PATHS.get(name, f"{name}.tif"), 3 if name == "thick" else ""
        rows.append(f"{name}\tdata/{path}\t0.5\t{gains.get(name, 2)}\t10\t{slice_}")
    return "\n".join(rows) + "\n"


def write_network(path, *, width_px=(1.5, 5)):
    """A network that was never trained: here it matters only that it gives numbers."""
    psf = {"model": "gaussian-2", "size_px": 15, "width_px": list(width_px), "name": "gaussian-2"}
    study = validate(
        {"psfs": [psf], "networks": [{"name": "ready", "width": 8, "fit": "none"}]} | NOTHING
    )
    network = study["networks"][0]
    torch.manual_seed(0)
    card = {"psf": study["psfs"][0], "network": network, "window_px": 96, "fingerprint": "ready"}
    made = store.build(network, 96, make_psf_model(study["psfs"][0])).eval()
    with torch.no_grad():
        made.head[-1].bias[-2:] = -3  # neither invalid nor an alarm
    store.save(path, made, card)


NOTHING = {"simulations": [], "tests": [], "mosaics": None}


@pytest.fixture(scope="session")
def own(tmp_path_factory) -> Checkout:
    checkout = Checkout.make(tmp_path_factory.mktemp("own") / "isoplan", "own.yaml", STUDY)
    write_network(checkout.folder / "ready.safetensors")
    (checkout.folder / "data").mkdir()
    write_pictures(checkout.folder / "data")
    (checkout.folder / "mosaics.tsv").write_text(table([*LINES, *BAD]))
    checkout.code, checkout.output = checkout.try_()
    return checkout


def stage_times(own) -> dict[str, int]:
    """When each job's result was written, of the mosaics' own jobs."""
    files = [
        *own.results.glob("stages/*/*/**/*.done"),
        *own.results.glob("evaluation/*.metrics.csv"),
    ]
    return {str(file.relative_to(own.results)): file.stat().st_mtime_ns for file in files}


def test_the_others_are_done_and_the_end_says_what_is_not(own):
    assert own.code != 0
    refused = pd.read_csv(own.results / "refused.csv").set_index("mosaic")
    assert set(refused.index) == set(BAD)
    assert "truncated" in refused.loc["cut", "reason"]
    assert "no such file" in refused.loc["gone", "reason"]
    assert "line 7: there is no tile data/lost/tile2.tif" in refused.loc["lost", "reason"]
    assert "rows 0 to 100 cannot be read" in refused.loc["torn", "reason"]
    assert re.search(r"ERROR results/own/refused.csv: 4 mosaics were refused \(cut: .*gone: .*torn: ", own.output)  # fmt: skip
    assert "Traceback" not in own.output
    assert not (own.results / "finished.txt").exists()
    report = (own.results / "report.html").read_text()
    assert "cut was refused" in report and "torn was refused" in report
    assert set(pd.read_csv(own.results / "metrics.csv")["mosaic"]) == set(GOOD)


def restored(own, name) -> np.ndarray:
    return zarr.open_array(own.results / f"restored/{name}/estimated.ome.zarr/0")[:]


def psf_map(own, name) -> np.ndarray:
    return zarr.open_array(own.results / f"psf_map/{name}/ready.zarr/0")[:]


@pytest.mark.parametrize("name", GOOD)
def test_every_good_mosaic_has_map_and_restoration(own, name):
    picture = pictures()[name]
    assert restored(own, name).shape == picture.shape[:2]
    assert np.isfinite(restored(own, name)).all()
    cells = psf_map(own, name)
    assert cells.shape == (7, *(-(-length // 32) for length in picture.shape[:2]))
    assert np.isfinite(cells[:2]).all() == (name != "flat")
    Image.from_zarr(zarr.open_group(own.results / f"restored/{name}/estimated.ome.zarr", mode="r"))
    if name not in ("flat", "holes"):
        before, after = float(picture.mean()) - 10, float(restored(own, name).mean())
        assert after == pytest.approx(before, rel=0.1)


def test_bad_pixels_are_invalid_cells(own):
    cells = psf_map(own, "holes")
    assert cells[-1].any() and not cells[-1].all()
    facts = json.loads((own.results / "mosaics" / "holes.json").read_text())
    assert facts["nonfinite_pixels"] == 3
    assert any("3 pixels are not finite" in note for note in facts["notes"])


def test_a_constant_mosaic_comes_back_as_it_is(own):
    cells = psf_map(own, "flat")
    assert np.isnan(cells[:2]).all() and (cells[-1] == 1).all()
    assert (restored(own, "flat") == 690).all()  # less the camera's offset
    log = (own.results / "logs" / "fill_psf_map" / "flat" / "ready.log").read_text()
    assert "no cell of this mosaic is valid" in log


def facts(own, name) -> dict:
    return json.loads((own.results / "mosaics" / f"{name}.json").read_text())


def test_channels_are_mosaics_of_their_own(own):
    for number, name in enumerate(("two-DAPI", "two-FITC")):
        assert facts(own, name)["channel"] == number
        assert facts(own, name)["mean"] == pytest.approx(pictures()[name].mean())


def test_tiles_make_one_picture_and_seams_no_cells(own):
    assert facts(own, "tiles")["mean"] == pytest.approx(pictures()["tiles"].mean())
    raw = zarr.open_array(own.results / "psf_map/tiles/ready.zarr/raw")[:]
    # The window of a cell is 96 px around it.
    y, x = (32 * np.arange(length) - 32 for length in raw.shape[1:])
    held = np.zeros(raw.shape[1:], bool)
    for y0, y1, x0, x1 in BOXES:
        rows, columns = (y >= y0) & (y + 96 <= y1), (x >= x0) & (x + 96 <= x1)
        held |= rows[:, None] & columns
    assert held.any() and not held.all()
    np.testing.assert_array_equal(np.isfinite(raw[0]), held)
    # A tile that changes is noticed.
    tile = own.folder / "data" / "tiles" / "tile1.tif"
    content = tile.read_bytes()
    tifffile.imwrite(tile, np.zeros((120, 160), np.uint16), compression="zlib")
    assert planned(own.try_("--dry-run")[1])["measure_mosaic"] == 1
    tile.write_bytes(content)


def test_what_cannot_be_read_by_window_is_converted(own):
    converted = own.results / "converted"
    assert [path.name for path in converted.iterdir()] == ["thick.ome.zarr"]
    np.testing.assert_array_equal(
        zarr.open_array(converted / "thick.ome.zarr/0")[:], pictures()["thick"]
    )
    told = facts(own, "thick")
    assert told["path"].endswith("converted/thick.ome.zarr")
    assert any("converted from data/thick.ome.zarr" in note for note in told["notes"])


def test_colour_is_told(own):
    log = (own.results / "logs" / "measure_mosaic" / "colour.log").read_text()
    assert "luminance" in log


def test_mended_the_study_ends_and_an_edited_line_reruns_its_mosaic(own):
    before = stage_times(own)
    assert "check_mosaics" not in planned(own.run("--dry-run"))
    tifffile.imwrite(own.folder / "data" / "torn.tif", pictures()["torn"])
    assert planned(own.run("--dry-run"))["check_mosaics"] == 1  # in place, the table as it was
    (own.folder / "mosaics.tsv").write_text(table([*LINES, "torn"], deep=3))
    output = own.run()
    assert "report: results/own/report.html" in output
    assert (own.results / "finished.txt").exists()
    after = stage_times(own)
    mended = {name for name in after if "torn" in name}
    assert mended and after.keys() - before.keys() == mended
    again = {name for name in before if before[name] != after[name]}
    assert again and all("deep" in name for name in again)
    assert again == {name for name in before if "deep" in name}
    assert "Nothing to be done" in own.run("--dry-run")


# Mistakes --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Checkout:
    """A copy that nothing was run in."""
    return Checkout.make(tmp_path_factory.mktemp("plain") / "isoplan", "own.yaml", STUDY)


def error_lines(checkout, text, *arguments) -> list[str]:
    """What Snakemake says of a study file: it must fail, without a traceback."""
    (checkout.folder / checkout.study).write_text(text)
    code, output = checkout.try_(*arguments)
    assert code != 0
    assert "Traceback" not in output, output
    return output.splitlines()


def test_mistakes_in_the_study_name_key_and_line(plain):
    lines = error_lines(
        plain,
        "study: wrong\n"
        "sede: 3\n"
        "map:\n"
        "  stride_px: 0\n"
        "  neighbours: many\n"
        "psfs:\n"
        "  - {name: a, model: zernike-1, cutoff: 0}\n"
        "cameras:\n"
        "  - {name: training, read_noise_e: [-1, 2]}\n",
    )
    for start in (
        "own.yaml:2: sede: unknown key; did you mean seed?",
        "own.yaml:4: map.stride_px: 0 is out of range",
        "own.yaml:5: map.neighbours: 'many' is not a whole number",
        "own.yaml:7: psfs[0].cutoff: 0 is out of range",
        "own.yaml:9: cameras[0].read_noise_e[0]: -1 is out of range",
    ):
        assert any(start in line for line in lines), (start, lines)
    assert not (plain.folder / "results").exists()


def test_a_name_that_nothing_bears(plain):
    text = STUDY.replace("tests: []", "tests: [{network: redy, test_set: scenes}]")
    lines = error_lines(plain, text)
    wanted = "own.yaml:8: tests[0].network: 'redy' is no entry of networks; did you mean ready?"
    assert any(wanted in line for line in lines), lines


def test_a_table_that_is_not_there(plain):
    lines = error_lines(plain, STUDY)
    assert any("mosaics.tsv" in line for line in lines), lines


def test_files_that_do_not_serve(plain):
    """Networks without a card or for another PSF, and a folder without pictures."""
    save_file({"weight": torch.zeros(3)}, plain.folder / "stray.safetensors")
    write_network(plain.folder / "other.safetensors", width_px=(2, 9))
    (plain.folder / "empty").mkdir()
    text = STUDY.replace("mosaics: mosaics.tsv", "mosaics: null").replace(
        "  - {name: ready, weights: ready.safetensors}",
        "  - {name: stray, weights: stray.safetensors}\n"
        "  - {name: other, weights: other.safetensors}\n"
        "  - {name: own, objects: folder}\n"
        "objects:\n"
        "  - {name: scenes}\n"
        "  - {name: folder, kinds: [folder], folder: empty}",
    )
    targets = [f"results/own/networks/{name}/network.safetensors" for name in ("stray", "other", "own")]  # fmt: skip
    lines = error_lines(plain, text, *targets)
    errors = [line for line in lines if line.startswith("ERROR ")]
    for start in (
        "ERROR stray.safetensors: carries no isoplan card",
        "ERROR other.safetensors: trained for PSF width_px [2, 9], the study asks for [1.5, 5]",
        "ERROR empty: holds no pictures",
    ):
        assert any(line.startswith(start) for line in errors), (start, errors)
    assert len(errors) == 3
    assert not list(plain.folder.glob("results/own/networks/*/network.safetensors"))


def test_results_that_cannot_be_written(plain):
    """A file stands where the folder should be: as root, who may write anywhere, the one way to see it."""
    results = plain.folder / "results"
    if results.exists():
        results.rename(plain.folder / "aside")
    results.write_text("a file\n")
    lines = error_lines(plain, STUDY.replace("mosaics: mosaics.tsv", "mosaics: null"))
    results.unlink()
    assert any("results" in line and "cannot be written" in line for line in lines), lines
