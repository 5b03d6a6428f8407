"""Depth and autofocus in one study: heights and focus are found, lost units are made again, and the report shows both."""

import pandas as pd
import pytest
from checkout import Checkout, planned

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
depth_tests:
  - {name: d, size_px: 640, samples: 2, calibration: "true", reach_um: 16, networks: [gaussian-2], tilt_deg: 6}
autofocus_tests:
  - {name: a, size_px: 256, samples: 2, objects_seen: 2, pictures: 3, calibration: "true", start_depths: 4, range_depths: 5, curve_depths: 5, curve_nodes: 9, measures: [tenengrad], networks: [zernike-1]}
jobs_per_mosaic: 1
resources: {threads: 1}
"""
TORN = {"depth": "d", "autofocus": "a"}  # tests of which a unit is damaged


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-focus.yaml", STUDY)
    results = checkout.results
    made = planned(checkout.run())
    rows = {name: pd.read_csv(results / f"{name}.csv") for name in TORN}
    for name in TORN:
        assert made[f"calibrate_{name}"] == made[f"score_{name}"] == 1

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

    page = (results / "report.html").read_text()
    assert "Heights found in single pictures" in page and 'class="surface"' in page
    assert "A stage driven to focus" in page
    for figure in ("depth_d", "autofocus_error_a", "autofocus_scores_a"):
        assert (results / f"figures/{figure}.png").is_file()

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
        again = pd.read_csv(results / f"{name}.csv").drop(columns="seconds")
        pd.testing.assert_frame_equal(again, rows[name].drop(columns="seconds"))
    assert all(file.stat().st_mtime_ns == at for file, at in before.items())
