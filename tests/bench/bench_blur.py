"""Space-variant blur and adjoint against deepinv's operators.

Wanted: no slower than its tiled operator; with PSFs of 127 px whose focus alone varies at least twice
as fast as that, and 20 times as fast as its product-convolution. floor_s: the four transforms of the
padded picture.
"""

import deepinv
import numpy as np
import torch
from fields import FIELDS, PSF_PX, psfs, transforms
from isoplan.base.device import keep_freed_memory
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.blur_cells import good_size
from timing import in_turn

SIZE_PX = 1024
# deepinv's tiles go by PSFs at one distance, and 7 x 7 of them cover the object.
TILES, TILED_PX = 7, 31
PRODUCTS = 8


def run() -> list[dict]:
    keep_freed_memory()  # for both sides alike
    return [small_psfs(), *large_psfs()]


def small_psfs() -> dict:
    """49 PSFs of 31 px without any likeness, for both sides the same."""
    generator = torch.Generator().manual_seed(0)
    kernels = torch.rand(TILES, TILES, TILED_PX, TILED_PX, generator=generator)
    kernels /= kernels.sum((-1, -2), keepdim=True)
    stride = 132
    centres = [stride * (i + 1) - TILED_PX // 2 - 0.5 for i in range(TILES)]
    ours = SpaceVariantBlur(kernels, centres, centres, (SIZE_PX, SIZE_PX), order="blur-mask")
    peer = tiled(kernels, stride)
    x = torch.rand(ours.object_shape, generator=generator)
    mine, theirs = ours.forward(x), peer.A(x[None, None])[0, 0]
    if not torch.allclose(mine, theirs, atol=5e-3):  # its ramps are not quite hats
        raise RuntimeError("the two operators do not compute the same blur")
    return timed(f"49 PSFs of {TILED_PX} px, nothing alike", ours, "TiledSpaceVaryingBlur", peer)


def large_psfs() -> list[dict]:
    """225 PSFs of 127 px, ours; the peers with fewer, as large as they take them."""
    # Tiles of twice 152 px, 152 px apart: 8 x 152 px is the least that covers the object.
    sparse = psfs("tilted focus", TILES)
    peer = tiled(sparse, 152)
    rows = []
    for field in FIELDS:
        kernels = psfs(field)
        centres = np.linspace(0, SIZE_PX - 1, len(kernels))
        ours = SpaceVariantBlur(kernels, centres, centres, (SIZE_PX, SIZE_PX), order="blur-mask")
        name = f"{field}, {len(kernels)}^2 PSFs of {PSF_PX} px"
        rows.append(timed(name, ours, f"TiledSpaceVaryingBlur, {TILES**2} PSFs", peer))
        if field == FIELDS[0]:
            product = product_convolution(psfs(field, PRODUCTS))
            peer_name = f"SpaceVaryingBlur, {PRODUCTS**2} kernels"
            rows.append(timed(name, ours, peer_name, product, runs=3))
    return rows


def tiled(kernels: torch.Tensor, stride: int):
    count, size = len(kernels), kernels.shape[-1]
    return deepinv.physics.TiledSpaceVaryingBlur(
        filters=kernels.reshape(1, 1, count**2, size, size),
        patch_size=2 * stride,
        stride=stride,
        blending_mode="linear",
    )


def product_convolution(kernels: torch.Tensor):
    """Its masks are hats like ours, over the picture."""
    count, size = len(kernels), kernels.shape[-1]
    centres = np.linspace(0, SIZE_PX - 1, count)
    hats = np.stack([np.interp(np.arange(SIZE_PX), centres, row) for row in np.eye(count)])
    masks = np.einsum("iy,jx->ijyx", hats, hats).reshape(1, 1, count**2, SIZE_PX, SIZE_PX)
    return deepinv.physics.SpaceVaryingBlur(
        filters=kernels.reshape(1, 1, count**2, size, size),
        multipliers=torch.from_numpy(masks.astype(np.float32)),
        padding="valid",
        use_fft=True,
        mask_first=False,
    )


def timed(name: str, ours: SpaceVariantBlur, peer_name: str, peer, runs: int = 7) -> dict:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.rand(s, generator=generator) for s in (ours.object_shape, ours.shape))
    theirs = x[None, None], peer.A(x[None, None])
    size = good_size(ours.object_shape[0])
    times = in_turn(
        lambda: (ours.forward(x), ours.adjoint(y)),
        lambda: (peer.A(theirs[0]), peer.A_adjoint(theirs[1])),
        lambda: transforms(y, size),
        runs=runs,
    )
    return {
        "benchmark": f"blur and adjoint, {SIZE_PX} px, {name}",
        "peer": f"deepinv {peer_name}",
        **times,
    }
