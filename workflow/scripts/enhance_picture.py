"""Enhances this job's share of a picture's cores."""

import json
from pathlib import Path

from _job import job
from isoplan.applications.enhancement.networks import Enhancer
from isoplan.applications.enhancement.pictures import Known, opened, opened_second, seen_again
from isoplan.applications.enhancement.stores import EnhancedStore, layers_of
from isoplan.applications.enhancement.whole import core_of
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.units import run_units


def main(snakemake):
    params, path = snakemake.params, Path(snakemake.params.store)
    known = Known.from_record(json.loads(Path(snakemake.input.known).read_text()))
    enhancers = [Enhancer.load(file) for file in snakemake.input.networks]
    store = EnhancedStore(path, layers_of(known, len(enhancers)), "r+")
    cards = [enhancer.card for enhancer in enhancers]
    mark = fingerprint(known.record(), params.picture, cards, dict(params.library))
    with opened(params.picture) as picture, opened_second(params.picture) as again:
        second = seen_again(again, known)
        run_units(
            Ledger(params.ledger, mark),
            len(store.cores),
            job=int(snakemake.wildcards.job),
            jobs=params.jobs,
            make=lambda unit: core_of(
                picture, enhancers, known.level, known.camera, store.cores[unit], second
            ),
            write=store.write,
            read=store.read,
            title=f"enhancing {snakemake.wildcards.picture}, squares",
        )
    Path(snakemake.output.done).write_text(f"{mark}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
