"""Sums over the cells of this job's share of a mosaic and all its restorations, for the report's metrics."""

from pathlib import Path
from zlib import crc32

from _job import job
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.units import run_units
from isoplan.comparison import STANDARDS, open_readers
from isoplan.evaluation import evaluate_unit, unit_cells
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.facts import PIXELS, REFERENCE, Facts


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = Facts.read(snakemake.input.facts).only(*PIXELS, *REFERENCE)
    made = ngff.read_attributes(params.store)
    cells = ngff.open_array(params.store, mode="r+")
    units = tiles.shards(cells.shape, unit_cells(made["stride_px"]))
    restored = [crc32(Path(file).read_bytes()) for file in snakemake.input.restored]
    known = snakemake.input.get("registered")
    registered = crc32(Path(known).read_bytes()) if known else None
    mark = fingerprint(facts, made, restored, registered, dict(params.library))
    standard = next((name for name in STANDARDS if name in made["pictures"]), None)
    judged_by = {"truth": params.truth}
    if standard == "reference":
        judged_by = {"registration": known}
    with open_readers(facts, dict(params.stores), **judged_by) as readers:
        run_units(
            Ledger(params.ledger, mark),
            len(units),
            job=int(wildcards.job),
            jobs=params.jobs,
            make=lambda unit: evaluate_unit(
                {name: readers[name] for name in made["pictures"]},
                readers.get(standard),
                made["shape_px"],
                units[unit],
                scale=facts.brightness["scale"],
                cell_px=made["stride_px"],
            ),
            write=lambda unit, block: ngff.write_shards(cells, (slice(None), *units[unit]), block),
            read=lambda unit: cells[(slice(None), *units[unit])],
            title=f"evaluating {wildcards.mosaic}, units",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
