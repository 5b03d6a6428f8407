"""Blurs and restores this job's share of a harm test's pictures, each in every way that it names."""

from pathlib import Path

from _job import job
from isoplan.base.device import pick_device
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units
from isoplan.restoration_test.harm import open_test


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    device = pick_device(params.device)
    test, network, detects, card = open_test(
        params.test, params.seed, snakemake.input.network, device
    )
    mark = fingerprint(params.test, params.seed, card["fingerprint"], dict(params.library))
    run_units(
        Ledger(params.ledger, mark),
        len(test.units),
        job=int(wildcards.job),
        jobs=params.jobs,
        make=lambda unit: test.unit(unit, network, detects),
        write=lambda unit, block: save_unit(params.folder, unit, block),
        read=lambda unit: load_unit(params.folder, unit),
        title=f"restoring the pictures of {wildcards.test}, units",
    )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
