"""R2 (thesis, eq. 2.13) and errors of a network on a stored test set, per PSF parameter."""

import pandas as pd
from _job import job
from isoplan.base.device import pick_device
from isoplan.networks import store
from isoplan.synthesis import load_set
from isoplan.training import evaluate


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    device = pick_device(params.device)
    network, model, card = store.load(snakemake.input.network, device)
    rows, table = evaluate(network, model, load_set(params.samples), device)
    named = {
        "network": wildcards.network,
        "psf_model": card["psf"]["model"],
        "train_set": params.train_set,
        "test_set": wildcards.test_set,
        "degradation": "none",
        "level": 0.0,
    }
    pd.DataFrame([named | row for row in rows]).to_csv(snakemake.output.regression, index=False)
    for place, name in enumerate(("network", "test_set")):
        table.insert(place, name, wildcards[name])
    table.to_csv(snakemake.output.predictions, index=False)


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
