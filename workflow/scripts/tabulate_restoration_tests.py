"""Tables of all restoration tests: every picture's gain, and means with intervals."""

import pandas as pd
from _job import job
from isoplan.cluster.unit_files import load_units
from isoplan.restoration_test import tables, units
from isoplan.restoration_test.known import RestorationTest


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    parts = []
    for spec in params.tests:
        test = RestorationTest(spec, params.seed)
        kept = load_units(f"{params.folder}/{test.test['name']}", units.unit_count(test.test))
        parts.append(tables.rows_of(test, kept))
    rows = pd.concat(parts, ignore_index=True)
    rows.to_csv(output.rows, index=False, float_format="%.6g")
    summary = tables.summarise(rows)
    summary.to_csv(output.summary, index=False, float_format="%.6g")
    tables.budget(rows).to_csv(output.budget, index=False, float_format="%.6g")
    print(f"{len(rows)} rows in {output.rows}, {len(summary)} in {output.summary}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
