"""A study of depth alone: a plane's heights are found, a lost picture is made again, and the report shows the surface."""

import pandas as pd
import pytest
from checkout import Checkout, planned

pytestmark = pytest.mark.slow

STUDY = """
study: mini-depth
objects:
  - {name: scenes, kinds: [dead-leaves]}
psfs:
  - {name: gaussian-2, model: gaussian-2, size_px: 63}
networks:
  - {name: gaussian-2, psf: gaussian-2, weights: released}
test_sets: []
tests: []
simulations: []
mosaics: null
depth_tests:
  - {name: t, size_px: 640, samples: 2, calibration: "true", reach_um: 16, networks: [gaussian-2], tilt_deg: 6}
jobs_per_mosaic: 1
resources: {threads: 1}
"""


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-depth.yaml", STUDY)
    results = checkout.results
    made = planned(checkout.run())
    assert made["calibrate_depth"] == made["score_depth"] == 1
    rows = pd.read_csv(results / "depth.csv")
    assert rows["method"].tolist() == ["fit", "gaussian-2"] * 2
    fit = rows[rows["method"] == "fit"]
    assert (fit["error_share"] < 0.05).all() and (fit["sign_right"] == 1).all()
    page = (results / "report.html").read_text()
    assert "Heights found in single pictures" in page and 'class="surface"' in page
    assert (results / "figures/depth_t.png").is_file()

    # As `make resume` does where a unit was damaged: it is made again, and what is left is not.
    kept, torn = (results / f"depth_tests/t/scores/{unit}.npy" for unit in (1, 0))
    before = kept.stat().st_mtime_ns
    torn.write_bytes(b"torn")
    for file in ("stages/depth_tests/t/score.0.done", "depth.csv"):
        (results / file).unlink()
    made = planned(checkout.run())
    assert made["score_depth"] == made["tabulate_depth"] == 1 and "calibrate_depth" not in made
    assert kept.stat().st_mtime_ns == before
    again = pd.read_csv(results / "depth.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(again, rows.drop(columns="seconds"))
