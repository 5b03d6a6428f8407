"""Accidents on purpose, on a real Slurm of two nodes: after each, `make resume` has to put all right.

    make chaos [KILLS=20] [SEED=1] [ONLY=node-down,full-disk]

A small study is run once without a disturbance. Then, each time in a fresh copy of the checkout, it is
run through Slurm, an accident happens at a moment drawn from the seed, and `make resume STUDY=chaos
PROFILE=slurm` goes on. It has to end well, to make only units that were lost or not yet done, and to
leave every file as the undisturbed run left it, bit for bit (see NOT_COMPARED). The table goes to
results/chaos/summary.csv and .md, what was printed beside it, and the exit code is 1 where one failed.

The undisturbed run is a local one, so that this also holds Slurm's results against those. In the copies,
the profile waits less, and short steps run beside the controller, as for each of them the queue costs
half a minute: Slurm runs mapping and restoring.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatch
from pathlib import Path

import psutil
from cluster import Cluster, missing_programs

ROOT = Path(__file__).resolve().parents[2]
STUDY = Path(__file__).with_name("chaos.yaml")
CONFIG = "config/studies/chaos.yaml"
OUT = ROOT / "results" / "chaos"
PATIENCE_S = 1200  # other work on the machine may slow everything down
BESIDE = (
    "\n\nlocalrules:\n"
    "    fill_psf_map, finish_restoration, evaluate_mosaic, tabulate_mosaic, write_report,\n"
)
NOT_COMPARED = {
    "logs/*": "times, and what an earlier attempt did already",
    "benchmarks/*": "times",
    "records/*": "checksums of files that are compared, or that hold times",
    "cost.csv": "times",
    "report.html": "shows the benchmarks; its tables and figures are compared as files",
}


# A copy of the checkout, with the study --------------------------------------------------------


class Copy:
    """A folder to run the study in. reference: the undisturbed run that it is compared with."""

    def __init__(self, folder: Path, cluster: Cluster, reference: "Copy | None" = None):
        self.folder, self.cluster = folder, cluster
        self.results = folder / "results" / "chaos"
        self.reference = reference
        self.controller: subprocess.Popen | None = None
        self.environment = cluster.environment | {"OMP_WAIT_POLICY": "passive"}

    @classmethod
    def make(cls, folder: Path, cluster: Cluster) -> "Copy":
        """A fresh copy without results, set up so that Slurm keeps nobody waiting."""
        unwanted = shutil.ignore_patterns(".*", "results", "logs", "tests", "__pycache__")
        shutil.copytree(ROOT, folder, ignore=unwanted)
        (folder / ".venv").symlink_to(sys.prefix)
        for pins in folder.glob("envs/requirements*.txt"):
            os.utime(pins, (0, 0))  # make finds the environment up to date; setup is not tried here
        shutil.copyfile(STUDY, folder / CONFIG)
        profile = folder / "slurm" / "profile.v9+.yaml"
        text = re.sub(r"(?m)^(slurm-init-.*): .*", r"\1: 2", profile.read_text())
        profile.write_text(re.sub(r"(?m)^latency-wait: .*", "latency-wait: 10", text))
        with (folder / "Snakefile").open("a") as snakefile:
            snakefile.write(BESIDE)
        return cls(folder, cluster)

    def clone(self, folder: Path, reference: "Copy | None" = None) -> "Copy":
        """A copy with results and what Snakemake remembers of them."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        (folder / "said.log").unlink(missing_ok=True)
        return Copy(folder, self.cluster, reference)

    def run_locally(self, *targets: str) -> None:
        """Runs the study, or what it needs for these results, on this machine alone."""
        command = ["snakemake", "--cores", "2", "--nocolor", f"--configfile={CONFIG}"]
        self._run([sys.executable, "-m", *command, *(f"results/chaos/{t}" for t in targets)])

    def start(self, *, retries: int | None = None) -> None:
        """Starts the study through Slurm; retries None leaves that to the profile."""
        command = [".venv/bin/snakemake", "--profile", "slurm", "--nocolor", "--configfile", CONFIG]
        extra = [] if retries is None else ["--retries", str(retries)]
        with (self.folder / "run.log").open("w") as log:
            self.controller = subprocess.Popen(
                [*command, *extra],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def resume(self, *, repeatedly: bool = False) -> None:
        """The very command that a user gives; raises RuntimeError where it fails.

        repeatedly: it is given again for as long as each time leaves more units done. Of a job's few
        minutes a busy machine may take the most to start it.
        """
        while True:
            before = len(self.units())
            try:
                return self._run(["make", "resume", "STUDY=chaos", "PROFILE=slurm"])
            except RuntimeError:
                if not repeatedly or len(self.units()) == before:
                    raise

    def _run(self, command: list[str]) -> None:
        with (self.folder / "said.log").open("a") as log:
            code = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                timeout=PATIENCE_S,
            ).returncode
        if code:
            raise RuntimeError(f"{' '.join(command)} ended with {code}")

    def running(self) -> bool:
        return self.controller.poll() is None

    def wait(self) -> None:
        """Until the controller ends by itself."""
        self.controller.wait(timeout=PATIENCE_S)

    def units(self) -> dict[str, int]:
        """Units that are recorded as done, and when that was written."""
        ledgers, found = self.results / "ledgers", {}
        for file in ledgers.rglob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                found[str(file.relative_to(ledgers).with_suffix(""))] = file.stat().st_mtime_ns
        return found

    def processes(self) -> list[psutil.Process]:
        """Everything that works in this folder, the controller and its children among it."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and Path(process.cwd()) == self.folder:
                    found.append(process)
        return found

    def workers(self) -> list[tuple[psutil.Process, str]]:
        """Job scripts at work, and the rule of each."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                for part in map(Path, process.cmdline()):
                    if part.parent == self.folder / ".snakemake" / "scripts":
                        found.append((process, part.suffixes[-2][1:]))
        return found

    def slurm_jobs(self) -> dict[str, str]:
        """Job id -> node of this folder's jobs that run."""
        rows = self.cluster.output("squeue", "-h", "-t", "R", "-o", "%i %N %Z").splitlines()
        return {
            row.split()[0]: row.split()[1]
            for row in rows
            if Path(row.split()[2]) == self.folder.resolve()
        }

    def slurm_log(self) -> str:
        """What this folder's Slurm jobs said that did not end well."""
        logs = sorted((self.folder / ".snakemake" / "slurm_logs").rglob("*.log"))
        return "\n".join(log.read_text(errors="replace") for log in logs)

    def end(self) -> None:
        """Ends what a failed trial left."""
        for process in [*self.processes(), *([self.controller] if self.controller else [])]:
            with contextlib.suppress(psutil.Error, OSError):
                process.kill()


