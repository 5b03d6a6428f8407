"""One streaming pass over a mosaic: size, brightness, bad pixels, and what its camera does to it.

A mosaic that turns out to be damaged is no failure of this job, or the others' report would wait for it:
its facts are then the reason, under `refused`, and `refuse_mosaics` sets it aside.
"""

import json
from pathlib import Path

from _job import job
from isoplan.base.errors import UserError, of_the_disk
from isoplan.base.ledger import write_atomically
from isoplan.mosaic.convert import REFUSED
from isoplan.mosaic.ground import Grounded, without_ground
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.measure import describe_facts, measure
from isoplan.mosaic.ngff import read_attributes
from isoplan.mosaic.overlaps import notes_on_overlaps
from isoplan.mosaic.reader import open_row
from isoplan.mosaic.table import COLUMNS
from isoplan.optics.camera_facts import check_background, check_camera_of, complete_camera


def main(snakemake):
    params = snakemake.params
    # The files' stamp belongs to the marks of units: a picture may change and keep its brightness.
    row = dict.fromkeys(COLUMNS) | params.row | {"stamp": params.files}
    try:
        facts = measured(row, params.store, snakemake.input.source)
        check_background(facts, params.background, row["path"] or row["mosaic"])
    except UserError as error:
        # Simulated: there is no table's line to set aside. The file system: another attempt may read it.
        if "path" not in params.row or of_the_disk(error.__cause__):
            raise
        facts = row | {"refused": str(error), "notes": [f"refused: {error}"]}
    write_atomically(snakemake.output.facts, json.dumps(facts, indent=1) + "\n")
    for note in facts["notes"]:
        print(f"{facts['mosaic']}: {note}")


def measured(row, store, source):
    """The mosaic's line of the table, with what its pixels tell.

    store: of a mosaic that was simulated or converted, one plane with what is known of it.
    """
    told, optics, path = [], {}, row.get("path")
    if store:
        record = Path(source).read_text()
        if record.startswith(REFUSED):
            raise UserError(record.removeprefix(REFUSED).strip())
        made = read_attributes(store)
        row = (
            row
            | {"path": store, "channel": None, "slice": None, "series": None}
            | made.get("camera", {})
        )
        told, optics = made.get("notes", []), made.get("optics", {})
    with open_row(row) as mosaic:
        camera, notes = complete_camera(row, mosaic.middle())
        facts = measure(mosaic, offset=camera["offset"])
        # What was simulated may hold zeros of its own.
        fused = without_ground(mosaic) if path and facts["minimum"] == 0 else mosaic
        if fused is not mosaic:
            mosaic = fused
            camera, notes = complete_camera(row, mosaic.middle())
            facts = measure(mosaic, offset=camera["offset"])
        facts = row | facts | {"slice": mosaic.slice, "ground": isinstance(mosaic, Grounded)}
        optics, known = complete_optics(row, optics or mosaic.optics)
        notes = [*told, *mosaic.notes, *notes_on_overlaps(mosaic), *known, *notes]
        facts |= optics | camera | {"notes": notes}
    if path:  # what was simulated may be as it likes
        facts["notes"] += check_camera_of(facts, path)
    facts["notes"] += describe_facts(facts)
    return facts


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
