"""A study that leaves iterations and TV weight to be chosen: chosen once, used and told everywhere."""

import json

import pandas as pd
import pytest
import zarr
from checkout import Checkout, planned
from isoplan.config.validation import validate
from isoplan.restoration.candidates import candidates

pytestmark = pytest.mark.slow

STUDY = """
study: open
networks:
  - {name: fit, architecture: spectrum-fit}
psfs:
  - {name: gaussian-2, model: gaussian-2, size_px: 15, width_px: [1.5, 5]}
test_sets: []
tests: []
simulations:
  - mosaic: made
    size_px: [256, 320]
    tile_px: 128
    field:
      - {parameter: width_x, low: 3}
      - {parameter: width_y, low: 2}
mosaics: null
map: {window_px: 96, stride_px: 32}
restoration: {methods: [oracle, denoised, none], core_px: 256}
jobs_per_mosaic: 1
report: {crop_px: 128}
resources: {threads: 1}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Checkout:
    checkout = Checkout.make(tmp_path_factory.mktemp("open") / "isoplan", "open.yaml", STUDY)
    checkout.run()
    return checkout


def test_what_was_chosen_is_used_and_told(study):
    choice = json.loads((study.results / "choices/made/oracle.json").read_text())
    settings = validate({})["restoration"]
    assert choice["iterations"] in candidates(settings) and len(choice["curves"]) >= 2
    assert 1e3 < choice["photons"] < 3e4  # the camera's 10^4, estimated from one picture's noise
    group = zarr.open_group(study.results / "restored/made/oracle.ome.zarr", mode="r")
    used = group.attrs["isoplan"]["restoration"]
    metrics = pd.read_csv(study.results / "metrics.csv", keep_default_na=False)
    told = metrics[metrics["method"] == "oracle"].iloc[0]
    assert (
        choice["psf_scale"] == 1 and choice["resolution_px"] == 0
    )  # the true PSFs are not in doubt
    for key in ("psf_scale", "resolution_px", "iterations", "tv_weight"):
        assert used[key] == choice[key] == float(told[key])
    assert set(metrics.loc[metrics["method"] == "none", "iterations"]) == {"auto"}
    gain = metrics[(metrics["method"] == "oracle") & (metrics["metric"] == "gain_dB")]
    assert float(gain["value"].iloc[0]) > 1
    report = (study.results / "report.html").read_text()
    words = f"{choice['iterations']} iterations with a TV weight of {choice['tv_weight']:g}"
    assert "How much was restored" in report and words in report
    assert (study.results / "figures/choice_made_oracle.svg").exists()


def test_what_taking_noise_away_alone_gives(study):
    """By the method `denoised`, whose iterations and TV weight are chosen like any other's."""
    metrics = pd.read_csv(study.results / "metrics.csv", keep_default_na=False)
    gains = metrics[metrics["metric"] == "gain_dB"].set_index("method")["value"].astype(float)
    # Of 10^4 photons the blur is what is wrong, and there is hardly any noise to take.
    assert -0.5 < gains["denoised"] < gains["oracle"] - 1
    choice = json.loads((study.results / "choices/made/denoised.json").read_text())
    assert len(choice["curves"]) >= 2
    group = zarr.open_group(study.results / "restored/made/denoised.ome.zarr", mode="r")
    assert group.attrs["isoplan"]["psf"]["model"] == "pixel" and (group["0"][:] >= 0).all()
    report = (study.results / "report.html").read_text()
    assert "Only denoised" in report


def test_it_is_chosen_once(study):
    assert "Nothing to be done" in study.run("--dry-run")
    (study.folder / study.study).write_text(STUDY.replace("core_px", "tv_weight: 0.01, core_px"))
    again = planned(study.run("--dry-run"))
    assert {"choose_restoration", "create_restoration", "restore_mosaic"} <= set(again)
    assert not {"map_psf", "measure_mosaic", "simulate_mosaic"} & set(again)
