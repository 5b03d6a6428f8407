"""Looks at the header of every mosaic of the table; those that cannot be read are set aside."""

import csv

from _job import job
from isoplan.mosaic.reader import open_mosaic
from isoplan.mosaic.table import read_table


def main(snakemake):
    rows = read_table(snakemake.input.table) if snakemake.input.table else []
    accepted, refused = [], []
    for row in rows:
        if row["mosaic"] in snakemake.params.simulated:
            refused.append((row, "a simulation of this study bears the same name; rename one"))
            continue
        try:
            # Slice 0 stands for any: to find the brightest one would read the whole stack.
            open_mosaic(row["path"], channel=row["channel"], slice=row["slice"] or 0).close()
            accepted.append(row)
        except Exception as error:  # whatever a broken file raises; the others shall go on
            refused.append((row, " ".join(str(error).split()) or type(error).__name__))
    with open(snakemake.output.accepted, "w") as handle:
        handle.write("mosaic\tfile\n")
        for row in accepted:
            handle.write(f"{row['mosaic']}\t{row['path']}\n")
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
