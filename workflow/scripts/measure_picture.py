"""What a picture tells before it is enhanced, and the empty stores of the result."""

import json
from pathlib import Path

from _job import job
from isoplan.applications.enhancement.pictures import known_of
from isoplan.applications.enhancement.stores import EnhancedStore, layers_of
from isoplan.base.cards import read_card
from isoplan.base.ledger import write_atomically


def main(snakemake):
    params = snakemake.params
    known, store = known_of(params.picture), Path(params.store)
    cards = [read_card(file) for file in snakemake.input.networks]
    EnhancedStore.create(store, layers_of(known, len(cards)), known, {"networks": cards})
    write_atomically(snakemake.output.known, json.dumps(known.record(), indent=1) + "\n")
    for note in known.notes:
        print(f"{snakemake.wildcards.picture}: {note}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
