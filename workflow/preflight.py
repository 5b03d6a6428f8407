"""Can this place carry the study? python workflow/preflight.py STUDY [--profile P].

Looks, before anything runs, at the mosaics, the disk, the number of jobs and their memory, and with a
Slurm profile at the cluster: its accounting, accounts, partitions and limits, and whether a node sees
this folder and its Python. Each line says OK, WARN (it may go wrong) or FAIL (it will), and what to
change, down to the line of the profile. Exit code 1 after any FAIL.

Besides the headers of the mosaics being looked at (accepted.tsv and refused.csv in the study's
results), and a job of seconds on a node, nothing is run and nothing written.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from study import arguments, one_line, read_early, snakemake

ABOUT = __doc__.splitlines()[0]
if __name__ == "__main__":
    read_early(ABOUT)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch, as in the jobs

import pandas as pd
import psutil
from isoplan import stages
from isoplan.base.errors import UserError
from isoplan.config.entries import entry, left_open
from isoplan.mosaic.reader import open_row
from isoplan.mosaic.table import read_table
from isoplan.mosaic.tiles import spans, with_halo
from isoplan.psf_map.layout import SHARD_CELLS
from isoplan.report.cost import JOB_S, JOBS_A_MOSAIC, jobs_for, jobs_of
from isoplan.restoration.halo import halo_of
from profile_checks import FAIL, OK, WARN, Finding, Profile, site

# Of a CPU job, above all that tests/bench/memory_stages.py prints: what it takes before its first unit,
# for a unit whatever its size, and for each pixel of the block that the unit works on.
BASE_MB = 620
UNIT_MB = {"map": 260, "restore": 170}
BLOCK_BYTES_A_PX = {"map": 12, "restore": 300}
# Channels of a map beside three for each parameter's value and its doubt; two arrays of float32.
MAP_BYTES_A_CELL = 2 * 4 * 9
WASTE = 2  # times the pixels that halos need anyway
LARGE_PX = 2**24  # smaller pictures may waste what they like
CORES_PX = range(256, 4097, 256)
NETWORK_FILESYSTEMS = {
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "glusterfs", "afs"),
    *("fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "panfs", "pvfs2", "orangefs", "wekafs", "9p"),
}
LATENCY_S = 30
S_A_MEGAPIXEL = 2  # to restore, the longest stage, on one core (README.md, "Your cluster")


@dataclass
class Picture:
    """A mosaic's header. chunk_px: what is decoded at once; (1, 1) where any window costs only itself."""

    name: str
    shape: tuple[int, int]
    chunk_px: tuple[int, int]
    simulated: bool = False


def main(given: list[str] | None = None) -> int:
    return one_line(lambda: preflight(arguments(ABOUT, given)))


def preflight(args: argparse.Namespace) -> int:
    """Prints what was looked at; returns 1 after any FAIL."""
    profile = Profile.find(args.profile) if args.profile else None
    print(
        f"study {args.study}, config {args.config}"
        + (f", profile {profile.path}" if profile else "")
    )
    cores = os.cpu_count() if args.cores == "all" else int(args.cores)
    found = findings(args.settings, args.config, profile, cores)
    worst = [show(finding) for finding in found]
    mend, think = worst.count(FAIL), worst.count(WARN)
    how = f"PROFILE={args.profile}" if profile else f"CORES={cores}"
    which = args.config if args.configfile else args.study
    print()
    if mend:
        print(f"{mend} to mend first, {think} to think over")
        return 1
    print(f"ready{f', {think} to think over' if think else ''}: make study STUDY={which} {how}")
    return 0


def show(finding: Finding) -> str:
    print(f"{finding.level:<5} {finding.text}", flush=True)
    for line in finding.advice.splitlines():
        print(f"      {line}")
    return finding.level


