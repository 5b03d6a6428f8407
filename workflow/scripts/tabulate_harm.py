"""Tables of all harm tests: every picture's gain, and by kind of blur and light the mean and the worst."""

import pandas as pd
from _job import job
from isoplan.cluster.unit_files import load_units
from isoplan.restoration_test import harm_tables
from isoplan.restoration_test.harm import HarmTest


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    parts = []
    for spec in params.tests:
        test = HarmTest(spec, params.seed)
        kept = load_units(f"{params.folder}/{spec['test']['name']}", len(test.units))
        parts.append(harm_tables.rows_of(test, kept))
    rows = pd.concat(parts, ignore_index=True)
    rows.to_csv(output.rows, index=False, float_format="%.6g")
    summary = harm_tables.summarise(rows)
    summary.to_csv(output.summary, index=False, float_format="%.6g")
    print(f"{len(rows)} rows in {output.rows}, {len(summary)} in {output.summary}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
