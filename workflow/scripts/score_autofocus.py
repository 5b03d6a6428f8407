"""Focuses the microscope in this job's share of a test's searches, by every method."""

import json
from pathlib import Path

import torch
from _job import job
from isoplan.applications.autofocus.trials import Ready, Trial
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    torch.set_num_threads(snakemake.threads)
    networks = dict(zip(params.test["networks"], snakemake.input.networks, strict=True))
    trial = Trial(params.test, params.objects, params.seed, networks)
    told = json.loads(Path(snakemake.input.calibration).read_text())
    ready = Ready(trial, told)
    mark = fingerprint(params.test, params.objects, told, params.seed, dict(params.library))
    run_units(
        Ledger(params.ledger, mark),
        trial.units,
        job=int(wildcards.job),
        jobs=params.jobs,
        make=lambda unit: trial.unit(unit, ready),
        write=lambda unit, block: save_unit(params.folder, unit, block),
        read=lambda unit: load_unit(params.folder, unit),
        title=f"focusing {wildcards.autofocus_test}",
    )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
