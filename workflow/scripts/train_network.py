"""Trains one network, or takes over a released one after checking that it fits the study."""

import json
import shutil
from pathlib import Path

from _job import job
from isoplan.base.device import pick_device
from isoplan.base.errors import OutOfTime
from isoplan.base.imports import load_named
from isoplan.training.loop import history_header, train


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    spec, made_for = params.network, load_named(params.task)
    weights = snakemake.input.weights
    if weights:
        card = made_for.take(weights, params.recipe, spec)
        shutil.copyfile(weights, output.network)
        Path(output.history).write_text(",".join(history_header(made_for)) + "\n")
        Path(output.card).write_text(json.dumps(card, indent=1) + "\n")
        print(f"{weights} is used as network {spec['name']}")
        return
    task = made_for.of_config(
        params.recipe,
        spec,
        seed=params.seed,
        device=pick_device(params.device),
        validation=params.validation,
    )
    if not train(task, Path(output.network).parent, library=dict(params.library)):
        raise OutOfTime(
            f"network {spec['name']}: another epoch would not end within this job's time limit. The epochs "
            "so far are kept: the next attempt, or `make resume`, goes on from here"
        )
    print(f"network {spec['name']} lies in {output.network}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
