"""Which units of a stage are done: small files beside the store, written after each unit.

A unit counts as done only where its file carries the present fingerprint (settings, input, library
code) and the data read back from the store still have the recorded checksum.
"""

import json
import os
import resource
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from isoplan.base.errors import OutOfTime
from isoplan.base.progress import Progress
from isoplan.base.timelimit import TimeLimit


def write_atomically(path: str | Path, text: str) -> None:
    """Writes a file whole or not at all: under another name first, then renamed into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text)
        with part.open() as handle:
            os.fsync(handle.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def checksum(block: np.ndarray) -> int:
    """CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(block).view(np.uint8).data)


class Ledger:
    """Ledger of one store.

    folder: where the unit files lie, outside the store. fingerprint: of params, inputs and code.
    """

    def __init__(self, folder: str | Path, fingerprint: str):
        self.folder = Path(folder)
        self.fingerprint = fingerprint

    def _file(self, unit: int) -> Path:
        return self.folder / f"{unit}.json"

    def recorded(self, unit: int) -> dict | None:
        """The unit's entry, or None where there is none of this fingerprint that reads whole."""
        try:
            entry = json.loads(self._file(unit).read_text())
            return entry if entry["fingerprint"] == self.fingerprint else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def record(self, unit: int, block: np.ndarray, **facts) -> None:
        """Notes that `block` was written for this unit; call it after the store's write returned."""
        entry = {"fingerprint": self.fingerprint, "checksum": checksum(block), **facts}
        write_atomically(self._file(unit), json.dumps(entry))

    def done(self, unit: int, read: Callable[[int], np.ndarray]) -> bool:
        """Whether the unit is recorded and its data, read back by `read(unit)`, are unharmed."""
        entry = self.recorded(unit)
        if entry is None:
            return False
        try:
            return checksum(read(unit)) == entry["checksum"]
        except Exception:  # whatever a damaged store raises, the unit is to be made again
            return False

    def missing(self, units: Iterable[int], read: Callable[[int], np.ndarray]) -> list[int]:
        """The units still to be made, in order."""
        return [unit for unit in units if not self.done(unit, read)]


def damaged(folder: str | Path, read: Callable[[int], np.ndarray]) -> list[int]:
    """Units recorded in a ledger's folder, whatever their fingerprint, whose data are not unharmed.

    read(unit) gives the unit's data back from the store; whatever it raises counts as damage.
    """
    units = sorted(int(file.stem) for file in Path(folder).glob("*.json") if file.stem.isdigit())
    lost = []
    for unit in units:
        try:
            entry = json.loads((Path(folder) / f"{unit}.json").read_text())
            unharmed = checksum(read(unit)) == entry["checksum"]
        except Exception:  # as in Ledger.done, and ledger files that are cut off
            unharmed = False
        if not unharmed:
            lost.append(unit)
    return lost


def share(count: int, job: int, jobs: int) -> range:
    """The units of job `job` of `jobs`: every unit whose index is `job` modulo `jobs`."""
    return range(job, count, jobs)


def peak_mb() -> float:
    """Largest resident size of this process up to now, in MB (2^20 bytes, as Slurm's)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def gpu_mb() -> dict[str, float]:
    """Most that torch held of a GPU up to now, in MB, as {"gpu_mb": MB}; nothing where it used none."""
    torch = sys.modules.get("torch")  # not every job needs it
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"gpu_mb": torch.cuda.max_memory_reserved() / 2**20}


def run_units(
    ledger: Ledger,
    count: int,
    *,
    job: int,
    jobs: int,
    make: Callable[[int], np.ndarray],
    write: Callable[[int, np.ndarray], None],
    read: Callable[[int], np.ndarray],
    title: str,
) -> int:
    """Makes the units of one job that are still missing, each written and then noted.

    A job killed at any time loses the unit it was at; its rerun goes on from there. Each unit's entry
    holds its seconds in `make` alone (make_s) and with write and read-back (all_s), and the process's
    peak memory before the first unit (start_mb) and up to then (peak_mb; on a GPU gpu_mb). Returns how
    many were made. Raises OutOfTime before a unit that would not end within the job's time limit.
    """
    start_mb = peak_mb()
    own = share(count, job, jobs)
    missing = ledger.missing(own, read)
    if len(missing) < len(own):
        print(f"{title}: {len(own) - len(missing)} of {len(own)} are done already")
    bar, limit = Progress(title, len(missing)), TimeLimit()
    for unit in missing:
        if limit.reached():
            raise OutOfTime(
                f"{title}: {bar.done} of {len(missing)} were made, and another one (up to "
                f"{limit.longest_s:.0f} s) would not end within this job's time limit. They are kept: "
                "the next attempt, or `make resume`, goes on from here"
            )
        begin = time.perf_counter()
        block = make(unit)
        made = time.perf_counter() - begin
        write(unit, block)
        # What counts is what the store gives back, in its own dtype.
        stored = read(unit)
        # With each unit, so that the cost of a stage is known however often its jobs were killed.
        cost = {"make_s": made, "all_s": time.perf_counter() - begin}
        cost |= {"start_mb": start_mb, "peak_mb": peak_mb(), **gpu_mb()}
        ledger.record(unit, stored, **{name: round(value, 4) for name, value in cost.items()})
        limit.step()
        bar.step()
    return len(missing)
