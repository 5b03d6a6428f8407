"""When the cluster ends this job, and whether another piece of work would end before that."""

import math
import os
import subprocess
import time
from datetime import datetime

# Left over at the end: what comes after the work (Snakemake looks at the results) wants some time too.
MARGIN_S = 20
# Pieces of work differ, and other jobs of the node slow them down.
SAFETY = 1.25


def job_end() -> float:
    """When Slurm ends this job, in seconds since the epoch; infinity where it does not, or nobody knows.

    Newer versions of Slurm say it in SLURM_JOB_END_TIME, older ones (22.05, Debian 12) have to be asked.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return math.inf
    try:
        if "SLURM_JOB_END_TIME" in os.environ:
            return float(os.environ["SLURM_JOB_END_TIME"])
        told = subprocess.run(
            ["squeue", "--noheader", "--job", job, "--format", "%e"],
            env=os.environ | {"SLURM_TIME_FORMAT": "standard"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return datetime.fromisoformat(told.stdout.split()[0]).timestamp()
    # No squeue on the node, no answer, or no limit ("N/A"): then Slurm ends the job, or nobody does.
    except (OSError, subprocess.SubprocessError, ValueError, LookupError):
        return math.inf


class TimeLimit:
    """The end of this job, against the longest piece of work so far."""

    def __init__(self):
        self.end = job_end()
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
