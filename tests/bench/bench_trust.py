"""What the map of trust says of true and of wrong PSFs, into results/bench/trust.csv.

A row per model, photons at the peak, iterations and factor on the PSFs' parameters (1: the true ones), over the cells
of a mosaic laid out as the demo's: chi_square (5, 50 and 95 % of the cells), correlation, `unexplained`
(of the cells whose chi_square and correlation noise would not give: their 99th percentile), `missed` times
(iterations / 10)^1.5 (50, 90 and 99 %), the share of cells that disagree with the data, of cells that came out worse
than they were, and of these the share that is found. The benchmark itself is the time that judging takes beside restoring.
"""

import csv

import numpy as np
import torch
from fields import demo
from isoplan.config.validation import validate
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.psf import make_psf_model
from isoplan.restoration import trust
from isoplan.restoration.richardson_lucy import richardson_lucy
from isoplan.simulation import Simulation
from run import RESULTS
from timing import in_turn

SIZE_PX, CELL_PX, GAIN, READ_NOISE_E = 384, 64, 2.0, 2.0
# Photons at the peak with the TV weight that suits them (`richardson_lucy`).
PHOTONS = {1e2: 0.03, 1e3: 0.003, 1e4: 0.001, 1e5: 0.001}
FACTORS, ITERATIONS = (1.0, 0.7, 1.3, 1.6), (5, 10, 20, 40)
FIELDS = {
    "gaussian-2": ({"size_px": 31, "width_px": [1.5, 10]}, {"width_x": (2, 8), "width_y": (2, 8)}),
    "zernike-1": ({"size_px": 63, "focus_waves": [0, 0.8]}, {"focus": (0.1, 0.5)}),
}


def run() -> list[dict]:
    rows = []
    for model in FIELDS:
        for photons, tv_weight in PHOTONS.items():
            seen = Seen(model, photons)
            for factor in FACTORS:
                for iterations in ITERATIONS:
                    about = {"psf": model, "photons": photons, "iterations": iterations}
                    found = seen.judged(factor, iterations, tv_weight)
                    rows.append(about | {"factor": factor} | found)
                    print(
                        " ".join(f"{k} {v:.3g}" if k != "psf" else v for k, v in rows[-1].items())
                    )
    write(rows)
    return [seen.time()]


class Seen:
    """A mosaic as a camera saw it."""

    def __init__(self, model: str, photons: float):
        entry, field = FIELDS[model]
        cameras = {"name": "seen", "photons": [photons] * 2, "gain": [GAIN] * 2, "bits": 0}
        cameras |= {"read_noise_e": [READ_NOISE_E] * 2, "offset": 0}
        default = demo()
        study = validate(
            {
                "simulations": default["simulations"],
                "psfs": [*default["psfs"], {"name": "seen", "model": model, **entry}],
                "cameras": [*default["cameras"], cameras],
            }
        )
        spec = study["simulations"][0] | {"size_px": [SIZE_PX] * 2}
        spec["field"] = [
            {"parameter": name, "shape": "tilt-x" if k else "tilt-y", "low": low, "high": high}
            for k, (name, (low, high)) in enumerate(field.items())
        ]
        psf = make_psf_model(study["psfs"][-1])
        self.made = Simulation(spec, psf, study["cameras"][-1], "mask-blur", 1)
        self.counts = self.made.observed(0, SIZE_PX, 0, SIZE_PX, 0)
        self.truth = self.made.truth(0, SIZE_PX, 0, SIZE_PX)
        self.floor = (GAIN * READ_NOISE_E) ** 2

    def judged(self, factor: float, iterations: int, tv_weight: float) -> dict:
        blur, x = self.restored(factor, iterations, tv_weight)
        restored = x[blur.margin : -blur.margin, blur.margin : -blur.margin].numpy()
        cells = dict(zip(trust.NAMES, self.cells(blur, x, iterations), strict=True))
        errors = [_means((p - self.truth) ** 2) for p in (self.counts, restored)]
        worse = errors[1] > errors[0] * 10**0.001
        disagrees = cells["doubt"] == trust.DISAGREES
        # What UNEXPLAINED is to let pass: cells whose residual is no noise.
        apart = (cells["chi_square"] > 1.07) & (cells["correlation"] > 0.035)
        low, middle, high = np.quantile(cells["chi_square"], (0.05, 0.5, 0.95))
        return {
            "gain_db": 10 * np.log10(errors[0].sum() / errors[1].sum()),
            "chi_square_05": low,
            "chi_square_50": middle,
            "chi_square_95": high,
            "correlation_50": np.median(cells["correlation"]),
            "unexplained_99": np.quantile(cells["unexplained"][apart], 0.99)
            if apart.any()
            else 0.0,
            **{
                f"missed_{share}": np.quantile(cells["missed"], share / 100)
                * (iterations / 10) ** 1.5
                for share in (50, 90, 99)
            },
            "disagrees": disagrees.mean(),
            "worse": worse.mean(),
            "worse_found": (disagrees & worse).sum() / max(worse.sum(), 1),
        }

    def restored(self, factor: float, iterations: int, tv_weight: float):
        centres = np.arange(32, SIZE_PX, CELL_PX)
        params = self.made.field.at(centres, centres) * factor
        psfs = self.made.model.psf(params.flatten(0, 1))[0]
        psfs = psfs.reshape(*params.shape[:2], *psfs.shape[1:])
        blur = SpaceVariantBlur(psfs, centres - 0.5, centres - 0.5, self.counts.shape)
        x = richardson_lucy(
            torch.from_numpy(self.counts), blur, iterations=iterations, tv_weight=tv_weight,
            start=float(self.counts.mean()), scale=float(np.quantile(self.counts, 0.999)),
            shift=self.floor / GAIN,
        )  # fmt: skip
        return blur, x

    def cells(self, blur, x, iterations: int) -> np.ndarray:
        all_of_them = np.ones(self.counts.shape, bool)
        none = np.zeros([SIZE_PX // CELL_PX] * 2)
        return trust.assess(
            self.counts,
            blur.forward(x).clamp_(min=0).numpy(),
            usable=all_of_them, lone=~all_of_them, saturated=~all_of_them,
            noise=(GAIN, self.floor), size=CELL_PX, iterations=iterations, uncertainty=none, filled=none,
        )  # fmt: skip

    def time(self) -> dict:
        blur, x = self.restored(1.0, 1, 0.001)
        times = in_turn(lambda: self.cells(blur, x, 1), lambda: self.restored(1.0, 10, 0.001))
        return {"benchmark": f"judging {SIZE_PX} px", "peer": "restoring them", **times}


def _means(plane: np.ndarray) -> np.ndarray:
    count = SIZE_PX // CELL_PX
    return plane.reshape(count, CELL_PX, count, CELL_PX).mean((1, 3))


def write(rows: list[dict]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "trust.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        for row in rows:
            table.writerow({k: v if k == "psf" else f"{v:.4g}" for k, v in row.items()})
