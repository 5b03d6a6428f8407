"""Checks whether a study can run here: python workflow/preflight.py STUDY [--profile P].

It checks the mosaics and other pictures, the disk, the number of jobs and their memory. With a Slurm profile it also
checks the cluster: accounting, accounts, partitions and limits, and whether a node sees this folder
and its Python. Each line says OK, WARN (it may fail) or FAIL (it will), and what to change, down to
the line of the profile. The exit code is 1 after any FAIL.

Only the headers of pictures are read (which writes accepted.tsv and refused.csv to the study's
results), and a job of seconds runs on a node. Nothing else is run or written.
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

from study import arguments, check_early, exit_code_of, snakemake

ABOUT = __doc__.splitlines()[0]
if __name__ == "__main__":
    check_early(ABOUT)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as in the jobs

import pandas as pd
import psutil
from isoplan import stages
from isoplan.base.errors import UserError
from isoplan.config.entries import entry, left_open, weights_of_study
from isoplan.mosaic.reader import open_row
from isoplan.mosaic.table import read_table
from isoplan.mosaic.tiles import spans, with_halo
from isoplan.psf_map.layout import SHARD_CELLS
from isoplan.report.cost import JOB_S, JOBS_A_MOSAIC, jobs_for, jobs_of
from isoplan.restoration.halo import halo_of
from profile_checks import FAIL, OK, WARN, Finding, Profile, site

# Memory of a CPU job, a little above all that tests/bench/memory_stages.py measures: before its first
# unit, for a unit of any size, and per pixel of the block that the unit works on.
BASE_MB = 690
UNIT_MB = {"map": 310, "restore": 170}
BLOCK_BYTES_A_PX = {"map": 20, "restore": 260}
# Two float32 arrays of about nine channels: values, uncertainties and flags.
MAP_BYTES_A_CELL = 2 * 4 * 9
MOST_OVERREAD = 2  # times the pixels that cores with halos need
SMALL_PICTURE_PX = 2**24  # reading smaller pictures too often hardly matters
CORES_PX = range(256, 4097, 256)
NETWORK_FILESYSTEMS = {
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "glusterfs", "afs"),
    *("fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "panfs", "pvfs2", "orangefs", "wekafs", "9p"),
}
LATENCY_S = 30
S_A_MEGAPIXEL = 2  # to restore, the longest stage, on one core (docs/cluster.md)


@dataclass
class Picture:
    """A mosaic's header. chunk_px: what is decoded at once; (1, 1) if a window costs only itself."""

    name: str
    shape: tuple[int, int]
    chunk_px: tuple[int, int]
    simulated: bool = False


def main(given: list[str] | None = None) -> int:
    return exit_code_of(lambda: preflight(arguments(ABOUT, given)))


def preflight(args: argparse.Namespace) -> int:
    """Print all findings; return 1 after any FAIL."""
    profile = Profile.find(args.profile) if args.profile else None
    print(
        f"study {args.study}, config {args.config}"
        + (f", profile {profile.path}" if profile else "")
    )
    cores = os.cpu_count() if args.cores == "all" else int(args.cores)
    found = findings(args.settings, args.config, profile, cores)
    worst = [show(finding) for finding in found]
    failures, warnings = worst.count(FAIL), worst.count(WARN)
    how = f"PROFILE={args.profile}" if profile else f"CORES={cores}"
    which = args.config if args.configfile else args.study
    print()
    if failures:
        print(f"{failures} problems to fix first, {warnings} warnings")
        return 1
    print(f"ready{f', {warnings} warnings' if warnings else ''}: make study STUDY={which} {how}")
    return 0


def show(finding: Finding) -> str:
    print(f"{finding.level:<5} {finding.text}", flush=True)
    for line in finding.advice.splitlines():
        print(f"      {line}")
    return finding.level


def findings(study: dict, config: Path, profile: Profile | None, cores: int) -> Iterator[Finding]:
    """The findings of all checks, one after the other."""
    pictures, refused = headers(study)
    yield from refused
    own_bytes, unread = own_results(study)
    yield from unread
    yield from alignment(study, pictures)
    yield disk(study, pictures, own_bytes)
    yield from plan(study, config, pictures)
    yield from memory(study)
    if profile:
        yield results_filesystem(study, profile)
        yield from site(profile, study)
    else:
        yield this_machine(study, cores)


# The mosaics ---------------------------------------------------------------------------------------


def headers(study: dict) -> tuple[list[Picture], list[Finding]]:
    """Sizes and chunks of all mosaics, including simulated ones, and findings on those that fail."""
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
    text = f"{study['mosaics']}: {len(bad)} of {len(rows)} mosaics cannot be read; the others will be processed"
    return pictures, [Finding(WARN, text, "\n".join(few))]


def own_results(study: dict) -> tuple[float, list[Finding]]:
    """Bytes that stages leave of the pictures that entries of their lists name, and findings on those that fail."""
    needed, bad = 0.0, {}
    for stage in stages.STAGES:
        for item in study[stage.lists[0][1]] if stage.own_bytes_a_px else ():
            try:
                with open_row(item, any_slice=True) as picture:
                    needed += prod(picture.shape) * stage.own_bytes_a_px(item)
            except Exception as error:  # whatever a broken file raises
                text = f"{stage.lists[0][1]}: {item['name']}: {' '.join(str(error).split())}"
                bad[text] = Finding(
                    FAIL, text, "the study stops there; mend the file, or leave it out"
                )
    return needed, [*bad.values()]


