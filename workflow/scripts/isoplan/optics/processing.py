"""Simulates pictures that are not raw exposures of thin samples, so that a network learns to recognise them.

All settings are drawn anew for every picture, in units of its own noise, brightness and contrast. A change
that nobody could notice would be a wrong label, so every change is large enough:

  denoised    changes the picture by at least 0.4 of its noise on average; if not, the picture is smoothed
  jpeg        the mean quantisation step is at least 3 standard deviations of the noise; quality 5 to 90
  resampled   enlarged 1.2 to 4 times, rotated, or shrunk 1.5 to 4 times and enlarged back. Pictures are not
              just shrunk, because a camera with larger pixels would take the same picture.
  saturated   3 to 40 % of the lit pixels, and at least 0.2 % of all, have the largest value
  haze        blurred structure (sigma 8 to 24 px) of 2 to 8 times the picture's own standard deviation. It
              has most of the power at low frequencies, where a network would take it for the PSF. Even
              light, or a mere slope, would pass for background or vignetting.
  sharpened   Richardson-Lucy, or an unsharp mask. The latter is less frequent: if there is detail at all
              frequencies, it looks like a sharper picture with more noise.
  posterised  3 to 32 grey levels, at least two standard deviations of the noise apart
"""

import math

import torch
from torch.nn.functional import affine_grid, grid_sample

from isoplan.optics.denoisers import denoised
from isoplan.optics.filters import (
    TINY,
    along_both,
    apply,
    apply_any,
    deviation,
    ends,
    gaussian,
    in_blocks,
    line_weights,
    log_uniform,
    noise_deviation,
    random_corner,
    uniform,
)

KINDS = ("denoised", "jpeg", "resampled", "saturated", "haze", "sharpened", "posterised")
# Denoised pictures are the most diverse.
SHARES = (0.25, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125)
# Quantisation of luminance: ITU-T T.81 (1992), table K.1.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def draw_kinds(n: int, generator: torch.Generator) -> torch.Tensor:
    """Draw n kinds with the probabilities SHARES: (n,) int64 indices of KINDS, on the generator's device."""
    shares = torch.tensor(SHARES, device=generator.device)
    return torch.multinomial(shares, n, replacement=True, generator=generator)


def process(counts: torch.Tensor, kinds, generator: torch.Generator) -> torch.Tensor:
    """Process pictures, each in its own way.

    The result depends only on the arguments, on one kind of device. NaN stays within its own picture.

    Parameters
    ----------
    counts
        (n, h, w) in counts above the offset; at least 16 px a side.
    kinds
        n names, or (n,) indices of KINDS; -1 leaves a picture as it is.
    generator
        Random numbers, on the pictures' device.

    Returns
    -------
    torch.Tensor
        (n, h, w). Pictures of integers stay integers.

    Raises
    ------
    KeyError
        If a name is unknown.
    """
    if not isinstance(kinds, torch.Tensor):
        names = {name: place for place, name in enumerate(KINDS)}
        kinds = torch.tensor([names[kind] for kind in kinds])
    steps = (denoised, _jpeg, _resampled, _saturated, _hazed, _sharpened, _posterised)
    out = apply(steps, kinds.to(counts.device), counts, generator)
    # Files have integer counts, so fractions must not reveal what was processed.
    whole = (counts == counts.round()).flatten(1).all(1)[:, None, None]
    return torch.where(whole, out.round(), out)


def jpeg(grey: torch.Tensor, quality: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
    """Compress pictures as JPEG does (ITU-T T.81), and decompress them.

    Parameters
    ----------
    grey
        (n, h, w) from 0 to 255.
    quality
        (n,) from 1 to 100, scaled as in libjpeg.
    corner
        (2, n) position of the pictures' corners in the first block, 0 to 7.
    """
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)[:, None, None, None, None]
    table = torch.tensor(LUMINANCE, device=grey.device, dtype=grey.dtype)[:, None, :]
    step = (table * scale + 0.5).floor().clamp(1, 255)

    def quantised(c):  # rounds halves away from zero, despite float32's last bits
        return (c.abs() / step + 0.5001).floor() * step * c.sign()

    return (in_blocks(grey.round() - 128, "dct", quantised, corner) + 128).round().clamp(0, 255)


def _jpeg(pictures, generator):
    low, span = ends(pictures, generator)
    grey = (255 * (pictures - low) / span).clamp(0, 255)
    # The mean of the table is 58 grey levels, at quality 50.
    least = 3 * noise_deviation(grey) / 58
    best = torch.where(least > 1, 50 / least, 100 - 50 * least).clamp(5, 90)
    quality = 5 + (best - 5) * uniform(pictures, 0, 1, generator)
    out = jpeg(grey, quality[:, 0, 0], random_corner(pictures, generator))
    return low + out * span / 255


def _posterised(pictures, generator):
    low, span = ends(pictures, generator)
    most = (span / (2 * noise_deviation(pictures)).clamp_min(TINY)).clamp(3, 32)
    steps = torch.exp(uniform(pictures, 0, 1, generator) * (most / 3).log() + math.log(3)).round()
    return low + ((pictures - low) / span * (steps - 1)).round().clamp_min(0) * span / (steps - 1)


# Resampling -----------------------------------------------------------------------------------


