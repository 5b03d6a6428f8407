"""Trains one network, or takes over a released one after checking that it fits the study."""

import json
import shutil
from pathlib import Path

from _job import job
from isoplan.base.device import pick_device
from isoplan.base.errors import OutOfTime
from isoplan.networks import store
from isoplan.training.loop import HISTORY, train
from isoplan.training.samples import Recipe, load_set


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    spec = params.network
    folder = Path(output.network).parent
    weights = snakemake.input.weights
    if weights:
        _, _, card = store.load(weights)
        psf, window_px = params.recipe["psf"], params.recipe["window_px"]
        store.check_fits(weights, card, psf, window_px, spec["architecture"])
        shutil.copyfile(weights, output.network)
        Path(output.history).write_text(",".join(HISTORY) + "\n")
        Path(output.card).write_text(json.dumps(card, indent=1) + "\n")
        print(f"{weights} serves as network {spec['name']}")
        return
    recipe = Recipe(**params.recipe)
    recipe.check()
    finished = train(
        recipe,
        spec,
        folder,
        seed=params.seed,
        device=pick_device(params.device),
        validation=None if spec["architecture"] == "spectrum-fit" else load_set(params.validation),
        library=dict(params.library),
    )
    if not finished:
        raise OutOfTime(
            f"network {spec['name']}: another epoch would not end within this job's time limit. The epochs "
            "so far are kept: the next attempt, or `make resume`, goes on from here"
        )
    print(f"network {spec['name']} lies in {output.network}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
