"""What choosing iterations and TV weight by held-out photons costs beside restoring, a picture of SIZE_PX.

How near the choice comes to the best one is a study: config/studies/how-much.small.yaml.
"""

import numpy as np
import torch
from bench_acceleration import picture, psfs
from isoplan.base.config import validate
from isoplan.choosing import Piece, choose
from isoplan.deconvolution import richardson_lucy
from isoplan.exposure import Exposure
from isoplan.optics.blur import SpaceVariantBlur
from timing import in_turn

SIZE_PX, PHOTONS = 192, 1e3


def run() -> list[dict]:
    truth, psf = picture("camera")[:SIZE_PX, :SIZE_PX], psfs()["gaussian, 5 px"]
    x = torch.nn.functional.pad(truth[None, None], (len(psf) // 2,) * 4, mode="reflect")[0, 0]
    blur = SpaceVariantBlur(psf[None, None], [0.0], [0.0], truth.shape)
    light = blur.forward(x).clamp(min=0).numpy() * PHOTONS
    y = np.random.default_rng(0).poisson(light).astype(np.float32)
    levels = {"start": float(y.mean()), "scale": PHOTONS}
    settings = validate({})["restoration"]
    piece = Piece(y, blur, tuple(slice(0, length) for length in y.shape))

    def chosen():
        choose([piece], settings, exposure=Exposure(gain=1.0), **levels, seed=0, stream="bench")

    def restored():
        richardson_lucy(torch.from_numpy(y), blur, iterations=10, **levels)

    return [
        {
            "benchmark": f"choosing iterations and TV weight, {SIZE_PX} px",
            "peer": "10 iterations",
            **in_turn(chosen, restored, runs=3),
        }
    ]
