"""Denoisers whose strength follows the noise, for simulating processed pictures."""

import torch
from torch.nn.functional import pad

from isoplan.optics.filters import (
    TINY,
    apply_any,
    convolution,
    gaussian,
    in_blocks,
    log_uniform,
    noise_deviation,
    random_corner,
    uniform,
)


def denoised(pictures, generator):
    """Apply random denoisers; three in ten results are blended with up to 40 % of the original."""
    out = apply_any(DENOISERS, pictures, generator)
    blend = uniform(pictures, -0.93, 0.4, generator).clamp_min(0)
    out = out + blend * (pictures - out)
    # If all differences are far above the noise, some denoisers change hardly anything.
    change = (out - pictures).abs().mean((1, 2), keepdim=True)
    idle = (change < 0.4 * noise_deviation(pictures))[:, 0, 0].nonzero()[:, 0]
    out[idle] = smoothed(pictures[idle], generator)
    return out


def smoothed(pictures, generator):
    """Blur by a Gaussian of random width, 0.6 to 2 px (standard deviation)."""
    return gaussian(pictures, log_uniform(pictures, 0.6, 2, generator))(pictures)


def _median(side):
    def filtered(pictures, generator):
        padded = pad(pictures[:, None], (side // 2,) * 4, mode="replicate")[:, 0]
        near = padded.unfold(1, side, 1).unfold(2, side, 1).flatten(-2)
        return near.median(-1).values

    return filtered


def _bilateral(pictures, generator):
    """Bilateral filter of 5 x 5 px: weights fall with distance and with the difference in brightness."""
    inner = 2 * (uniform(pictures, 3, 6, generator) * noise_deviation(pictures)) ** 2
    wide = 2 * uniform(pictures, 1, 3, generator) ** 2
    padded = pad(pictures[:, None], (2,) * 4, mode="replicate")[:, 0]
    total, weight = torch.zeros_like(pictures), torch.zeros_like(pictures)
    h, w = pictures.shape[-2:]
    for y in range(5):
        for x in range(5):
            near = padded[:, y : y + h, x : x + w]
            far = ((y - 2) ** 2 + (x - 2) ** 2) / wide
            share = torch.exp(-((near - pictures) ** 2) / inner.clamp_min(TINY) - far)
            total, weight = total + share * near, weight + share
    return total / weight


def _wiener(pictures, generator):
    """Local Wiener filter: Lee, IEEE PAMI 2 (1980) 165."""
    radius = uniform(pictures, 1, 5, generator).floor()
    box = convolution(pictures, lambda z: (z.abs() <= radius + 0.5).to(z.dtype))
    # Without the mean, as float32 would lose the variance of bright pictures.
    about = pictures - pictures.mean((1, 2), keepdim=True)
    mean = box(about)
    variance = (box(about**2) - mean**2).clamp_min(TINY)
    noise = (uniform(pictures, 1, 2, generator) * noise_deviation(pictures)) ** 2
    return pictures - (noise / variance).clamp_max(1) * (about - mean)


def _shrinkage(basis, spins):
    """Soft thresholding of the coefficients of 8 x 8 blocks, averaged over `spins` shifted grids."""

    def filtered(pictures, generator):
        threshold = uniform(pictures, 1.5, 4, generator) * noise_deviation(pictures)
        threshold = threshold[..., None, None]

        def shrunk(c):
            out = c.sign() * (c.abs() - threshold).clamp_min(0)
            out[:, :, 0, :, 0] = c[:, :, 0, :, 0]
            return out

        grids = (random_corner(pictures, generator) for _ in range(spins))
        return sum(in_blocks(pictures, basis, shrunk, corner) for corner in grids) / spins

    return filtered


DENOISERS = (
    smoothed,
    _median(3),
    _median(5),
    _bilateral,
    _wiener,
    _shrinkage("dct", 1),
    _shrinkage("haar", 4),
)
