"""Builds the pyramid of a restored mosaic, so that viewers open it at once."""

from pathlib import Path

from _job import job
from isoplan.mosaic.ngff import build_pyramid


def main(snakemake):
    build_pyramid(snakemake.params.store)
    print(f"{snakemake.params.store} opens in napari")
    Path(snakemake.output.finished).write_text("pyramid built\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
