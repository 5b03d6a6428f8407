"""What a network makes of real pairs that it was not made for, beside the best Gaussian that there could be.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/enhancement_pairs.py NETWORK.safetensors LOW HIGH [LOW HIGH ...]

Prints PSNR to the good picture (HIGH) of the poor one (LOW), of a Gaussian whose width was chosen with the good one itself, and of the
network. Pairs are registered; edges are left out.
"""

import sys

import numpy as np
from isoplan.applications.enhancement import scores
from isoplan.applications.enhancement.filters import FILTERS, Camera
from isoplan.applications.enhancement.networks import Enhancer, statistics
from isoplan.mosaic.reader import open_mosaic
from isoplan.registration import register, shifted
from isoplan.restoration.in_memory import Counts

EDGE_PX = 8


def read(path: str) -> np.ndarray:
    with open_mosaic(path) as mosaic:
        return mosaic.read(0, mosaic.shape[0], 0, mosaic.shape[1])


def main(network: str, *files: str) -> None:
    enhancer, gaussian = Enhancer.load(network), FILTERS["gaussian"]
    for poor, good in zip(files[::2], files[1::2], strict=True):
        low, high = Counts(read(poor)), Counts(read(good))
        inner = tuple(slice(EDGE_PX, n - EDGE_PX) for n in low.shape)
        target = shifted(high, inner, register(low, high).shift)
        counts = low.read(0, low.shape[0], 0, low.shape[1])

        def psnr(picture: np.ndarray, inner=inner, target=target) -> float:
            return scores.against(picture[inner], target)["PSNR"]

        best = max(psnr(gaussian.apply(counts, width, Camera())) for width in gaussian.grid)
        made = psnr(enhancer.apply(counts, *statistics(counts)))
        print(f"{poor}: input {psnr(counts):.2f}, Gaussian {best:.2f}, network {made:.2f} dB")


if __name__ == "__main__":
    main(*sys.argv[1:])
