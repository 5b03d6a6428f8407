"""Sums over the cells of this job's share of a mosaic and all its restorations, for the report's metrics."""

import json
from pathlib import Path
from zlib import crc32

import numpy as np
from _job import job
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger, run_units
from isoplan.evaluation import evaluate_unit, unit_cells
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.measure import levels
from isoplan.mosaic.reader import open_mosaic


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = json.loads(Path(snakemake.input.facts).read_text())
    made = ngff.read_attributes(params.store)
    cells = ngff.open_array(params.store, mode="r+")
    units = tiles.shards(cells.shape, unit_cells(made["stride_px"]))
    restored = [crc32(Path(file).read_bytes()) for file in snakemake.input.restored]
    mark = fingerprint(facts, made, restored, dict(params.library))
    offset, truth = np.float32(facts["offset"]), params.truth and picture(params.truth)
    with open_mosaic(facts["path"], channel=facts.get("channel"), slice=facts["slice"]) as mosaic:
        readers = {
            method: seen_by(mosaic, picture(store)) for method, store in params.stores.items()
        }
        readers |= {"none": lambda *window: mosaic.read(*window) - offset, "truth": truth}
        run_units(
            Ledger(params.ledger, mark),
            len(units),
            job=int(wildcards.job),
            jobs=params.jobs,
            make=lambda unit: evaluate_unit(
                {name: readers[name] for name in made["pictures"]},
                truth,
                made["shape_px"],
                units[unit],
                scale=levels(facts)["scale"],
                cell_px=made["stride_px"],
            ),
            write=lambda unit, block: ngff.write_shards(cells, (slice(None), *units[unit]), block),
            read=lambda unit: cells[(slice(None), *units[unit])],
            title=f"evaluating {wildcards.mosaic}, units",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


def picture(store):
    level = ngff.Values(store)
    return lambda y0, y1, x0, x1: level[y0:y1, x0:x1]


def seen_by(mosaic, read):
    """NaN where no tile was: whole numbers have none."""

    def masked(*window):
        block, covered = read(*window), mosaic.covered(*window)
        return block if covered is None else np.where(covered, block, np.float32(np.nan))

    return masked


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
