"""The pictures of an entry's test field with most structure, by every method, made once more."""

import json
from pathlib import Path

import numpy as np
from _job import job
from isoplan.applications.enhancement.trials import Trial


def main(snakemake):
    params = snakemake.params
    choice = json.loads(Path(snakemake.input.choice).read_text())
    trial = Trial(params.enhancement, params.seed, choice, tuple(snakemake.input.networks))
    pictures = trial.pictures(trial.shown)
    flat = {f"{kind}/{name}": one for kind, ones in pictures.items() for name, one in ones.items()}
    np.savez_compressed(snakemake.output.pictures, **flat)
    print(f"{len(flat)} pictures in {snakemake.output.pictures}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
