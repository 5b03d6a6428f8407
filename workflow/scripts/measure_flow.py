"""What a picture tells before its motion is found: its optics, and whether it can be used."""

import json

from _job import job
from isoplan.applications.flow.maps import known_of
from isoplan.base.ledger import write_atomically


def main(snakemake):
    known = known_of(snakemake.params.flow_map)
    write_atomically(snakemake.output.known, json.dumps(known, indent=1) + "\n")
    for note in known["notes"]:
        print(f"{snakemake.wildcards.flow_map}: {note}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
