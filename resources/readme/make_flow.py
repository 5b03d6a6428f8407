"""Simulates pictures of a channel through which a specimen flows while the camera exposes: results/flow/channel.tif, channel-short.tif in a quarter of the time, and sequence.tif.

The flow is fastest in the middle, 90 um/s in an exposure of 50 ms, and falls to 0 at both walls, above and below, as a parabola does. The sequence has an exposure each 75 ms, and sinks by 10 um/s.

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_flow.py
"""

from pathlib import Path

import numpy as np
import tifffile
import torch
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.motion import Motion, moving_sequence
from isoplan.optics.surface_pictures import MARGIN_PX, exposed

SIDE_PX, SPEEDS, FAR_PX = 768, 9, 160
OPTICS = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
FASTEST_UM_S, EXPOSURE_MS, MIDDLE_UM = 90.0, 50.0, 4.0
INTERVAL_MS, FRAMES, AXIAL_UM_S = 75.0, 6, 10.0  # of the sequence, which sinks, too
SIZE = {f"PhysicalSize{axis}": OPTICS.pixel_size_um for axis in "XY"}
OME = {"ome": True, "metadata": {"axes": "TYX", **SIZE}}
FOLDER = Path("results/flow")


def main() -> None:
    side = SIDE_PX + 2 * (MARGIN_PX + FAR_PX)
    spec = {"name": "specimen", "kinds": ["filaments"], "zoom": [0.6, 1.6]}
    scene = draw_scenes(spec, 1, side, seed=3, stream="channel", first=0, split="test")[0]
    place = torch.linspace(-1, 1, SPEEDS)
    level, still = torch.full_like(place, MIDDLE_UM), torch.zeros_like(place)
    row = ((torch.arange(side) - MARGIN_PX - FAR_PX) / (SIDE_PX - 1) * 2 - 1).clamp(-1, 1)
    weights = (1 - (row - place[:, None]).abs() / (place[1] - place[0])).clamp_min(0)
    weights = weights[:, :, None].expand(-1, -1, side)
    FOLDER.mkdir(parents=True, exist_ok=True)
    per_cm = (1e4 / OPTICS.pixel_size_um,) * 2
    tags = {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
    for name, share, frames, speed in (
        ("channel", 1.0, 1, 0.0),
        ("channel-short", 0.25, 1, 0.0),
        ("sequence", 1.0, FRAMES, AXIAL_UM_S),
    ):
        exposure = share * EXPOSURE_MS
        longest = FASTEST_UM_S * exposure / 1000 / OPTICS.pixel_size_um
        along = longest * (1 - place**2)
        axial = torch.full_like(place, speed * exposure / 1000)
        motion = Motion(torch.stack([still, along], 1), level, axial)
        passed = [k * INTERVAL_MS / exposure for k in range(frames)]
        rng = np.random.default_rng(0)
        pictures = moving_sequence(scene, motion, weights, OPTICS, passed, FAR_PX)
        counts = np.stack([exposed(one, 3000 * share, rng) for one in pictures]).astype(np.uint16)
        told = tags if frames == 1 else OME
        tifffile.imwrite(FOLDER / f"{name}.tif", counts.squeeze(), **told)
        print(f"{FOLDER}/{name}.tif")


if __name__ == "__main__":
    main()
