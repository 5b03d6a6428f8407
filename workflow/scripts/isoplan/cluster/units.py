"""The units of a stage that one job makes: one after the other, each noted, until its time is up."""

import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from isoplan.base.errors import OutOfTime
from isoplan.base.ledger import Ledger
from isoplan.base.progress import Progress
from isoplan.cluster.timelimit import TimeLimit


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
