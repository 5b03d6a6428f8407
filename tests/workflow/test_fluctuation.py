"""A study of fluctuating sequences alone: its table, its report, and what a lost unit costs."""

import numpy as np
import pandas as pd
import pytest
from checkout import Checkout, planned
from isoplan.applications.fluctuation.trials import METRICS

pytestmark = pytest.mark.slow

NONE = """
study: mini-fluctuation
networks:
  - {name: released, weights: released}
test_sets: []
tests: []
simulations: []
mosaics: null
jobs_per_mosaic: 1
resources: {threads: 1}
"""
STUDY = NONE + (
    """
fluctuation_tests:
  - {name: lines, structure: lines, density_per_um: 80, size_px: 20, frames: 100, seeds: 1, methods: [deconvolved, likelihood]}
  - {name: static, off_frames: 0, bleaching_frames: 1.0e+9, photons: 33, drift_px: 0.3, size_px: 20, frames: 100, seeds: 2, methods: [mean, likelihood]}
"""
)


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-fluctuation.yaml", STUDY)
    results = checkout.results
    made = planned(checkout.run())
    assert made["score_fluctuation"] == 2 and "train_network" not in made
    rows = pd.read_csv(results / "fluctuation.csv")
    values = rows.set_index(["test", "method", "metric", "seed"])["value"].sort_index()
    assert set(rows["method"]) == {"mean", "deconvolved", "likelihood", "truth"}
    assert values.loc["lines", ["deconvolved", "likelihood"], "psnr_db"].between(20, 40).all()
    assert values["lines", "truth", "rate", 0] == pytest.approx(0.75)
    assert values["lines", "truth", "dip", 0] > 0.8
    assert values["lines", "likelihood", "refused", 0] == 0
    assert list(values.loc["static", "likelihood", "refused"]) == [1, 1]
    short = pd.read_csv(results / "fluctuation_summary.csv").set_index(["test", "method", "metric"])
    assert short.loc[("static", "likelihood", "refused"), ["mean", "n"]].tolist() == [1, 2]
    page = (results / "report.html").read_text()
    assert (
        "Super-resolution from fluctuations" in page
        and "Not known, as these tests do not ask it: " in page
    )
    # One sequence is no evidence.
    assert "Ours does not clearly differ from Deconvolved mean" in page
    assert "Nothing was scored" not in page  # the first screen says it
    for name in ("fluctuation_psnr", "fluctuation_pictures"):
        assert (results / f"figures/{name}.png").is_file()

    # As `make resume` does where a unit was damaged: it is made again, and what is left is not.
    kept = [results / f"fluctuation_tests/{unit}.npy" for unit in ("lines/0", "static/0")]
    before = [path.stat().st_mtime_ns for path in kept]
    torn = results / "fluctuation_tests/static/1.npy"
    torn.write_bytes(b"torn")
    for file in ("stages/fluctuation_tests/static/score.0.done", "fluctuation.csv"):
        (results / file).unlink()
    made = planned(checkout.run())
    assert made["score_fluctuation"] == made["tabulate_fluctuation"] == 1
    assert [path.stat().st_mtime_ns for path in kept] == before
    again = pd.read_csv(results / "fluctuation.csv")
    told = rows["metric"] != "seconds"
    pd.testing.assert_frame_equal(again[told], rows[told])
    assert np.load(torn).shape == (1, 3, len(METRICS))

    # A study that asks for something else has none of it.
    (checkout.folder / checkout.study).write_text(NONE + "harm_tests: [{name: other}]\n")
    made = planned(checkout.run("--dry-run"))
    assert not {rule for rule in made if "fluctuation" in rule}
