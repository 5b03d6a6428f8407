"""An OME-Zarr of a mosaic whose file cannot be read by window, such as one huge strip.

A file that turns out to be damaged is no failure of this job: the reason stands in the "done" file, and
measure_mosaic says it.
"""

import shutil
from pathlib import Path

from _job import job
from isoplan.base.errors import UserError, of_the_disk
from isoplan.base.ledger import write_atomically
from isoplan.mosaic.convert import REFUSED, convert
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.reader import open_row


def main(snakemake):
    row, store = snakemake.params.row, Path(snakemake.params.store)
    text = f"{row['path']} converted to {store}"
    try:
        with open_row(row, large_pieces=True) as mosaic:
            attributes = {
                "mosaic": row["mosaic"],
                "converted": row["path"],
                "notes": [*mosaic.notes, f"converted from {row['path']}, not read by window"],
                "optics": mosaic.optics,
                "library": dict(snakemake.params.library),
            }
            pixel = complete_optics(row, mosaic.optics)[0]["pixel_size_um"]
            convert(mosaic, store, pixel_size_um=pixel, attributes=attributes)
    except UserError as error:
        if of_the_disk(error.__cause__):
            raise  # a disk that is full or fails says nothing of the file
        shutil.rmtree(store, ignore_errors=True)
        text = f"{REFUSED}{error}"
    print(text)
    write_atomically(snakemake.output.done, f"{text}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
