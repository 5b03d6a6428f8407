"""Stores validation or test samples once, with their parameters and recipe (thesis, Table 2.1)."""

from _job import job
from isoplan.base.imports import load_named


def main(snakemake):
    params = snakemake.params
    store_set = load_named(params.store_set)
    text = store_set(
        params.store,
        params.recipe,
        params.samples,
        name=params.name,
        seed=params.seed,
        split=params.split,
    )
    print(text)
    with open(snakemake.output.samples, "w") as handle:
        handle.write(text + "\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
