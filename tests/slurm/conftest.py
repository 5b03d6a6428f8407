"""One real two-node Slurm for all tests of this folder."""

import os
import shutil
from pathlib import Path

import pytest
from cluster import Cluster, missing_programs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def slurm() -> None:
    """Skips where Slurm is not installed; fails instead where it should be."""
    missing = missing_programs()
    if missing and os.environ.get("ISOPLAN_CI"):
        pytest.fail(f"Slurm is not installed: {', '.join(missing)} missing")
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)")


@pytest.fixture(scope="session")
def cluster(slurm):
    with Cluster() as running:
        yield running


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the repository to run a study in, without results and environments."""
    unwanted = shutil.ignore_patterns(".*", "results", "logs", "tests", "__pycache__")
    return Path(shutil.copytree(ROOT, tmp_path / "isoplan", ignore=unwanted))
