"""Depth, autofocus and flow in one study: each is found, lost units are made again, and the report shows all."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from checkout import Checkout, planned
from isoplan.__main__ import main
from isoplan.applications.depth.calibration import FOUND, Calibration
from isoplan.mosaic import ngff
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX, exposed, picture

pytestmark = pytest.mark.slow

STUDY = """
study: mini-focus
objects:
  - {name: scenes, kinds: [dead-leaves]}
psfs:
  - {name: gaussian-2, model: gaussian-2, size_px: 63}
  - {name: zernike-1, model: zernike-1, size_px: 79, cutoff: 0.2}
networks:
  - {name: gaussian-2, psf: gaussian-2, weights: released}
  - {name: zernike-1, psf: zernike-1, weights: released}
test_sets: []
tests: []
simulations: []
mosaics: null
flow_tests:
  - {name: f, motion: two, photons: [100000, 1000000], size_px: 384, samples: 2}
  - {name: s, motion: one, photons: [100000, 1000000], size_px: 320, samples: 1, frames: 2}
depth_tests:
  - {name: d, size_px: 640, samples: 2, calibration: "true", reach_um: 16, networks: [gaussian-2], tilt_deg: 6}
autofocus_tests:
  - {name: a, size_px: 256, samples: 2, objects_seen: 2, pictures: 3, calibration: "true", start_depths: 4, range_depths: 5, curve_depths: 5, curve_nodes: 9, measures: [tenengrad], networks: [zernike-1]}
height_maps:
  - {name: own, path: own.tif, calibration: cal.json, reach_um: 12}
  - {name: foreign, path: own.tif, calibration: foreign.json, reach_um: 12}
flow_maps:
  - {name: moved, path: moved.tif, exposure_ms: 20, na: 0.3, wavelength_um: 0.48, pixel_size_um: 0.32, shorter: short}
  - {name: moves, path: moves.tif, exposure_ms: 20, interval_ms: 30, na: 0.3, wavelength_um: 0.48, pixel_size_um: 0.32, longest_px: 12}
  - {name: short, path: moved.tif, exposure_ms: 2, na: 0.3, wavelength_um: 0.48, pixel_size_um: 0.32}