def _interpolation(pictures, generator):
    """A random kernel for each picture: nearest, linear, or cubic (Keys, a = -1/2)."""
    choice = uniform(pictures, 0, 5, generator).long()

    def kernel(z):
        z = z.abs()
        near = ((1.5 * z - 2.5) * z) * z + 1
        far = ((-0.5 * z + 2.5) * z - 4) * z + 2
        cubic = torch.where(z < 1, near, torch.where(z < 2, far, 0.0))
        linear = (1 - z).clamp_min(0)
        nearest = (z <= 0.5).to(z.dtype)
        return torch.where(choice == 0, nearest, torch.where(choice < 3, linear, cubic))

    return kernel


def _enlarged(pictures, generator):
    factor = log_uniform(pictures, 1.2, 4, generator)
    shift, kernel = uniform(pictures, -0.5, 0.5, generator), _interpolation(pictures, generator)

    def matrix(length):
        place = torch.arange(length, device=pictures.device) - (length - 1) / 2
        place = (length - 1) / 2 + (place + shift) / factor
        return line_weights(place[:, 0], length, kernel)

    return along_both(pictures, matrix)(pictures)


def _shrunk(pictures, generator):
    """Shrink pictures, half of them with a triangle against aliasing, and enlarge them back."""
    factor = log_uniform(pictures, 1.5, 4, generator)
    smooth = uniform(pictures, 0, 1, generator) < 0.5
    width, kernel = torch.where(smooth, factor, 1.0), _interpolation(pictures, generator)

    def matrix(length):
        steps = torch.arange(length, device=pictures.device)
        place = (steps * factor[:, 0]).clamp_max(length - 1)
        down = line_weights(place, length, lambda z: (1 - z.abs() / width).clamp_min(0))
        return line_weights(steps / factor[:, 0], length, kernel) @ down

    return along_both(pictures, matrix)(pictures)


def _turned(mode):
    def turned(pictures, generator):
        """Rotate pictures by 4 to 86 degrees; they are mirrored beyond their borders."""
        angle = uniform(pictures, 4, 86, generator)[:, 0, 0] * math.pi / 180
        c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        h, w = pictures.shape[-2:]
        matrix = torch.stack([c, -s * h / w, zero, s * w / h, c, zero], 1).view(-1, 2, 3)
        grid = affine_grid(matrix, (len(pictures), 1, h, w), align_corners=False)
        settings = {"mode": mode, "padding_mode": "reflection", "align_corners": False}
        return grid_sample(pictures[:, None], grid, **settings)[:, 0]

    return turned


def _resampled(pictures, generator):
    steps = (_enlarged, _enlarged, _shrunk, _turned("bilinear"), _turned("bicubic"))
    return apply_any(steps, pictures, generator)


# The others -----------------------------------------------------------------------------------


def _saturated(pictures, generator):
    """Saturate pictures. Pixels are lit above 10 % of the range up to the 99.9th percentile, and above noise."""
    sorted_ = pictures.flatten(1).sort(1, descending=True).values
    n = sorted_.shape[1]
    dark, bright = sorted_[:, n - n // 20 - 1, None], sorted_[:, n // 1000, None]
    lit = dark + torch.maximum(0.1 * (bright - dark), 3 * noise_deviation(pictures)[:, 0])
    count = (sorted_ > lit).sum(1, keepdim=True)
    place = (log_uniform(pictures, 0.03, 0.4, generator)[:, 0] * count).clamp_min(0.002 * n)
    return torch.minimum(pictures, sorted_.gather(1, place.long())[..., None])


def _hazed(pictures, generator):
    """Add light from layers that are out of focus, with its shot noise.

    The layers are mixtures of the picture and its flip, blurred. The camera's gain is unknown, so the variance
    of the noise over the mean is used instead, with a limit if there is hardly any light.
    """
    own = uniform(pictures, 0, 1, generator)
    layer = pictures + (1 - own) * (pictures.flip(1, 2) - pictures)
    layer = gaussian(layer, log_uniform(pictures, 8, 24, generator))(layer)
    layer = (layer - layer.amin((1, 2), keepdim=True)) / deviation(layer).clamp_min(TINY)
    mean, noise = pictures.mean((1, 2), keepdim=True).clamp_min(0), noise_deviation(pictures)
    light = layer * log_uniform(pictures, 2, 8, generator) * deviation(pictures)
    even = log_uniform(pictures, 1, 10, generator) * mean - light.mean((1, 2), keepdim=True)
    light = light + even.clamp_min(0)
    shot = torch.randn(pictures.shape, generator=generator, device=pictures.device)
    return pictures + light + shot * noise * (light / (mean + noise).clamp_min(TINY)).sqrt()


def _sharpened(pictures, generator):
    return apply_any((_unsharp, _deconvolved, _deconvolved), pictures, generator)


def _unsharp(pictures, generator):
    blurred = gaussian(pictures, log_uniform(pictures, 0.7, 2, generator))(pictures)
    out = pictures + log_uniform(pictures, 1, 5, generator) * (pictures - blurred)
    return torch.where(uniform(pictures, 0, 1, generator) < 0.5, out, out.clamp_min(0))


def _deconvolved(pictures, generator):
    """Six iterations of Richardson-Lucy with a Gaussian PSF."""
    blur = gaussian(pictures, log_uniform(pictures, 1, 3, generator))
    floor = 1e-3 * pictures.amax((1, 2), keepdim=True).clamp_min(TINY)
    seen = torch.maximum(pictures, floor)
    out = seen.mean((1, 2), keepdim=True).expand_as(seen)
    for _ in range(6):
        out = out * blur(seen / blur(out).clamp_min(TINY))
    return out
