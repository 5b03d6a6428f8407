"""Resumes a study after any accident: python workflow/resume.py STUDY [--profile P | --cores N].

A killed run leaves a lock. On a cluster it also leaves jobs that keep writing while a new run submits
the same ones. A full disk, a crash or a bad copy leaves incomplete stores behind files that say
"done". So this script does the following, in this order:

1. It finds the study's config, and stops if a run of this folder is still alive on this machine.
2. It stops the study's jobs: those in Slurm's queue, and processes that a killed run left here.
3. It unlocks the folder and removes temporary files of killed writers.
4. It reads everything that is recorded as done, and compares checksums. Whatever is damaged loses its
   record, and the "done" files of its job and of all later jobs are removed.
5. Snakemake makes that again and continues the study.

Nothing else is deleted. If a run is still active elsewhere, such as on another login node, stop it
yourself first.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from study import arguments, check_early, exit_code_of, snakemake

ABOUT = __doc__.splitlines()[0]
if __name__ == "__main__":
    check_early(ABOUT)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as in the jobs

import psutil
from damage import check, leftovers
from isoplan.base.errors import UserError
from isoplan.cluster.timelimit import schedulers


def main(given: list[str] | None = None) -> int:
    return exit_code_of(lambda: resume(arguments(ABOUT, given)))


def resume(args: argparse.Namespace) -> int:
    """Do all steps in the order above; return Snakemake's exit code."""
    results = Path("results") / args.study
    print(f"study {args.study}, config {args.config}, results {results}/", flush=True)

    refuse_beside_a_run()
    for scheduler in schedulers():
        scheduler.cancel_jobs(args.study)
    stop_local_jobs(args.study)
    run(snakemake(args.config, "--cores", "1", "--unlock"), quiet=True)

    remove_leftovers(results)
    findings = list(check(results, args.settings["jobs_per_mosaic"]))
    for finding in findings:
        print(f"damaged: {finding.text}")
        for path in finding.remove:
            path.unlink(missing_ok=True)
    if not findings:
        print("everything that is recorded as done is intact")
    how = ["--profile", args.profile] if args.profile else ["--cores", args.cores]
    command = snakemake(args.config, *how)
    # First by themselves: where they come out as they were, what was made from them stays valid.
    again = [str(path) for finding in findings for path in finding.again]
    if again:
        print(f"making again: {', '.join(again)}", flush=True)
        code = run([*command, *again])
        if code:
            return code
    print("continuing the study", flush=True)
    return run(command)


def run(command: list[str], *, quiet: bool = False) -> int:
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {}
    done = subprocess.run(command, **output, text=True)
    if quiet and done.returncode:
        raise UserError(f"{' '.join(command[1:])} failed:\n{done.stdout.strip()}")
    return done.returncode


# What still runs -----------------------------------------------------------------------------------


def refuse_beside_a_run() -> None:
    """Raise UserError if a Snakemake that was started in this folder is alive on this machine.

    It would submit cancelled jobs again, and both runs would write the same files.
    """
    for process in psutil.process_iter(["pid", "cmdline"]):
        command = process.info["cmdline"] or [""]
        with contextlib.suppress(psutil.Error):  # has ended, or belongs to another user
            # Only the commands of jobs have `--mode`.
            run = program_of(command).name == "snakemake" and "--mode" not in command
            if run and Path(process.cwd()) == Path.cwd():
                raise UserError(
                    f"process {process.pid} runs Snakemake in this folder; wait for it or stop it "
                    "(Ctrl-C where it was started), then run this again"
                )


def stop_local_jobs(study: str) -> None:
    """Stop scripts of the study that are still running after their run was killed."""
    orphans = []
    for process in psutil.process_iter(["pid", "cmdline", "username"]):
        script = script_of(process, study)
        if script is None:
            continue
        print(f"stopping process {process.pid} ({script.suffixes[-2]}) of a killed run")
        orphans.append(process)
    for process in orphans:
        process.terminate()
    _, alive = psutil.wait_procs(orphans, timeout=10)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)


def script_of(process: psutil.Process, study: str) -> Path | None:
    """The script of this study that a process runs, as Snakemake wrote it to this folder; else None."""
    try:
        script = program_of(process.info["cmdline"] or [""])
        # Its first lines describe the job, with the names of all its files.
        if script.parent == Path.cwd() / ".snakemake" / "scripts" and (
            f"results/{study}/" in script.read_text(errors="replace")
        ):
            return script
    except (OSError, psutil.Error):
        pass  # the process has ended
    return None


def program_of(command: list[str]) -> Path:
    """The script or module that a Python process runs; Path() for other processes."""
    rest = iter(command[1:] if Path(command[0]).name.startswith("python") else [])
    for part in rest:
        if not part.startswith("-"):
            return Path(part)
        if part[1:2] != "-" and part.endswith("m"):  # -m, -um
            return Path(next(rest, ""))
        if part in ("-W", "-X"):
            next(rest, "")
        if part == "-c":
            break
    return Path()


def remove_leftovers(results: Path) -> None:
    """Remove temporary files of killed writers; no writer is alive at this point."""
    for path in list(leftovers(results)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
