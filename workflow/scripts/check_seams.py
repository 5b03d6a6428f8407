"""How far a restoration differs, at borders of its units, from one made across them."""

import csv
import json
from pathlib import Path

from _job import job
from isoplan.base.device import pick_device
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.measure import levels
from isoplan.mosaic.reader import open_row
from isoplan.restoration.cores import seam_error
from isoplan.restoration.psfs import local_psfs


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = json.loads(Path(snakemake.input.facts).read_text())
    settings = ngff.read_attributes(params.store)["restoration"]
    shape = facts["height_px"], facts["width_px"]
    mean_of = snakemake.input.psf if wildcards.method == "constant" else None
    with open_row(facts) as mosaic:
        error = seam_error(
            mosaic,
            ngff.Values(params.store),
            local_psfs(params.psf, shape, mean_of=mean_of),
            tiles.shards(shape, settings["core_px"]),
            settings,
            levels=levels(facts),
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
