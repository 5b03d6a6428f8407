"""Finds and registers an entry's fields, and chooses every filter's setting on those for training."""

import json

from _job import job
from isoplan.applications.enhancement.trials import prepared
from isoplan.base.ledger import write_atomically


def main(snakemake):
    params = snakemake.params
    choice = prepared(params.enhancement, params.seed)
    write_atomically(snakemake.output.choice, json.dumps(choice, indent=1) + "\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
