"""Finds the motion in this job's share of a test's pictures, beside the true one."""

from pathlib import Path

import torch
from _job import job
from isoplan.applications.flow.trials import Trial
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    torch.set_num_threads(snakemake.threads)
    trial = Trial(params.test, params.objects, params.seed)
    fit = trial.fit()
    mark = fingerprint(params.test, params.objects, params.seed, dict(params.library))
    run_units(
        Ledger(params.ledger, mark),
        len(trial.pictures),
        job=int(wildcards.job),
        jobs=params.jobs,
        make=lambda unit: trial.unit(unit, fit),
        write=lambda unit, block: save_unit(params.folder, unit, block),
        read=lambda unit: load_unit(params.folder, unit),
        title=f"finding motion of {wildcards.flow_test}",
    )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
