"""Tells how likely each height is in this job's share of a picture's cells."""

import json
from pathlib import Path

import torch
from _job import job
from isoplan.applications.depth.maps import fit_of
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units
from isoplan.mosaic.reader import reopen


def main(snakemake):
    params = snakemake.params
    torch.set_num_threads(snakemake.threads)
    known = json.loads(Path(snakemake.input.known).read_text())
    fit, layout = fit_of(known)
    mark = fingerprint(known, params.height_map, dict(params.library))
    with reopen(params.height_map, known) as picture:
        run_units(
            Ledger(params.ledger, mark),
            len(layout.units),
            job=int(snakemake.wildcards.job),
            jobs=params.jobs,
            make=lambda unit: fit.unit(picture, layout, unit),
            write=lambda unit, block: save_unit(params.folder, unit, block),
            read=lambda unit: load_unit(params.folder, unit),
            title=f"finding heights of {snakemake.wildcards.height_map}, blocks",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
