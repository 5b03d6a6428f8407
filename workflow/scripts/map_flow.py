"""Finds what moved in this job's share of the cells of a picture, or of those of a sequence."""

import json
from pathlib import Path

import torch
from _job import job
from isoplan.applications.flow.maps import fit_of, frames_of, unit, units
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units


def main(snakemake):
    params = snakemake.params
    torch.set_num_threads(snakemake.threads)
    known = json.loads(Path(snakemake.input.known).read_text())
    fit, layout = fit_of(params.flow_map, known)
    mark = fingerprint(known, params.flow_map, dict(params.library))
    with frames_of(params.flow_map, known) as frames:
        run_units(
            Ledger(params.ledger, mark),
            units(params.flow_map, known),
            job=int(snakemake.wildcards.job),
            jobs=params.jobs,
            make=lambda number: unit(params.flow_map, frames, fit, layout, number),
            write=lambda number, block: save_unit(params.folder, number, block),
            read=lambda number: load_unit(params.folder, number),
            title=f"finding motion of {snakemake.wildcards.flow_map}, blocks",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
