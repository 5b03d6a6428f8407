"""Stores validation or test samples once, with their parameters and recipe (thesis, Table 2.1)."""

from _job import job
from isoplan.training.samples import Recipe, make_set, save_set


def main(snakemake):
    params = snakemake.params
    recipe = Recipe(**params.recipe)
    recipe.check()
    batch = make_set(
        recipe, params.samples, seed=params.seed, stream=params.name, split=params.split
    )
    save_set(params.store, batch, recipe, name=params.name, seed=params.seed)
    usable = int((batch.invalid == 0).sum())
    text = f"{params.samples} samples in {params.store}, {usable} of them with usable texture"
    print(text)
    with open(snakemake.output.samples, "w") as handle:
        handle.write(text + "\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
