"""The table of all scores of simulated sequences, and their means."""

from _job import job
from isoplan.applications.fluctuation import summary
from isoplan.applications.fluctuation.trials import Trial, table
from isoplan.cluster.unit_files import load_units


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    trials = [Trial(test, params.seed) for test in params.tests]
    units = [
        load_units(f"{params.folder}/{trial.test['name']}", trial.test["seeds"]) for trial in trials
    ]
    rows = table(trials, units)
    rows.to_csv(output.table, index=False, float_format="%.6g")
    summary.of_scores(rows).to_csv(output.summary, index=False, float_format="%.4g")
    print(f"{len(rows)} rows in {output.table}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
