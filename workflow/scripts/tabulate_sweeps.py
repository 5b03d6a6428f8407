"""Tables of all sweeps: gain by iterations and TV weight, and what rules that choose them lose."""

import pandas as pd
from _job import job
from isoplan.cluster.unit_files import load_units
from isoplan.restoration_test.known import RestorationTest
from isoplan.restoration_test.sweep import Sweep, choice_rows, sweep_rows
from isoplan.restoration_test.units import unit_count


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    swept, choices = [], []
    for spec in params.tests:
        sweep, test = Sweep(RestorationTest(spec, params.seed)), spec["test"]
        kept = load_units(f"{params.folder}/{test['name']}", unit_count(test))
        swept.append(sweep_rows(sweep, kept))
        choices.append(choice_rows(sweep, kept))
    for path, parts in ((output.sweep, swept), (output.choice, choices)):
        pd.concat(parts, ignore_index=True).to_csv(path, index=False, float_format="%.6g")
    print(f"{len(params.tests)} sweeps in {output.sweep} and {output.choice}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
