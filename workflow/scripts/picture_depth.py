"""One picture of a depth test with its heights, true and found, made once more."""

import json
from pathlib import Path

import numpy as np
from _job import job
from isoplan.applications.depth.calibration import Calibration
from isoplan.applications.depth.trials import Trial


def main(snakemake):
    params = snakemake.params
    trial = Trial(params.test, params.objects, params.seed)
    told = json.loads(Path(snakemake.input.calibration).read_text())
    pictures = trial.pictures(Calibration.of(told["calibration"]))
    np.savez_compressed(snakemake.output.pictures, **pictures)
    print(f"{len(pictures)} arrays in {snakemake.output.pictures}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
