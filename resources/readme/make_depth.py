"""Simulates a microscope with a weak cylindrical lens: a z stack of a flat specimen, and one picture of a hill.

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_depth.py
"""

from pathlib import Path

import numpy as np
import tifffile
import torch
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX, exposed, picture

FOLDER = Path("results/depth")
SIDE, PHOTONS, SEED = 1024, 1e4, 11
OPTICS = Defocus(0.3, 0.48, 0.32, cylinder_waves=0.27, axis_rad=2.1, spherical_waves=0.06)
SLICES_UM = np.arange(-33, 34, 6.0)
HEIGHT_UM, WIDTH_UM, GROUND_UM = 25, 100, -10


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    flat, curved = scene("dead-leaves"), scene("syn")
    slices = [taken(flat, torch.full_like(flat, float(z)), rng) for z in SLICES_UM]
    stack = {"imagej": True, "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(FOLDER / "stack.tif", np.stack(slices), **stack)
    x = (torch.arange(len(flat)) - (len(flat) - 1) / 2) * OPTICS.pixel_size_um
    hill = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * WIDTH_UM**2))
    tifffile.imwrite(FOLDER / "hill.tif", taken(curved, GROUND_UM + HEIGHT_UM * hill, rng))
    print(f"a z stack: {FOLDER}/stack.tif; a hill of {HEIGHT_UM} um: {FOLDER}/hill.tif")


def scene(kind: str) -> torch.Tensor:
    spec = {"name": kind, "kinds": [kind], "zoom": [0.6, 1.6], "reduce": 1}
    return draw_scenes(spec, 1, SIDE + 2 * MARGIN_PX, seed=SEED, stream="depth")[0]


def taken(sharp: torch.Tensor, z_um: torch.Tensor, rng: np.random.Generator) -> np.ndarray:
    return exposed(picture(sharp, z_um, OPTICS), PHOTONS, rng).astype(np.uint16)


if __name__ == "__main__":
    main()
