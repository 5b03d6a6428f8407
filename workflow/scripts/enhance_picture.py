"""Enhances this job's share of a picture's cores."""

import json
from pathlib import Path

from _job import job
from isoplan.applications.enhancement.networks import Enhancer
from isoplan.applications.enhancement.pictures import Known, opened
from isoplan.applications.enhancement.stores import EnhancedStore, beside
from isoplan.applications.enhancement.whole import core_of
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.units import run_units


def main(snakemake):
    params, path = snakemake.params, Path(snakemake.params.store)
    known = Known.from_record(json.loads(Path(snakemake.input.known).read_text()))
    enhancer = Enhancer.load(snakemake.input.network)
    store = EnhancedStore(path, beside(path) if known.camera else None, "r+")
    mark = fingerprint(known.record(), params.picture, enhancer.card, dict(params.library))
    with opened(params.picture) as picture:
        run_units(
            Ledger(params.ledger, mark),
            len(store.cores),
            job=int(snakemake.wildcards.job),
            jobs=params.jobs,
            make=lambda unit: core_of(
                picture, enhancer, known.level, known.camera, store.cores[unit]
            ),
            write=store.write,
            read=store.read,
            title=f"enhancing {snakemake.wildcards.picture}, squares",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
