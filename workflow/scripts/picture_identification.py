"""Some pictures of an identification test with their kernels, true and found, made once more."""

import numpy as np
from _job import job
from isoplan.applications.identification.trials import Trial


def main(snakemake):
    params = snakemake.params
    others = dict(zip(params.test.get("kernel_networks", ()), snakemake.input.kernels, strict=True))
    trial = Trial(params.test, params.recipe, params.seed, snakemake.input.network, others)
    pictures = trial.pictures()
    np.savez_compressed(snakemake.output.pictures, **pictures)
    print(f"{len(pictures)} pictures in {snakemake.output.pictures}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
