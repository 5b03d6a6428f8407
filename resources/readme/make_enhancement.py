"""Simulates a picture of a poor detector, and makes the picture of docs/enhancement.md from it, with the released network:

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_enhancement.py
"""

from pathlib import Path

import numpy as np
import tifffile
from isoplan.applications.enhancement import detectors, fields, scores
from isoplan.applications.enhancement.filters import FILTERS, Camera, choose
from isoplan.applications.enhancement.networks import Enhancer, statistics
from isoplan.config.entries import MODELS
from isoplan.config.validation import validate
from PIL import Image

FOLDER = Path("results/enhancement")
NETWORK = MODELS / "enhancement/multi-alkali.safetensors"
PAIRS = {"name": "shown", "kinds": ["filaments"], "mosaic_px": 512, "field_px": 256}
SEED, NUMBER, CROP, SIDE_PX, GAP_PX = 11, 0, slice(192, 352), 300, 8


def main():
    entry = validate({"enhancements": [PAIRS]})["enhancements"][0]
    made = detectors.simulate(entry, "test", NUMBER, SEED)
    FOLDER.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(FOLDER / "old.tif", made.low.astype(np.uint8))
    print(f"a picture of the poor detector: {FOLDER}/old.tif")
    # The Gaussian's width is chosen on other mosaics, with their targets.
    layout = fields.lay_out(entry, SEED)
    pairs = list(fields.training_pairs(entry, layout, SEED))
    width = choose("gaussian", pairs, Camera())["setting"]
    results = {
        "the input": made.low,
        f"a Gaussian of {width:g} px": FILTERS["gaussian"].apply(made.low, width, Camera()),
        "the network": Enhancer.load(NETWORK).apply(made.low, *statistics(made.low)),
        "the target": made.high,
    }
    for name, picture in results.items():
        print(
            f"PSNR to the truth of {name}: {scores.against(picture, made.photons)['PSNR']:.1f} dB"
        )
    shown = [*results.values(), made.photons]
    row = Image.new("RGB", (len(shown) * (SIDE_PX + GAP_PX) - GAP_PX, SIDE_PX), "white")
    for number, picture in enumerate(shown):
        row.paste(grey(picture[CROP, CROP]), (number * (SIDE_PX + GAP_PX), 0))
    file = Path(__file__).with_name("enhancement.jpg")
    row.save(file, quality=85, optimize=True)
    print(f"open {file}")


def grey(picture: np.ndarray) -> Image.Image:
    low, high = np.quantile(picture, (0.01, 0.998))
    values = np.clip((picture - low) / (high - low), 0, 1)
    return Image.fromarray((255 * values).astype(np.uint8)).resize((SIDE_PX, SIDE_PX), 0)


if __name__ == "__main__":
    main()
