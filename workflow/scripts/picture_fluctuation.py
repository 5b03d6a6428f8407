"""The pictures of a test's first sequence, by some of the methods, made once more."""

import numpy as np
from _job import job
from isoplan.applications.fluctuation.methods import SHOWN
from isoplan.applications.fluctuation.trials import Trial


def main(snakemake):
    params = snakemake.params
    pictures = Trial(params.test, params.seed).pictures(0, SHOWN)
    np.savez_compressed(snakemake.output.pictures, **pictures)
    print(f"{len(pictures)} pictures in {snakemake.output.pictures}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