jobs_per_mosaic: 2
resources: {threads: 1}
"""
OPTICS = Defocus(0.3, 0.48, 0.32, cylinder_waves=0.3, axis_rad=0.4)
TORN = {"depth": "d", "autofocus": "a", "flow": "f"}  # tests of which a unit is damaged


def write_own(folder):
    """A picture of two blocks, and a calibration of its microscope and of one that is turned."""
    spec, side = {"name": "s", "kinds": ["dead-leaves"], "zoom": [0.6, 1.6], "reduce": 1}, 640
    scene = draw_scenes(spec, 1, side + 2 * MARGIN_PX, seed=3, stream="own")[0]
    x = torch.arange(len(scene)) - len(scene) / 2
    rising = math.tan(math.radians(5)) * OPTICS.pixel_size_um * x.expand_as(scene)
    taken = exposed(picture(scene, rising, OPTICS), 1e4, np.random.default_rng(0))
    tifffile.imwrite(folder / "own.tif", np.tile(taken, (4, 1))[:2240].astype(np.uint16))
    tifffile.imwrite(folder / "moved.tif", taken[:320, :320].astype(np.uint16))
    pair = np.stack([taken[:320, 16:336], taken[:320, 4:324]]).astype(np.uint16)
    tifffile.imwrite(folder / "moves.tif", pair, ome=True, metadata={"axes": "TYX"})
    width = dict.fromkeys(FOUND, 0.01)
    for name, axis in (("cal", 0.4), ("foreign", 0.4 + math.pi / 4)):
        optics = replace(OPTICS, axis_rad=axis)
        told = Calibration(optics, width, 0.0, (), (2240, side)).told()
        (folder / f"{name}.json").write_text(json.dumps(told))


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-focus.yaml", STUDY)
    write_own(checkout.folder)
    results = checkout.results
    made = planned(checkout.run())
    rows = {name: pd.read_csv(results / f"{name}.csv") for name in TORN}
    for name in TORN:
        tests = 2 if name == "flow" else 1
        assert made[f"score_{name}"] == 2 * tests and made.get(f"calibrate_{name}", 1) == 1
    assert made["map_heights"] == 4 and made["tabulate_heights"] == 1

    depth = rows["depth"]
    assert depth["method"].tolist() == ["fit", "gaussian-2"] * 2
    fit = depth[depth["method"] == "fit"]
    assert (fit["error_share"] < 0.05).all() and (fit["sign_right"] == 1).all()

    methods = ["fit", "triplet", "golden-section", "triplet with zernike-1", "tenengrad"]
    focus = rows["autofocus"]
    assert list(dict.fromkeys(focus["method"])) == methods and len(focus) == 2 * 5 * 3
    summary = pd.read_csv(results / "autofocus_summary.csv").set_index(["method", "pictures"])
    assert summary.loc[("fit", 3), "error_um"] < 1
    assert len(pd.read_csv(results / "autofocus_curves.csv")) == 3 * 2 * 9
    assert len(pd.read_csv(results / "autofocus_scores.csv")) == 3

    flow = rows["flow"]
    assert len(flow) == 2 * 4**2 + 3**2
    two = flow[flow["test"] == "f"]
    assert two["border_px"].max() < 192 and two["heading"].isna().all()
    told = pd.read_csv(results / "flow_summary.csv").set_index("test")
    kinds = ["all", "with texture", "surest half", "far from borders"]
    assert told.loc["f", "rows"].tolist() == kinds and told.loc["s", "rows"].tolist() == kinds[:3]
    assert (told.loc["s", "headings_right"].dropna() == 1).all()
    assert told.loc["s", "headings"].max() > 0.5

    page = (results / "report.html").read_text()
    assert "Heights found in single pictures" in page and 'class="surface"' in page
    assert "A stage driven to focus" in page and "Motion found in single pictures" in page
    for figure in ("flow_f", "depth_d", "autofocus_error_a", "autofocus_scores_a"):
        assert (results / f"figures/{figure}.png").is_file()

    # Heights of the study's own pictures are as the command finds them.
    asked = ["depth", str(checkout.folder / "own.tif"), "--reach-um", "12"]
    asked += ["--calibration", str(checkout.folder / "cal.json")]
    assert main([*asked, "-o", str(tmp_path / "own")]) == 0
    np.testing.assert_array_equal(
        ngff.open_array(results / "height_maps/own.ome.zarr")[:],
        ngff.open_array(tmp_path / "own.ome.zarr")[:],
    )
    table = (results / "height_maps/own/heights.csv").read_text()
    assert table == (tmp_path / "own/heights.csv").read_text()
    facts = pd.read_csv(results / "height_maps.csv").set_index(["height_map", "fact"])["value"]
    assert facts["own", "valid"] > 0.3 and facts["foreign", "valid"] == 0
    assert "Heights of foreign: no height is valid" in page
    assert (results / "figures/heights_own.png").is_file()

    # So is motion.
    asked = ["flow", str(checkout.folder / "moved.tif"), "--exposure-ms", "20", "--na", "0.3"]
    asked += ["--wavelength-um", "0.48", "--pixel-size-um", "0.32"]
    assert main([*asked, "-o", str(tmp_path / "moved")]) == 0
    np.testing.assert_array_equal(
        ngff.open_array(results / "flow_maps/moved.ome.zarr")[:],
        ngff.open_array(tmp_path / "moved.ome.zarr")[:],
    )
    facts = pd.read_csv(results / "flow_maps.csv").set_index(["flow_map", "fact"])["value"]
    assert facts["moved", "valid"] > 0.2 and (results / "figures/flow_map_moved.png").is_file()
    checked = pd.read_csv(results / "flow_maps/moved/flow.csv")
    assert checked["agrees"].mean() == pytest.approx(facts["moved", "agree"])
    assert ("short", "agree") not in facts.index
    # Of a sequence all pictures are taken. What is at rest but displaced does not do what its blur tells.
    assert facts["moves", "frames"] == 2 and ("moved", "frames") not in facts.index
    tracks = [pd.read_csv(results / f"flow_maps/{name}/tracks.csv") for name in ("moves", "moved")]
    assert list(tracks[0]) == list(tracks[1]) and tracks[1].empty
    assert ngff.open_array(results / "flow_maps/moves.ome.zarr").shape == (2, 13, 5, 5)

    # As `make resume` does where a unit was damaged: it is made again, and what is left is not.
    before = {}
    for name, test in TORN.items():
        scores = results / f"{name}_tests/{test}/scores"
        before[scores / "1.npy"] = (scores / "1.npy").stat().st_mtime_ns
        (scores / "0.npy").write_bytes(b"torn")
        (results / f"stages/{name}_tests/{test}/score.0.done").unlink()
        (results / f"{name}.csv").unlink()
    made = planned(checkout.run())
    for name in TORN:
        assert made[f"score_{name}"] == made[f"tabulate_{name}"] == 1
        assert f"calibrate_{name}" not in made
        again = pd.read_csv(results / f"{name}.csv")
        kept = [column for column in again if column != "seconds"]
        pd.testing.assert_frame_equal(again[kept], rows[name][kept])
    assert all(file.stat().st_mtime_ns == at for file, at in before.items())
