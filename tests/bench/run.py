"""`make bench`: how fast and how large, into results/bench/bench.csv and results/bench/memory.csv.

bench.csv, a row per benchmark: ours_s and peer_s are medians in seconds of `runs` turns, ours and the
peer one after the other in the same process; ratio = peer_s / ours_s; floor_s the time of the part
that nobody can do without; spread = (slowest - fastest) / median of whichever of the two varied more.
memory.csv, a row per heavy stage of the default study and per row of a benchmark with peak_mb, the
largest resident size of a process of its own; limit_mb is what it is to stay under. Both carry the
machine and the versions.

`run.py bench_blur bench_map` runs only those. Each benchmark has a fresh process with all cores.
"""

import csv
import importlib
import multiprocessing
import os
import platform
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

from isoplan import __version__

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / "results" / "bench"
BENCHMARKS = sorted(path.stem for path in HERE.glob("bench_*.py"))
STAGES = ("training", "simulating", "mapping", "restoring", "restoring_wide")
LIMIT_MB = {"mapping": 1536, "restoring": 1536, "restoring_wide": 1536}  # what a job is promised
COLUMNS = {
    "bench": [
        "benchmark",
        "ours_s",
        "peer",
        "peer_s",
        "ratio",
        "floor_s",
        "runs",
        "spread",
        "machine",
        "versions",
    ],
    "memory": ["benchmark", "peak_mb", "limit_mb", "machine", "versions"],
}
PACKAGES = ("torch", "numpy", "deepinv", "timm", "scikit-image")


def main(names: list[str]) -> None:
    # Threads that wait by spinning would disturb the other side's turn.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    about = {"machine": machine(), "versions": versions()}
    print(f"{about['machine']}; {about['versions']}")
    rows = {"bench": [], "memory": []}
    for name in names or BENCHMARKS:
        for row in _alone(_run, name):
            rows["memory" if "peak_mb" in row else "bench"].append(row | about)
            print(_words(row))
    for stage in () if names else STAGES:
        peak = _alone(_peak_mb, stage)
        row = {
            "benchmark": f"peak memory, {stage}",
            "peak_mb": peak,
            "limit_mb": LIMIT_MB.get(stage, 2048),
        }
        rows["memory"].append(row | about)
        print(_words(row))
    for table, content in rows.items():
        if content:
            _write(table, content)


def _words(row: dict) -> str:
    if "peak_mb" in row:
        return f"{row['benchmark']}: {row['peak_mb']:.0f} MB of {row['limit_mb']}"
    floor = row["floor_s"]
    return (
        f"{row['benchmark']}: {row['ours_s']:.3g} s, {row['peer']} {row['peer_s']:.3g} s, "
        f"ratio {row['ratio']:.2f}, spread {row['spread']:.2f}"
        + (f", {row['ours_s'] / floor:.1f} times the floor" if floor else "")
    )


def machine() -> str:
    """Processor, cores and memory; no name that says whose it is."""
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"


def versions() -> str:
    """Ours and those of the peers and of what both stand on."""
    return " ".join([f"isoplan {__version__}", *(f"{name} {version(name)}" for name in PACKAGES)])


def _run(name: str) -> list[dict]:
    return importlib.import_module(name).run()


def _peak_mb(stage: str) -> float:
    importlib.import_module("memory_stages").run(stage)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _alone(work, argument: str):
    """Result of work(argument) in a process of its own, spawned, so that its memory is only its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, argument).result()


def _write(name: str, rows: list[dict]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.csv"
    with path.open("w", newline="") as handle:
        table = csv.DictWriter(handle, COLUMNS[name])
        table.writeheader()
        for row in rows:
            table.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})
    print(f"written: {os.path.relpath(path)}")


if __name__ == "__main__":
    main(sys.argv[1:])
