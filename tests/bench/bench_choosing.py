"""What choosing PSFs, iterations and TV weight by held-out photons costs beside restoring, a picture of SIZE_PX.

How near the choice comes to the best one is a study: config/studies/how-much.small.yaml.
"""

from dataclasses import replace

import numpy as np
import torch
from bench_acceleration import picture
from isoplan.config.validation import validate
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.exposure import Exposure
from isoplan.optics.gaussian import gaussian_psfs
from isoplan.restoration.choosing import choose
from isoplan.restoration.pieces import Piece
from isoplan.restoration.richardson_lucy import richardson_lucy
from timing import in_turn

SIZE_PX, PHOTONS = 192, 1e3


def run() -> list[dict]:
    truth = picture("camera")[:SIZE_PX, :SIZE_PX]

    def blur_by(factor: float) -> SpaceVariantBlur:
        psf = gaussian_psfs(torch.tensor([[5.0 * factor] * 2]), 31)
        return SpaceVariantBlur(psf[None], [0.0], [0.0], truth.shape)

    blur = blur_by(1.0)
    x = torch.nn.functional.pad(truth[None, None], (15,) * 4, mode="reflect")[0, 0]
    light = blur.forward(x).clamp(min=0).numpy() * PHOTONS
    y = np.random.default_rng(0).poisson(light).astype(np.float32)
    brightness = {"start": float(y.mean()), "scale": PHOTONS}
    settings = validate({})["restoration"]
    whole = tuple(slice(0, length) for length in y.shape)
    # PSFs that were estimated, 5 px wide give or take a tenth.
    piece = Piece(y, blur_by, whole, lambda factor: 5.0 * factor, 0.1)

    def chosen():
        choose([piece], settings, exposure=Exposure(gain=1.0), **brightness, seed=0, stream="bench")

    def restored():
        richardson_lucy(torch.from_numpy(y), blur, iterations=10, **brightness)

    # The weight and the iterations, with PSFs that are known: by trials of weights, and of learnt ones.
    known = replace(piece, doubt=None, widths_at=lambda factor: np.full(y.shape, 5.0, np.float32))

    def weighed(tv_weight: str):
        asked = settings | {"tv_weight": tv_weight, "psf_scale": 1.0}
        choose([known], asked, exposure=Exposure(gain=1.0), **brightness, seed=0, stream="bench")

    return [
        {
            "benchmark": f"choosing iterations for learnt weights, {SIZE_PX} px",
            "peer": "choosing iterations and TV weight",
            **in_turn(lambda: weighed("learnt"), lambda: weighed("auto"), runs=3),
        },
        {
            "benchmark": f"choosing PSFs, iterations and TV weight, {SIZE_PX} px",
            "peer": "10 iterations",
            **in_turn(chosen, restored, runs=3),
        },
    ]
