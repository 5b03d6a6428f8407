"""Fills invalid cells from their nearest valid neighbours, and sums the map up."""

import json

from _job import job
from isoplan.base.ledger import write_atomically
from isoplan.mosaic import ngff
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.fill import fill_invalid, summarise_map


def main(snakemake):
    params = snakemake.params
    made = ngff.read_attributes(params.store)
    model = make_psf_model(made["psf"])
    raw = ngff.open_array(params.store, "raw")[:]
    filled = fill_invalid(
        raw,
        model,
        threshold=params.validity_threshold,
        alarm_threshold=params.alarm_threshold,
        neighbours=params.neighbours,
        smooth=params.smooth,
        overlap=made["window_px"] / params.stride_px,
    )
    ngff.write_shards(ngff.open_array(params.store, "0", "r+"), (slice(None),) * 3, filled)
    found = summarise_map(filled, model, params.alarm_threshold)
    write_atomically(snakemake.output.summary, json.dumps(found, indent=1) + "\n")
    if found["mean"] is None:
        print("no cell of this mosaic is valid, and no PSF is known: only noise is removed")
    elif not found["valid_cells"]:
        print("no cell of this mosaic is valid, and every PSF is doubtful: only noise is removed")
    else:
        print(f"{found['valid_cells']} of {found['cells']} cells are valid")
    if found["alarm_cells"]:
        print(
            f"{found['alarm_cells']} cells do not look like a raw camera picture of a thin sample (denoised, "
            "compressed, resampled, saturated or hazy?): their PSF is not to be trusted"
        )


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
