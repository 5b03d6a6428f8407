"""Simulates frames of blinking emitters, and makes the picture of docs/super-resolution.md from them:

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_fluctuation.py
"""

from pathlib import Path

import numpy as np
import tifffile
from isoplan.applications.fluctuation import simulator, superresolution
from isoplan.applications.fluctuation.figures import brightest
from isoplan.applications.fluctuation.sequence import Frames
from isoplan.applications.fluctuation.settings import prepare
from PIL import Image
from scipy.ndimage import gaussian_filter

FOLDER = Path("results/fluctuation")
SEQUENCE = simulator.Settings(shape=(64, 64))
SEED, SIDE_PX, GAP_PX = 3, 300, 8


def main():
    made = simulator.simulate(SEQUENCE, SEED)
    FOLDER.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(FOLDER / "frames.tif", made.counts, imagej=True, metadata={"axes": "TYX"})
    print(f"{len(made.counts)} frames: {FOLDER}/frames.tif")
    frames, factor = Frames(made.counts), SEQUENCE.factor
    known = {"gain": None, "offset": SEQUENCE.camera.offset, "read_noise_e": None}
    settings, _ = prepare(frames, SEQUENCE.psf, **known)
    found = superresolution.superresolve(frames, settings)
    part = brightest(found.mean)
    fine = tuple(slice(side.start * factor, side.stop * factor) for side in part)
    # The truth has single emitters, smaller than the eye sees: it is shown through 12 nm.
    shown = [found.mean[part], *(p[fine] for p in (found.deconvolved, found.picture))]
    shown.append(gaussian_filter(made.truth, 0.5)[fine])
    row = Image.new("RGB", (4 * SIDE_PX + 3 * GAP_PX, SIDE_PX), "white")
    for number, picture in enumerate(shown):
        row.paste(grey(picture), (number * (SIDE_PX + GAP_PX), 0))
    file = Path(__file__).with_name("fluctuation.jpg")
    row.save(file, quality=88, optimize=True)
    print(f"open {file}")


def grey(picture: np.ndarray) -> Image.Image:
    low, high = np.quantile(picture, (0.01, 0.997))
    values = np.clip((picture - low) / max(high - low, 1e-9), 0, 1)
    return Image.fromarray((255 * values).astype(np.uint8)).resize((SIDE_PX, SIDE_PX), 0)


if __name__ == "__main__":
    main()
