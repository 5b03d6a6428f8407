"""R2 (thesis, eq. 2.13), errors, calibration and abstention of a network on a stored test set."""

from _job import job
from isoplan.base.device import pick_device
from isoplan.base.imports import load_named


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    judge = load_named(params.judge)(snakemake.input.network, pick_device(params.device))
    samples = judge.stored(params.samples)
    tables = judge.judge_test(samples, params.test, train_set=params.train_set, seed=params.seed)
    for name, table in vars(tables).items():
        table.to_csv(output[name], index=False)
    print(f"test set {params.test['test_set']} judged: {output.regression}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
