"""`make preflight PROFILE=slurm` on a real Slurm."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow
STUDY = Path(__file__).with_name("study.yaml")


def test_a_study_that_asks_for_more_time_than_the_partition_gives(checkout, cluster):
    config = yaml.safe_load(STUDY.read_text())
    config["resources"]["map_minutes"] = 600
    (checkout / "long.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [
            *(sys.executable, "workflow/preflight.py", "cluster", "--configfile", "long.yaml"),
            *("--profile", "slurm"),
        ],
        cwd=checkout,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = done.stdout
    assert done.returncode == 1, said + done.stderr
    # All is well but this, and the retries of what asks for half of a node.
    assert said.count("FAIL") == 1, said
    assert "FAIL  map_psf requests 600 minutes, partition main allows 60\n" in said
    assert "resources: {map_minutes: 60}" in said
    assert "OK    job states by squeue; ended jobs stay listed 3600 s" in said
    assert "OK    the site has no accounts" in said
    assert "runs this folder's Python; its files appear here after" in said
    assert not list((checkout / "results").glob(".preflight-*"))
