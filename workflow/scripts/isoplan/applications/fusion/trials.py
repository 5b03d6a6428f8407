"""How near fused pictures come to the truth, beside classical fusion: python -m isoplan.applications.fusion.trials OUT.csv"""

import sys
from itertools import product

import numpy as np
import pandas as pd
import torch
from skimage.metrics import peak_signal_noise_ratio

from isoplan.applications.fusion.fuse import Fusion, sharpest_pixels
from isoplan.base.seeds import numpy_rng
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX, exposed, picture
from isoplan.optics.surfaces import surface

NOMINAL = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
TRUE = Defocus(0.3, 0.48, 0.32, spherical_waves=0.05, softness_um=0.25)
KINDS = ("syn", "filaments", "dead-leaves", "fractals", "glyphs", "mixtures")
SURFACES = (
    {"surface": "plane", "tilt_deg": 10.0},
    {"surface": "step", "height_um": 15.0},
    {"surface": "rough", "height_um": 40.0},
)
Z_UM = np.arange(-24.0, 25.0, 4.0)
PHOTONS = (100.0, 1000.0, 10000.0, 100000.0)
SIDE = 384
SEED = 1


def gains(kind: str, spec: dict, photons: tuple[float, ...] = PHOTONS) -> list[dict]:
    """PSNR in dB of a series' sharpest slice, of classical fusion and of `fuse`, beside what is in focus everywhere; a row per light."""
    side = SIDE + 2 * MARGIN_PX
    stream = f"fusion/{kind}/{spec['surface']}"
    told = {"name": kind, "kinds": [kind], "zoom": [0.6, 1.6], "reduce": 1}
    scene = draw_scenes(told, 1, side, seed=SEED, stream=stream, split="test")[0]
    height = surface(spec, side, TRUE.pixel_size_um, numpy_rng(SEED, stream))
    truth = picture(scene, torch.zeros_like(height), TRUE)
    clean = torch.stack([picture(scene, height - float(z), TRUE) for z in Z_UM])
    fusion, shape, rows = Fusion(Z_UM, NOMINAL), (SIDE, SIDE), []
    for light in photons:
        slices = exposed(clean, light, numpy_rng(SEED, f"{stream}/noise"))
        true = truth.numpy() * (light / float(clean.max()))

        def stack(y0, y1, x0, x1, slices=slices):
            return slices[:, y0:y1, x0:x1]

        made, share = np.zeros(shape, np.float32), 0.0
        for core in fusion.fuse(stack, shape, fusion.heights(stack, shape)):
            made[core.place] = core.picture
            share += float(core.share.sum()) / made.size
        kept = {
            "slice": min(slices, key=lambda one, true=true: np.square(one - true).mean()),
            "classical": sharpest_pixels(slices),
            "fused": made,
        }
        judged = {
            name: peak_signal_noise_ratio(true, one, data_range=true.max())
            for name, one in kept.items()
        }
        rows.append(
            {"scene": kind, "surface": spec["surface"], "photons": light}
            | judged
            | {"gain": judged["fused"] - judged["classical"], "share": share}
        )
    return rows


if __name__ == "__main__":
    every = [row for kind, spec in product(KINDS, SURFACES) for row in gains(kind, spec)]
    found = pd.DataFrame(every)
    found.to_csv(sys.argv[1], index=False, float_format="%.4g")
    groups = found.groupby(["photons", "surface"])
    told = groups[["slice", "classical", "fused", "gain", "share"]].median()
    print(told.assign(worst=groups["gain"].min()).round(2).to_string())
