"""Makes this job's share of a test's sequences, and of each a finer picture by every method, and scores them."""

from pathlib import Path

from _job import job
from isoplan.applications.fluctuation.trials import Trial
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    trial = Trial(params.test, params.seed)
    # A sequence does not depend on how many there are.
    what = {key: value for key, value in params.test.items() if key != "seeds"}
    mark = fingerprint(what, params.seed, dict(params.library))
    run_units(
        Ledger(params.ledger, mark),
        params.test["seeds"],
        job=int(wildcards.job),
        jobs=params.jobs,
        make=trial.unit,
        write=lambda unit, block: save_unit(params.folder, unit, block),
        read=lambda unit: load_unit(params.folder, unit),
        title=f"making sequences of {wildcards.fluctuation} finer",
    )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
