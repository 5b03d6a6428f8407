"""The tables of how near to focus each method comes, and of what scores tell of distance."""

from _job import job
from isoplan.applications.autofocus.summary import scores, summary
from isoplan.applications.autofocus.trials import Trial, curve_table, table
from isoplan.cluster.unit_files import load_units


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    trials = [Trial(test, {}, params.seed) for test in params.tests]
    units = [
        load_units(f"{params.folder}/{trial.test['name']}/scores", trial.units).reshape(
            trial.units, -1
        )
        for trial in trials
    ]
    depths = {trial.test["name"]: trial.depth_um for trial in trials}
    rows, curves = table(trials, units), curve_table(trials, units)
    made = (
        (rows, output.rows),
        (summary(rows, depths), output.summary),
        (curves, output.curves),
        (scores(curves, depths), output.scores),
    )
    for found, file in made:
        found.to_csv(file, index=False, float_format="%.6g")
        print(f"{len(found)} rows in {file}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
