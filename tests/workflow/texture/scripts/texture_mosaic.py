"""Measures this job's share of a mosaic's squares."""

from pathlib import Path

from _job import job
from isoplan.applications.texture import squares
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units
from isoplan.mosaic.facts import PIXELS, Facts


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = Facts.read(snakemake.input.facts).only(*PIXELS)
    rows = squares.rows(facts.shape, params.texture["square_px"])
    mark = fingerprint(facts, params.texture, dict(params.library))
    with facts.open() as mosaic:
        run_units(
            Ledger(params.ledger, mark),
            len(rows),
            job=int(wildcards.job),
            jobs=params.jobs,
            make=lambda unit: squares.detail(mosaic, rows[unit], params.texture["square_px"]),
            write=lambda unit, block: save_unit(params.folder, unit, block),
            read=lambda unit: load_unit(params.folder, unit),
            title=f"texture of {wildcards.mosaic}, rows",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
