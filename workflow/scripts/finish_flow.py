"""Writes what moved in a picture: its table, figures, and the map that lies over it."""

import json
from pathlib import Path

from _job import job
from isoplan.applications.flow.maps import frames_of, joined, shorter_of
from isoplan.applications.flow.results import describe, facts_of, thumbnail, write_map
from isoplan.applications.flow.sequence import TRACK_COLUMNS
from isoplan.base.ledger import write_atomically


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    known = json.loads(Path(snakemake.input.known).read_text())
    found = joined(params.flow_map, known, params.folder)
    exposure, shorter = params.flow_map["exposure_ms"], None
    if other := params.shorter:
        told = json.loads(Path(snakemake.input.shorter[0]).read_text())
        shorter = shorter_of(params.flow_map, found, other, told, params.shorter_folder)
    with frames_of(params.flow_map, known) as frames:
        small = thumbnail(frames[0])
    write_map(Path(output.table).parent, Path(params.store), found, exposure, small, shorter)
    if not params.flow_map["interval_ms"]:
        Path(output.tracks).write_text(",".join(TRACK_COLUMNS) + "\n")  # one picture has none
    facts = facts_of(found, exposure, shorter)
    told = {"words": describe(facts, found.doubt), "notes": known["notes"], "facts": facts}
    write_atomically(output.facts, json.dumps(told, indent=1) + "\n")
    print(f"{params.store} opens in napari")
    # What made it goes on to those who read it, as a done file that changes with it.
    marks = {Path(file).read_text() for file in snakemake.input.done}
    Path(output.done).write_text("".join(sorted(marks)))


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
