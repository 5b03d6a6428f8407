"""Joins the cells of a picture to one surface, and writes its heights."""

import json
from dataclasses import asdict
from pathlib import Path

from _job import job
from isoplan.applications.depth.heights import StoredUnits, surface
from isoplan.applications.depth.maps import fit_of
from isoplan.applications.depth.results import describe, facts_of, write_map
from isoplan.base.ledger import write_atomically
from isoplan.mosaic.reader import reopen


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    known = json.loads(Path(snakemake.input.known).read_text())
    fit, layout = fit_of(known)
    stored = StoredUnits(params.folder, layout)
    with reopen(params.height_map, known) as picture:
        flat = fit.calibration.flat_at(picture, layout)
    found = surface(stored, fit, layout, flat)
    write_map(Path(output.table).parent, Path(params.store), found, fit.calibration)
    facts = facts_of(found)
    told = {"words": describe(facts, found.doubt), "notes": known["notes"], "facts": facts}
    told["doubt"] = found.doubt and asdict(found.doubt)
    write_atomically(output.facts, json.dumps(told, indent=1) + "\n")
    print(f"{params.store} opens in napari")
    # What made it goes on to those who read it, as a done file that changes with it.
    marks = {Path(file).read_text() for file in snakemake.input.done}
    Path(output.done).write_text("".join(sorted(marks)))


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
