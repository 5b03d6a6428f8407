"""The picture of a restoration test whose gain is the median one, restored once more in every way."""

import numpy as np
import pandas as pd
from _job import job
from isoplan.base.device import pick_device
from isoplan.restoration_test.known import open_test, shown
from isoplan.restoration_test.tables import median_picture


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    rows = pd.read_csv(snakemake.input.rows, dtype={"test": str, "cell": str})
    index = median_picture(rows[rows["test"] == params.test["test"]["name"]])
    device = pick_device(params.device)
    test, network, detects, _ = open_test(params.test, params.seed, snakemake.input.network, device)
    case = test.case(index)
    pictures = shown(case, test.restored(case, index, network, detects))
    np.savez_compressed(output.pictures, index=index, **pictures)
    print(f"picture {index} in {output.pictures}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
