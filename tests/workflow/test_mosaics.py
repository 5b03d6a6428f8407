"""A user's own mosaics, some of them broken: all others are done, and clear words, nothing lost."""

import json
import os
import re

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from checkout import Checkout, planned
from isoplan.psf_map.layout import FILLED, USABLE
from ome_zarr_models.v05.image import Image
from tile_folders import fiji, grid, write_tiles
from untrained import write_network

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
restoration: {methods: [estimated, none], iterations: 2, tv_weight: 0.001, psf_scale: 1, resolution_px: 0, core_px: 256}
jobs_per_mosaic: 1
report: {crop_px: 128}
resources: {threads: 1}
"""
GOOD = ("colour", "holes", "two-DAPI", "two-flat", "tiles", "thick")
# Lines of the table: what they are read from, where that is no TIFF of their name. Braces are Snakemake's own.
LINES = ("colour", "holes", "two", "tiles", "thick")
PATHS = {"two": "two.ome.tif", "tiles": "{1}/tiles", "thick": "{mosaic}.ome.zarr", "lost": "lost"}
PATHS["broken"] = "broken.png"
# Better pictures of the same field; of "two" it shows another one.
REFERENCES = {"thick": "bet{1}er.tif", "two": "colour.tif"}
BAD = ("cut", "gone", "lost", "torn", "broken")
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
        "holes": holes,
        "cut": (4095 * light).astype(np.uint16),
        "two-DAPI": (4095 * light).astype(np.uint16),
        "two-flat": np.full(SHAPE, 700, np.uint16),
        "tiles": rng.gamma(2, 500, (200, 280)).astype(np.uint16),
        "thick": (4095 * light).astype(np.uint16),
        "torn": (4095 * light).astype(np.uint16),
    }


def write_pictures(folder):
    """Everything that the table names, the broken ones too."""
    made = pictures()
    for name in ("colour", "holes", "cut"):
        tifffile.imwrite(folder / f"{name}.tif", made[name])
    better = np.roll(made["thick"], (2, -3), (0, 1))  # brighter, and moved
    better = 1.5 * better + 200 + np.random.default_rng(1).normal(0, 6, better.shape)  # no copy
    tifffile.imwrite(folder / "bet{1}er.tif", better.astype(np.float32))
    cut = folder / "cut.tif"
    cut.write_bytes(cut.read_bytes()[:-5000])
    tear(folder / "torn.tif", made["torn"])
    imageio.imwrite(folder / "broken.png", made["cut"])
    content = (folder / "broken.png").read_bytes()  # all of its parts stay, one is spoilt
    (folder / "broken.png").write_bytes(content[:3000] + bytes(1000) + content[4000:])
    two, metadata = np.stack([made["two-DAPI"], made["two-flat"]]), {"axes": "CYX"}
    metadata["Channel"] = {"Name": ["DAPI", "flat"]}
    tifffile.imwrite(folder / "two.ome.tif", two, metadata=metadata)
    for name in ("tiles", "lost"):
        tiles = folder / PATHS[name]
        names = write_tiles(tiles, made["tiles"], BOXES, compression="zlib")
        places = [(y0, x0) for y0, _, x0, _ in BOXES]
        (tiles / "TileConfiguration.txt").write_text(fiji(names, places))
    (folder / "lost" / "tile2.tif").unlink()
    # One piece holds all slices: more than is decoded to read a window.
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    meta = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    stack = np.zeros((SLICES, *SHAPE), np.uint16)
    stack[3] = made["thick"]
    group = zarr.create_group(folder / PATHS["thick"], attributes={"ome": meta})
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
    rows = ["mosaic\tpath\tpixel_size_um\tgain\toffset\tslice\treference"]
    for name in names:
        path, slice_ = PATHS.get(name, f"{name}.tif"), 3 if name == "thick" else ""
        beside = f"data/{REFERENCES[name]}" if name in REFERENCES else ""
        rows.append(f"{name}\tdata/{path}\t0.5\t{gains.get(name, 2)}\t10\t{slice_}\t{beside}")
    return "\n".join(rows) + "\n"


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
    for name in ("torn", "broken"):
        assert "rows 0 to 100 cannot be read" in refused.loc[name, "reason"]
    assert re.search(r"ERROR results/own/refused.csv: 5 mosaics were refused \(cut: .*gone: .*torn: ", own.output)  # fmt: skip
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
    known = np.isfinite(picture if name == "holes" else np.ones(picture.shape[:2]))
    np.testing.assert_array_equal(np.isfinite(restored(own, name)), known)
    cells = psf_map(own, name)
    assert cells.shape == (9, *(-(-length // 32) for length in picture.shape[:2]))
    assert np.isfinite(cells[:2]).all() == (name != "two-flat")
    Image.from_zarr(zarr.open_group(own.results / f"restored/{name}/estimated.ome.zarr", mode="r"))
    if name not in ("two-flat", "holes"):
        before, after = float(picture.mean()) - 10, float(restored(own, name).mean())
        assert after == pytest.approx(before, rel=0.1)


def test_bad_pixels_are_invalid_cells(own):
    cells = psf_map(own, "holes")
    hit = cells[FILLED] == 1
    assert hit.any() and not hit.all()
    assert (cells[USABLE][hit] < 1).all() and cells[USABLE].min() > 0.998
    facts = json.loads((own.results / "mosaics" / "holes.json").read_text())
    assert facts["nonfinite_pixels"] == 3
    assert any("3 pixels are not finite" in note for note in facts["notes"])


def test_a_constant_channel_comes_back_as_it_is(own):
    cells = psf_map(own, "two-flat")
    assert np.isnan(cells[:2]).all() and (cells[FILLED] == 1).all()
    assert (restored(own, "two-flat") == 690).all()  # less the camera's offset
    log = (own.results / "logs" / "fill_psf_map" / "two-flat" / "ready.log").read_text()
    assert "no cell of this mosaic is valid" in log


def facts(own, name) -> dict:
    return json.loads((own.results / "mosaics" / f"{name}.json").read_text())


def test_a_reference_frame_measures_the_restoration(own):
    found = json.loads((own.results / "references" / "thick.json").read_text())
    assert found["shift"] == pytest.approx([2, -3], abs=0.1)
    metrics = pd.read_csv(own.results / "metrics.csv")
    values = metrics[metrics["mosaic"] == "thick"].set_index(["method", "metric"])["value"]
    assert values["none", "SNR"] > 40  # the same picture, but for its border and a little noise
    assert values["estimated", "SNR"] < values["none", "SNR"]  # it was sharp already
    assert values["reference", "CV"] == pytest.approx(values["none", "CV"], rel=0.02)
    # White noise is what no blur gives back; what it should be is tested with blurred pictures.
    assert np.isfinite(values["estimated", "SNR-reblurred"])
    assert values["none", "SNR-reblurred"] == pytest.approx(values["none", "SNR"], abs=3)
    other = json.loads((own.results / "references" / "two-DAPI.json").read_text())
    assert "does not show the same field" in other["refused"]
    assert not metrics[(metrics["mosaic"] == "two-DAPI") & (metrics["metric"] == "SNR")].size
    assert "reference frame" in (own.results / "report.html").read_text()


def test_channels_are_mosaics_of_their_own(own):
    for number, name in enumerate(("two-DAPI", "two-flat")):
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


def test_a_tile_put_in_anothers_place_is_noticed(own, tmp_path):
    """Even one that is older than all that was made of them."""
    changed, facts_of = own.clone(tmp_path / "isoplan"), "results/own/mosaics/{}.json".format
    tile = changed.folder / "data" / PATHS["tiles"] / "tile1.tif"
    times = tile.stat().st_atime_ns, tile.stat().st_mtime_ns
    tifffile.imwrite(tile, np.zeros((120, 160), np.uint16), compression="zlib")
    os.utime(tile, ns=times)
    changed.run(facts_of("tiles"), facts_of("colour"))
    assert facts(changed, "tiles")["mean"] < 0.9 * facts(own, "tiles")["mean"]
    one, other = ((c.folder / facts_of("colour")).stat().st_mtime_ns for c in (own, changed))
    assert one == other


def test_what_cannot_be_read_by_window_is_converted(own):
    converted = own.results / "converted"
    assert [path.name for path in converted.iterdir()] == ["thick.ome.zarr"]
    np.testing.assert_array_equal(
        zarr.open_array(converted / "thick.ome.zarr/0")[:], pictures()["thick"]
    )
    told = facts(own, "thick")
    assert told["path"].endswith("converted/thick.ome.zarr")
    assert any("converted from data/{mosaic}.ome.zarr" in note for note in told["notes"])


def test_colour_is_told(own):
    log = (own.results / "logs" / "measure_mosaic" / "colour.log").read_text()
    assert "luminance" in log


def test_mended_the_study_ends_and_an_edited_line_reruns_its_mosaic(own):
    before = stage_times(own)
    assert "check_mosaics" not in planned(own.run("--dry-run"))
    tifffile.imwrite(own.folder / "data" / "torn.tif", pictures()["torn"])
    assert planned(own.run("--dry-run"))["check_mosaics"] == 1  # in place, the table as it was
    (own.folder / "mosaics.tsv").write_text(table([*LINES, "torn"], colour=3, thick=3))
    output = own.run()
    assert "report: results/own/report.html" in output
    assert (own.results / "finished.txt").exists()
    after = stage_times(own)
    mended = {name for name in after if "torn" in name}
    assert mended and after.keys() - before.keys() == mended
    again = {name for name in before if before[name] != after[name]}
    edited = {name for name in before if "colour" in name or "thick" in name}
    assert edited and again == edited - {"stages/converted/thick.done"}  # which reads no gain
    assert "Nothing to be done" in own.run("--dry-run")
