"""How far 10 accelerated iterations go, beside 20 plain ones, into results/bench/acceleration.csv.

A row per picture (scikit-image's, halved, so that their own blur is small), PSF, photons at the
peak and TV weight: SNR in dB of the blurred picture, after 20 plain and 10 accelerated iterations,
how many of the latter reach what 20 plain ones do (empty where 14 do not), and the best SNR of
either, where one would stop who knows the truth. The benchmark itself is the time of both.
"""

import csv

import numpy as np
import torch
from isoplan.config.validation import validate
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.psf import make_psf_model
from isoplan.restoration.richardson_lucy import richardson_lucy
from run import RESULTS
from skimage import data, transform
from timing import in_turn

PICTURES = ("camera", "moon", "coins", "cell", "microaneurysms", "page")
PHOTONS = (1e2, 1e3, 1e4, 1e5)
PLAIN, FAST, LAST = 20, 10, 14
SIZE_PX = 192
WEIGHTS = (0.0003, 0.001, 0.003, 0.01, 0.03)


def run() -> list[dict]:
    rows = []
    for psf_name, psf in psfs().items():
        for name in PICTURES:
            truth = picture(name)
            for photons in PHOTONS:
                blur, y = observed(truth, psf, photons)
                for tv_weight in WEIGHTS:
                    about = {"psf": psf_name, "picture": name, "photons": photons}
                    about |= {"tv_weight": tv_weight, "blurred_db": snr(y, truth)}
                    rows.append(about | compared(y, blur, truth, tv_weight))
    write(rows)
    return [time_of_both(blur, y)]


def compared(y, blur, truth, tv_weight: float) -> dict:
    plain = snrs(y, blur, truth, PLAIN, tv_weight, "none")
    fast = snrs(y, blur, truth, LAST, tv_weight, "momentum")
    reached = [n for n, value in enumerate(fast, 1) if value >= plain[-1]]
    return {
        f"plain_{PLAIN}_db": plain[-1],
        f"fast_{FAST}_db": fast[FAST - 1],
        "reached_after": reached[0] if reached else "",
        "plain_best_db": max(plain),
        "plain_best_after": int(np.argmax(plain)) + 1,
        "fast_best_db": max(fast),
        "fast_best_after": int(np.argmax(fast)) + 1,
    }


def snrs(y, blur, truth, iterations: int, tv_weight: float, acceleration: str) -> list[float]:
    found, margin = [], blur.margin

    def watch(_, x):
        found.append(snr(x[margin:-margin, margin:-margin], truth))

    richardson_lucy(
        y, blur, iterations=iterations, tv_weight=tv_weight, acceleration=acceleration,
        start=float(y.mean()), scale=1.0, callback=watch,
    )  # fmt: skip
    return found


def time_of_both(blur, y) -> dict:
    def restore(iterations: int, acceleration: str):
        richardson_lucy(
            y, blur, iterations=iterations, acceleration=acceleration, start=0.3, scale=1.0
        )

    times = in_turn(lambda: restore(FAST, "momentum"), lambda: restore(PLAIN, "none"))
    return {
        "benchmark": f"{FAST} accelerated iterations, {SIZE_PX} px",
        "peer": f"{PLAIN} plain iterations",
        **times,
    }


def snr(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float(10 * torch.log10(truth.square().sum() / (found - truth).square().sum()))


def picture(name: str) -> torch.Tensor:
    grey = getattr(data, name)().astype(float)
    grey = grey.mean(-1) if grey.ndim == 3 else grey
    half = transform.downscale_local_mean(grey, (2, 2))[:SIZE_PX, :SIZE_PX]
    return torch.tensor(half / np.percentile(half, 99.9), dtype=torch.float32)


def psfs() -> dict[str, torch.Tensor]:
    entries = {
        "gaussian, 5 px": ({"model": "gaussian-1", "size_px": 31}, 5.0),
        "focus, .35 waves": ({"model": "zernike-1", "size_px": 63, "cutoff": 0.25}, 0.35),
    }
    default, found = validate({})["psfs"], {}
    for name, (entry, value) in entries.items():
        spec = validate({"psfs": [*default, {"name": "x", **entry}]})["psfs"][-1]
        found[name] = make_psf_model(spec).psf(torch.tensor([[value]]))[0][0]
    return found


def observed(truth: torch.Tensor, psf: torch.Tensor, photons: float):
    """The blur and the picture that it makes; the object goes on beyond it as in a mirror."""
    margin = len(psf) // 2
    x = torch.nn.functional.pad(truth[None, None], (margin,) * 4, mode="reflect")[0, 0]
    blur = SpaceVariantBlur(psf[None, None], [0.0], [0.0], truth.shape)
    generator = torch.Generator().manual_seed(0)
    return blur, torch.poisson(blur.forward(x).clamp(min=0) * photons, generator) / photons


def write(rows: list[dict]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "acceleration.csv"
    with path.open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        for row in rows:
            table.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})
    for photons in PHOTONS:
        print(f"{photons:g} photons, best TV weight " + ", ".join(best_weights(rows, photons)))
    # The default weight, and near what suits fewer photons; where 20 iterations are not too many.
    suited = [row for row in rows if row["tv_weight"] in (0.001, 3 / row["photons"])]
    short = [
        row[f"fast_{FAST}_db"] - row[f"plain_{PLAIN}_db"]
        for row in suited
        if row["plain_best_after"] == PLAIN
    ]
    best = [row["fast_best_db"] - row["plain_best_db"] for row in suited]
    print(
        f"{FAST} accelerated against {PLAIN} plain iterations where {PLAIN} are not too many "
        f"({len(short)} of {len(suited)}): {min(short):+.2f} to {max(short):+.2f} dB; at the best "
        f"iteration of either {min(best):+.2f} to {max(best):+.2f} dB; written: {path.name}"
    )


def best_weights(rows: list[dict], photons: float) -> list[str]:
    """The weight of the highest SNR, on average over pictures and PSFs, plain and accelerated."""
    found = []
    for name in (f"plain_{PLAIN}_db", f"fast_{FAST}_db"):
        mean = {
            w: np.mean([r[name] for r in rows if (r["photons"], r["tv_weight"]) == (photons, w)])
            for w in WEIGHTS
        }
        found.append(f"{name[:-3]} {max(mean, key=mean.get):g}")
    return found
