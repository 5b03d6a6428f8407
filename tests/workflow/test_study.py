"""A whole small study: what it leaves, what reruns it, and what a kill -9 does to it."""

import json
import os
import shutil
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
import zarr
from checkout import ROOT, Checkout, planned
from isoplan.restoration import trust
from mini import STUDY
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow

METHODS = ("estimated", "oracle", "constant")
MAP_UNITS, CORES = 2, 5
DECONVOLUTION = Path("workflow/scripts/isoplan/restoration/richardson_lucy.py")


@pytest.fixture(scope="session")
def edited(finished, tmp_path_factory) -> Checkout:
    """A clone whose code may be edited, for dry runs."""
    return finished.clone(tmp_path_factory.mktemp("edited") / "isoplan")


# What a study leaves ---------------------------------------------------------------------------


def test_the_last_words_say_where_the_report_is(finished):
    assert "pictures: oracle" in finished.output and "dB over doing nothing" in finished.output
    assert "report: results/demo/report.html" in finished.output
    assert "Traceback" not in finished.output and "WARNING" not in finished.output


def test_tables(finished):
    metrics = pd.read_csv(finished.results / "metrics.csv", keep_default_na=False)
    assert {"study", "mosaic", "method", "metric", "value", "network"} <= set(metrics.columns)
    assert set(metrics["method"]) >= {*METHODS, "none"}
    wanted = {"MSE", "SSIM", "PSNR", "CV", "Sharpness", "gradient-MSE", "SNR", "gain_dB"}
    for method in METHODS:
        assert wanted <= set(metrics["metric"][metrics["method"] == method])
    regression = pd.read_csv(finished.results / "regression.csv")
    assert list(regression.columns) == [
        *("network", "psf_model", "train_set", "test_set", "degradation", "level"),
        *("parameter", "metric", "value", "low", "high", "n"),
    ]
    assert set(regression["parameter"]) == {
        "width_x",
        "width_y",
        "mean",
        "validity",
        "alarm",
        "other_blur",
    }
    calibration = pd.read_csv(finished.results / "calibration.csv")
    assert set(calibration["group"]) == {"all", "spread fifth", "photons decade"}
    assert len(pd.read_csv(finished.results / "abstention.csv")) == 2 * 19
    cells = pd.read_csv(finished.results / "cells.csv")
    assert len(cells) == 8 * 36 * len(METHODS)
    assert len(pd.read_csv(finished.results / "predictions.csv")) == 2 * 32
    history = pd.read_csv(finished.results / "networks" / "small" / "history.csv")
    assert len(history) == 8


def test_stores(finished):
    for method in METHODS:
        group = zarr.open_group(finished.results / f"restored/pictures/{method}.ome.zarr", mode="r")
        assert group.attrs["ome"]["version"] == "0.5"
        assert group.attrs["isoplan"]["restoration"]["iterations"] == 5
        restored = group["0"][:]
        assert restored.shape == (256, 1152) and np.isfinite(restored).all()
        assert np.isfinite(group["1"][:]).all()
        judged = dict(zip(trust.NAMES, group["trust/0"][:], strict=True))
        assert judged["doubt"].shape == (8, 36) and np.isfinite(judged["chi_square"]).all()
        told = pd.read_csv(finished.results / "metrics.csv").query("method == @method")
        told = told.set_index("metric")["value"]
        assert told["doubted_cells_share"] == pytest.approx((judged["doubt"] > 0).mean())
        assert told["residual_chi_square"] == pytest.approx(float(np.median(judged["chi_square"])))
    for name in ("small", "true"):
        group = zarr.open_group(finished.results / f"psf_map/pictures/{name}.zarr", mode="r")
        names = [channel["name"] for channel in group.attrs["isoplan"]["channels"]]
        assert names[:2] == ["width_y", "width_x"]
        assert names[2:] == [
            *(f"{n}_uncertainty" for n in names[:2]),
            "validity",
            "alarm",
            "other_blur",
            "usable",
            "filled",
        ]
        assert group["0"].shape == group["raw"].shape == (9, 8, 36)
        assert np.isfinite(group["0"][:]).all()
    observed = zarr.open_array(finished.results / "simulated/pictures/observed.ome.zarr/0")
    assert observed.dtype == np.uint16 and observed[:].min() > 0


