"""What the methods of an autofocus test are told of its microscope."""

import json
from pathlib import Path

import torch
from _job import job
from isoplan.applications.autofocus.calibration import SEARCHED, SOFTNESS_PX
from isoplan.applications.autofocus.trials import Trial
from isoplan.base.progress import Progress


def main(snakemake):
    params = snakemake.params
    torch.set_num_threads(snakemake.threads)
    networks = dict(zip(params.test["networks"], snakemake.input.networks, strict=True))
    trial = Trial(params.test, params.objects, params.seed, networks)
    bar = Progress("calibrating, trials", SEARCHED + len(SOFTNESS_PX))
    told = trial.told(trial.calibrated(bar.step))
    Path(snakemake.output.calibration).write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
