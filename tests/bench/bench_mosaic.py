"""A mosaic of 4096 x 4096 px restored block by block, beside scikit-image on tiles with halos.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/run.py bench_mosaic

also writes results/bench/mosaic.csv: seconds, largest memory and SNR of either, and SNR of what was seen. Both know the true
PSFs, Gaussians whose widths rise from 1.5 to 4 px along both axes; scikit-image takes for each tile the one of its middle. Ours
takes accelerated iterations with total variation, scikit-image plain ones. Either takes several numbers of them; bench.csv has
the best ones, as who knows the truth would stop. Both have all cores. Each run has a process of its own.
"""

import multiprocessing
import os
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from isoplan.mosaic import tiles
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.gaussian import gaussian_psfs
from isoplan.restoration.richardson_lucy import richardson_lucy
from isoplan.restoration.tv_richardson_lucy import halo_px
from skimage import data, restoration

SIZE_PX, CORE_PX, TILE_PX = 4096, 1024, 256
PSF_PX, PITCH_PX, WIDTHS_PX = 31, 64, (1.5, 4.0)
PHOTONS = 1000.0
ITERATIONS = 2, 4, 6, 8, 10, 20
RESULTS = Path(__file__).resolve().parents[2] / "results" / "bench"


def run() -> list[dict]:
    sharp = truth()
    with tempfile.TemporaryDirectory() as folder:
        seen, made = Path(folder) / "seen.npy", Path(folder) / "made.npy"
        np.save(seen, observed(sharp))
        rows = []
        for side, iterations in product((ours, peer), ITERATIONS):
            about = {"side": side.__name__, "iterations": iterations}
            rows.append(about | _alone(side, seen, made, iterations))
            rows[-1]["snr_db"] = snr(np.load(made), sharp)
        table = pd.DataFrame(rows)
        table["seen_db"] = snr(np.load(seen), sharp)
    RESULTS.mkdir(parents=True, exist_ok=True)
    table.round(2).to_csv(RESULTS / "mosaic.csv", index=False)
    print(table.round(2).to_string())
    # As who knows the truth would stop.
    mine, other = (
        max((row for row in rows if row["side"] == side), key=lambda row: row["snr_db"])
        for side in ("ours", "peer")
    )
    return [_row(mine, other)]


def _row(mine: dict, other: dict) -> dict:
    told = f"{other['iterations']} iterations, {other['snr_db']:.2f} dB, tiles of {TILE_PX} px"
    return {
        "benchmark": f"mosaic of {SIZE_PX} px, {mine['iterations']} accelerated iterations with TV, {mine['snr_db']:.2f} dB",
        "peer": f"scikit-image richardson_lucy, {told}",
        "ours_s": mine["seconds"],
        "peer_s": other["seconds"],
        "ratio": other["seconds"] / mine["seconds"],
        "floor_s": None,
        "runs": 1,
        "spread": 0.0,
    }


def _alone(side, seen: Path, made: Path, iterations: int) -> dict:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_timed, side, seen, made, iterations).result()


def _timed(side, seen: Path, made: Path, iterations: int) -> dict:
    begin = time.perf_counter()
    np.save(made, side(np.load(seen), iterations))
    seconds = time.perf_counter() - begin
    # Of this process alone: `ru_maxrss` of a new one begins with that of its parent.
    told = Path("/proc/self/status").read_text()
    return {"seconds": seconds, "peak_mb": int(re.search(r"VmHWM:\s+(\d+)", told)[1]) / 1024}


def ours(seen: np.ndarray, iterations: int) -> np.ndarray:
    found = np.empty_like(seen)
    start, scale = float(seen.mean()), float(np.quantile(seen, 0.999))
    halo = halo_px(PSF_PX, iterations)
    for core in tiles.shards(seen.shape, CORE_PX):
        outer = tiles.with_halo(core, halo, seen.shape)
        centres, psfs = centres_of(outer), psfs_of(outer)
        part = torch.from_numpy(seen[outer])
        blur = SpaceVariantBlur(psfs, *centres, part.shape)
        x = richardson_lucy(part, blur, iterations=iterations, start=start, scale=scale)
        inside, margin = tiles.inside(core, outer), blur.margin
        found[core] = x[margin:-margin, margin:-margin][inside].numpy()
    return found


def peer(seen: np.ndarray, iterations: int) -> np.ndarray:
    found = np.empty_like(seen)

    def tile(core) -> None:
        outer = tiles.with_halo(core, PSF_PX, seen.shape)
        middle = [(part.start + part.stop - 1) / 2 for part in core]
        psf = gaussian_psfs(torch.tensor([widths_at(*middle)]), PSF_PX)[0].numpy()
        part = restoration.richardson_lucy(seen[outer], psf, num_iter=iterations, clip=False)
        found[core] = part[tiles.inside(core, outer)]

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(tile, tiles.shards(seen.shape, TILE_PX)))
    return found


def widths_at(y: float, x: float) -> list[float]:
    low, high = WIDTHS_PX
    return [low + (high - low) * place / (SIZE_PX - 1) for place in (y, x)]


def _nodes(part: slice) -> np.ndarray:
    """Places of the PSFs about a block, in px of the mosaic."""
    first, last = part.start // PITCH_PX, -(-part.stop // PITCH_PX)
    return PITCH_PX * np.arange(first, last + 1).clip(0, (SIZE_PX - 1) / PITCH_PX)


def centres_of(outer) -> list[np.ndarray]:
    return [np.unique(_nodes(part)) - part.start for part in outer]


def psfs_of(outer) -> torch.Tensor:
    rows, columns = (np.unique(_nodes(part)) for part in outer)
    widths = torch.tensor([widths_at(y, x) for y in rows for x in columns])
    return gaussian_psfs(widths.float(), PSF_PX).reshape(len(rows), len(columns), PSF_PX, PSF_PX)


def truth() -> np.ndarray:
    sharp = data.camera().astype(np.float32) / 255 + 0.02
    rows = np.concatenate([sharp, sharp[:, ::-1]], 1)
    whole = np.concatenate([rows, rows[::-1]], 0)  # mirrored, so that no edge is made
    return PHOTONS * np.tile(whole, (SIZE_PX // len(whole),) * 2)


def observed(sharp: np.ndarray) -> np.ndarray:
    """Blurred block by block with what lies around it, and with shot noise."""
    chance = np.random.default_rng(0)
    margin = PSF_PX // 2
    wide, seen = np.pad(sharp, margin, mode="symmetric"), np.empty_like(sharp)
    for core in tiles.shards(sharp.shape, CORE_PX):
        blur = SpaceVariantBlur(psfs_of(core), *centres_of(core), (CORE_PX, CORE_PX))
        around = tuple(slice(part.start, part.stop + 2 * margin) for part in core)
        seen[core] = blur.forward(torch.from_numpy(wide[around])).numpy()
    return chance.poisson(seen.clip(0)).astype(np.float32)


def snr(found: np.ndarray, sharp: np.ndarray) -> float:
    error = np.mean((found - sharp) ** 2, dtype=np.float64)
    return float(10 * np.log10(np.mean(sharp**2, dtype=np.float64) / error))
