"""PSF synthesis against deepinv's generator: time per PSF, on one grid, in turn in one run."""

import statistics
import time

import torch
from isoplan.optics.psf import make_psf_model

CUTOFF = 0.25
REPEATS = 5


def run() -> list[dict]:
    """Rows (benchmark, ours_s, peer, peer_s, ratio) with medians in seconds per PSF.

    The peer gets our own field as its pupil grid, and its default of 256 as a second case, where our
    pupil is sampled as finely. Both draw their parameters, three modes, and give PSFs of sum 1.
    """
    return [_compare(31, None), _compare(31, 256), _compare(127, None)]


def _compare(size_px: int, grid_px: int | None) -> dict:
    from deepinv.physics.generator import DiffractionBlurGenerator

    model = _model(size_px)
    grid = model.field_px = grid_px or model.field_px
    peer = DiffractionBlurGenerator(
        (size_px, size_px), zernike_index=(4, 5, 6), fc=CUTOFF, pupil_size=(grid, grid)
    )
    batch = 128 if size_px < 64 else 16
    generator = torch.Generator().manual_seed(0)

    def ours():
        model.psf(model.sample(batch, generator))

    def theirs():
        peer.step(batch_size=batch)

    ours_s, peer_s = [], []
    for repeat in range(REPEATS + 1):
        times = _seconds(ours) / batch, _seconds(theirs) / batch
        if repeat:  # the first run warms both up
            ours_s.append(times[0])
            peer_s.append(times[1])
    ours_s, peer_s = statistics.median(ours_s), statistics.median(peer_s)
    return {
        "benchmark": f"Zernike PSF, {size_px} px, pupil grid {grid} px",
        "ours_s": ours_s,
        "peer": "deepinv DiffractionBlurGenerator",
        "peer_s": peer_s,
        "ratio": peer_s / ours_s,
    }


def _model(size_px: int):
    strong = size_px > 64
    return make_psf_model(
        {
            "name": "bench",
            "model": "zernike-3",
            "form": "isoplan",
            "size_px": size_px,
            "cutoff": CUTOFF,
            "excitation_cutoff": None,
            "focus_waves": [0.0, 0.8 if strong else 0.25],
            "cylinder_waves": [0.0, 0.35 if strong else 0.1],
        }
    )


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    for row in run():
        print(row)
