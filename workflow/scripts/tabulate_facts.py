"""The table of what was found of all entries of a list: enhanced pictures, or sequences."""

import json
from pathlib import Path

import pandas as pd
from _job import job


def main(snakemake):
    params, files = snakemake.params, map(Path, snakemake.input.facts)
    rows = [
        (name, fact, value)
        for name, file in zip(params.names, files, strict=True)
        for fact, value in json.loads(file.read_text())["facts"].items()
    ]
    table = pd.DataFrame(rows, columns=[params.kind, "fact", "value"])
    table.to_csv(snakemake.output.table, index=False)
    print(f"{len(rows)} rows in {snakemake.output.table}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
