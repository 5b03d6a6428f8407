"""Lists the mosaics that go on, and all that are refused: by their header, or when they were measured."""

import csv
import json
from pathlib import Path

from _job import job


def main(snakemake):
    facts = [json.loads(Path(path).read_text()) for path in snakemake.input.facts]
    late = {fact["mosaic"]: fact for fact in facts if "refused" in fact}
    lines = Path(snakemake.input.accepted).read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split("\t")[0] not in late]
    Path(snakemake.output.accepted).write_text("".join(kept))
    with open(snakemake.output.refused, "w", newline="") as handle:
        handle.write(Path(snakemake.input.refused).read_text())
        writer = csv.writer(handle, lineterminator="\n")
        for name, fact in late.items():
            print(f"refused: {name}: {fact['refused']}")
            writer.writerow([name, fact["path"], " ".join(fact["refused"].split())])
    print(f"{len(kept) - 1} mosaics go on")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
