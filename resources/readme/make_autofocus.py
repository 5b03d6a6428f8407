"""Simulates a microscope with some spherical aberration: z stacks of three specimens, the last with finer steps.

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_autofocus.py
"""

from pathlib import Path

import numpy as np
import tifffile
from isoplan.applications.autofocus.simulated import Simulated
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX

FOLDER = Path("results/autofocus")
SIDE, PHOTONS, SEED = 512, 3000, 11
OPTICS = Defocus(0.3, 0.48, 0.32, spherical_waves=0.05, softness_um=0.25)
# Name, what lies on the slide, first and last position of the stage, step, and where focus is, in um.
STACKS = (
    ("first", "dead-leaves", 0, 80, 4, 41.0),
    ("second", "syn", 0, 80, 4, 38.0),
    ("third", "filaments", 0, 120, 2, 71.0),
)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for number, (name, kind, first, last, step, focus) in enumerate(STACKS):
        spec = {"name": kind, "kinds": [kind], "zoom": [0.6, 1.6], "reduce": 1}
        side = SIDE + 2 * MARGIN_PX
        scene = draw_scenes(spec, 1, side, seed=SEED, stream="autofocus", first=number)[0]
        scope = Simulated(scene, OPTICS, focus, photons=PHOTONS, limits_um=(first, last))
        slices = []
        for z in range(first, last + 1, step):
            scope.move(z)
            slices.append(scope.snap().astype(np.uint16))
        stack = {"imagej": True, "metadata": {"axes": "ZYX"}}
        tifffile.imwrite(FOLDER / f"{name}.tif", np.stack(slices), **stack)
        print(f"{FOLDER}/{name}.tif: steps of {step} um, in focus at {focus} um")


if __name__ == "__main__":
    main()
