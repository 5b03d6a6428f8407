"""Space-variant blur and adjoint against deepinv's tiled operator. Wanted: no slower."""

import deepinv
import torch
from isoplan.optics.blur import SpaceVariantBlur, good_size
from timing import in_turn

SIZE_PX = 1024
GRID = 7
PSF_PX = 31
STRIDE_PX = 132


def run() -> list[dict]:
    """Forward plus adjoint; the floor is the four transforms of the whole picture that they need."""
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
    mine, theirs = ours.forward(x), peer.A(batched_x)[0, 0]
    if not torch.allclose(mine, theirs, atol=5e-3):  # its ramps are not quite hats
        raise RuntimeError("the two operators do not compute the same blur")
    size = (good_size(object_px),) * 2
    spectrum = torch.fft.rfft2(x, s=size)

    def transforms():
        for _ in range(2):
            torch.fft.rfft2(x, s=size)
            torch.fft.irfft2(spectrum, s=size)

    times = in_turn(
        lambda: (ours.forward(x), ours.adjoint(y)),
        lambda: (peer.A(batched_x), peer.A_adjoint(batched_y)),
        transforms,
    )
    return [
        {
            "benchmark": f"blur and adjoint, {SIZE_PX} px, {GRID**2} PSFs of {PSF_PX} px",
            "peer": "deepinv TiledSpaceVaryingBlur",
            **times,
        }
    ]
