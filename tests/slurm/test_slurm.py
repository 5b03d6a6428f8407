"""A whole study through `snakemake --profile slurm`, on a real Slurm of two nodes."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from cluster import NODES, Cluster

pytestmark = pytest.mark.slow
STUDY = Path(__file__).with_name("study.yaml")
# The profile as it stands; only the waits are those of a test, and what fails fails at once.
TEST_SETTINGS = [
    "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10", "--retries", "0",
]  # fmt: skip
WANTED = [
    "report.html", "metrics.csv", "regression.csv", "finished.txt", "config.yaml", "figures",
    "psf_map/pictures/small.zarr/zarr.json", "psf_map/pictures/true.zarr/zarr.json",
    "restored/pictures/estimated.ome.zarr/zarr.json",
    "restored/pictures/oracle.ome.zarr/zarr.json",
    "enhanced_pictures.csv", "enhanced_pictures/old.ome.zarr/zarr.json",
]  # fmt: skip


def snakemake(checkout, cluster, *arguments: str) -> str:
    """Runs Snakemake on the cluster and returns what it printed; fails with the logs where it failed."""
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *TEST_SETTINGS]
    done = subprocess.run(
        [*command, "--configfile", str(STUDY), *arguments],
        cwd=checkout,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
    )
    if done.returncode:
        pytest.fail(f"{done.stdout[-6000:]}\n{job_logs(checkout)}\n{cluster.logs()}")
    return done.stdout


def job_logs(checkout) -> str:
    """The end of the logs of jobs that failed (Snakemake deletes those of the others)."""
    logs = sorted((checkout / ".snakemake" / "slurm_logs").rglob("*.log"))
    return "\n".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in logs[:3])


def test_a_whole_study_on_two_nodes(checkout, cluster):
    said = snakemake(checkout, cluster)
    results = checkout / "results" / "cluster"
    assert not [name for name in WANTED if not (results / name).exists()]
    assert (results / "report.html").stat().st_size > 10_000
    metrics = pd.read_csv(results / "metrics.csv", keep_default_na=False)
    assert {"estimated", "oracle", "none"} <= set(metrics["method"])
    assert said.count("has been submitted with SLURM jobid") >= 15
    assert cluster.nodes_used() == set(NODES)
    assert "Nothing to be done" in snakemake(checkout, cluster, "--dry-run")


@pytest.mark.usefixtures("cluster")  # skips where there is no Slurm
def test_a_second_cluster_starts_beside_and_leaves_nothing():
    with Cluster() as other:
        assert len(other.output("srun", "-N2", "--mem=10", "hostname").split()) == len(NODES)
    assert all(daemon.poll() is not None for daemon in other.daemons)
    assert not other.folder.exists()
