"""Puts a sequence's squares together: the picture as OME-Zarr, and what it is judged by."""

import json
from pathlib import Path

from _job import job
from isoplan.applications.fluctuation import results, study, superresolution
from isoplan.base.ledger import write_atomically


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    found = study.read(snakemake.input.settings)
    made = study.put_together(params.evidence, params.blocks, found)
    results.write_picture(Path(params.store), made, found)
    results.write_beside(Path(output.facts).parent, made, found)
    told = {
        "words": superresolution.describe(made),
        "notes": found.notes,
        "facts": results.facts_of(made, found),
    }
    write_atomically(output.facts, json.dumps(told, indent=1) + "\n")
    print(f"{params.store} opens in napari")
    # What made it goes on to those who read it, as a done file that changes with it.
    marks = {Path(file).read_text() for file in snakemake.input.done}
    Path(output.done).write_text("".join(sorted(marks)))


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
