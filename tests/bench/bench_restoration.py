"""Richardson-Lucy, per iteration, against scikit-image's with one PSF of 31 px on the same picture.

Ours with one PSF too, and with 15 x 15 PSFs of 127 px and total variation: what was made before the
first iteration (modes, OTFs) is shared out among the iterations. Wanted: no slower where the focus
alone varies. floor_s: the four transforms of the padded picture.
"""

import numpy as np
import torch
from fields import FIELDS, PSF_PX, psfs, transforms
from isoplan.base.device import keep_freed_memory
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.blur_cells import good_size
from isoplan.restoration.richardson_lucy import richardson_lucy
from scipy.signal import fftconvolve
from skimage import restoration
from timing import in_turn

SIZE_PX, PEER_PX, ITERATIONS = 1024, 31, 10


def run() -> list[dict]:
    """The two differ also in what they think lies beyond the picture's edge."""
    keep_freed_memory()  # for both sides alike
    rng = np.random.default_rng(0)
    offsets = np.arange(PEER_PX) - PEER_PX // 2
    psf = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 4.0**2))
    psf = (psf / psf.sum()).astype(np.float32)
    sharp = rng.gamma(0.5, 0.4, (SIZE_PX, SIZE_PX)).astype(np.float32)
    seen = fftconvolve(sharp, psf, mode="same").clip(1e-3).astype(np.float32)
    picture, kernel = torch.from_numpy(seen), torch.from_numpy(psf)

    def ours(kernels, centres, **settings):
        blur = SpaceVariantBlur(kernels, centres, centres, seen.shape)
        x = richardson_lucy(picture, blur, iterations=ITERATIONS, start=0.5, scale=1.0, **settings)
        return x[blur.margin : -blur.margin, blur.margin : -blur.margin].numpy()

    def one(**settings):
        return ours(kernel[None, None], [0.0], tv_step="none", acceleration="none", **settings)

    def peer():
        return restoration.richardson_lucy(seen, psf, num_iter=ITERATIONS, clip=False)

    far = slice(ITERATIONS * PEER_PX, SIZE_PX - ITERATIONS * PEER_PX)  # where no edge is felt
    if not np.allclose(one()[far, far], peer()[far, far], rtol=1e-2, atol=1e-4):
        raise RuntimeError("the two do not compute the same restoration")

    def row(name: str, work, psf_px: int) -> dict:
        size = good_size(SIZE_PX + psf_px - 1)

        def floor():
            for _ in range(ITERATIONS):
                transforms(picture, size)

        return {
            "benchmark": f"{name}, {SIZE_PX} px",
            "peer": f"scikit-image richardson_lucy, one PSF of {PEER_PX} px",
            **in_turn(work, peer, floor, runs=5, per=ITERATIONS),
        }

    rows = [row(f"Richardson-Lucy iteration, one PSF of {PEER_PX} px", one, PEER_PX)]
    for field in FIELDS:
        kernels = psfs(field)
        centres = np.linspace(0, SIZE_PX - 1, len(kernels))
        name = f"TV-Richardson-Lucy iteration, {field}, {len(kernels)}^2 PSFs of {PSF_PX} px"
        rows.append(row(name, lambda k=kernels, c=centres: ours(k, c), PSF_PX))
    return rows