def halo_px(study: dict) -> int:
    """Halo of the restoration's cores; a network of weights that is yet to be trained is taken to see as far as the released one."""
    settings = study["restoration"]
    if weights_of_study(study):
        settings = settings | {"weight_network": "released"}
    return halo_of(settings, psf_px(study))


def alignment(study: dict, pictures: list[Picture]) -> Iterator[Finding]:
    """Whether the file's chunks make cores with halos decode far more pixels than they need."""
    core, halo = study["restoration"]["core_px"], halo_px(study)
    worst = None
    for picture in pictures:
        if prod(picture.shape) < SMALL_PICTURE_PX:
            continue
        needed = pixels_read(picture.shape, core, halo, (1, 1))
        read = pixels_read(picture.shape, core, halo, picture.chunk_px)
        if read > MOST_OVERREAD * needed and (worst is None or read / needed > worst[1] / worst[2]):
            worst = picture, read, needed
    if worst is None:
        if pictures:
            yield Finding(OK, f"chunks fit cores of {core} px and their halo of {halo} px")
        return
    picture, read, needed = worst
    text = (
        f"{picture.name}: every pixel is decoded {read:.1f} times, but halos need only "
        f"{needed:.1f}: its pieces of {picture.chunk_px[0]} x {picture.chunk_px[1]} px do not fit cores "
        f"of {core} px"
    )
    better = [
        side
        for side in CORES_PX
        if pixels_read(picture.shape, side, halo, picture.chunk_px)
        <= MOST_OVERREAD * pixels_read(picture.shape, side, halo, (1, 1))
    ]
    if better:
        nearest = min(better, key=lambda side: abs(side - core))
        advice = f"in the config: restoration: {{core_px: {nearest}}}; then check restore_mem_mb"
    else:
        advice = "save it as OME-Zarr or tiled TIFF, with tiles of 256 to 1024 px"
    yield Finding(WARN, text, advice)


def pixels_read(shape, core: int, halo: int, chunk) -> float:
    """Pixels decoded for all cores with their halos, relative to the pixels of the picture."""
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
    """Side of the largest PSF that the restoration uses, in px."""
    settings = study["restoration"]
    network = study["map"]["network"] or study["networks"][0]["name"]
    names = [entry(study, "networks", network)["psf"], settings["measured"]]
    return max(entry(study, "psfs", name)["size_px"] for name in names if name)


# Disk, jobs and memory -------------------------------------------------------------------------------------


