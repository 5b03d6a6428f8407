"""Richardson-Lucy with one PSF against scikit-image, per iteration; for context, as ours does more."""

import numpy as np
import torch
from isoplan.deconvolution import richardson_lucy
from isoplan.optics.blur import SpaceVariantBlur, good_size
from scipy.signal import fftconvolve
from skimage import restoration
from timing import in_turn

SIZE_PX, PSF_PX, ITERATIONS = 1024, 31, 10


def run() -> list[dict]:
    """The same iterations; the two differ only in what they think lies beyond the picture's edge."""
    rng = np.random.default_rng(0)
    offsets = np.arange(PSF_PX) - PSF_PX // 2
    psf = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 4.0**2))
    psf = (psf / psf.sum()).astype(np.float32)
    sharp = rng.gamma(0.5, 0.4, (SIZE_PX, SIZE_PX)).astype(np.float32)
    seen = fftconvolve(sharp, psf, mode="same").clip(1e-3).astype(np.float32)
    picture, kernel, middle = torch.from_numpy(seen), torch.from_numpy(psf), torch.zeros(1)

    def ours():
        blur = SpaceVariantBlur(kernel[None, None], middle, middle, seen.shape)
        x = richardson_lucy(
            picture, blur, iterations=ITERATIONS, tv_step="none", start=0.5, scale=1.0
        )
        return x[blur.margin : -blur.margin, blur.margin : -blur.margin].numpy()

    def peer():
        return restoration.richardson_lucy(seen, psf, num_iter=ITERATIONS, clip=False)

    far = slice(ITERATIONS * PSF_PX, SIZE_PX - ITERATIONS * PSF_PX)  # where no edge is felt
    if not np.allclose(ours()[far, far], peer()[far, far], rtol=1e-2, atol=1e-4):
        raise RuntimeError("the two do not compute the same restoration")
    size = (good_size(SIZE_PX + 2 * (PSF_PX - 1)),) * 2
    spectrum = torch.fft.rfft2(picture, s=size)

    def transforms():
        for _ in range(2 * ITERATIONS):
            torch.fft.rfft2(picture, s=size)
            torch.fft.irfft2(spectrum, s=size)

    return [
        {
            "benchmark": f"Richardson-Lucy iteration, {SIZE_PX} px, one PSF of {PSF_PX} px",
            "peer": "scikit-image richardson_lucy",
            **in_turn(ours, peer, transforms, runs=5, per=ITERATIONS),
        }
    ]
