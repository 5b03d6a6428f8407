"""The tables of what every method of the tests of weights comes to."""

from _job import job
from isoplan.applications.weight_maps.summary import summary
from isoplan.applications.weight_maps.trials import Trial, tables
from isoplan.cluster.unit_files import load_units


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    trials = [
        Trial(test, {}, params.seed, tuple(params.networks[test["name"]])) for test in params.tests
    ]
    units = [
        load_units(f"{params.folder}/{trial.test['name']}/scores", len(trial.units))
        for trial in trials
    ]
    rows, followed = tables(trials, units)
    for table, file in (
        (rows, output.rows),
        (summary(rows), output.summary),
        (followed, output.follow),
    ):
        table.to_csv(file, index=False, float_format="%.6g")
        print(f"{len(table)} rows in {file}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
