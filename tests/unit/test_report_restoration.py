"""Restoration tests in the report: tables, published figures beside them, words and pictures."""

import numpy as np
import pandas as pd
import pytest
from isoplan import restoration_test as rt
from isoplan.report import restoration_tests as shown
from isoplan.report.figures import study_figures
from isoplan.report.page import write_report
from isoplan.report.results import read_study
from isoplan.report.verdict import judge

GAINS = {"true": 2.0, "true-grid": 1.9, "estimated-all": 1.6, "estimated": 1.7, "constant": -0.5}
GAINS |= {"best-of-model": 1.8, "blind": -1.0, "unsharp": 1.69}
TESTS = {"same": ("zernike-1", "zernike-1"), "other": ("zernike-1", "gaussian-1")}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two tests of eight pictures, and the median picture of one of them."""
    folder = tmp_path_factory.mktemp("tests")
    rng, rows = np.random.default_rng(0), []
    for test, (degradation, detection) in TESTS.items():
        what = dict.fromkeys(rt.WHAT, "x") | {"test": test, "layout": "hard", "masks": "hard"}
        what |= {"degradation": degradation, "detection": detection, "iterations": 10}
        what |= {"tv_weight": 0.001, "tv_step": "proximal", "acceleration": "momentum"}
        for picture in range(8):
            about = what | {"picture": picture, "source": picture}
            scene = rng.normal(0, 0.3)
            for method, gain in GAINS.items():
                values = {"SNR_gain": gain + scene + rng.normal(0, 0.01), "SSIM_gain": 0.05}
                for metric, value in values.items():
                    row = about | {"method": method, "cell": "all", "metric": metric}
                    rows.append(row | {"value": value})
                worse = {"method": method, "cell": "0,1", "metric": "SNR_gain"}
                rows.append(about | worse | {"value": -1.0 if picture == 0 else 1.0})
    rows = pd.DataFrame(rows)
    rows.to_csv(folder / "restoration.csv", index=False)
    rt.summarise(rows).to_csv(folder / "restoration_summary.csv", index=False)
    rt.budget(rows).to_csv(folder / "restoration_budget.csv", index=False)
    (folder / "config.yaml").write_text("study: tests\nreport: {published: table_4_1}\n")
    (folder / "restoration_tests").mkdir()
    sharp = rng.random((64, 64)).astype(np.float32)
    pictures = {"sharp": sharp, "degraded": sharp * 0.9, "true": sharp * 0.99}
    np.savez(folder / "restoration_tests" / "same.npz", index=3, **pictures)
    return read_study(folder)


def test_the_table_has_every_method_and_published_figures_once(study):
    tests = shown.read_tests(study)
    assert [t.methods[0] for t in tests] == ["true", "true"]
    rows = {row[0].text: row for row in shown.gain_table(study, tests).rows}
    assert rows["Known PSFs"][1].notes[-1] == "published +2.14 \u00b1 0.71"
    assert rows["Jin (published)"][1].text == "+1.48 \u00b1 0.67"  # of the second pair of models
    own = rows["Blind RL (Fish 1995)"]
    assert float(own[2].text) == pytest.approx(2.7, abs=0.03)
    assert rows["Estimated map"][4].text == "12 %"
    again = shown.gain_table(study, [tests[0], tests[0]]).rows
    assert sum("(published)" in row[0].text for row in again) == 4


def test_what_falls_short_is_told_and_what_does_not_is_not(study):
    same, other = shown.warnings(shown.read_tests(study))
    assert "of the known PSFs' gain, less than 95 %" in same and "12.5 % of the cells" in same
    assert "Blind RL" not in same
    assert "below the nearest PSFs" not in other  # by 0.1 dB, which is within the goal


def test_the_verdict_of_a_study_of_tests(study):
    verdict = judge(study)
    assert "of the gain of known ones" in verdict.headline
    assert [score.label for score in verdict.scores] == ["same", "other"]


def test_the_budget_s_steps(study):
    table = shown.budget_table(study, shown.read_tests(study))
    cells = dict(zip(table.head, table.rows[0], strict=True))
    assert float(cells["the map's grid"].text.replace("\u2212", "-")) == pytest.approx(
        -0.1, abs=0.02
    )
    assert float(cells["abstention"].text) == pytest.approx(0.1, abs=0.02)  # it gained
    assert cells["wrong PSF model"].text == "\u2013" != table.rows[1][3].text


def test_page_and_figures(study, tmp_path):
    names = {figure.name for figure in study_figures(study)}
    wanted = {"restoration_same", "restoration_other", "restoration_budget"}
    assert wanted | {"restoration_picture_same"} == names
    write_report(study.folder, tmp_path / "report.html", title="Tests")
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/") >= 4 and "Where the gain is lost" in page
    assert "picture 3, whose gain is the median one" in page
    stored = dict(np.load(study.folder / "restoration_tests/same.npz"))
    del stored["index"]
    assert shown._gains_of(stored)["true"] == pytest.approx(20, abs=1e-3)


def test_a_study_without_such_tests_has_no_such_section(tmp_path):
    (tmp_path / "config.yaml").write_text("study: none\n")
    study = read_study(tmp_path)
    assert shown.read_tests(study) == [] and shown.gain_table(study, []) is None
    assert shown.budget_table(study, []) is None and shown.test_figures(study) == []
