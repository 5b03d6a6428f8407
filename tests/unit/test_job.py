"""What every job script does around its work."""

import sys
from types import SimpleNamespace

import _job
import pytest
import torch
from isoplan.base.errors import UserError


@pytest.fixture
def snakemake(tmp_path):
    return SimpleNamespace(log=[str(tmp_path / "rule.log")], threads=1)


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


def test_an_interrupt_goes_through(snakemake):
    with pytest.raises(KeyboardInterrupt), _job.job(snakemake):
        raise KeyboardInterrupt


def test_a_library_from_elsewhere_is_refused(snakemake, monkeypatch, tmp_path):
    monkeypatch.setattr(_job, "HERE", tmp_path)
    with pytest.raises(SystemExit, match="uninstall that copy"), _job.job(snakemake):
        pytest.fail("ran with a foreign library")
