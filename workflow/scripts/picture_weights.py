"""One picture of a test of weights by every method, and the maps of weights, made once more."""

import numpy as np
from _job import job
from isoplan.applications.weight_maps.trials import Trial


def main(snakemake):
    params = snakemake.params
    trial = Trial(params.test, params.recipe, params.seed, tuple(snakemake.input.networks))
    pictures = trial.pictures()
    np.savez_compressed(snakemake.output.pictures, **pictures)
    print(f"{len(pictures)} pictures in {snakemake.output.pictures}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
