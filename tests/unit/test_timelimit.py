"""When a job ends, as Slurm tells it, and what is made of that."""

import math
import time
from datetime import datetime

import pytest
from isoplan.cluster.schedulers.slurm import job_end
from isoplan.cluster.timelimit import TimeLimit

NAMES = ("SLURM_JOB_ID", "SLURM_JOB_END_TIME", "TZ")


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """squeue(answer): a program of that name that gives this answer, and fails where it is None."""

    def put(answer):
        program = tmp_path / "squeue"
        program.write_text(f"#!/bin/sh\necho '{answer}'\nexit {int(answer is None)}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setenv("SLURM_JOB_ID", "7")

    return put


def test_outside_a_cluster_nothing_ends(squeue, monkeypatch):
    squeue("2026-01-02T03:04:05")
    monkeypatch.delenv("SLURM_JOB_ID")
    assert job_end() == math.inf
    assert not TimeLimit().reached()


def test_newer_versions_say_it_and_older_ones_are_asked(squeue, monkeypatch):
    squeue("2026-01-02T03:04:05")
    assert job_end() == datetime(2026, 1, 2, 3, 4, 5).timestamp()
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1767323045")
    assert job_end() == 1767323045


@pytest.mark.parametrize("answer", ["N/A", "Unknown", "", None])
def test_without_a_limit_or_an_answer_nothing_ends(squeue, answer):
    squeue(answer)
    assert job_end() == math.inf


def test_no_squeue_on_the_node(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert job_end() == math.inf


def test_the_longest_piece_of_work_counts(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 1))
    limit = TimeLimit()
    assert not limit.reached()  # nothing was tried yet
    limit.step()
    assert limit.reached()  # the margin alone is longer
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 1000))
    limit = TimeLimit()
    limit.step()
    assert not limit.reached()
    limit.longest_s = 800.0
    assert limit.reached()
