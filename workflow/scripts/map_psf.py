"""Estimates the PSF parameters of this job's share of a mosaic's cells (thesis, 2.2.6)."""

from pathlib import Path

from _job import job
from isoplan.base.device import pick_device
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.units import run_units
from isoplan.mosaic import ngff
from isoplan.mosaic.facts import EXPOSURE, PIXELS, Facts
from isoplan.networks import store
from isoplan.optics.exposure import exposure_of
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.estimate import map_unit
from isoplan.psf_map.layout import MapLayout


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = Facts.read(snakemake.input.facts).only(*PIXELS, *EXPOSURE)
    device = pick_device(params.device)
    network, _, card = store.load(snakemake.input.network, device)
    made = ngff.read_attributes(params.store)
    model = make_psf_model(made["psf"])
    layout = MapLayout.of(made)
    cells = ngff.open_array(params.store, "raw", "r+")
    mark = fingerprint(facts, card["fingerprint"], made, dict(params.library))
    with facts.open() as mosaic:
        run_units(
            Ledger(params.ledger, mark),
            len(layout.units),
            job=int(wildcards.job),
            jobs=params.jobs,
            make=lambda unit: map_unit(
                network,
                model,
                mosaic,
                layout,
                unit,
                offset=facts["offset"],
                device=device,
                binning=made["together"],
                exposure=exposure_of(facts),
            ),
            write=lambda unit, block: ngff.write_shards(
                cells, (slice(None), *layout.units[unit]), block
            ),
            read=lambda unit: cells[(slice(None), *layout.units[unit])],
            title=f"mapping {wildcards.mosaic}, units",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
