"""Scheduling alone: 100 mosaics of 20,000 px a side laid out, and what `snakemake -n` takes to plan them.

The stores have all their metadata and not one pixel, which planning never looks at. The study is
brought past its checkpoints first: before that, Snakemake knows of no mosaic.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from isoplan.mosaic import ngff
from timing import in_turn

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "results", "logs", "tests", "__pycache__")
MOSAICS, SIZE_PX = 100, 20_000
# As many jobs as the default config gives a mosaic, and as many as 60 a mosaic allow.
JOBS_PER_MOSAIC = (4, 12)
JOBS_LIMIT, SECONDS_LIMIT = 60, 15
STUDY = """\
study: {name}
networks: [{{name: gaussian-2, weights: released}}]
test_sets: []
tests: []
simulations: []
mosaics: mosaics.tsv
jobs_per_mosaic: {jobs}
"""


def run() -> list[dict]:
    """Each plan beside Snakemake's own start, `snakemake --version`, which is also the floor."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "isoplan"
        shutil.copytree(ROOT, checkout, ignore=LEFT_OUT)
        lay_out(checkout)
        return [measure(checkout, jobs) for jobs in JOBS_PER_MOSAIC]


def lay_out(folder: Path) -> None:
    """The mosaics, in OME-Zarr of shards that nobody wrote, and their table."""
    lines = ["mosaic\tpath\tpixel_size_um\toffset"]
    for number in range(MOSAICS):
        name = f"mosaic{number:03d}"
        path = f"data/{name}.ome.zarr"
        ngff.create_image(
            folder / path,
            (SIZE_PX,) * 2,
            dtype="uint16",
            pixel_size_um=0.5,
            levels=1,
            attributes={},
        )
        lines.append(f"{name}\t{path}\t0.5\t100")
    (folder / "mosaics.tsv").write_text("\n".join(lines) + "\n")


def measure(folder: Path, jobs: int) -> dict:
    """A row of bench.csv. Raises RuntimeError where a mosaic has more jobs than it may have."""
    name = f"many{jobs}"
    (folder / f"{name}.yaml").write_text(STUDY.format(name=name, jobs=jobs))

    def snakemake(*arguments: str) -> str:
        command = [sys.executable, "-m", "snakemake", *arguments]
        return subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True
        ).stdout

    study = f"--configfile={name}.yaml"
    # As if every mosaic had been measured, so that whatever asks for that is satisfied.
    for number in range(MOSAICS):
        facts = folder / f"results/{name}/mosaics/mosaic{number:03d}.json"
        facts.parent.mkdir(parents=True, exist_ok=True)
        facts.write_text(json.dumps({"mosaic": facts.stem, "path": f"data/{facts.stem}.ome.zarr"}))
    snakemake("--cores=1", study, f"results/{name}/accepted.tsv")
    planned = jobs_planned(snakemake("--cores=1", study, "-n"))
    each = planned // MOSAICS + 1  # it was measured already
    if each > JOBS_LIMIT:
        raise RuntimeError(f"{each} jobs a mosaic are more than {JOBS_LIMIT}")
    times = in_turn(
        lambda: snakemake("--cores=1", study, "-n"), lambda: snakemake("--version"), runs=3
    )
    return {
        "benchmark": f"snakemake -n of {MOSAICS} mosaics of {SIZE_PX} px a side, {planned} jobs, "
        f"{each} a mosaic",
        "peer": "the limit",
        **times,
        "floor_s": times["peer_s"],
        "peer_s": SECONDS_LIMIT,
        "ratio": SECONDS_LIMIT / times["ours_s"],
    }


def jobs_planned(said: str) -> int:
    """The sum that a dry run prints below its table of jobs."""
    return next(int(line.split()[1]) for line in said.splitlines() if line.startswith("total "))
