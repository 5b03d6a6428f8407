"""Space-variant blur and adjoint against deepinv's tiled operator, in turn in one run."""

import statistics
import time

import deepinv
import torch
from isoplan.optics.blur import SpaceVariantBlur

SIZE_PX = 1024
GRID = 7
PSF_PX = 31
STRIDE_PX = 132
REPEATS = 7


def run() -> list[dict]:
    """One row: medians of the seconds that forward plus adjoint take, on the threads torch has."""
    generator = torch.Generator().manual_seed(0)
    psfs = torch.rand(GRID, GRID, PSF_PX, PSF_PX, generator=generator)
    psfs /= psfs.sum((-1, -2), keepdim=True)
    object_px = SIZE_PX + PSF_PX - 1
    x = torch.rand(object_px, object_px, generator=generator)
    y = torch.rand(SIZE_PX, SIZE_PX, generator=generator)

    centres = [STRIDE_PX * (i + 1) - PSF_PX // 2 - 0.5 for i in range(GRID)]
    ours = SpaceVariantBlur(psfs, centres, centres, (SIZE_PX, SIZE_PX), order="blur-mask")
    peer = deepinv.physics.TiledSpaceVaryingBlur(
        filters=psfs.reshape(1, 1, GRID**2, PSF_PX, PSF_PX),
        patch_size=2 * STRIDE_PX,
        stride=STRIDE_PX,
        blending_mode="linear",
    )
    batched_x, batched_y = x[None, None], y[None, None]

    def ours_once():
        return ours.forward(x), ours.adjoint(y)

    def peer_once():
        return peer.A(batched_x), peer.A_adjoint(batched_y)

    mine, theirs = ours_once()[0], peer_once()[0][0, 0]  # first calls warm up
    if not torch.allclose(mine, theirs, atol=5e-3):  # its ramps are not quite hats
        raise RuntimeError("the two operators do not compute the same blur")
    seconds = {ours_once: [], peer_once: []}
    for _ in range(REPEATS):
        for once, taken in seconds.items():
            begin = time.perf_counter()
            once()
            taken.append(time.perf_counter() - begin)
    ours_s, peer_s = (statistics.median(taken) for taken in seconds.values())
    return [
        {
            "benchmark": f"blur and adjoint, {SIZE_PX} px, {GRID**2} PSFs of {PSF_PX} px",
            "ours_s": ours_s,
            "peer": f"deepinv {deepinv.__version__} TiledSpaceVaryingBlur",
            "peer_s": peer_s,
            "ratio": peer_s / ours_s,
        }
    ]
