"""Simulated sequences are scored as they should be, and the report says what follows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from isoplan.applications.fluctuation import methods, report, srrf, trials
from isoplan.applications.fluctuation.methods import METHODS, ORACLES
from isoplan.config.schema import schema
from isoplan.config.validation import validate

TEST = {"name": "a", "structure": "lines", "size_px": 16, "frames": 60, "factor": 2, "seeds": 1}


def trial(**changes) -> trials.Trial:
    study = validate({"fluctuation_tests": [TEST | changes]})
    return trials.Trial(study["fluctuation_tests"][0], 0)


@pytest.fixture(scope="module")
def scene():
    made = trial(drift_px=2.0)
    return made.scene(made.sequence(0))


def test_the_schema_names_every_method():
    known = schema()["properties"]["fluctuation_tests"]["items"]["properties"]["methods"]
    assert set(known["items"]["enum"]) == {*METHODS, *ORACLES} == set(report.LABELS) - {"truth"}


@pytest.mark.parametrize("name", [name for name in METHODS if name not in srrf.CHOSEN])
def test_a_picture_is_never_negative_and_knows_its_unit(scene, name, monkeypatch):
    monkeypatch.setattr(methods, "FLUOGAN_STEPS", 3)
    monkeypatch.setattr(methods, "VAE_STEPS", 30)
    found = methods.apply(name, scene, lambda picture: 0.0)
    assert found.picture.shape == (32, 32) and found.picture.min() >= 0
    assert found.emission == (name not in ("sofi", "vae-sofi"))


def test_an_oracle_takes_the_best(scene, monkeypatch):
    monkeypatch.setattr(methods, "TRIED", (("l1", 1.0, 20), ("tv", 4.0, 20)))
    tried = [found.picture for found in methods.colorme_tried(scene)]
    best = max(tried, key=lambda picture: picture.std())
    found = methods.apply("colorme-oracle", scene, lambda picture: picture.std())
    assert len(tried) == 4 and np.array_equal(found.picture, best)


def test_denoised_neighbours_correlate(scene, monkeypatch):
    monkeypatch.setattr(methods, "VAE_STEPS", 30)
    plain, denoised, sofi = (
        METHODS[name](scene) for name in ("likelihood", "vae-likelihood", "vae-sofi")
    )
    assert {"information_z", "refused"} <= denoised.facts.keys()
    assert denoised.facts["neighbours"] == sofi.facts["neighbours"]
    assert denoised.facts["neighbours"] > plain.facts["neighbours"] + 0.2


def test_what_drifts_is_moved_back(scene):
    # An emitter that is seen one pixel down in the second half.
    parts = ((30, (-0.5, 0.0)), (30, (0.5, 0.0)))
    moved = replace(scene, settings=replace(scene.settings, parts=parts))
    y = np.arange(16)[:, None]
    frames = [np.exp(-((y - 8 - at) ** 2) / 4) + np.zeros((16, 16)) for at in (-0.5, 0.5)]
    moved.__dict__["electrons"] = np.repeat(np.array(frames, np.float32), 30, axis=0)
    assert np.abs(moved.still[0] - moved.still[-1])[3:-3].max() < 0.02


def test_methods_are_told_what_is_wrong():
    made = trial(wrong_gain=0.9, wrong_fwhm=1.1)
    told = made.scene(made.sequence(0)).settings
    assert told.camera.gain == pytest.approx(0.9 * 2.17)
    assert told.psf.fwhm_px == pytest.approx(1.1 * 2.59)


def test_a_unit_holds_the_truth_too():
    values = trial(methods=["mean", "deconvolved"]).unit(0)
    rows = trials.table([trial(methods=["mean", "deconvolved"])], [values])
    true = rows[rows["method"] == "truth"].set_index("metric")["value"]
    assert true["rate"] == 0.75 and true["amplitude_e"] == pytest.approx(200 / 3)
    assert set(rows[rows["method"] == "mean"]["metric"]) >= {"psnr_db", "jaccard", "total", "dip"}
    assert np.isnan(trial(off_frames=0, methods=["mean"]).unit(0)[0, 1, 5])  # no rate


def made_up(gains) -> pd.DataFrame:
    """Two tests that fluctuate, and a static one. gains: of ours over SOFI, of each sequence."""
    rows = []
    for test in ("a", "b", "static"):
        for seed, gain in enumerate(gains):
            for method, value in (
                ("mean", 20.0),
                ("sofi", 28.0 + seed),
                ("likelihood", 28.0 + seed + gain),
            ):
                rows.append((test, seed, method, "psnr_db", value))
                rows.append((test, seed, method, "jaccard", value / 100))
            rows.append((test, seed, "likelihood", "refused", float(test == "static")))
            if test != "static":
                rows.append((test, seed, "truth", "rate", 0.75))
    return pd.DataFrame(rows, columns=trials.COLUMNS)


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([3.0, 4.0, 5.0], "comes nearer to the truth than SOFI"),
        ([-3.0, -4.0, -5.0], "stays farther from the truth than SOFI"),
        ([-3.0, 4.0, 0.0], "does not clearly differ from SOFI"),
        ([3.0], "does not clearly differ from SOFI"),
    ],
)
def test_the_headline(gains, words):
    short, full = report.headline(made_up(gains))
    assert words in short
    assert f"{2 * len(gains)} sequences of 2 tests" in full


def test_what_is_not_reached_is_said():
    rows = made_up([2.0, 2.2, 2.4])
    tests = [trial(name=name, structure="rings").test for name in ("a", "b")]
    tests.append(trial(name="static", structure="rings", off_frames=0).test)
    found = report.goals(rows, tests)
    said = report.missed(found)
    assert "+3.00 dB over SOFI" in said and "(found: +2.20 dB" in said
    assert "over COL0RME" not in said and "over COL0RME" in report.unknown(found)
    reached = {goal.words.split(",")[0]: goal.reached for goal in found}
    assert reached["static sequences that are not refused"]
    assert reached["fluctuating sequences that are refused"]


def test_nothing_that_fluctuates_is_no_comparison():
    rows = made_up([1.0])
    static = rows[rows["test"] == "static"]
    assert report.best_rival(static) is None
    assert "compared with nothing" in report.headline(static)[0]


def test_what_makes_it_harder_is_a_table():
    rows = made_up([1.0, 2.0])
    rows.loc[(rows["test"] == "b") & (rows["metric"] == "psnr_db"), "value"] -= 3
    more = [("b", seed, "likelihood", "total", 1.1) for seed in (0, 1)]
    rows = pd.concat([rows, pd.DataFrame(more, columns=trials.COLUMNS)])
    plain = trial(name="a").test
    tests = [plain, {**plain, "name": "b", "drift_px": 0.5, "seeds": 9}]
    found = report.harder_table(rows, tests)
    assert [cell.text for cell in found.rows[0]] == ["drift_px 0.5", "\u22123.0", "\u22123.0", "+10 %"]
    assert found.head == ["What differs", "Ours", "SOFI", "Total, ours"]
    other = {**plain, "name": "b", "drift_px": 0.5, "flicker": 0.1}
    assert report.harder_table(rows, [plain, other]) is None


def test_intervals_that_hold_the_truth_are_counted():
    rows = made_up([1.0, 2.0])
    held = [("a", seed, "likelihood", "rate_held", float(seed)) for seed in (0, 1)]
    rows = pd.concat([rows, pd.DataFrame(held, columns=trials.COLUMNS)])
    found = report.goals(rows, [trial(name="a").test])
    (rate,) = (goal for goal in found if goal.words.startswith("intervals of 95 % hold k_on"))
    assert rate.found == "50 % of 2" and rate.reached is False
