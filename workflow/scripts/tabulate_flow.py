"""The tables of how near the motion of the flow tests comes to the true one."""

from _job import job
from isoplan.applications.flow.summary import summary
from isoplan.applications.flow.trials import Trial, table
from isoplan.cluster.unit_files import load_units


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    trials = [Trial(test, {}, params.seed) for test in params.tests]
    units = [
        load_units(f"{params.folder}/{trial.test['name']}/scores", len(trial.pictures))
        for trial in trials
    ]
    rows = table(trials, units)
    for found, file in ((rows, output.rows), (summary(rows), output.summary)):
        found.to_csv(file, index=False, float_format="%.6g")
        print(f"{len(found)} rows in {file}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