def differences(expected: Path, found: Path) -> list[str]:
    """Files under two results folders that are not the same, or there in one alone."""

    def files(folder: Path) -> set[str]:
        names = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
        return {n for n in names if not any(fnmatch(n, pattern) for pattern in NOT_COMPARED)}

    def content(file: Path):
        if "ledgers" in file.parts:  # beside these, what the unit cost
            return [json.loads(file.read_text())[key] for key in ("fingerprint", "checksum")]
        return file.read_bytes()

    one, other = files(expected), files(found)
    unlike = {n for n in one & other if content(expected / n) != content(found / n)}
    return sorted(one ^ other | unlike)


# Accidents -------------------------------------------------------------------------------------


class Skipped(Exception):
    """This accident cannot be made here; says why."""


@dataclass
class Hit:
    """when, in words; units recorded as done just before; units whose data were harmed by hand."""

    when: str
    done: dict[str, int]
    harmed: set[str] = field(default_factory=set)


def at_random(copy: Copy, rng: random.Random, wanted: Callable = lambda copy: True) -> str:
    """Waits until a random number of units is done, a random while longer, then until `wanted`."""
    total = len(copy.reference.units())
    number, longer = rng.randrange(total + 2), rng.uniform(0, 1)
    end = time.monotonic() + PATIENCE_S
    while len(copy.units()) < min(number, total) and copy.running() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(longer)
    while not wanted(copy) and copy.running() and time.monotonic() < end:
        time.sleep(0.05)
    if not copy.running():
        raise RuntimeError(f"the run ended with {copy.controller.returncode} before the accident")
    return f"{len(copy.units())} units done"


def kill_worker(copy: Copy, rng: random.Random) -> Hit:
    copy.start(retries=0)
    while True:
        when = at_random(copy, rng, Copy.workers)
        done, workers = copy.units(), copy.workers()
        if workers:  # else it ended this very moment
            break
    process, rule = rng.choice(workers)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
    copy.wait()
    return Hit(f"{when}, {rule}", done)


def cancel_all(copy: Copy, rng: random.Random) -> Hit:
    copy.start(retries=0)
    when = at_random(copy, rng, Copy.slurm_jobs)
    done, jobs = copy.units(), copy.slurm_jobs()
    copy.cluster.output("scancel", *jobs)
    copy.wait()
    return Hit(f"{when}, {len(jobs)} jobs", done)


