"""The tables of all scores of enhanced fields, and of the settings that were tried."""

import json
from pathlib import Path

from _job import job
from isoplan.applications.enhancement.trials import Trial, settings_table, table
from isoplan.cluster.unit_files import load_units


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    trials = [
        Trial(entry, params.seed, json.loads(Path(file).read_text()))
        for entry, file in zip(params.enhancements, snakemake.input.choices, strict=True)
    ]
    units = [
        load_units(f"{params.folder}/{trial.entry['name']}/scores", len(trial.places))
        for trial in trials
    ]
    for rows, file in (
        (table(trials, units), output.table),
        (settings_table(trials), output.settings),
    ):
        rows.to_csv(file, index=False, float_format="%.6g")
        print(f"{len(rows)} rows in {file}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
