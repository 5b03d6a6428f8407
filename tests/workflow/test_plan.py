"""How many jobs Snakemake plans, beside how many the preflight says."""

import os
import shutil

import imageio.v3 as imageio
import numpy as np
import pytest
import yaml
from checkout import ROOT, Checkout, planned
from isoplan.report.cost import jobs_of
from skimage import data


@pytest.mark.parametrize("chosen", [False, True])
def test_a_mosaic_has_as_many_jobs_as_foretold(tmp_path, chosen):
    """Only what is to be chosen has a job that chooses it."""
    study = (ROOT / "config/studies/tiny.yaml").read_text()
    if chosen:
        study = study.replace("tv_weight: 0.001", "tv_weight: auto")
    checkout = Checkout.make(tmp_path / "isoplan", "own.yaml", study)
    counts = planned(checkout.run("--dry-run"))
    of_mosaics = {
        rule: count
        for rule, count in counts.items()
        if any(word in rule for word in ("mosaic", "psf", "restoration", "evaluation", "seams"))
    }
    for rule in ("simulate_mosaic", "correlate_mosaic"):  # where a truth is known
        assert of_mosaics.pop(rule) == 1
    # The simulated mosaic is restored by estimated, oracle and constant, in two jobs a stage.
    assert sum(of_mosaics.values()) == jobs_of(methods=3, jobs_per_mosaic=2, chosen=chosen)


def test_pairs_wait_for_a_table_of_their_own(tmp_path):
    """Without one the study says which file is missing; with one it is planned."""
    study = (ROOT / "config/studies/pairs.yaml").read_text()
    checkout = Checkout.make(tmp_path / "isoplan", "own.yaml", study)
    code, output = checkout.try_("--dry-run")
    assert code != 0 and "pairs.tsv" in output and "Traceback" not in output
    (checkout.folder / "mine.tsv").write_text("mosaic\tpath\tpixel_size_um\na\ta.tif\t1\n")
    output = checkout.run("--dry-run", "--config", "study=mine", "mosaics=mine.tsv")
    assert "check_mosaics" in planned(output)


def test_files_that_an_older_one_replaced_are_noticed(tmp_path):
    """Of entries that name a file or folder: by their marks, as an older time alone asks for nothing."""
    study = yaml.safe_load((ROOT / "config/studies/tiny.yaml").read_text())
    study["psfs"] += [{"name": "bead", "model": "measured", "size_px": 15, "file": "bead.tif"}]
    study["objects"] = [
        {"name": "scenes"},
        {"name": "mine", "kinds": ["folder"], "folder": "mine"},
    ]
    study["test_sets"] = [{"name": "mine", "objects": "mine", "samples": 2}]
    study["tests"] = [{"network": "small", "test_set": "mine"}]
    study["networks"] = [{"name": "small", "weights": "taken.safetensors"}]
    study["simulations"][0] |= {"psf": "bead", "field": [], "size_px": [256, 256]}
    study["map"]["window_px"] = 128  # the network's
    checkout = Checkout.make(tmp_path / "isoplan", "tiny.yaml", yaml.safe_dump(study))
    files = ["bead.tif", "taken.safetensors", *(f"mine/{number}.png" for number in range(30))]
    y, x = np.mgrid[-10:11, -10:11]
    imageio.imwrite(checkout.folder / files[0], np.exp(-(y**2 + x**2) / 8).astype(np.float32))
    shutil.copy(ROOT / "resources/models/gaussian-2.safetensors", checkout.folder / files[1])
    (checkout.folder / "mine").mkdir()
    for name in files[2:]:
        imageio.imwrite(checkout.folder / name, data.camera()[::4, ::4])
    stages = checkout.results / "stages"
    made = {
        "bead.tif": (stages / "simulated/pictures.done", "simulate_mosaic"),
        "taken.safetensors": (
            checkout.results / "networks/small/network.safetensors",
            "train_network",
        ),
        "mine/0.png": (stages / "test/mine.done", "store_test_set"),
    }
    targets = [str(target.relative_to(checkout.folder)) for target, _ in made.values()]
    checkout.run(*targets)
    assert "Nothing to be done" in checkout.run("--dry-run", *targets)
    for name in made:
        os.utime(checkout.folder / name, ns=(1, 1))
    assert {rule for _, rule in made.values()} <= set(planned(checkout.run("--dry-run", *targets)))
