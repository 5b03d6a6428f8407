"""Brings the better picture of the same field, that a mosaic's line of the table names, onto the mosaic."""

from _job import job
from isoplan.mosaic.facts import Facts
from isoplan.registration import write


def main(snakemake):
    facts = Facts.read(snakemake.input.facts)
    found = write(snakemake.output.registered, facts)
    for note in found["notes"]:
        print(f"{facts['mosaic']}: {note}")
    if "refused" not in found:
        y, x = found["shift"]
        print(f"shift {y:.2f}, {x:.2f} px (y, x); correlation {found['correlation']:.2f}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
