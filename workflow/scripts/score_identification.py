"""Identifies the kernels of this job's share of a test's pictures by every method, and scores them."""

from pathlib import Path

import torch
from _job import job
from isoplan.applications.identification.trials import Trial
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    torch.set_num_threads(snakemake.threads)
    others = dict(zip(params.test.get("kernel_networks", ()), snakemake.input.kernels, strict=True))
    trial = Trial(params.test, params.recipe, params.seed, snakemake.input.network, others)
    mark = fingerprint(params.test, params.recipe, trial.mark, params.seed, dict(params.library))
    run_units(
        Ledger(params.ledger, mark),
        len(trial.units),
        job=int(wildcards.job),
        jobs=params.jobs,
        make=trial.unit,
        write=lambda unit, block: save_unit(params.folder, unit, block),
        read=lambda unit: load_unit(params.folder, unit),
        title=f"identifying kernels of {wildcards.identification_test}",
    )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