def disk(study: dict, pictures: list[Picture], own_bytes: float = 0) -> Finding:
    """Whether results can be written, and whether the disk has room for all, uncompressed.

    own_bytes: of what is no mosaic's, see `own_results`.
    """
    chosen, stride = study["restoration"], study["map"]["stride_px"]
    methods = [method for method in chosen["methods"] if method != "none"]
    bytes_a_px = 4 if chosen["dtype"] == "float32" else 2
    needed = own_bytes
    for picture in pictures:
        count = len([m for m in methods if picture.simulated or m != "oracle"])
        count += (
            1.5 if picture.simulated else 0
        )  # the truth, and the observed picture at half the size
        needed += prod(picture.shape) * bytes_a_px * count * 4 / 3  # with the pyramid
        needed += prod(-(-n // stride) for n in picture.shape) * MAP_BYTES_A_CELL
        needed += prod(picture.shape) * sum(
            stage.bytes_a_px * stage.entries(study)
            for stage in stages.of_mosaics()
            if stage.wanted(study)
        )
    folder = Path("results")
    try:
        folder.mkdir(exist_ok=True)
        probe = folder / f".preflight-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return Finding(
            FAIL, f"results/ cannot be written: {error.strerror}", "change its permissions"
        )
    free = shutil.disk_usage(folder).free
    done = Path("results", study["study"])
    text = f"results need up to {gigabytes(needed)}, {gigabytes(free)} are free"
    if done.exists():
        text += "; results of earlier runs are part of that need"
    if free < needed:
        advice = "free some space"
        if pictures:
            advice += ", or in the config: fewer restoration: methods, dtype: uint16 (half of it)"
        return Finding(WARN if done.exists() else FAIL, text, advice)
    level = OK if free > 1.5 * needed else WARN
    return Finding(level, text, "" if level == OK else "your quota may be smaller: check it")


def gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


def plan(study: dict, config: Path, pictures: list[Picture]) -> Iterator[Finding]:
    """Number of jobs, from a dry run of Snakemake, which also reveals a refused config or a lock."""
    command = snakemake(config, "--cores", "1")
    if study["mosaics"]:
        looked = subprocess.run(
            [*command, "--until", "check_mosaics"], capture_output=True, text=True
        )
        if "--unlock" in looked.stderr:
            advice = f"wait until it has finished, or: make resume STUDY={study['study']}"
            yield Finding(
                FAIL,
                "another run is active in this folder, or was killed and left its lock",
                advice,
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
        yield Finding(OK, "nothing is left to do")
        return
    most = sorted(counts.items(), key=lambda item: -item[1])[:4]
    text = f"{sum(counts.values()):,} jobs are planned in {seconds:.0f} s ("
    text += ", ".join(f"{count:,} {rule}" for rule, count in most) + ")"
    if "involves checkpoint jobs" in planned.stdout:
        text += "; more follow once the mosaics are known"
    methods = [m for m in study["restoration"]["methods"] if m not in ("none", "oracle")]
    chosen = left_open(study["restoration"])
    each = jobs_of(len(methods), study["jobs_per_mosaic"], chosen=bool(chosen), study=study)
    text += f"; each mosaic needs about {each} jobs, {each * len(pictures):,} for {len(pictures)}"
    work_s = S_A_MEGAPIXEL * max((prod(picture.shape) for picture in pictures), default=0) / 1e6
    if each <= JOBS_A_MOSAIC or work_s / study["jobs_per_mosaic"] >= JOB_S:
        yield Finding(OK, text)
    else:
        fewer = jobs_for(work_s, len(methods), chosen=bool(chosen), study=study)
        text += f", of about {work_s / study['jobs_per_mosaic']:.0f} s"
        advice = f"fewer, longer jobs are easier on the scheduler; in the config: jobs_per_mosaic: {fewer}"
        yield Finding(WARN, text, advice)


def job_counts(said: str) -> dict[str, int]:
    """Jobs by rule, from the table that a dry run prints; empty if everything is done."""
    if "Job stats:" not in said:
        return {}
    table = said.split("Job stats:")[1].split("\n\n")[0]
    cells = [line.split() for line in table.splitlines() if len(line.split()) == 2]
    return {rule: int(count) for rule, count in cells if count.isdigit() and rule != "total"}


def memory(study: dict) -> Iterator[Finding]:
    """Whether the memory that mapping and restoring request is enough, by measurement or estimate."""
    for kind in ("map", "restore"):
        rule = stages.example(kind).rule
        asked = study["resources"][f"{kind}_mem_mb"]
        takes, how = measured_mb(study, rule), "has used"
        if takes is None:
            takes, how = estimated_mb(study, kind), "is estimated to use"
        text = f"{rule} requests {asked} MB and {how} {takes:.0f} MB"
        advice = f"in the config: resources: {{{kind}_mem_mb: {-(-takes * 1.5 // 100) * 100:.0f}}}"
        if asked < takes:
            yield Finding(FAIL, text, advice)
        elif asked < 1.2 * takes:
            yield Finding(WARN, text, advice)
        else:
            yield Finding(OK, text)


def measured_mb(study: dict, rule: str) -> float | None:
    """Peak memory of a rule's earlier jobs in this study; None if there are none."""
    file = Path("results", study["study"], "cost.csv")
    if not file.is_file():
        return None
    table = pd.read_csv(file)
    peaks = table.loc[table["rule"] == rule, "peak_mb"].dropna()
    return float(peaks.max()) if len(peaks) else None


def estimated_mb(study: dict, kind: str) -> float:
    """Estimated peak memory of a CPU job. kind: "map" or "restore"."""
    if kind == "map":
        side = (SHARD_CELLS - 1) * study["map"]["stride_px"] + study["map"]["window_px"]
    else:
        side = study["restoration"]["core_px"] + 2 * halo_px(study)
    return BASE_MB + UNIT_MB[kind] + BLOCK_BYTES_A_PX[kind] * side**2 / 2**20


# Where it runs -------------------------------------------------------------------------------------


def this_machine(study: dict, cores: int) -> Finding:
    """Whether this machine has the device, and the memory for as many jobs as run at once."""
    if study["device"] == "cuda":
        import torch

        if not torch.cuda.is_available():
            return Finding(
                FAIL, "device: cuda, but there is no GPU here", "in the config: device: auto"
            )
    asked = max(study["resources"][f"{kind}_mem_mb"] for kind in ("map", "restore"))
    total = psutil.virtual_memory().total / 2**20
    text = f"{cores} jobs at once may use {cores * asked:,} MB; this machine has {total:,.0f} MB"
    if cores * asked <= total:
        return Finding(OK, text)
    return Finding(WARN, text, f"start with --cores {cores} --resources mem_mb={0.9 * total:.0f}")


def results_filesystem(study: dict, profile: Profile) -> Finding:
    """Whether the profile waits long enough for the file system of the results."""
    kind = filesystem(Path("results").resolve())
    wait = profile.settings.get("latency-wait", 5)
    text = f"results/ is on {kind or 'an unknown kind of file system'}; Snakemake waits {wait} s for files"
    if kind in NETWORK_FILESYSTEMS and wait < LATENCY_S:
        return Finding(FAIL, text, profile.change("latency-wait", "latency-wait: 60"))
    return Finding(OK, text)


def filesystem(path: Path) -> str | None:
    """Type of the file system of a path, as the kernel names it; None if unknown."""
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