def findings(study: dict, config: Path, profile: Profile | None, cores: int) -> Iterator[Finding]:
    """Everything that was looked at, as it is found."""
    pictures, refused = headers(study)
    yield from refused
    yield from alignment(study, pictures)
    yield disk(study, pictures)
    yield from plan(study, config, pictures)
    yield from memory(study)
    if profile:
        yield shared(study, profile)
        yield from site(profile, study)
    else:
        yield this_machine(study, cores)


# The mosaics ---------------------------------------------------------------------------------------


def headers(study: dict) -> tuple[list[Picture], list[Finding]]:
    """Sizes and chunks of all mosaics, simulated ones included; those that cannot be read."""
    pictures = [
        Picture(item["mosaic"], tuple(item["size_px"]), (256, 256), simulated=True)
        for item in study["simulations"]
    ]
    if study["mosaics"] is None:
        return pictures, []
    try:
        rows = read_table(study["mosaics"])
    except UserError as error:
        return pictures, [Finding(FAIL, str(error))]
    bad = []
    for row in rows:
        try:
            with open_row(row, any_slice=True) as mosaic:
                pictures.append(Picture(row["mosaic"], mosaic.shape, mosaic.chunk_px))
        except Exception as error:  # whatever a broken file raises
            bad.append(f"{row['mosaic']}: {' '.join(str(error).split())}")
    if not bad:
        return pictures, [
            Finding(OK, f"{study['mosaics']}: {len(rows)} of {len(rows)} mosaics can be read")
        ]
    few = [*bad[:5], *([f"and {len(bad) - 5} more"] if len(bad) > 5 else [])]
    text = f"{study['mosaics']}: {len(bad)} of {len(rows)} mosaics cannot be read; the others go on"
    return pictures, [Finding(WARN, text, "\n".join(few))]


def alignment(study: dict, pictures: list[Picture]) -> Iterator[Finding]:
    """Whether a core with its halo reads far more than its own pixels, for the file's chunks."""
    settings = study["restoration"]
    core, halo = settings["core_px"], halo_of(settings, psf_px(study))
    worst = None
    for picture in pictures:
        if prod(picture.shape) < LARGE_PX:
            continue
        needed = pixels_read(picture.shape, core, halo, (1, 1))
        read = pixels_read(picture.shape, core, halo, picture.chunk_px)
        if read > WASTE * needed and (worst is None or read / needed > worst[1] / worst[2]):
            worst = picture, read, needed
    if worst is None:
        if pictures:
            yield Finding(OK, f"chunks fit cores of {core} px and their halo of {halo} px")
        return
    picture, read, needed = worst
    text = (
        f"{picture.name}: every pixel is decoded {read:.1f} times over, where the halo asks for "
        f"{needed:.1f}: its pieces of {picture.chunk_px[0]} x {picture.chunk_px[1]} px do not fit cores "
        f"of {core} px"
    )
    better = [
        side
        for side in CORES_PX
        if pixels_read(picture.shape, side, halo, picture.chunk_px)
        <= WASTE * pixels_read(picture.shape, side, halo, (1, 1))
    ]
    if better:
        nearest = min(better, key=lambda side: abs(side - core))
        advice = f"in the config: restoration: {{core_px: {nearest}}}; see restore_mem_mb then"
    else:
        advice = "save it tiled, as OME-Zarr or TIFF, in tiles of 256 to 1024 px"
    yield Finding(WARN, text, advice)


def pixels_read(shape, core: int, halo: int, chunk) -> float:
    """Pixels decoded for all cores with their halos, over the pixels of the picture."""
    total = 1.0
    for length, size in zip(shape, chunk, strict=True):
        read = 0
        for part in spans(length, core):
            (grown,) = with_halo((part,), halo, (length,))
            first, last = grown.start // size * size, -(-grown.stop // size) * size
            read += min(last, length) - first
        total *= read / length
    return total


def psf_px(study: dict) -> int:
    """Side of the largest PSF that restores."""
    settings = study["restoration"]
    network = study["map"]["network"] or study["networks"][0]["name"]
    names = [entry(study, "networks", network)["psf"], settings["measured"]]
    return max(entry(study, "psfs", name)["size_px"] for name in names if name)


