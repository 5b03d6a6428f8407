"""Simulates an exposure through coma, trefoil and spherical aberration, and restores it with three released networks:

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_kernels.py
"""

from pathlib import Path

import isoplan
import tifffile
from isoplan.objects.pictures import load_picture

FOLDER = Path("results/kernels")
PHOTONS, OFFSET, SEED, CUTOFF = 3000, 100, 3, 0.2
PSF = {
    "focus": 0.06,
    "astigmatism_45": 0.02,
    "astigmatism_0": -0.05,
    "coma_y": 0.12,
    "coma_x": -0.06,
    "trefoil_y": 0.03,
    "trefoil_x": 0.08,
    "spherical": 0.07,
}


def main():
    camera = {"photons": PHOTONS, "offset": OFFSET, "seed": SEED}
    sharp = load_picture("camera.png")
    seen = isoplan.simulate(sharp, PSF, psf_model="zernike-8", cutoff=CUTOFF, **camera)
    FOLDER.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(FOLDER / "seen.tif", seen.observed)
    print(f"a blurred exposure: {FOLDER}/seen.tif")
    shown = {"the exposure": seen.observed - float(OFFSET)}
    for model in ("gaussian-2", "zernike-3", "zernike-8"):
        optics = {} if model == "gaussian-2" else {"cutoff": CUTOFF}
        made = isoplan.restore(seen.observed, psf_model=model, offset=OFFSET, quiet=True, **optics)
        shown[model] = made.picture
    for name, picture in shown.items():
        print(f"PSNR to the truth of {name}: {isoplan.compare(picture, seen.truth)['PSNR']:.2f} dB")


if __name__ == "__main__":
    main()
