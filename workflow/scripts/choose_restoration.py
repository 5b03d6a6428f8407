"""Chooses how much of a mosaic is restored, and by which PSFs, by held-out photons in a few pieces of it."""

import json

from _job import job
from isoplan.base.device import pick_device
from isoplan.base.ledger import write_atomically
from isoplan.mosaic.facts import Facts
from isoplan.restoration.choice_words import describe_choice
from isoplan.restoration.choosing import choose_for
from isoplan.restoration.psfs import local_psfs


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = Facts.read(snakemake.input.facts)
    local = local_psfs(params.psf, facts.shape)
    with facts.open() as mosaic:
        choice = choose_for(
            mosaic,
            local,
            facts,
            dict(params.restoration),
            seed=params.seed,
            # Of one mosaic all methods are judged by the same photons.
            stream=f"held-out/{wildcards.mosaic}",
            device=pick_device(params.device),
        )
    print(f"{wildcards.mosaic}, {wildcards.method}: {describe_choice(choice)}")
    write_atomically(snakemake.output.choice, json.dumps(choice, indent=1) + "\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