def test_report_config_logs_and_timings(finished):
    results = finished.results
    page = (results / "report.html").read_text()
    assert len(page) > 100_000 and "pictures" in page
    assert list((results / "figures").glob("*.png"))
    config = yaml.safe_load((results / "config.yaml").read_text())
    assert config["restoration"]["iterations"] == 5 and config["networks"][0]["batch"] == 16
    facts = json.loads((results / "mosaics" / "pictures.json").read_text())
    assert (facts["height_px"], facts["width_px"]) == (256, 1152) and facts["gain"] == 2
    rules = {"train_network", "map_psf", "restore_mosaic", "evaluate_mosaic"}
    for folder in ("logs", "benchmarks"):
        assert rules <= {path.name for path in (results / folder).iterdir()}
    log = (results / "logs" / "train_network" / "small.log").read_text()
    assert "training small, epochs: 8 of 8" in log
    assert not list(results.rglob("*.part"))


def test_the_notebook_on_a_study_reads_its_tables(finished, monkeypatch):
    monkeypatch.setitem(os.environ, "PYTHONPATH", str(ROOT / "workflow/scripts"))
    notebook = nbformat.read(ROOT / "docs/notebooks/a-study.ipynb", 4)
    named = [cell for cell in notebook.cells if 'study = "demo"' in cell.source]
    named[0].source = named[0].source.replace(
        'study = "demo"', f'study = "{finished.results.name}"'
    )
    where = {"metadata": {"path": str(finished.folder)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()


# What reruns -----------------------------------------------------------------------------------


def test_a_finished_study_has_nothing_to_do(finished):
    assert finished.again.count("Nothing to be done") == 2


NEW_CHOICE = """order: 90
code: isoplan.{module}:New
choices:
  new: {{says: what is tried here, parameters: {{}}}}
properties:
  new_key: {{type: number, default: 1, description: Read by the new one.}}
"""
NEW_CHOICES = {"psfs": "optics.new", "networks": "networks.new", "restoration": "restoration.new"}


def test_what_makes_no_result_reruns_nothing(edited):
    """In another folder; not even the report, and all at once, as each alone would be seen in the plan.

    Comments and docstrings; new choices with a key of their own that the study does not name; and new keys that are
    absent, of a camera, which chooses nothing, and at the top, as a new application has one.
    """
    code, schemas = edited.folder / DECONVOLUTION, edited.folder / "workflow/schemas"
    cameras, application = schemas / "cameras.yaml", schemas / "new_tests.yaml"
    before = {file: file.read_text() for file in (code, cameras)}
    code.write_text(before[code].replace('"""', '"""Anew. ', 1) + "\n# A remark.\n")
    key = "    afterglow: {type: number, default: 0, absent: 0, description: Light of the last frame.}"
    cameras.write_text(f"{before[cameras].rstrip()}\n{key}\n")
    new = {
        application: "order: 900\ntype: array\nabsent: []\ndefault: []\ndescription: None.\n"
        "items: {type: object, properties: {name: {type: string, description: Its name.}}}\n"
    }
    for place, module in NEW_CHOICES.items():
        library = edited.folder / "workflow/scripts/isoplan"
        new[schemas / place / "new.yaml"] = NEW_CHOICE.format(module=module)
        new[library / f"{module.replace('.', '/')}.py"] = "class New:\n    pass\n"
    for file, text in new.items():
        file.write_text(text)
    study = edited.folder / edited.study
    try:
        assert "Nothing to be done" in edited.run("--dry-run")
        # The new key with another value counts.
        study.write_text(STUDY + "cameras: [{name: training, afterglow: 0.1}, {name: field}]\n")
        assert planned(edited.run("--dry-run"))["train_network"] == 1
    finally:
        study.write_text(STUDY)
        for file, text in before.items():
            file.write_text(text)
        for file in new:
            file.unlink()


def test_code_reruns_what_it_touches_and_says_which(edited):
    code = edited.folder / DECONVOLUTION
    text = code.read_text()
    assert "DUAL_STEPS = 3" in text
    code.write_text(text.replace("DUAL_STEPS = 3", "DUAL_STEPS = 4"))
    output = edited.run("--dry-run")
    jobs = planned(output)
    assert jobs["restore_mosaic"] == len(METHODS)
    spared = {"train_network", "map_psf", "fill_psf_map", "simulate_mosaic", "measure_mosaic"}
    assert not spared & set(jobs)
    assert "isoplan.restoration.richardson_lucy" in output
    code.write_text(text)


def test_a_finished_study_is_adopted_as_it_is(finished, tmp_path):
    """As after an update that moved code: the command of docs/after-an-accident.md."""
    updated = finished.clone(tmp_path / "isoplan")
    code = updated.folder / "workflow/scripts/isoplan/networks/store.py"
    code.write_text(code.read_text() + "\nMOVED = True\n")
    assert planned(updated.run("--dry-run"))["train_network"] == 1
    page = (updated.results / "report.html").read_bytes()
    updated.run("--touch")
    assert "Nothing to be done" in updated.run("--dry-run")
    assert (updated.results / "report.html").read_bytes() == page


def test_settings_rerun_what_they_touch(edited):
    study = edited.folder / edited.study
    study.write_text(STUDY.replace("validity_threshold: 0.2", "validity_threshold: 0.3"))
    jobs = planned(edited.run("--dry-run"))
    assert jobs["fill_psf_map"] == 1 and jobs["restore_mosaic"] == 2  # the oracle stays
    assert not {"train_network", "map_psf", "simulate_mosaic"} & set(jobs)
    study.write_text(STUDY)


# After a kill ----------------------------------------------------------------------------------


def test_killed_in_training_mapping_and_restoring(finished, tmp_path):
    """Whatever was killed and resumed, the numbers are those of the undisturbed run."""
    killed = finished.clone(tmp_path / "isoplan")
    results = killed.results
    for made in ("networks", "psf_map/pictures/small.zarr", "restored", "ledgers", "evaluation"):
        shutil.rmtree(results / made)
    stages = [f"stages/{name}" for name in ("psf_map", "restored", "evaluation")]
    for made in ("regression", "figures", *stages):
        shutil.rmtree(results / made)
    for made in [*results.glob("*.csv"), *results.glob("psf_map/*/small.json")]:
        made.unlink()

    # Only the last one leaves a lock: to take it off each time would be a start of Snakemake more.
    training = results / "networks" / "small"
    killed.kill_when((training / "checkpoint.pt").exists, "--nolock")
    assert not (training / "network.safetensors").exists()
    ledgers = results / "ledgers"
    killed.kill_when((ledgers / "psf_map" / "pictures" / "small" / "0.json").exists, "--nolock")
    assert not (results / "psf_map" / "pictures" / "small.json").exists()
    killed.kill_when((ledgers / "restored" / "pictures" / "estimated" / "0.json").exists)
    assert not (results / "stages/restored/pictures/estimated/finished.done").exists()
    killed.run("--unlock")
    killed.run()

    tables = ("regression", "predictions", "calibration", "abstention")
    for table in ("metrics", "cells", "map_errors", *tables):
        name = f"{table}.csv"
        assert (results / name).read_bytes() == (finished.results / name).read_bytes(), name
    weights, expected = (
        load_file(c.results / "networks/small/network.safetensors") for c in (killed, finished)
    )
    assert weights.keys() == expected.keys()
    assert all(np.array_equal(weights[name], expected[name]) for name in weights)
    arrays = [
        f"restored/pictures/{method}.ome.zarr/{level}" for method in METHODS for level in "01"
    ]
    for place in (*arrays, "psf_map/pictures/small.zarr/0", "psf_map/pictures/small.zarr/raw"):
        found, wanted = (zarr.open_array(c.results / place)[:] for c in (killed, finished))
        np.testing.assert_array_equal(found, wanted, err_msg=place)
    assert "Nothing to be done" in killed.run("--dry-run")
