"""What a sequence tells before it is made finer: camera, drift, light, broken pixels."""

import json
from pathlib import Path

from _job import job
from isoplan.applications.fluctuation.study import measured
from isoplan.base.ledger import write_atomically


def main(snakemake):
    settings = Path(snakemake.output.settings)
    found = measured(snakemake.params.sequence, settings.with_name(".measure.part"))
    write_atomically(settings, json.dumps(found.record(), indent=1) + "\n")
    for note in found.notes:
        print(f"{snakemake.wildcards.sequence}: {note}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
