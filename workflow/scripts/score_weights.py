"""Restores this job's share of a test's pictures with weights by every method, and scores them."""

from pathlib import Path

from _job import job
from isoplan.applications.weight_maps.trials import Trial
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    trial = Trial(params.test, params.recipe, params.seed, tuple(snakemake.input.networks))
    mark = fingerprint(params.test, params.recipe, trial.marks, params.seed, dict(params.library))
    run_units(
        Ledger(params.ledger, mark),
        len(trial.units),
        job=int(wildcards.job),
        jobs=params.jobs,
        make=trial.unit,
        write=lambda unit, block: save_unit(params.folder, unit, block),
        read=lambda unit: load_unit(params.folder, unit),
        title=f"restoring pictures of {wildcards.weight_test}",
    )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
