"""What smoothing a map's cells by their certainty is worth, into results/bench/smoothing.csv.

A row per field, photons at the peak and `smooth_cells` (0: as estimated): a mosaic laid out as the demo's is mapped by the
released network for Gaussian-2 and restored; R2 of the widths over all cells, those filled at the border among them, and
the gain in SNR, beside that of the true map. The benchmark itself is the time of the smoothing for a
million cells, beside filling alone.
"""

import csv

import numpy as np
import torch
from isoplan.base.config import released, validate
from isoplan.deconvolution import richardson_lucy
from isoplan.networks import store
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map import VALIDITY, MapLayout, channels, estimate_cells, fill_invalid
from isoplan.restoration import LocalPsfs
from isoplan.simulation import Simulation
from run import RESULTS
from timing import in_turn

SIZE_PX, STRIDE_PX, CPU = 1024, 64, torch.device("cpu")
FIELDS = {"tilt": ("tilt-x", "tilt-y"), "curved": ("saddle", "bowl")}
PHOTONS = (1e3, 1e4)
SMOOTH = (0.0, 1.0, 1.5, 2.5)


def run() -> list[dict]:
    network, model, _ = store.load(released("gaussian-2"), CPU)
    rows = []
    for field, shapes in FIELDS.items():
        for photons in PHOTONS:
            rows += compared(network, model, field, shapes, photons)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "smoothing.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        for row in rows:
            shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            table.writerow(shown)
            print(" ".join(f"{k} {v}" for k, v in shown.items()))
    return [time_of(model)]


def compared(network, model, field: str, shapes, photons: float) -> list[dict]:
    study = validate({})
    spec = study["simulations"][0] | {"size_px": [SIZE_PX] * 2}
    spec["field"] = [entry | {"shape": s} for entry, s in zip(spec["field"], shapes, strict=True)]
    camera = study["cameras"][1] | {"photons": [photons] * 2}
    psf = make_psf_model(study["psfs"][0])
    made = Simulation(spec, psf, camera, "mask-blur", 1)
    counts = made.observed(0, SIZE_PX, 0, SIZE_PX, 0) - np.float32(camera["offset"])
    truth = made.truth(0, SIZE_PX, 0, SIZE_PX)
    layout = MapLayout((SIZE_PX,) * 2, network.window_px, STRIDE_PX, "valid")
    margin = (network.window_px - STRIDE_PX) // 2
    raw = estimate_cells(network, model, np.pad(counts, margin, mode="symmetric"), STRIDE_PX, CPU)
    raw[VALIDITY, layout.crosses_edge(0)[:, None] | layout.crosses_edge(1)[None]] = 0
    true = np.moveaxis(made.field.at(layout.centres_px(0), layout.centres_px(1)).numpy(), -1, 0)

    def gain(cells) -> float:
        psfs = LocalPsfs(psf, layout=layout, cells=cells).around(0, SIZE_PX, 0, SIZE_PX)
        blur = SpaceVariantBlur(*psfs, counts.shape)
        x = richardson_lucy(
            torch.from_numpy(counts), blur, start=float(counts.mean()), shift=8.0,
            scale=float(np.quantile(counts, 0.999)),
        )[blur.margin : -blur.margin, blur.margin : -blur.margin]  # fmt: skip
        errors = [((p - truth) ** 2).sum() for p in (counts, x.numpy())]
        return float(10 * np.log10(errors[0] / errors[1]))

    best, rows = gain(true), []
    for smooth_cells in SMOOTH:
        cells = fill_invalid(
            raw, model, threshold=0.5, alarm_threshold=0.5, neighbours=4, smooth_cells=smooth_cells
        )
        left = ((cells[:2] - true) ** 2).sum((1, 2))
        r2 = 1 - left / ((true - true.mean((1, 2), keepdims=True)) ** 2).sum((1, 2))
        about = {"field": field, "photons": photons, "smooth_cells": smooth_cells}
        rows.append(about | {"r2_width_y": float(r2[0]), "r2_width_x": float(r2[1])})
        rows[-1] |= {"gain_db": gain(cells), "true_map_gain_db": best}
    return rows


def time_of(model) -> dict:
    raw = np.random.default_rng(0).uniform(0.6, 1, (len(channels(model)), 1000, 1000))
    raw = raw.astype(np.float32)
    raw[:2] += 2
    raw[VALIDITY + 1] = 0

    def fill(smooth_cells):
        fill_invalid(raw, model, threshold=0.65, neighbours=4, smooth_cells=smooth_cells)

    return {
        "benchmark": "filling and smoothing 10^6 cells",
        "peer": "filling alone",
        **in_turn(lambda: fill(1.0), lambda: fill(0.0)),
    }
