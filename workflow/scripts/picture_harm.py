"""The pictures of a harm test in which restoring by default did worst, made once more."""

import numpy as np
import pandas as pd
from _job import job
from isoplan.base.device import pick_device
from isoplan.restoration_test.harm import open_test
from isoplan.restoration_test.harm_tables import worst_cases


def main(snakemake):
    params = snakemake.params
    rows = pd.read_csv(snakemake.input.rows, dtype={"test": str, "picture": str})
    device = pick_device(params.device)
    test, network, detects, _ = open_test(params.test, params.seed, snakemake.input.network, device)
    made = {}
    for k, (picture, blur, photons) in enumerate(worst_cases(rows, params.test["test"]["name"])):
        case, found, _ = test.restored(test.names.index(picture), blur, photons, network, detects)
        unit = float(np.quantile(case.sharp, 0.999))
        for name, values in {"sharp": case.sharp, **found}.items():
            made[f"{k}/{name}"] = (values / unit).astype(np.float32)
        made[f"{k}/what"] = np.array([picture, blur, f"{photons:g}"])
    np.savez_compressed(snakemake.output.pictures, **made)
    print(f"{k + 1} pictures in {snakemake.output.pictures}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