def set_node_down(copy: Copy, rng: random.Random) -> Hit:
    copy.start()
    when = at_random(copy, rng, Copy.slurm_jobs)
    done, nodes = copy.units(), sorted(set(copy.slurm_jobs().values()))
    node = rng.choice(nodes or ["n1"])
    copy.cluster.set_node(node, "down")
    try:
        copy.wait()
    finally:
        copy.cluster.set_node(node, "resume")
    copy.cluster.wait_until_idle()
    return Hit(f"{when}, {node}; the run ended with {copy.controller.returncode}", done)


def restart_scheduler(copy: Copy, rng: random.Random) -> Hit:
    copy.start()
    when = at_random(copy, rng)
    done, seconds = copy.units(), rng.uniform(5, 20)
    copy.cluster.kill_controller()
    try:
        time.sleep(seconds)
    finally:
        copy.cluster.start_controller()
    copy.wait()
    copy.cluster.wait_until_idle()
    code = copy.controller.returncode
    return Hit(f"{when}, {seconds:.0f} s away; the run ended with {code}", done)


def kill_controller(copy: Copy, rng: random.Random) -> Hit:
    copy.start()
    when = at_random(copy, rng)
    done = copy.units()
    copy.controller.kill()
    copy.controller.wait()
    return Hit(when, done)


def end_controller(copy: Copy, rng: random.Random) -> Hit:
    copy.start()
    when = at_random(copy, rng)
    done = copy.units()
    copy.controller.terminate()
    copy.wait()
    return Hit(when, done)


def crash(copy: Copy, rng: random.Random) -> Hit:
    """Everything of the study dies at once, and the disk loses the end of what it said it had."""
    copy.start()
    when = at_random(copy, rng)
    done = copy.units()
    for process in copy.processes():
        with contextlib.suppress(psutil.Error):
            process.kill()
    copy.controller.wait()
    harmed = set()
    if worked := by_units(done):
        unit = rng.choice(worked)
        cut(shard(copy, unit))
        harmed = {unit}
    return Hit(f"{when}, {', '.join(harmed) or 'no unit'} cut", done, harmed)


def fill_disk(copy: Copy, rng: random.Random) -> Hit:
    copy.start(retries=0)
    when = at_random(copy, rng)
    done, ballast = copy.units(), copy.folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as handle:
        while handle.write(bytes(2**16)):
            pass
    try:
        copy.wait()
    finally:
        ballast.unlink()
    said = "; its jobs said so" if "quota is full" in copy.slurm_log() else ""
    return Hit(f"{when}{said}", done)


@contextlib.contextmanager
def small_disk(folder: Path):
    """A file system of 256 MB, to be filled."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True)
    if made.returncode:
        raise Skipped(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def by_units(done: dict[str, int]) -> list[str]:
    """Those of map, restoration and evaluation: a harmed simulation is made again as a whole."""
    return sorted(unit for unit in done if not unit.startswith("simulated/"))


def shard(copy: Copy, unit: str) -> Path:
    """The file that holds a unit's data."""
    store, number = unit.rsplit("/", 1)
    chunks = {
        "psf_map": f"{store}.zarr/raw/c/0",
        "restored": f"{store}.ome.zarr/0/c",
        "evaluation": f"{store}.zarr/0/c/0",
    }[unit.split("/")[0]]
    columns = len(list((copy.reference.results / chunks / "0").iterdir()))
    row, column = divmod(int(number), columns)
    return copy.results / chunks / str(row) / str(column)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def harm(how: Callable, what: Callable = shard) -> Callable:
    """An accident to a finished study's files: how(what(copy, unit)) of a random unit."""

    def strike(copy: Copy, rng: random.Random) -> Hit:
        done = copy.units()
        unit = rng.choice(by_units(done))
        how(what(copy, unit))
        return Hit(unit, done, {unit})

    return strike


def flip_metadata(copy: Copy, rng: random.Random) -> Hit:
    """A changed byte in the zarr.json of a finished restoration or of one of its arrays."""
    done = copy.units()
    store = copy.results / "restored" / "pictures" / "estimated.ome.zarr"
    file = rng.choice([store / "zarr.json", store / "0" / "zarr.json"])
    flip(file)
    harmed = {unit for unit in done if unit.startswith("restored/")}
    return Hit(str(file.relative_to(copy.results)), done, harmed)


def ledger(copy: Copy, unit: str) -> Path:
    return copy.results / "ledgers" / f"{unit}.json"


