"""What smoothing a map's cells by their certainty is worth, into results/bench/smoothing.csv.

A row per field, photons at the peak and `smooth` (0: as estimated): a mosaic laid out as the demo's is mapped by the
released network for Gaussian-2 and restored; errors of the widths (root mean square of their logarithms) over all
cells, those filled at the border among them, and the gain in SNR, beside that of the true map. The benchmark itself is the time of the smoothing for 22,500
cells of a field that varies, beside filling alone.
"""

import csv

import numpy as np
import torch
from fields import demo
from isoplan.config.entries import released
from isoplan.networks import store
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.estimate import estimate_cells
from isoplan.psf_map.fill import fill_invalid
from isoplan.psf_map.layout import VALIDITY, MapLayout, channels
from isoplan.restoration.psfs import LocalPsfs
from isoplan.restoration.richardson_lucy import richardson_lucy
from isoplan.simulation import Simulation
from run import RESULTS
from timing import in_turn

SIZE_PX, STRIDE_PX, CPU = 1024, 64, torch.device("cpu")
FIELDS = {
    "constant": {"shapes": ("constant", "constant"), "low": 4, "high": 4},
    "mild": {"shapes": ("tilt-x", "bowl"), "low": 3, "high": 4.2},
    "tilt": {"shapes": ("tilt-x", "tilt-y"), "low": 2, "high": 8},
    "curved": {"shapes": ("saddle", "bowl"), "low": 2, "high": 8},
}
PHOTONS = (1e3, 1e4)
SMOOTH = (False, True)


def run() -> list[dict]:
    network, model, _ = store.load(released("gaussian-2"), CPU)
    rows = []
    for field in FIELDS:
        for photons in PHOTONS:
            rows += compared(network, model, field, photons)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "smoothing.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        for row in rows:
            shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            table.writerow(shown)
            print(" ".join(f"{k} {v}" for k, v in shown.items()))
    return [time_of(model)]


def compared(network, model, field: str, photons: float) -> list[dict]:
    study = demo()
    spec = study["simulations"][0] | {"size_px": [SIZE_PX] * 2}
    kind = FIELDS[field]
    spec["field"] = [
        entry | {"shape": shape, "low": kind["low"], "high": kind["high"]}
        for entry, shape in zip(spec["field"], kind["shapes"], strict=True)
    ]
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
    for smooth in SMOOTH:
        cells = fill_invalid(
            raw, model, threshold=0.5, alarm_threshold=0.5, neighbours=4, smooth=smooth
        )
        error = np.sqrt((np.log(cells[:2] / true) ** 2).mean((1, 2)))
        about = {"field": field, "photons": photons, "smooth": int(smooth)}
        rows.append(about | {"error_width_y": float(error[0]), "error_width_x": float(error[1])})
        rows[-1] |= {"gain_db": gain(cells), "true_map_gain_db": best}
    return rows


def time_of(model) -> dict:
    raw = np.random.default_rng(0).uniform(0.6, 1, (len(channels(model)), 150, 150))
    raw = raw.astype(np.float32)
    raw[:2] += 2 + np.sin(np.arange(150) / 20)  # along x
    raw[VALIDITY + 1] = 0

    def fill(smooth):
        fill_invalid(raw, model, threshold=0.65, neighbours=4, smooth=smooth)

    return {
        "benchmark": "filling and smoothing 22,500 cells",
        "peer": "filling alone",
        **in_turn(lambda: fill(True), lambda: fill(False)),
    }
