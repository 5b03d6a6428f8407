"""Puts the parts of each table together, under the columns that readers rely on."""

import pandas as pd
from _job import job


def main(snakemake):
    for name, columns in snakemake.params.columns.items():
        parts = [pd.read_csv(path) for path in snakemake.input.get(name) or []]
        parts = [part for part in parts if len(part)]
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
        table.reindex(columns=columns).to_csv(snakemake.output[name], index=False)
        print(f"{len(table)} rows in {snakemake.output[name]}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
