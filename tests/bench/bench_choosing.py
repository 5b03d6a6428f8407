"""How near the chosen iterations and TV weight come to the best ones, into results/bench/choosing.csv.

A row per picture (scikit-image's, halved, and drawn scenes), PSF, photons at the peak and acceleration.
best: highest SNR over all candidates, which takes the truth; chosen: by held-out photons; default: the
config's; discrepancy: of the weight that suits most pictures, the first iteration whose chi-square is
no more than the pixels. The benchmark itself is the time that choosing takes for a picture of SIZE_PX,
beside restoring it as by default.
"""

import csv
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context

import numpy as np
import torch
from bench_acceleration import PHOTONS, PICTURES, picture, psfs, snr
from isoplan.base.config import validate
from isoplan.choosing import Piece, candidates, choose, weights_for
from isoplan.deconvolution import richardson_lucy
from isoplan.exposure import Exposure
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.blur import SpaceVariantBlur
from run import RESULTS
from timing import in_turn

SCENES = ("poi", "filaments", "dead-leaves", "syn")
SIZE_PX = 192
BORDER_PX = 16  # left out of the SNR
STEADY = 2  # place of the weight of `discrepancy` among those tried


def run() -> list[dict]:
    wanted = [*product(("momentum",), PSFS, PICTURES + SCENES, PHOTONS)]
    wanted += product(("none",), [*PSFS][:1], PICTURES, PHOTONS)  # twice the iterations
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=one_thread) as pool:
        write(list(pool.map(row, wanted)))
    return [time_of_both(Case("camera", PSFS["gaussian, 5 px"], 1e3))]


def one_thread() -> None:
    torch.set_num_threads(1)


def row(wanted: tuple) -> dict:
    """What a line of the table holds. wanted: its acceleration, PSF, picture and photons."""
    about = dict(zip(("acceleration", "psf", "picture", "photons"), wanted, strict=True))
    known = {"iterations": "auto", "tv_weight": "auto", "acceleration": wanted[0]}
    settings = validate({"restoration": known})["restoration"]
    return about | Case(wanted[2], PSFS[wanted[1]], wanted[3]).compared(settings)


class Case:
    """A picture in photons over `photons`, its blur and its truth."""

    def __init__(self, name: str, psf: torch.Tensor, photons: float):
        self.truth = (scene(name) if name in SCENES else picture(name))[:SIZE_PX, :SIZE_PX]
        self.photons, margin = photons, len(psf) // 2
        # Where light from beyond the border counts for little; whatever is judged, that cannot be known.
        self.inside = (slice(margin + BORDER_PX, -margin - BORDER_PX),) * 2
        x = torch.nn.functional.pad(self.truth[None, None], (margin,) * 4, mode="reflect")[0, 0]
        self.blur = SpaceVariantBlur(psf[None, None], [0.0], [0.0], self.truth.shape)
        rng = np.random.default_rng(0)
        light = self.blur.forward(x).clamp(min=0).numpy() * photons
        self.y = torch.from_numpy(rng.poisson(light).astype(np.float32))
        self.levels = {"start": float(self.y.mean()), "scale": photons}

    def cut(self, picture: torch.Tensor) -> torch.Tensor:
        return picture[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]

    def snr(self, inside: torch.Tensor) -> float:
        return snr(inside / self.photons, self.cut(self.truth))

    def restore(self, iterations: int, tv_weight: float, acceleration: str, watch=None):
        return richardson_lucy(
            self.y, self.blur, iterations=iterations, tv_weight=tv_weight,
            acceleration=acceleration, callback=watch, **self.levels,
        )  # fmt: skip

    def choose(self, settings: dict) -> dict:
        whole = tuple(slice(0, length) for length in self.y.shape)
        camera = Exposure(gain=1.0)
        piece = Piece(self.y.numpy(), self.blur, whole)
        return choose([piece], settings, exposure=camera, **self.levels, seed=0, stream="bench")

    def compared(self, settings: dict) -> dict:
        """SNR in dB, iterations and weight of the best, the chosen and the default ones."""
        choice, tried, found = self.choose(settings), candidates(settings), {}
        weights = [0.001, *weights_for(settings, self.photons)]
        for weight in weights:
            line, fits = [], []

            def watch(_, x, line=line, fits=fits):
                line.append(self.snr(x[self.inside]))
                mean = self.blur.forward(x).clamp(min=1e-6)
                fits.append(float(((self.y - mean) ** 2 / mean).mean()) <= 1)

            self.restore(tried[-1], weight, settings["acceleration"], watch)
            found |= {(weight, n): line[n - 1] for n in (*tried, 20)}
            if weight == weights[1 + STEADY]:
                stop = fits.index(True) if any(fits) else len(fits) - 1
                discrepancy = line[stop]
        default = (0.001, {"momentum": 10, "none": 20}[settings["acceleration"]])
        best = max((k for k in found if k[0] in weights[1:] and k[1] in tried), key=found.get)
        chosen = choice["tv_weight"], choice["iterations"]
        row = {"blurred_db": self.snr(self.cut(self.y))}
        for name, key in (("best", best), ("chosen", chosen), ("default", default)):
            row |= {f"{name}_db": found[key], f"{name}_weight": key[0], f"{name}_after": key[1]}
        return row | {"discrepancy_db": discrepancy}


def scene(kind: str) -> torch.Tensor:
    entry = {"name": "drawn", "kinds": [kind], "zoom": [1, 1]}
    spec = validate({"objects": [*validate({})["objects"], entry]})["objects"][-1]
    return draw_scenes(spec, 1, SIZE_PX, seed=3, stream="choosing")[0]


PSFS = psfs()


def time_of_both(case: Case) -> dict:
    settings = validate({"restoration": {"iterations": "auto", "tv_weight": "auto"}})["restoration"]
    times = in_turn(
        lambda: case.choose(settings), lambda: case.restore(10, 0.001, "momentum"), runs=3
    )
    return {
        "benchmark": f"choosing iterations and TV weight, {SIZE_PX} px",
        "peer": "10 iterations",
        **times,
    }


def write(rows: list[dict]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "choosing.csv"
    with path.open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        for row in rows:
            table.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})
    for acceleration, photons in product(("momentum", "none"), (*PHOTONS, None)):
        some = [r for r in rows if r["acceleration"] == acceleration]
        some = [r for r in some if photons in (r["photons"], None)]
        loss = {
            name: np.array([r["best_db"] - r[f"{name}_db"] for r in some])
            for name in ("chosen", "default", "discrepancy")
        }
        worst = some[int(loss["chosen"].argmax())]
        print(
            f"acceleration {acceleration}, {f'{photons:g}' if photons else 'all'} photons, "
            "dB lost against the best: "
            + ", ".join(f"{k} {v.mean():.3f} (worst {v.max():.2f})" for k, v in loss.items())
            + f"; chosen within 0.1 dB in {100 * (loss['chosen'] <= 0.1).mean():.0f} %, worst for "
            + f"{worst['picture']}, {worst['psf']}, {worst['photons']:g}"
        )
    print(f"written: {path.name}")