def reach_time_limit(copy: Copy, rng: random.Random) -> Hit:
    """A job of one minute for more work; its second attempt has two minutes, its third four."""
    copy.start()
    end = time.monotonic() + PATIENCE_S
    while "STOPPED restoring" not in copy.slurm_log() and copy.running():
        if time.monotonic() > end:
            raise RuntimeError("no job stopped at its time limit")
        time.sleep(0.1)
    done = copy.units()
    copy.wait()
    stopped = copy.slurm_log().count("STOPPED restoring")
    killed = copy.slurm_log().count("DUE TO TIME LIMIT")
    if killed or not stopped:
        raise RuntimeError(f"{stopped} jobs stopped by themselves, {killed} were killed")
    code = copy.controller.returncode
    return Hit(f"{stopped} stops, none killed; the run ended with {code}", done)


def slow(copy: Copy) -> None:
    """One restoring job, of a minute, and so many iterations that it needs more: here about two minutes."""
    text = (copy.folder / CONFIG).read_text()
    for old, new in (
        ("iterations: 4", "iterations: 300"),
        ("jobs_per_mosaic: 2", "jobs_per_mosaic: 1"),
        ("resources: {", "resources: {restore_minutes: 1, "),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (copy.folder / CONFIG).write_text(text)


@dataclass
class Fault:
    """strike: makes the accident and says when. finished: of a finished study. alone: disturbs others.

    place: makes the folder of the copy. edit: changes the study; it is then compared with an
    undisturbed run of its own. short_of_time: one resume need not be enough, but each gets further.
    """

    strike: Callable[[Copy, random.Random], Hit]
    finished: bool = False
    alone: bool = False
    place: Callable = lambda folder: contextlib.nullcontext()
    edit: Callable[[Copy], None] | None = None
    short_of_time: bool = False


FAULTS = {
    "node-down": Fault(set_node_down, alone=True),
    "scheduler-restarted": Fault(restart_scheduler, alone=True),
    "time-limit": Fault(reach_time_limit, edit=slow, short_of_time=True),
    "jobs-cancelled": Fault(cancel_all),
    "controller-killed": Fault(kill_controller),
    "controller-ended": Fault(end_controller),
    "crash": Fault(crash),
    "full-disk": Fault(fill_disk, place=small_disk),
    "shard-cut": Fault(harm(cut), finished=True),
    "shard-gone": Fault(harm(Path.unlink), finished=True),
    "byte-flipped": Fault(harm(flip), finished=True),
    "metadata-flipped": Fault(flip_metadata, finished=True),
    "ledger-cut": Fault(harm(cut, ledger), finished=True),
    "worker-killed": Fault(kill_worker),
}


# Trials ----------------------------------------------------------------------------------------


@dataclass
class Row:
    """A line of the table. made: units that the rest of the run and the resume made; lost: units that
    were recorded as done and harmed; again: units made again that were whole, which should be none."""

    fault: str
    number: int
    seed: int
    when: str = ""
    units: int = 0
    done: int = 0
    lost: int = 0
    made: int = 0
    again: int = 0
    seconds: int = 0
    equal: str = "no"
    passed: str = "no"
    note: str = ""


class Chaos:
    """The study before any unit and after all of them, to begin trials from."""

    def __init__(self, folder: Path, cluster: Cluster, seed: int):
        self.folder, self.seed = folder, seed
        self.base = Copy.make(folder / "base", cluster)
        self.base.run_locally(
            "stages/psf_map/pictures/small/created.done", "regression.csv", "config.yaml"
        )
        self.finished = self.base.clone(folder / "finished")
        self.finished.run_locally()

    def trial(self, name: str, number: int = 0) -> Row:
        """One accident, and what `make resume` made of it."""
        fault, row = FAULTS[name], Row(name, number, self.seed)
        folder = self.folder / f"{name}-{number}"
        begun = time.monotonic()
        try:
            with fault.place(folder):
                self._try(fault, row, folder)
        except Skipped as skipped:
            row.equal, row.passed, row.note = "-", "skipped", str(skipped)
        row.seconds = round(time.monotonic() - begun)
        shutil.rmtree(folder, ignore_errors=True)
        return row

    def _try(self, fault: Fault, row: Row, folder: Path) -> None:
        copy = (self.finished if fault.finished else self.base).clone(folder, self.finished)
        try:
            if fault.edit:
                fault.edit(copy)
                copy.reference = copy.clone(folder.with_name(f"{folder.name}-undisturbed"))
                copy.reference.run_locally()
            hit = fault.strike(copy, random.Random(f"{self.seed} {row.fault} {row.number}"))
            row.when, row.done, row.lost = hit.when, len(hit.done), len(hit.harmed)
            copy.resume(repeatedly=fault.short_of_time)
            self._judge(copy, hit, row)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            row.note = str(error)
        except Exception as error:  # the other trials go on
            row.note = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        finally:
            if row.passed == "no":
                self._keep(copy, row)
            copy.end()
            if copy.reference is not self.finished:
                shutil.rmtree(copy.reference.folder, ignore_errors=True)

    def _judge(self, copy: Copy, hit: Hit, row: Row) -> None:
        after, expected = copy.units(), copy.reference.units().keys()
        made = {unit for unit in after if after[unit] != hit.done.get(unit)}
        again = sorted(made & hit.done.keys() - hit.harmed)
        unlike = differences(copy.reference.results, copy.results)
        row.units, row.made, row.again = len(after), len(made), len(again)
        row.equal = "no" if unlike else "yes"
        wrong = [
            *(f"made again: {unit}" for unit in again),
            *(f"not made again: {unit}" for unit in sorted(hit.harmed - made)),
            *(f"missing: {unit}" for unit in sorted(expected - after.keys())),
            *(f"differs: {name}" for name in unlike),
        ]
        row.passed = "no" if wrong else "yes"
        row.note = "; ".join(wrong[:5])

    def _keep(self, copy: Copy, row: Row) -> None:
        """What a failed trial printed, for whoever looks into it."""
        OUT.mkdir(parents=True, exist_ok=True)
        texts = [copy.folder / "run.log", copy.folder / "said.log"]
        said = [f"--- {t.name}\n{t.read_text(errors='replace')}" for t in texts if t.exists()]
        text = "\n".join([*said, "--- Slurm's jobs", copy.slurm_log(), copy.cluster.logs()])
        (OUT / f"{row.fault}-{row.number}.log").write_text(text)

    def trials(self, wanted: list[tuple[str, int]], together: int, tell: Callable) -> list[Row]:
        """All these accidents, `together` but for those that disturb others; tell(rows) after each."""
        rows: list[Row] = []
        turn = threading.Lock()

        def one(trial: tuple[str, int]) -> None:
            row = self.trial(*trial)
            with turn:
                rows.append(row)
                tell(rows)

        for trial in wanted:
            if FAULTS[trial[0]].alone:
                one(trial)
        with ThreadPoolExecutor(together) as pool:
            list(pool.map(one, [t for t in wanted if not FAULTS[t[0]].alone]))
        return rows


def write(rows: list[Row]) -> None:
    """summary.csv and summary.md, and the last row on the terminal."""
    OUT.mkdir(parents=True, exist_ok=True)
    names = [item.name for item in fields(Row)]
    with (OUT / "summary.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, names)
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    lines = [names, ["---"] * len(names), *(map(str, asdict(row).values()) for row in rows)]
    (OUT / "summary.md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    last = rows[-1]
    print(
        f"{len(rows):3} {last.fault} {last.number}: {'passed' if last.passed == 'yes' else last.passed}, "
        f"{last.when}; {last.made} of {last.units} units made after it, {last.seconds} s {last.note}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="workers killed, one a run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="these accidents alone, with commas between")
    parser.add_argument("--together", type=int, default=3, help="runs at the same time")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(FAULTS)
    if unknown := set(names) - set(FAULTS):
        parser.error(f"{', '.join(unknown)}: no such accident; there are {', '.join(FAULTS)}")
    if missing := missing_programs():
        parser.error(f"{', '.join(missing)} missing (Debian: slurmctld slurmd slurm-client munge)")
    wanted = [
        (name, number)
        for name in names
        for number in range(args.kills if name == "worker-killed" else 1)
    ]
    begun = time.monotonic()
    print(f"seed {args.seed}, {len(wanted)} accidents", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster ends with us
    with Cluster(cpus=2) as cluster, tempfile.TemporaryDirectory(prefix="isoplan-chaos-") as folder:
        chaos = Chaos(Path(folder).resolve(), cluster, args.seed)
        print(f"undisturbed: {len(chaos.finished.units())} units", flush=True)
        rows = chaos.trials(wanted, args.together, write)
    failed = [row for row in rows if row.passed == "no"]
    print(
        f"{len(rows) - len(failed)} of {len(rows)} accidents were put right, "
        f"{round((time.monotonic() - begun) / 60)} minutes; {OUT}/summary.md"
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
