"""Simulates a focus series of a tilted specimen, in dim light.

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_fusion.py
"""

from pathlib import Path

import numpy as np
import tifffile
import torch
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX, exposed, picture
from isoplan.optics.surfaces import surface

FILE = Path("results/fusion/series.tif")
SIDE, PHOTONS, SEED = 512, 300, 12
OPTICS = Defocus(0.3, 0.48, 0.32, spherical_waves=0.05, softness_um=0.25)
Z_UM = range(-24, 25, 4)


def main():
    FILE.parent.mkdir(parents=True, exist_ok=True)
    rng, side = np.random.default_rng(SEED), SIDE + 2 * MARGIN_PX
    spec = {"name": "scenes", "kinds": ["dead-leaves"], "zoom": [0.6, 1.6], "reduce": 1}
    scene = draw_scenes(spec, 1, side, seed=SEED, stream="fusion")[0]
    heights = surface({"surface": "plane", "tilt_deg": 10.0}, side, OPTICS.pixel_size_um, rng)
    clean = torch.stack([picture(scene, heights - float(z), OPTICS) for z in Z_UM])
    slices = exposed(clean, PHOTONS, rng).astype(np.uint16)
    tifffile.imwrite(FILE, slices, imagej=True, metadata={"axes": "ZYX"})
    print(f"{FILE}: {len(slices)} slices, 4 um apart, of a specimen that is tilted by 10 degrees")


if __name__ == "__main__":
    main()
