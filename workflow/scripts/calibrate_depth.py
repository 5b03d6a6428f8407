"""What the methods of a depth test are told of its microscope."""

import json
from pathlib import Path

import torch
from _job import job
from isoplan.applications.depth.calibration import GRID_AXES, GRID_CYLINDERS, SEARCHED
from isoplan.applications.depth.trials import Trial
from isoplan.base.progress import Progress


def main(snakemake):
    params = snakemake.params
    torch.set_num_threads(snakemake.threads)
    networks = dict(zip(params.test["networks"], snakemake.input.networks, strict=True))
    trial = Trial(params.test, params.objects, params.seed, networks)
    bar = Progress("calibrating, trials", len(GRID_CYLINDERS) * GRID_AXES + SEARCHED)
    calibration, scales = trial.calibration(bar.step)
    told = {"calibration": calibration.told(), "scales": scales}
    Path(snakemake.output.calibration).write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
