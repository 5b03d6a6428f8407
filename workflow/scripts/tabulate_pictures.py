"""The table of what was found of all enhanced pictures."""

import json
from pathlib import Path

import pandas as pd
from _job import job


def main(snakemake):
    files = map(Path, snakemake.input.facts)
    rows = [
        (name, fact, value)
        for name, file in zip(snakemake.params.pictures, files, strict=True)
        for fact, value in json.loads(file.read_text())["facts"].items()
    ]
    table = pd.DataFrame(rows, columns=["picture", "fact", "value"])
    table.to_csv(snakemake.output.table, index=False)
    print(f"{len(rows)} rows in {snakemake.output.table}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
