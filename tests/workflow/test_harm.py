"""A study of harm alone, on pictures of a folder: its tables, its report, and what a lost unit costs."""

import numpy as np
import pandas as pd
import pytest
from checkout import Checkout, planned
from skimage import data, io

pytestmark = pytest.mark.slow

STUDY = """
study: mini-harm
networks:
  - {name: released, weights: released}
test_sets: []
tests: []
simulations: []
mosaics: null
harm_tests:
  - name: mine
    folder: mine
    size_px: 192
    network: released
    blurs: [gaussian]
    photons: [1000]
jobs_per_mosaic: 1
resources: {threads: 1}
"""


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-harm.yaml", STUDY)
    (checkout.folder / "mine").mkdir()
    io.imsave(checkout.folder / "mine" / "man.png", data.camera()[:320, 100:420])
    results = checkout.results
    checkout.run()
    rows = pd.read_csv(results / "harm.csv").set_index("method")
    assert set(rows["picture"]) == {"man.png"} and len(rows) == 8
    gains = rows["gain"]
    assert gains["none"] == 0 and gains["true-best"] >= gains["true"] - 0.2
    assert gains["estimated"] > 0.3 and 2 < rows.loc["estimated", "width_px"] < 7
    summary = pd.read_csv(results / "harm_summary.csv").set_index(["kind", "method"])
    own = summary.loc[("inside", "estimated")]
    assert np.allclose(own["worst"], gains["estimated"], atol=1e-3)
    page = (results / "report.html").read_text()
    assert "No harm" in page and "man.png" in page
    assert (results / "figures" / "harm_mine.png").exists()
    # What is lost is made again, and that alone.
    (results / "harm.csv").unlink()
    again = planned(checkout.run("--dry-run"))
    assert {"tabulate_harm", "write_report"} <= set(again)
    assert not {"assess_harm", "train_network"} & set(again)
