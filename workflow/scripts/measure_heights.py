"""What a picture tells before its heights are found: what its scene looks like, and whether it is of the calibrated microscope."""

import json

import torch
from _job import job
from isoplan.applications.depth.maps import known_of
from isoplan.base.ledger import write_atomically


def main(snakemake):
    torch.set_num_threads(snakemake.threads)
    known = known_of(snakemake.params.height_map)
    write_atomically(snakemake.output.known, json.dumps(known, indent=1) + "\n")
    for note in known["notes"]:
        print(f"{snakemake.wildcards.height_map}: {note}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
