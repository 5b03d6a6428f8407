"""R2 (thesis, eq. 2.13), errors, calibration and abstention of a network on a stored test set."""

from _job import job
from isoplan.base.device import pick_device
from isoplan.judging import judge_test
from isoplan.networks import store
from isoplan.training.samples import load_set


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    device = pick_device(params.device)
    network, model, _ = store.load(snakemake.input.network, device)
    batch = load_set(params.samples)
    tables = judge_test(
        network, model, batch, device, params.test, train_set=params.train_set, seed=params.seed
    )
    for name, table in vars(tables).items():
        table.to_csv(output[name], index=False)
    print(f"{len(batch.patches)} samples judged: {output.regression}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
