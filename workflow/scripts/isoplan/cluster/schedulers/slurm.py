"""What Slurm tells: in a job when it ends it, on a login node of the jobs of a study, and of the site."""

import getpass
import math
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from isoplan.base.errors import UserError

CANCEL_S = 120
SLURM_RUN = "SLURM run ID: "  # how Snakemake's log names the jobs of a run


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


# The jobs of a study ------------------------------------------------------------------------------


def cancel_jobs(study: str) -> None:
    """Cancels this study's jobs in Slurm's queue, and no others, and waits until they are gone.

    A job's name is the identity of the Snakemake run that submitted it, and that run's log in this
    folder says which results it made. A job counts as the study's only where both agree.
    """
    runs = runs_of(study)
    if not (runs and shutil.which("squeue") and shutil.which("scancel")):
        return
    here = queue()
    own = [job for job, run_id in here.items() if run_id in runs]
    if len(here) > len(own):
        print(f"{len(here) - len(own)} other Slurm jobs of this folder are left alone")
    if not own:
        return
    print(f"cancelling {len(own)} Slurm jobs of this study: {' '.join(own)}", flush=True)
    subprocess.run(["scancel", *own], check=False)
    for _ in range(CANCEL_S):  # a job that is being ended still writes
        left = [job for job in own if job in queue()]
        if not left:
            return
        time.sleep(1)
    raise UserError(
        f"Slurm has not ended the jobs {' '.join(left)} within {CANCEL_S} s; run this again when "
        "squeue no longer lists them"
    )


def queue() -> dict[str, str]:
    """Job id -> name of the user's jobs that were submitted from this folder.

    Raises UserError where Slurm does not answer: jobs that nobody sees may still write.
    """
    listed = ["squeue", "--noheader", "--user", getpass.getuser(), "--format", "%i\t%j\t%Z"]
    queue = subprocess.run(listed, capture_output=True, text=True)
    if queue.returncode:
        why = (queue.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            f"Slurm does not answer ({why}), and jobs of this study may still be at work; run this again "
            "when `squeue` works, or make study if none was ever submitted"
        )
    rows = [line.split("\t") for line in queue.stdout.splitlines()]
    return {
        row[0]: row[1] for row in rows if len(row) == 3 and Path(row[2]).resolve() == Path.cwd()
    }


def runs_of(study: str) -> set[str]:
    """Identities of the Slurm runs whose log names this study's results."""
    found = set()
    for log in Path(".snakemake/log").glob("*.log"):
        text = log.read_text(errors="replace")
        if f"results/{study}/" in text and SLURM_RUN in text:
            found |= {part.split()[0] for part in text.split(SLURM_RUN)[1:]}
    return found


# The site -------------------------------------------------------------------------------------------


@dataclass
class Partition:
    """Limits of a partition; None where it has none. memory_mb, cpus: of its largest node."""

    name: str
    default: bool
    up: bool
    minutes: float | None
    memory_mb: float | None
    cpus: int
    gpus: bool
    nodes: int


def ask(*command: str) -> tuple[str, str | None]:
    """What a command prints, and why it failed: None where it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return ("", last_line(done.stderr)) if done.returncode else (done.stdout, None)


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def read_partitions(partitions: str, nodes: str) -> dict[str, Partition]:
    """From `scontrol show partition` and `scontrol show node`, one line each."""
    found, machines = {}, [dict(re.findall(r"(\w+)=(\S*)", line)) for line in nodes.splitlines()]
    for line in partitions.splitlines():
        facts = dict(re.findall(r"(\w+)=(\S*)", line))
        if "PartitionName" not in facts:
            continue
        name = facts["PartitionName"]
        own = [node for node in machines if name in node.get("Partitions", "").split(",")]
        memory = [float(node["RealMemory"]) for node in own if node.get("RealMemory", "").isdigit()]
        allowed = facts.get("MaxMemPerNode", "")
        limits = [max(memory)] if memory else []
        limits += [float(allowed)] if allowed.isdigit() and int(allowed) else []
        found[name] = Partition(
            name=name,
            default=facts.get("Default") == "YES",
            up=facts.get("State") == "UP",
            minutes=minutes(facts.get("MaxTime", "UNLIMITED")),
            memory_mb=min(limits, default=None),
            cpus=max((int(node.get("CPUTot", 1)) for node in own), default=1),
            gpus=any("gpu" in node.get("Gres", "") for node in own),
            nodes=len(own),
        )
    return found


def minutes(text: str) -> float | None:
    """Slurm's time (minutes, h:m:s, d-h:m:s); None for no limit."""
    if text.upper() in ("UNLIMITED", "INFINITE", "NONE", ""):
        return None
    days, _, rest = text.rpartition("-")
    parts = [float(part) for part in rest.split(":")]
    if days:
        hours, mins, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, mins, seconds = parts
    else:
        hours, mins, seconds = 0, parts[0], [*parts, 0][1]
    return 1440 * float(days or 0) + 60 * hours + mins + seconds / 60
