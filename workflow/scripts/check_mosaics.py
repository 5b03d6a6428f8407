"""Looks at the header of every mosaic of the table; those that cannot be read are set aside."""

import csv
from pathlib import Path

from _job import job
from isoplan.mosaic.accept import COLUMNS, accept
from isoplan.mosaic.table import read_table


def main(snakemake):
    rows = read_table(snakemake.input.table) if snakemake.input.table else []
    results = Path(snakemake.output.accepted).parents[2]
    accepted, refused = accept(rows, snakemake.params.simulated, results)
    with open(snakemake.output.accepted, "w", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(accepted)
    with open(snakemake.output.refused, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["mosaic", "path", "reason"])
        for row, reason in refused:
            print(f"refused: {row['mosaic']}: {reason}")
            writer.writerow([row["mosaic"], row["path"], reason])
    print(f"{len(accepted)} mosaics can be read, {len(refused)} cannot")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
