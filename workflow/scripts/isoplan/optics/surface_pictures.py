"""Pictures of surfaces: each point is blurred by the PSF of its own distance from focus.

    y = sum_m h_m * (w_m x)

w_m are weights, piecewise linear in the distance, of planes that lie a fraction of the depth of field apart. A point
keeps its own PSF, as with fluorescence or a thin absorbing layer. Surfaces hide nothing.
"""

import math

import numpy as np
import torch

from isoplan.optics.defocus import Defocus

PLANES = 5.0  # per depth of field
MARGIN_PX = 128  # of scene around a picture, that is blurred into it


def picture(scene: torch.Tensor, z_um: torch.Tensor, optics: Defocus) -> torch.Tensor:
    """The picture (h - 2 MARGIN_PX, w - 2 MARGIN_PX) of a scene (h, w) at distances (h, w), without noise.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    >>> scene = torch.ones(300, 320)
    >>> picture(scene, torch.linspace(-9, 9, 320).expand(300, 320), optics).shape
    torch.Size([44, 64])
    """
    low, high = float(z_um.min()), float(z_um.max())
    count = max(2, math.ceil((high - low) / optics.depth_of_field_um * PLANES) + 1)
    planes = torch.linspace(low, max(high, low + optics.depth_of_field_um / PLANES), count)
    place = (z_um - low) / (planes[1] - planes[0])
    total = torch.zeros(scene.shape[0], scene.shape[1] // 2 + 1, dtype=torch.complex64)
    size = 2 * MARGIN_PX - 1
    for number, plane in enumerate(planes):
        weight = (1 - (place - number).abs()).clamp_min(0)
        if not weight.any():
            continue
        psf = torch.zeros_like(scene)
        psf[:size, :size] = optics.psf(plane[None], size)[0]
        psf = psf.roll((-(size // 2),) * 2, (0, 1))
        total += torch.fft.rfft2(weight * scene) * torch.fft.rfft2(psf)
    whole = torch.fft.irfft2(total, s=scene.shape).clamp_min(0)
    return whole[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def exposed(bright: torch.Tensor, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Counts (h, w) float32 of a picture whose brightest pixel has so many photons."""
    mean = bright.numpy() * (photons / max(float(bright.max()), 1e-12))
    return rng.poisson(mean).astype(np.float32)
