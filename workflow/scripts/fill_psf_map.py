"""Fills invalid cells from their nearest valid neighbours, and sums the map up."""

import json

import numpy as np
from _job import job
from isoplan.base.ledger import write_atomically
from isoplan.mosaic import ngff
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map import ALARM, FILLED, fill_invalid, mean_parameters


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
        smooth_cells=params.smooth_cells,
    )
    ngff.write_shards(ngff.open_array(params.store, "0", "r+"), (slice(None),) * 3, filled)
    alarms = int((raw[ALARM] > params.alarm_threshold).sum())
    names = [p.name for p in model.parameters]
    mean = mean_parameters(filled, model)
    valid = filled[FILLED] == 0
    summary = {
        "cells": int(valid.size),
        "valid_cells": int(valid.sum()),
        "alarm_cells": alarms,
        "mean": mean and dict(zip(names, mean, strict=True)),
        "median": {
            name: float(np.median(filled[k][valid])) if valid.any() else None
            for k, name in enumerate(names)
        },
    }
    write_atomically(snakemake.output.summary, json.dumps(summary, indent=1) + "\n")
    if mean is None:
        print("no cell of this mosaic is valid: restoration returns the picture as it is")
    elif not valid.any():
        print("no cell of this mosaic is valid: it is restored by PSFs that are doubtful")
    else:
        print(f"{summary['valid_cells']} of {summary['cells']} cells are valid")
    if alarms:
        print(
            f"{alarms} cells do not look like a raw camera picture of a thin sample (denoised, "
            "compressed, resampled, saturated or hazy?): their PSF is not to be trusted"
        )


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
