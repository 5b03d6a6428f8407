"""A new application comes from its own room, rules, scripts and schema; the house takes it in.

The application is in texture/: units with a ledger, a task for networks, a table, a report section.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkout import CHECKED, Checkout, planned
from mini import STUDY

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ITS_TASK = HERE.parent / "unit" / "denoising_task.py"
ITS_RULES = {"train_denoiser", "texture_mosaic", "tabulate_texture"}


@pytest.fixture(scope="module")
def extended(finished, tmp_path_factory) -> Checkout:
    """A finished study in a house to which the application was added."""
    checkout = finished.clone(tmp_path_factory.mktemp("application") / "isoplan")
    shutil.copytree(HERE / "texture", checkout.folder / "workflow", dirs_exist_ok=True)
    room = checkout.folder / "workflow/scripts/isoplan/applications/texture"
    task = ITS_TASK.read_text().replace('NAME = "denoising"', 'NAME = "texture"')
    (room / "task.py").write_text(task)
    return checkout


def beside(checkout: Checkout, *command: str) -> str:
    """What one of the workflow's commands says."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=checkout.folder,
        env=CHECKED,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_an_application(extended):
    # A study that does not name it has nothing to do, the report included.
    assert "Nothing to be done" in extended.run("--dry-run")

    # One that does makes what is the application's, and the report.
    study = extended.folder / extended.study
    study.write_text(STUDY + "textures: [{name: fine, samples: 320}]\n")
    told = {"default", "write_config", "write_report", "finish_study", "total"}
    assert "1 texture_mosaic" in beside(extended, "workflow/preflight.py", extended.study)
    assert set(planned(extended.run())) == ITS_RULES | told
    results = extended.results
    table = pd.read_csv(results / "texture.csv")
    assert table["n"].tolist() == [2 * 9] and table["detail"].item() > 0
    assert (results / "denoisers/fine/network.safetensors").is_file()
    history = pd.read_csv(results / "denoisers/fine/history.csv")
    assert "discriminator_loss" in history and len(history) == 1
    cost = pd.read_csv(results / "cost.csv").set_index("rule")
    assert cost.loc["texture_mosaic", ["mosaic", "variant", "units"]].tolist() == [
        *("pictures", "fine", 2),
    ]
    page = (results / "report.html").read_text()
    assert "How much detail there is" in page and 'href="texture.csv"' in page
    assert (results / "figures/texture.png").is_file()

    # What is damaged is found, and made again alone.
    expected = (results / "texture.csv").read_bytes()
    np.save(results / "textures/pictures/fine/1.npy", np.zeros(9))
    (results / "denoisers/fine/network.safetensors").write_bytes(b"cut off")
    said = beside(extended, "workflow/resume.py", extended.study, "--cores", "2")
    assert "textures/pictures/fine, unit 1 of 2" in said
    assert "denoisers/fine/network.safetensors" in said
    assert "texture_mosaic" in said and "restore_mosaic" not in said
    assert (results / "texture.csv").read_bytes() == expected
    assert (results / "denoisers/fine/network.safetensors").stat().st_size > 1000
