"""Pyramids of an enhanced picture, a preview, and what is to be said of it."""

import json
from pathlib import Path

from _job import job
from isoplan.applications.enhancement.pictures import Known, opened, taught_by, words_of
from isoplan.applications.enhancement.preview import INPUT, preview
from isoplan.applications.enhancement.stores import EnhancedStore, layers_of, middle
from isoplan.base.ledger import write_atomically
from isoplan.mosaic import ngff


def main(snakemake):
    params, output, path = snakemake.params, snakemake.output, Path(snakemake.params.store)
    known = Known.from_record(json.loads(Path(snakemake.input.known).read_text()))
    layers = layers_of(known, len(snakemake.input.networks))
    found, crops = EnhancedStore(path, layers, "r+").finish()
    rows, columns = middle(known.shape)
    with opened(params.picture) as picture:
        before = picture.read(rows.start, rows.stop, columns.start, columns.stop)
    Path(output.preview).write_bytes(preview({INPUT: before} | crops, known.pixel_size_um))
    cards = ngff.read_attributes(path)["networks"]
    facts = {
        "mean": known.level.mean,
        "noise": known.level.noise,
        **(vars(known.camera) if known.camera else {}),
        **found,
    }
    words = [*dict.fromkeys(map(taught_by, cards)), *words_of(found, known)]
    told = {"words": words, "notes": known.notes, "facts": facts}
    write_atomically(output.facts, json.dumps(told, indent=1) + "\n")
    print(f"{path} opens in napari")
    # What made it goes on to those who read it, as a done file that changes with it.
    marks = {Path(file).read_text() for file in snakemake.input.done}
    Path(output.done).write_text("".join(sorted(marks)))


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
