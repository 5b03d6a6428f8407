"""When the cluster ends this job, and whether another piece of work would end before that."""

import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

# Left over at the end: what comes after the work (Snakemake looks at the results) wants some time too.
MARGIN_S = 20
# Pieces of work differ, and other jobs of the node slow them down.
SAFETY = 1.25


SCHEDULERS = Path(__file__).parent / "schedulers"


def schedulers() -> list[ModuleType]:
    """The schedulers of clusters that isoplan knows, a module each in schedulers/, found by listing.

    Each says `job_end()`, when it ends this job, in seconds since the epoch, infinity where it does not or nobody knows;
    and `cancel_jobs(study)` cancels a study's jobs in its queue, and no others, and waits until they are gone. They
    count in no hash, as how a queue is asked makes no result.
    """
    names = sorted(file.stem for file in SCHEDULERS.glob("[a-z]*.py"))
    return [import_module(f"isoplan.cluster.schedulers.{name}") for name in names]


class TimeLimit:
    """The end of this job, against the longest piece of work so far."""

    def __init__(self):
        self.end = min(scheduler.job_end() for scheduler in schedulers())
        self.longest_s = 0.0
        self.begun = time.monotonic()

    def step(self) -> None:
        """A piece of work ended; the next one begins."""
        now = time.monotonic()
        self.longest_s = max(self.longest_s, now - self.begun)
        self.begun = now

    def reached(self) -> bool:
        """Whether another piece of work would not end in time. The first is always tried: nothing is
        known of it, and without it the job would never get anywhere."""
        needed = SAFETY * self.longest_s + MARGIN_S
        return self.longest_s > 0 and time.time() + needed > self.end
