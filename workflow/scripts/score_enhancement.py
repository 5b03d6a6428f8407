"""Enhances this job's share of an entry's test fields by every method, and scores them."""

import json
from pathlib import Path

from _job import job
from isoplan.applications.enhancement.trials import Trial
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    choice = json.loads(Path(snakemake.input.choice).read_text())
    trial = Trial(params.enhancement, params.seed, choice, tuple(snakemake.input.networks))
    mark = fingerprint(params.enhancement, choice, trial.trained, params.seed, dict(params.library))
    run_units(
        Ledger(params.ledger, mark),
        len(trial.places),
        job=int(wildcards.job),
        jobs=params.jobs,
        make=trial.unit,
        write=lambda unit, block: save_unit(params.folder, unit, block),
        read=lambda unit: load_unit(params.folder, unit),
        title=f"enhancing fields of {wildcards.enhancement}",
    )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
