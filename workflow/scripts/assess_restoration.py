"""Restores this job's share of a test's pictures in every way that it names (thesis, section 4.3)."""

from pathlib import Path

from _job import job
from isoplan.base.device import pick_device
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.restoration_test import rivals
from isoplan.restoration_test.known import open_test
from isoplan.restoration_test.units import run_share


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    rivals.check_installed(params.test["test"]["methods"])
    device = pick_device(params.device)
    test, network, detects, card = open_test(
        params.test, params.seed, snakemake.input.network, device
    )
    mark = fingerprint(params.test, params.seed, card["fingerprint"], dict(params.library))
    run_share(
        test.test,
        lambda unit: test.unit(unit, network, detects),
        params.folder,
        Ledger(params.ledger, mark),
        job=int(wildcards.job),
        jobs=params.jobs,
        title=f"restoring the pictures of {wildcards.test}, units",
    )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
