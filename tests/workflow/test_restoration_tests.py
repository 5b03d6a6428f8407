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
  - name: other
    samples: 4
    size_px: 192
    cell_px: 96
    stride_px: 96
    psf: round
    network: fit
    iterations: 4
    methods: ["true", best-of-model, estimated, constant, unsharp]
    sweep_tv_weights: [0.01]
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
    assert len(gains) == 4 * 5 and set(gains["test"]) == {"other"}
    summary = pd.read_csv(results / "restoration_summary.csv").set_index(["metric", "method"])
    known = summary.loc["SNR_gain", "true"]
    assert known["mean"] > 0 and known["n"] == 4
    steps = list(pd.read_csv(results / "restoration_budget.csv")["step"])
    assert steps == ["wrong PSF model", "PSF estimate", "one PSF"]
    choice = pd.read_csv(results / "restoration_choice.csv").set_index(["psfs", "rule"])
    swept = pd.read_csv(results / "restoration_sweep.csv")
    for psfs in ("true", "estimated"):
        own = choice.loc[psfs, "default"]
        assert own["mean"] == pytest.approx(summary.loc["SNR_gain", psfs]["mean"], abs=1e-3)
        best = swept.loc[swept["psfs"] == psfs, "mean"].max()
        assert choice.loc[psfs, "best"]["mean"] >= best
    page = (results / "report.html").read_text()
    assert "How much to restore" in page and "Held-out photons" in page
    assert "Restoration tests" in page and "The median pictures" in page
    assert (results / "figures" / "restoration_other.png").exists()

    # As `make resume` does where units were damaged, one of a test and one of a sweep: what came of them goes too, and
    # what is left is not made again.
    tables = [results / f"restoration{name}.csv" for name in ("", "_choice")]
    before = [table.read_bytes() for table in tables]
    (results / "restoration_tests/other/0.npy").write_bytes(b"torn")
    stages = results / "stages"
    lost = (
        stages / "restoration_tests/other/test.0.done",
        stages / "restoration_sweeps/other/sweep.0.done",
    )
    for file in (*lost, *tables):
        file.unlink()
    made = planned(checkout.run(*(str(table.relative_to(checkout.folder)) for table in tables)))
    assert made["assess_restoration"] == made["sweep_restoration"] == 1
    assert [table.read_bytes() for table in tables] == before
