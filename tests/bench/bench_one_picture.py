"""One picture on a laptop: seconds and memory of `isoplan map` and `isoplan restore`, start included.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/run.py bench_one_picture

writes results/bench/one_picture.csv. The pictures are laid out from scikit-image's, blurred and exposed as the demo's mosaic is.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import isoplan
import numpy as np
import pandas as pd
import tifffile
from skimage import data

SIZES_PX = (512, 2048, 8192)
FIELD = {"width_y": ("tilt-y", 1.5, 4), "width_x": ("tilt-x", 1.5, 4)}
RESULTS = Path(__file__).resolve().parents[2] / "results" / "bench"


def run() -> list[dict]:
    """No row for bench.csv, as no peer does this; prints and writes its own table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES_PX:
            picture = Path(folder) / f"{size}.tif"
            tifffile.imwrite(picture, observed(size), tile=(512, 512), compression="zlib")
            for command in ("map", "restore"):
                out = (
                    Path(folder) / f"{command}-{size}{'.ome.zarr' if command == 'restore' else ''}"
                )
                told = [command, picture, "--offset", 100, "--out", out]
                rows.append({"command": command, "size_px": size, **measured(told)})
                print(
                    "isoplan {command}, {size_px} px: {seconds:.0f} s, {peak_mb:.0f} MB".format(
                        **rows[-1]
                    )
                )
    RESULTS.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).round(1).to_csv(RESULTS / "one_picture.csv", index=False)
    return []


def observed(size: int) -> np.ndarray:
    """A picture of this side: one of 512 px laid side by side, as blocks that differ in their blur and noise."""
    sharp = np.tile(data.camera(), (min(size, 2048) // 512,) * 2)
    seen = isoplan.simulate(sharp, FIELD, photons=5000, offset=100).observed
    return np.tile(seen, (max(1, size // 2048),) * 2)


def measured(told: list) -> dict:
    """Wall seconds, and the largest resident memory of a process of its own."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "isoplan", *map(str, told)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"isoplan {told[0]} failed: {os.waitstatus_to_exitcode(status)}")
    return {"seconds": time.perf_counter() - begin, "peak_mb": used.ru_maxrss / 1024}
