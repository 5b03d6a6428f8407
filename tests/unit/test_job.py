"""What every job script does around its work."""

import errno
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import _job
import pytest
import torch
from isoplan.base.errors import OutOfTime, UserError
from isoplan.base.records import differing


@pytest.fixture
def snakemake(tmp_path):
    return SimpleNamespace(log=[str(tmp_path / "rule.log")], threads=1, output=[])


def log_of(snakemake) -> str:
    with open(snakemake.log[0]) as handle:
        return handle.read()


def test_output_goes_to_log_and_terminal(snakemake, capfd):
    torch.set_num_threads(2)
    with _job.job(snakemake):
        print("to the log")
        print("a warning", file=sys.stderr)
        assert not sys.stderr.isatty()
        assert torch.get_num_threads() == 1
    assert log_of(snakemake) == "to the log\na warning\n"
    assert "to the log" in capfd.readouterr().err
    assert sys.stdout is not sys.stderr


def test_a_user_s_mistake_is_one_line(snakemake):
    with pytest.raises(SystemExit) as ended, _job.job(snakemake):
        print("begun")
        raise UserError("mosaic.tif: is cut short; copy it again")
    assert ended.value.code == 1
    assert log_of(snakemake).split("\n") == [
        "begun",
        "",
        "ERROR mosaic.tif: is cut short; copy it again",
        "",
        "",
    ]


def test_our_own_mistake_leaves_its_traceback(snakemake):
    stdout = sys.stdout
    with pytest.raises(SystemExit) as ended, _job.job(snakemake):
        raise ZeroDivisionError("oops")
    assert ended.value.code == 1
    assert "Traceback" in log_of(snakemake) and "ZeroDivisionError: oops" in log_of(snakemake)
    assert sys.stdout is stdout


def test_out_of_time_is_no_error(snakemake):
    with pytest.raises(SystemExit) as ended, _job.job(snakemake):
        raise OutOfTime("restoring m, units: 3 of 7 were made")
    assert ended.value.code == 3
    assert log_of(snakemake) == "\nSTOPPED restoring m, units: 3 of 7 were made\n\n"


def test_a_full_disk_is_one_line(snakemake):
    with pytest.raises(SystemExit) as ended, _job.job(snakemake):
        raise OSError(errno.ENOSPC, "No space left on device", "results/a/b.zarr")
    assert ended.value.code == 1
    assert "ERROR results/a/b.zarr: the disk or your quota is full" in log_of(snakemake)
    assert "Traceback" not in log_of(snakemake)


def test_a_log_on_a_full_disk_hides_nothing(capfd):
    """/dev/full takes nothing, as a full disk does."""
    with (
        pytest.raises(SystemExit),
        _job.job(SimpleNamespace(log=["/dev/full"], threads=1, output=[])),
    ):
        print("begun")
        raise OSError(errno.ENOSPC, "No space left on device")
    said = capfd.readouterr().err
    assert "begun" in said and "quota is full" in said and "Traceback" not in said


def test_small_files_are_recorded_once_the_job_succeeded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Path("results/toy")
    outputs = [results / name for name in ("metrics.csv", "a.done", "report.html", "cost.csv")]
    log, record = results / "logs/rule/m.x.log", results / "records/rule/m.x.json"
    log.parent.mkdir(parents=True)
    job = SimpleNamespace(log=[str(log)], threads=1, output=[str(path) for path in outputs])
    for path in outputs:
        path.write_text("a,b\n1,2\n")
    with _job.job(job):
        pass
    assert json.loads(record.read_text()).keys() == {"metrics.csv", "cost.csv"}
    assert differing(record, results) == []
    (results / "metrics.csv").write_text("a,b\n1,3\n")
    (results / "cost.csv").unlink()  # Snakemake asks for it itself
    assert differing(record, results) == [results / "metrics.csv"]
    with pytest.raises(SystemExit), _job.job(job):
        raise UserError("no")
    assert not record.exists() and differing(record, results) == []


def test_sigterm_ends_a_job_at_once_in_one_line(snakemake, tmp_path):
    """In a process of its own; `except Exception` on the way does not hold it up."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        from types import SimpleNamespace
        sys.path.insert(0, {str(_job.HERE)!r})
        from _job import job
        with job(SimpleNamespace(log=[{snakemake.log[0]!r}], threads=1, output=[])):
            print("at work", flush=True)
            for _ in range(600):
                try:
                    time.sleep(0.1)
                except Exception:
                    pass
        """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    log = Path(snakemake.log[0])
    while not (log.exists() and "at work" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert "STOPPED by SIGTERM" in log.read_text() and "Traceback" not in log.read_text()


def test_the_signal_is_given_back(snakemake):
    before = signal.getsignal(signal.SIGTERM)
    with _job.job(snakemake):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_goes_through(snakemake):
    with pytest.raises(KeyboardInterrupt), _job.job(snakemake):
        raise KeyboardInterrupt


def test_a_library_from_elsewhere_is_refused(snakemake, monkeypatch, tmp_path):
    monkeypatch.setattr(_job, "HERE", tmp_path)
    with pytest.raises(SystemExit, match="uninstall that copy"), _job.job(snakemake):
        pytest.fail("ran with a foreign library")
