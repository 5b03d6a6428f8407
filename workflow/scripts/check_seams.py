"""How far a restoration differs, at borders of its units, from one made across them."""

import csv

from _job import job
from isoplan.base.device import pick_device
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.facts import Facts
from isoplan.restoration.cores import seam_error
from isoplan.restoration.psfs import local_psfs


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = Facts.read(snakemake.input.facts)
    settings = ngff.read_attributes(params.store)["restoration"]
    with facts.open() as mosaic:
        error = seam_error(
            mosaic,
            ngff.ScaledArray(params.store),
            local_psfs(params.psf, facts.shape),
            tiles.shards(facts.shape, settings["core_px"]),
            settings,
            brightness=facts.brightness,
            device=pick_device(params.device),
        )
    print(f"{wildcards.mosaic}, {wildcards.method}: {error:.2g} of the range at borders of units")
    with open(snakemake.output.seams, "w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["method", "metric", "value"])
        table.writerow([wildcards.method, "seam_error", error])


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
