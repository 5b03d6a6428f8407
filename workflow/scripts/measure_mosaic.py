"""One streaming pass over a mosaic: size, levels, bad pixels, and what its camera does to it."""

import json

from _job import job
from isoplan.base.ledger import write_atomically
from isoplan.mosaic.measure import measure
from isoplan.mosaic.ngff import read_attributes
from isoplan.mosaic.reader import open_mosaic
from isoplan.optics.camera import complete_camera


def main(snakemake):
    row = dict(snakemake.params.row)
    if snakemake.params.simulated:
        row["path"] = snakemake.params.simulated
        row |= read_attributes(row["path"])["camera"]
    with open_mosaic(row["path"], channel=row.get("channel"), slice=row.get("slice")) as mosaic:
        facts = row | measure(mosaic) | {"slice": mosaic.slice}
        camera, notes = complete_camera(row, mosaic.middle())
        facts |= camera | {"notes": [*mosaic.notes, *notes]}
    if facts["nonfinite_pixels"]:
        facts["notes"].append(f"{facts['nonfinite_pixels']} pixels are not finite: invalid cells")
    if facts["constant"]:
        facts["notes"].append("the picture is constant: no cell is valid, nothing is restored")
    write_atomically(snakemake.output.facts, json.dumps(facts, indent=1) + "\n")
    for note in facts["notes"]:
        print(f"{facts['mosaic']}: {note}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
