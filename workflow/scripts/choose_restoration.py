"""Chooses iterations and TV weight of a mosaic's restoration by held-out photons, in a few pieces of it."""

import json
from pathlib import Path

from _job import job
from isoplan.base.device import pick_device
from isoplan.base.ledger import write_atomically
from isoplan.choosing import choose, pieces_of
from isoplan.exposure import exposure_of
from isoplan.mosaic.measure import levels
from isoplan.mosaic.reader import open_mosaic
from isoplan.restoration import local_psfs


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = json.loads(Path(snakemake.input.facts).read_text())
    local = local_psfs(
        params.psf,
        (facts["height_px"], facts["width_px"]),
        mean_of=snakemake.input.psf if wildcards.method == "constant" else None,
    )
    with open_mosaic(facts["path"], channel=facts.get("channel"), slice=facts["slice"]) as mosaic:
        order, device = params.restoration["order"], pick_device(params.device)
        pieces = pieces_of(mosaic, local, facts, order=order, device=device)
    choice = choose(
        pieces,
        dict(params.restoration),
        exposure=exposure_of(facts, params.restoration["background"]),
        **levels(facts),
        seed=params.seed,
        # Of one mosaic all methods are judged by the same photons.
        stream=f"held-out/{wildcards.mosaic}",
    )
    print(
        f"{wildcards.mosaic}, {wildcards.method}: {choice['iterations']} iterations with a TV weight of "
        f"{choice['tv_weight']:g}, {choice['reason']}"
    )
    write_atomically(snakemake.output.choice, json.dumps(choice, indent=1) + "\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
