"""Simulates a blurred exposure, and makes the picture of docs/weight-maps.md from it, with the released networks:

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_weight_maps.py
"""

from pathlib import Path

import isoplan
import numpy as np
import tifffile
from isoplan.objects.pictures import load_picture
from matplotlib import colormaps
from PIL import Image

FOLDER = Path("results/weight-maps")
PHOTONS, OFFSET, SEED = 1000, 100, 3
PSF = {"width_y": ("tilt-x", 2.0, 3.5), "width_x": ("tilt-x", 2.0, 3.5)}
PART = np.s_[:384, 96:480]
CROP, SIDE_PX, GAP_PX = (slice(60, 220), slice(64, 224)), 300, 8


def main():
    sharp = load_picture("camera.png")[PART]
    seen = isoplan.simulate(sharp, PSF, photons=PHOTONS, offset=OFFSET, seed=SEED)
    FOLDER.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(FOLDER / "seen.tif", seen.observed)
    print(f"a blurred exposure: {FOLDER}/seen.tif")
    psfs = isoplan.map_psf(seen.observed, pixel_size_um=0.1, offset=OFFSET, quiet=True)
    shown = {"the exposure": seen.observed - float(OFFSET)}
    for name, weight in (("one weight", "auto"), ("learnt weights", "learnt")):
        made = isoplan.restore(
            seen.observed, psf_map=psfs, restoration={"tv_weight": weight}, quiet=True
        )
        shown[name] = made.picture
    for name, picture in shown.items():
        print(f"PSNR to the truth of {name}: {isoplan.compare(picture, seen.truth)['PSNR']:.2f} dB")
    rows = [grey(picture[CROP], seen.truth[CROP]) for picture in (*shown.values(), seen.truth)]
    size = made.tv_weights_px
    cells = tuple(slice(part.start // size, part.stop // size) for part in CROP)
    rows.insert(3, coloured(np.log10(made.tv_weights[cells])))
    row = Image.new("RGB", (len(rows) * (SIDE_PX + GAP_PX) - GAP_PX, SIDE_PX), "white")
    for number, one in enumerate(rows):
        row.paste(one, (number * (SIDE_PX + GAP_PX), 0))
    file = Path(__file__).with_name("weight-maps.jpg")
    row.save(file, quality=85, optimize=True)
    print(f"open {file}")


def grey(picture: np.ndarray, truth: np.ndarray) -> Image.Image:
    low, high = np.quantile(truth, (0.005, 0.998))
    values = np.clip((picture - low) / (high - low), 0, 1)
    return Image.fromarray((255 * values).astype(np.uint8)).resize((SIDE_PX, SIDE_PX), 0)


def coloured(values: np.ndarray) -> Image.Image:
    values = (values - values.min()) / (values.max() - values.min())
    made = (255 * colormaps["viridis"](values)[..., :3]).astype(np.uint8)
    return Image.fromarray(made).resize((SIDE_PX, SIDE_PX), 0)


if __name__ == "__main__":
    main()
