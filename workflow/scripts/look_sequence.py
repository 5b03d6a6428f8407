"""Looks what fluctuates in this job's share of a sequence's squares."""

from pathlib import Path

from _job import job
from isoplan.applications.fluctuation import study, superresolution, units
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units


def main(snakemake):
    params, number = snakemake.params, int(snakemake.wildcards.job)
    found = study.read(snakemake.input.settings)
    cores = superresolution.cores(found.shape)
    mark = fingerprint(found.record(), params.sequence, dict(params.library))
    scratch = Path(snakemake.input.settings).with_name(f".look.{number}.part")
    with study.opened(params.sequence, scratch) as frames:
        run_units(
            Ledger(params.ledger, mark),
            len(cores),
            job=number,
            jobs=params.jobs,
            make=lambda unit: units.of_evidence(
                superresolution.evidence(frames, cores[unit], found.settings)
            ),
            write=lambda unit, block: save_unit(params.folder, unit, block),
            read=lambda unit: load_unit(params.folder, unit),
            title=f"looking at {snakemake.wildcards.sequence}, squares",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
