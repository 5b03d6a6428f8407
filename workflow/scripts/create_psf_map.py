"""Makes the empty PSF map of a mosaic, with all its metadata."""

from pathlib import Path

from _job import job
from isoplan.base.errors import UserError
from isoplan.mosaic import ngff
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.table import cutoff_of
from isoplan.networks import store
from isoplan.psf_map.layout import (
    SHARD_CELLS,
    MapLayout,
    at_cutoff,
    channels,
    check_window,
    strides,
)


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = Facts.read(snakemake.input.facts)
    _, model, card = store.load(snakemake.input.network)
    store.check_fits(snakemake.input.network, card, params.psf, params.window_px)
    shape = facts.shape
    model, binning = at_cutoff(model, cutoff_of(facts))
    try:
        check_window(params.window_px, binning, shape)
    except UserError as error:
        raise UserError(f"{wildcards.mosaic}: {error}") from None
    possible = strides(params.window_px, binning)
    if params.stride_px not in possible:
        raise UserError(
            f"map.stride_px {params.stride_px}: {wildcards.mosaic} is mapped with {binning} x {binning} "
            f"binned pixels; give one of {', '.join(map(str, possible))}"
        )
    layout = MapLayout(shape, params.window_px * binning, params.stride_px, params.edges)
    ngff.create_map(
        params.store,
        channels(model),
        layout.cells,
        stride_px=params.stride_px,
        pixel_size_um=facts["pixel_size_um"],
        shard_cells=SHARD_CELLS,
        attributes={
            "mosaic": wildcards.mosaic,
            "network": wildcards.network,
            "psf": model.spec,
            "window_px": layout.window_px,
            "together": binning,
            "edges": params.edges,
            "shape_px": shape,
            "network_fingerprint": card["fingerprint"],
            "library": dict(params.library),
        },
    )
    text = f"{layout.cells[0]} x {layout.cells[1]} cells in {len(layout.units)} units"
    print(text)
    Path(snakemake.output.created).write_text(text + "\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
