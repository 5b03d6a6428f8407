"""Which units are done: after kills, damage, and changes of what made them."""

import json
import time

import numpy as np
import pytest
from isoplan.base import ledger as module
from isoplan.base.errors import OutOfTime
from isoplan.base.ledger import Ledger, write_atomically
from isoplan.cluster import timelimit
from isoplan.cluster.schedulers import slurm
from isoplan.cluster.units import run_units, share

COUNT = 7


class Store:
    """Blocks by number, and which of them were made."""

    def __init__(self):
        self.blocks = {}
        self.made = []
        self.fails_at = None

    def make(self, unit):
        if unit == self.fails_at:
            raise KeyboardInterrupt
        self.made.append(unit)
        return np.full((2, 3), unit, np.float32)

    def run(self, folder, mark="a", job=0, jobs=1):
        self.made = []
        return run_units(
            Ledger(folder, mark),
            COUNT,
            job=job,
            jobs=jobs,
            make=self.make,
            write=self.blocks.__setitem__,
            read=self.blocks.__getitem__,
            title="units",
        )


@pytest.fixture
def store():
    return Store()


def test_all_units_are_made_once(store, tmp_path):
    assert store.run(tmp_path) == COUNT
    assert store.made == list(range(COUNT))
    assert store.run(tmp_path) == 0
    assert store.made == []


def test_each_unit_notes_what_it_cost(store, tmp_path):
    def slow(unit, block):
        time.sleep(0.02)
        store.blocks[unit] = block

    ledger = Ledger(tmp_path, "a")
    run_units(
        ledger, 2, job=0, jobs=1, make=store.make, write=slow, read=store.blocks.get, title="units"
    )
    for unit in range(2):
        entry = ledger.recorded(unit)
        assert entry["all_s"] - entry["make_s"] >= 0.02
        assert 0 <= entry["make_s"] < entry["all_s"]
        assert 10 < entry["start_mb"] <= entry["peak_mb"] < 10_000


def test_a_killed_run_goes_on_where_it_was(store, tmp_path):
    store.fails_at = 4
    with pytest.raises(KeyboardInterrupt):
        store.run(tmp_path)
    store.fails_at = None
    assert store.run(tmp_path) == 3
    assert store.made == [4, 5, 6]


def test_a_job_stops_before_a_unit_that_would_not_end_in_time(store, tmp_path, monkeypatch):
    """Units of 10 s by a clock of our own, with 60 s to go; after 30 s, 12.5 + 20 s are not left."""
    clock = [1000.0]
    monkeypatch.setattr(slurm, "job_end", lambda: 1060.0)
    monkeypatch.setattr(timelimit.time, "time", lambda: clock[0])
    monkeypatch.setattr(timelimit.time, "monotonic", lambda: clock[0])
    make = store.make

    def slowly(unit):
        clock[0] += 10
        return make(unit)

    monkeypatch.setattr(store, "make", slowly)
    with pytest.raises(OutOfTime, match=r"units: 3 of 7 were made, .*up to 10 s"):
        store.run(tmp_path)
    assert store.made == [0, 1, 2]
    clock[0] = 1060.0  # too late from the beginning: one unit is tried all the same
    with pytest.raises(OutOfTime, match="1 of 4 were made"):
        store.run(tmp_path)
    monkeypatch.setattr(slurm, "job_end", lambda: float("inf"))
    assert store.run(tmp_path) == 3


def test_a_unit_written_but_not_noted_is_made_again(store, tmp_path):
    store.run(tmp_path)
    (tmp_path / "3.json").unlink()
    store.run(tmp_path)
    assert store.made == [3]


def test_damaged_missing_and_unreadable_data_are_noticed(store, tmp_path):
    store.run(tmp_path)
    store.blocks[1][0, 0] += 1
    del store.blocks[5]
    store.run(tmp_path)
    assert store.made == [1, 5]


def test_damaged_entries_are_noticed(store, tmp_path):
    store.run(tmp_path)
    (tmp_path / "2.json").write_text('{"fingerprint": "a", "che')
    (tmp_path / "3.json").write_text('{"fingerprint": "a"}')
    (tmp_path / "4.json").write_text("[]")
    store.run(tmp_path)
    assert store.made == [2, 3, 4]


def test_units_of_other_settings_do_not_count(store, tmp_path):
    store.run(tmp_path, mark="a")
    assert store.run(tmp_path, mark="b") == COUNT
    assert Ledger(tmp_path, "a").recorded(0) is None


def test_what_the_store_gives_back_counts(tmp_path):
    """A store that rounds or casts holds other bytes than were handed to it."""
    blocks = {}
    for made in (1, 0):
        count = run_units(
            Ledger(tmp_path, "a"),
            1,
            job=0,
            jobs=1,
            make=lambda unit: np.array([1.6]),
            write=lambda unit, block: blocks.__setitem__(unit, np.rint(block).astype(np.uint16)),
            read=blocks.__getitem__,
            title="units",
        )
        assert count == made


def test_shares_are_a_partition(store, tmp_path):
    made = []
    for job in range(3):
        store.run(tmp_path, job=job, jobs=3)
        made += store.made
    assert sorted(made) == list(range(COUNT))
    assert store.made == [2, 5]
    assert list(share(2, 5, 8)) == []  # an empty share is no error


def test_nan_blocks_have_a_checksum(tmp_path):
    ledger, block = Ledger(tmp_path, "a"), np.full((2, 2), np.nan, np.float32)
    ledger.record(0, block, seconds=3)
    assert ledger.done(0, lambda unit: block.copy())
    assert ledger.recorded(0)["seconds"] == 3
    assert not ledger.done(0, lambda unit: np.zeros((2, 2), np.float32))


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "deep" / "a.json"
    write_atomically(file, json.dumps([1]))

    def broken(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(module.os, "fsync", broken)
    with pytest.raises(OSError):
        write_atomically(file, json.dumps([2] * 1000))
    assert json.loads(file.read_text()) == [1]
    assert [path.name for path in file.parent.iterdir()] == ["a.json"]
