"""Simulates pictures of a channel through which a specimen flows while the camera exposes: results/flow/channel.tif, and channel-short.tif in a quarter of the time.

The flow is fastest in the middle, 90 um/s in an exposure of 50 ms, and falls to 0 at both walls, above and below, as a parabola does.

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_flow.py
"""

from pathlib import Path

import numpy as np
import tifffile
import torch
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.motion import Motion, moving_picture
from isoplan.optics.surface_pictures import MARGIN_PX, exposed

SIDE_PX, SPEEDS = 768, 9
OPTICS = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
FASTEST_UM_S, EXPOSURE_MS, MIDDLE_UM = 90.0, 50.0, 4.0
FOLDER = Path("results/flow")


def main() -> None:
    side = SIDE_PX + 2 * MARGIN_PX
    spec = {"name": "specimen", "kinds": ["filaments"], "zoom": [0.6, 1.6]}
    scene = draw_scenes(spec, 1, side, seed=3, stream="channel", first=0, split="test")[0]
    place = torch.linspace(-1, 1, SPEEDS)
    level, still = torch.full_like(place, MIDDLE_UM), torch.zeros_like(place)
    row = ((torch.arange(side) - MARGIN_PX) / (SIDE_PX - 1) * 2 - 1).clamp(-1, 1)
    weights = (1 - (row - place[:, None]).abs() / (place[1] - place[0])).clamp_min(0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    per_cm = (1e4 / OPTICS.pixel_size_um,) * 2
    tags = {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
    for name, share in (("channel", 1.0), ("channel-short", 0.25)):
        longest = share * FASTEST_UM_S * EXPOSURE_MS / 1000 / OPTICS.pixel_size_um
        along = longest * (1 - place**2)
        motion = Motion(torch.stack([still, along], 1), level, still)
        picture = moving_picture(scene, motion, weights[:, :, None].expand(-1, -1, side), OPTICS)
        counts = exposed(picture, 3000 * share, np.random.default_rng(0))
        tifffile.imwrite(FOLDER / f"{name}.tif", counts.astype(np.uint16), **tags)
        print(f"{FOLDER}/{name}.tif")


if __name__ == "__main__":
    main()
