"""Makes before-after.jpg, the picture of README.md and docs/gallery.md, from results/demo (after `make demo`):

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_picture.py
"""

import json
from pathlib import Path

import numpy as np
from isoplan.cli import preview
from isoplan.mosaic import ngff
from isoplan.report import pictures, plots
from isoplan.report.results import read_map
from matplotlib import rc_context

DEMO, MOSAIC, NETWORK = Path("results/demo"), "pictures", "small"
# Within one of the pictures that the mosaic is laid out of.
PIECE = slice(1552, 1776), slice(1552, 1776)
OUTPUT = Path(__file__).with_name("before-after.jpg")


def main():
    facts = json.loads((DEMO / "mosaics" / f"{MOSAIC}.json").read_text())
    before = ngff.open_array(facts["path"])[PIECE].astype(np.float32) - facts["offset"]
    after = ngff.open_array(DEMO / "restored" / MOSAIC / "estimated.ome.zarr")[PIECE]
    overview = pictures.open_pictures(DEMO, MOSAIC, facts)["none"].overview()
    with rc_context(plots.SETTINGS):
        figure = preview.draw(
            before,
            after,
            PIECE,
            overview,
            (facts["height_px"], facts["width_px"]),
            read_map(DEMO / "psf_map" / MOSAIC / f"{NETWORK}.zarr"),
            facts["pixel_size_um"],
        )
        figure.savefig(OUTPUT, dpi=110, pil_kwargs={"quality": 88, "optimize": True})
    print(f"open {OUTPUT}, {OUTPUT.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
