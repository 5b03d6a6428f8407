"""Restores this job's share of a test's pictures in every way that it names (thesis, section 4.3)."""

from pathlib import Path

import numpy as np
from _job import job
from isoplan import restoration_test as tests
from isoplan import rivals
from isoplan.base.device import pick_device
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger, run_units
from isoplan.networks import store
from isoplan.optics.camera import check_camera


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    rivals.check_installed(params.test["test"]["methods"])
    check_camera(params.test["camera"])
    device = pick_device(params.device)
    network, model, card = store.load(snakemake.input.network, device)
    detects = tests.detection_model(model, params.test["detected"])
    test = tests.RestorationTest(params.test, params.seed, device)
    test.model.check()
    mark = fingerprint(params.test, params.seed, card["fingerprint"], dict(params.library))
    run_units(
        Ledger(params.ledger, mark),
        test.units,
        job=int(wildcards.job),
        jobs=params.jobs,
        make=lambda unit: test.unit(unit, network, detects),
        write=lambda unit, block: tests.save_unit(params.folder, unit, block),
        read=lambda unit: np.load(tests.unit_file(params.folder, unit)),
        title=f"restoring the pictures of {wildcards.test}, units",
    )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
