"""A study of restoration tests alone: its tables, its report, and what a lost unit costs."""

import pandas as pd
import pytest
from checkout import Checkout, planned

pytestmark = pytest.mark.slow

STUDY = """
study: mini-tests
psfs:
  - {name: wide, model: gaussian-2, size_px: 15, width_px: [1.5, 5]}
  - {name: round, model: gaussian-1, size_px: 15, width_px: [1.5, 5]}
networks:
  - {name: fit, psf: wide, architecture: spectrum-fit}
test_sets: []
tests: []
simulations: []
mosaics: null
map: {window_px: 96, stride_px: 32}
restoration_tests:
  - &test
    name: same
    objects: scenes
    samples: 4
    size_px: 192
    cell_px: 96
    stride_px: 96
    psf: wide
    network: fit
    iterations: 4
    methods: ["true", true-grid, estimated-all, estimated, constant, unsharp]
  - {<<: *test, name: other, psf: round}
jobs_per_mosaic: 1
report: {published: table_4_1}
resources: {threads: 1}
"""


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-tests.yaml", STUDY)
    results = checkout.results
    checkout.run()
    rows = pd.read_csv(results / "restoration.csv")
    gains = rows[(rows["metric"] == "SNR_gain") & (rows["cell"] == "all")]
    assert len(gains) == 2 * 4 * 6 and set(gains["test"]) == {"same", "other"}
    summary = pd.read_csv(results / "restoration_summary.csv")
    known = summary[(summary["method"] == "true") & (summary["metric"] == "SNR_gain")]
    assert (known["mean"] > 0).all() and (known["n"] == 4).all()
    assert set(pd.read_csv(results / "restoration_budget.csv")["step"]) >= {"PSF estimate"}
    page = (results / "report.html").read_text()
    assert "Restoration tests" in page and "The median pictures" in page
    assert (results / "figures" / "restoration_same.png").exists()

    before = (results / "restoration.csv").read_bytes()
    (results / "restoration_tests" / "same" / "0.npy").unlink()
    (results / "stages/restoration_tests/same/test.0.done").unlink()
    assert planned(checkout.run("--dry-run"))["test_restoration"] == 1
    checkout.run()
    assert (results / "restoration.csv").read_bytes() == before
    assert "Nothing to be done" in checkout.run("--dry-run")
