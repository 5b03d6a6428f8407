"""Makes the empty store of what is summed up over the cells of a mosaic and its restorations."""

from pathlib import Path

from _job import job
from isoplan.comparison import standard_of
from isoplan.evaluation import channels, unit_cells
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.facts import Facts


def main(snakemake):
    params = snakemake.params
    facts = Facts.read(snakemake.input.facts)
    shape = facts.shape
    # What was there before stands first: every gain is a gain over it.
    standard = standard_of(params.truth, snakemake.input.get("registered"))
    pictures = ["none", *params.methods, *([standard] if standard else [])]
    ngff.create_map(
        params.store,
        channels(pictures),
        [tiles.cell_grid(length, params.cell_px) for length in shape],
        stride_px=params.cell_px,
        pixel_size_um=facts["pixel_size_um"],
        shard_cells=unit_cells(params.cell_px),
        names=["0"],
        dtype="float64",
        attributes={
            "mosaic": facts["mosaic"],
            "pictures": pictures,
            "shape_px": shape,
            "library": dict(params.library),
        },
    )
    Path(snakemake.output.created).write_text(f"{', '.join(pictures)}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
