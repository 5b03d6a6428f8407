"""Restores this job's share of a mosaic by space-variant TV-Richardson-Lucy (thesis, eq. 4.2)."""

from pathlib import Path
from zlib import crc32

from _job import job
from isoplan.base.device import pick_device
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.units import run_units
from isoplan.mosaic import ngff
from isoplan.mosaic.facts import PIXELS, Facts
from isoplan.restoration.cores import restore_with_trust
from isoplan.restoration.psfs import local_psfs
from isoplan.restoration.trust import RestoredStore


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = Facts.read(snakemake.input.facts).only(*PIXELS)
    made, output = ngff.read_attributes(params.store), RestoredStore(params.store, "r+")
    local = local_psfs(params.psf, facts.shape)
    mark = fingerprint(
        facts, made, crc32(Path(snakemake.input.psf).read_bytes()), dict(params.library)
    )
    device = pick_device(params.device)
    with facts.open() as mosaic:
        run_units(
            Ledger(params.ledger, mark),
            len(output.cores),
            job=int(wildcards.job),
            jobs=params.jobs,
            make=lambda unit: restore_with_trust(
                *(mosaic, local, output.cores[unit], output.settings),
                brightness=facts.brightness,
                device=device,
            ),
            write=output.write,
            read=output.read,
            title=f"restoring {wildcards.mosaic} by {wildcards.method}, units",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