# What it takes -------------------------------------------------------------------------------------


def disk(study: dict, pictures: list[Picture]) -> Finding:
    """Room for all results, uncompressed, and whether they can be written."""
    chosen, stride = study["restoration"], study["map"]["stride_px"]
    methods = [method for method in chosen["methods"] if method != "none"]
    bytes_a_px = 4 if chosen["dtype"] == "float32" else 2
    needed = 0
    for picture in pictures:
        count = len([m for m in methods if picture.simulated or m != "oracle"])
        count += 1.5 if picture.simulated else 0  # truth and, of half the size, what was observed
        needed += prod(picture.shape) * bytes_a_px * count * 4 / 3  # with its pyramid
        needed += prod(-(-n // stride) for n in picture.shape) * MAP_BYTES_A_CELL
    folder = Path("results")
    try:
        folder.mkdir(exist_ok=True)
        probe = folder / f".preflight-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return Finding(FAIL, f"results/ cannot be written: {error.strerror}", "mend its rights")
    free = shutil.disk_usage(folder).free
    done = Path("results", study["study"])
    text = f"results want up to {gigabytes(needed)}, {gigabytes(free)} are free"
    if done.exists():
        text += "; what a run has left already is in that sum"
    if free < needed:
        return Finding(
            WARN if done.exists() else FAIL,
            text,
            "make room, or in the config: fewer restoration: methods, dtype: uint16 (half as large)",
        )
    level = OK if free > 1.5 * needed else WARN
    return Finding(level, text, "" if level == OK else "a quota may leave you less: ask for yours")


def gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


def plan(study: dict, config: Path, pictures: list[Picture]) -> Iterator[Finding]:
    """Jobs by Snakemake's own count; refused configs and locks show here."""
    command = snakemake(config, "--cores", "1")
    if study["mosaics"]:
        looked = subprocess.run(
            [*command, "--until", "check_mosaics"], capture_output=True, text=True
        )
        if "--unlock" in looked.stderr:
            advice = f"let it end, or: make resume STUDY={study['study']}"
            yield Finding(
                FAIL, "a run goes on in this folder, or was killed and left its lock", advice
            )
            return
    begin = time.monotonic()
    planned = subprocess.run([*command, "--dry-run"], capture_output=True, text=True)
    seconds = time.monotonic() - begin
    if planned.returncode:
        said = (planned.stderr or planned.stdout).strip().splitlines()
        yield Finding(FAIL, "Snakemake cannot plan the study", "\n".join(said[-8:]))
        return
    counts = job_counts(planned.stdout)
    if not counts:
        yield Finding(OK, "nothing is left to be done")
        return
    most = sorted(counts.items(), key=lambda item: -item[1])[:4]
    text = f"{sum(counts.values()):,} jobs are planned in {seconds:.0f} s ("
    text += ", ".join(f"{count:,} {rule}" for rule, count in most) + ")"
    if "involves checkpoint jobs" in planned.stdout:
        text += "; more follow when the mosaics are known"
    methods = [m for m in study["restoration"]["methods"] if m not in ("none", "oracle")]
    chosen = left_open(study["restoration"])
    each = jobs_of(len(methods), study["jobs_per_mosaic"], chosen=bool(chosen))
    text += f"; every mosaic has about {each} in all, {each * len(pictures):,} for {len(pictures)}"
    work_s = S_A_MEGAPIXEL * max((prod(picture.shape) for picture in pictures), default=0) / 1e6
    if each <= JOBS_A_MOSAIC or work_s / study["jobs_per_mosaic"] >= JOB_S:
        yield Finding(OK, text)
    else:
        fewer = jobs_for(work_s, len(methods), chosen=bool(chosen))
        text += f", of about {work_s / study['jobs_per_mosaic']:.0f} s"
        advice = f"fewer burden the scheduler less; in the config: jobs_per_mosaic: {fewer}"
        yield Finding(WARN, text, advice)


def job_counts(said: str) -> dict[str, int]:
    """Jobs by rule, from the table that a dry run prints; nothing where all is done."""
    if "Job stats:" not in said:
        return {}
    table = said.split("Job stats:")[1].split("\n\n")[0]
    cells = [line.split() for line in table.splitlines() if len(line.split()) == 2]
    return {rule: int(count) for rule, count in cells if count.isdigit() and rule != "total"}


def memory(study: dict) -> Iterator[Finding]:
    """Memory that mapping and restoring ask for beside what they take, measured or reckoned."""
    for kind in ("map", "restore"):
        rule = stages.example(kind).rule
        asked = study["resources"][f"{kind}_mem_mb"]
        takes, how = measured_mb(study, rule), "took in this study"
        if takes is None:
            takes, how = reckoned_mb(study, kind), "takes, as reckoned for a CPU,"
        text = f"{rule} asks for {asked} MB and {how} {takes:.0f} MB"
        advice = f"in the config: resources: {{{kind}_mem_mb: {-(-takes * 1.5 // 100) * 100:.0f}}}"
        if asked < takes:
            yield Finding(FAIL, text, advice)
        elif asked < 1.2 * takes:
            yield Finding(WARN, text, advice)
        else:
            yield Finding(OK, text)


def measured_mb(study: dict, rule: str) -> float | None:
    file = Path("results", study["study"], "cost.csv")
    if not file.is_file():
        return None
    table = pd.read_csv(file)
    peaks = table.loc[table["rule"] == rule, "peak_mb"].dropna()
    return float(peaks.max()) if len(peaks) else None


def reckoned_mb(study: dict, kind: str) -> float:
    if kind == "map":
        side = (SHARD_CELLS - 1) * study["map"]["stride_px"] + study["map"]["window_px"]
    else:
        side = study["restoration"]["core_px"] + 2 * halo_of(study["restoration"], psf_px(study))
    return BASE_MB + UNIT_MB[kind] + BLOCK_BYTES_A_PX[kind] * side**2 / 2**20


# Where it runs -------------------------------------------------------------------------------------


def this_machine(study: dict, cores: int) -> Finding:
    """Memory of as many jobs as run at once, and the device."""
    if study["device"] == "cuda":
        import torch

        if not torch.cuda.is_available():
            return Finding(
                FAIL, "device: cuda, and there is no GPU here", "in the config: device: auto"
            )
    asked = max(study["resources"][f"{kind}_mem_mb"] for kind in ("map", "restore"))
    total = psutil.virtual_memory().total / 2**20
    text = f"{cores} jobs at once may take {cores * asked:,} MB; this machine has {total:,.0f} MB"
    if cores * asked <= total:
        return Finding(OK, text)
    return Finding(WARN, text, f"start with --cores {cores} --resources mem_mb={0.9 * total:.0f}")


def shared(study: dict, profile: Profile) -> Finding:
    """What kind of file system the results lie on, and whether the profile waits for it."""
    kind = filesystem(Path("results").resolve())
    wait = profile.settings.get("latency-wait", 5)
    text = f"results/ lies on {kind or 'a file system of unknown kind'}; Snakemake waits {wait} s for files"
    if kind in NETWORK_FILESYSTEMS and wait < LATENCY_S:
        return Finding(FAIL, text, profile.change("latency-wait", "latency-wait: 60"))
    return Finding(OK, text)


def filesystem(path: Path) -> str | None:
    """Type of the file system that a path lies on, as the kernel names it."""
    mounts = Path("/proc/mounts")
    if not mounts.is_file():
        return None
    known = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    around = [
        (place.encode().decode("unicode_escape"), kind)
        for place, kind in known
        if path.is_relative_to(place.encode().decode("unicode_escape"))
    ]
    return max(around, key=lambda mount: len(Path(mount[0]).parts))[1] if around else None


if __name__ == "__main__":
    sys.exit(main())
