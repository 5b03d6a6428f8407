"""Restoration tests in the report: tables, published figures beside them, words and pictures."""

import shutil

import numpy as np
import pandas as pd
import pytest
from isoplan.report import restoration_tests as shown
from isoplan.report import sweeps
from isoplan.report.restoration_section import SECTION, warnings
from isoplan.report.results import read_study
from isoplan.restoration_test import tables
from report_fixture import figures_of, judge, write_page

GAINS = {"true": 2.0, "true-grid": 1.9, "estimated-all": 1.6, "estimated": 1.7, "constant": -0.5}
GAINS |= {"best-of-model": 1.8, "blind": -1.0, "unsharp": 1.69}
TESTS = {"same": ("zernike-1", "zernike-1"), "other": ("zernike-1", "gaussian-1")}


RULES = {"best": 2.0, "best-fixed": 1.9, "default": 1.5, "chosen": 1.8, "discrepancy": 0.5}


def _write_sweep(folder):
    """Of one test: two TV weights, three numbers of iterations, and what the rules gain."""
    what = {"test": "same", "default_tv_weight": 0.001, "default_iterations": 10}
    swept, choice = [], []
    for psfs, loss in (("true", 0.0), ("estimated", 0.3)):
        about = what | {"psfs": psfs}
        for weight in (0, 0.001):
            for n in (1, 10, 40):
                limits = {"mean": 1.9 - loss - weight - 1 / n, "low": 1, "high": 2, "sd": 1, "n": 8}
                swept.append(about | {"tv_weight": weight, "iterations": n} | limits)
        for rule, gain in RULES.items():
            lost = {"loss_db": 2 - gain, "loss_low": 1.9 - gain, "loss_high": 2.1 - gain}
            lost |= {"median_loss_db": 2 - gain, "worst_loss_db": 3 - gain, "near_share": 0.5}
            spread = {"mean": gain - loss, "low": gain - 1, "high": gain + 1, "n": 8}
            setting = {"tv_weight": 0.001, "iterations": 10}
            choice.append(about | {"rule": rule} | spread | lost | setting)
    pd.DataFrame(swept).to_csv(folder / "restoration_sweep.csv", index=False)
    pd.DataFrame(choice).to_csv(folder / "restoration_choice.csv", index=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two tests of eight pictures, and the median picture of one of them."""
    folder = tmp_path_factory.mktemp("tests")
    rng, rows = np.random.default_rng(0), []
    for test, (degradation, detection) in TESTS.items():
        what = dict.fromkeys(tables.WHAT, "x") | {"test": test, "layout": "hard", "masks": "hard"}
        what |= {"degradation": degradation, "detection": detection, "iterations": 10}
        what |= {"tv_weight": 0.001, "tv_step": "proximal", "acceleration": "momentum"}
        for picture in range(8):
            about = what | {"picture": picture, "source": picture}
            scene = rng.normal(0, 0.3)
            for method, gain in GAINS.items():
                values = {"SNR_gain": gain + scene + rng.normal(0, 0.01), "SSIM_gain": 0.05}
                values["SNR_gain_inside"] = gain / 2 if method == "true" else gain / 2 + 0.1
                for metric, value in values.items():
                    row = about | {"method": method, "cell": "all", "metric": metric}
                    rows.append(row | {"value": value})
                worse = {"method": method, "cell": "0,1", "metric": "SNR_gain"}
                rows.append(about | worse | {"value": -1.0 if picture == 0 else 1.0})
    rows = pd.DataFrame(rows)
    rows.to_csv(folder / "restoration.csv", index=False)
    tables.summarise(rows).to_csv(folder / "restoration_summary.csv", index=False)
    tables.budget(rows).to_csv(folder / "restoration_budget.csv", index=False)
    _write_sweep(folder)
    (folder / "config.yaml").write_text("study: tests\nreport: {published: table_4_1}\n")
    (folder / "restoration_tests").mkdir()
    sharp = rng.random((64, 64)).astype(np.float32)
    pictures = {"sharp": sharp, "degraded": sharp * 0.9, "true": sharp * 0.99}
    np.savez(folder / "restoration_tests" / "same.npz", index=3, **pictures)
    return read_study(folder)


def test_the_table_has_every_method_and_published_figures_once(study):
    tests = shown.read_tests(study)
    assert [t.methods[0] for t in tests] == ["true", "true"]
    table = shown.gain_table(study, tests)
    rows = {row[0].text: row for row in table.rows}
    assert rows["Known PSFs"][1].notes[-1] == "published +2.14 \u00b1 0.71"
    assert rows["Jin (published)"][1].text == "+1.48 \u00b1 0.67"  # of the second pair of models
    own = rows["Blind RL (Fish 1995)"]
    assert float(own[2].text) == pytest.approx(2.7, abs=0.03)
    own = dict(zip(table.head, rows["Estimated map"], strict=True))
    assert own["Worse cells"].text == "12 %"
    share = 100 * (GAINS["estimated"] + 0.2) / GAINS["true"]
    assert own["Of known gain"].notes == [f"{share:.0f} % away from seams"]
    again = shown.gain_table(study, [tests[0], tests[0]]).rows
    assert sum("(published)" in row[0].text for row in again) == 4


def test_what_falls_short_is_told_and_what_does_not_is_not(study):
    same, other = warnings(shown.read_tests(study))
    assert "of the known PSFs' gain (" in same and "away from the seams), less than 95 %" in same
    assert "12.5 % of the cells" in same
    assert "Blind RL" not in same
    assert "below the nearest PSFs" not in other  # by 0.1 dB, which is within the goal


def test_the_verdict_of_a_study_of_tests(study):
    verdict = judge(study)
    assert "of the gain of known ones" in verdict.score.headline
    assert [bar.label for bar in verdict.score.bars] == ["same", "other"]


def test_the_verdict_of_a_study_of_sweeps_is_about_the_choice(study, tmp_path):
    folder = shutil.copytree(study.folder, tmp_path / "sweeps")
    summary = pd.read_csv(folder / "restoration_summary.csv")
    summary[summary["test"] == "same"].to_csv(folder / "restoration_summary.csv", index=False)
    verdict = judge(read_study(folder))
    lost, own = (f"{2 - RULES[rule]:.2f} dB" for rule in ("chosen", "default"))
    assert verdict.score.headline == f"Chosen from the picture alone: {lost} below the best"
    assert f"{lost} with known PSFs and {lost} with estimated PSFs" in verdict.score.lead
    assert f"the tests' own setting loses {own}" in verdict.score.lead
    share = (RULES["chosen"] - 0.3) / (RULES["best"] - 0.3)
    assert [(bar.label, round(bar.share, 3)) for bar in verdict.score.bars] == [
        ("same", round(share, 3))
    ]


def test_the_budget_s_steps(study):
    table = shown.budget_table(study, shown.read_tests(study))
    cells = dict(zip(table.head, table.rows[0], strict=True))
    assert float(cells["the map's grid"].text.replace("\u2212", "-")) == pytest.approx(
        -0.1, abs=0.02
    )
    assert float(cells["abstention"].text) == pytest.approx(0.1, abs=0.02)  # it gained
    assert cells["wrong PSF model"].text == "\u2013" != table.rows[1][3].text


def test_page_and_figures(study, tmp_path):
    names = {figure.name for figure in figures_of(study)["restoration"]}
    wanted = {"restoration_same", "restoration_other", "restoration_budget"}
    wanted |= {"restoration_choice", "restoration_sweep_true", "restoration_sweep_estimated"}
    assert wanted | {"restoration_picture_same"} == names
    page = write_page(study.folder, out=tmp_path / "report.html")
    assert page.count("data:image/") >= 4 and "Where the gain is lost" in page
    assert "picture 3, whose gain is the median one" in page
    stored = dict(np.load(study.folder / "restoration_tests/same.npz"))
    del stored["index"]
    assert shown._gains_of(stored)["true"] == pytest.approx(20, abs=1e-3)


def test_a_study_without_such_tests_has_no_such_section(tmp_path):
    (tmp_path / "config.yaml").write_text("study: none\n")
    study = read_study(tmp_path)
    assert shown.read_tests(study) == [] and shown.gain_table(study, []) is None
    assert shown.budget_table(study, []) is None and SECTION.parts(study) == []


def test_sweeps_are_told_and_drawn(study):
    rows = sweeps.choice_table(study).rows
    assert [row[0].text for row in rows if len(row) == 1] == [
        "same, known PSFs",
        "same, estimated PSFs",
    ]
    chosen = next(row for row in rows if row[0].text == "Held-out photons")
    assert [cell.text for cell in chosen[1:4]] == ["+1.80", "0.20", "50 %"]
    assert chosen[2].notes == ["[0.10, 0.30]"]
    words = sweeps.warnings(study)
    assert len(words) == 1 and "lose 0.20 dB" in words[0] and words[0] in judge(study).warnings
    figures = sweeps.sweep_figures(study)
    names = ["restoration_choice", "restoration_sweep_true", "restoration_sweep_estimated"]
    assert [figure.name for figure in figures] == names
    for figure in figures:
        figure.draw().canvas.draw()
    for words in figures[1].draw().axes[0].get_title("left"), rows[0][0].text:
        assert words.startswith("same")


def test_a_study_without_sweeps_says_nothing_of_them(study, tmp_path):
    for file in study.folder.glob("*.*"):
        if "sweep" not in file.name and "choice" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    bare = read_study(tmp_path)
    assert sweeps.choice_table(bare) is None and not sweeps.sweep_figures(bare)
    assert not sweeps.warnings(bare)
