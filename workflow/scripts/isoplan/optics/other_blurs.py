"""Blurs outside the networks' PSF models, to train their detection and to test restoration.

    motion     a straight line, from a stage that moved during the exposure
    disk       geometric defocus, a uniform disk
    coma, trefoil, spherical, ...   a pupil with a Zernike mode of MODES, in waves RMS
    halo       a narrow Gaussian with a share of the light in a wide one, from scattering
    moffat     a peak with wings (Moffat 1969)

All PSFs are (n, s, s) float32 of sum 1, cropped to s px, on the device of their parameters.
"""

import math

import torch

from isoplan.optics.gaussian import gaussian_psfs
from isoplan.optics.pupil import zernike

MODES = {"defocus": 4, "astigmatism": 6, "coma": 7, "trefoil": 9, "spherical": 11}  # Noll
DRAWN = ("motion", "disk", "coma", "trefoil", "spherical", "halo")
# Samples per pixel of a disk, samples of a line, and samples per pixel of a pupil's intensity.
FINE, LINE, PUPIL = 5, 64, 3


def motion(length_px: torch.Tensor, angle: torch.Tensor, size_px: int) -> torch.Tensor:
    """Motion blur: lines of given lengths (n,) and angles (n,) in radians, from x towards y."""
    along = (torch.arange(LINE, device=angle.device) + 0.5) / LINE - 0.5
    place = along * length_px[:, None]
    axes = [_tent(place * direction[:, None], size_px) for direction in (angle.sin(), angle.cos())]
    return _normalised(torch.einsum("nky,nkx->nyx", *axes))


def disk(radius_px: torch.Tensor, size_px: int) -> torch.Tensor:
    """Uniform disks of given radii (n,)."""
    at = (torch.arange(size_px * FINE, device=radius_px.device) + 0.5) / FINE - size_px / 2
    # The edge is as wide as a sample, so that the disk grows smoothly with its radius.
    inside = (FINE * (radius_px[:, None, None] - torch.hypot(at[:, None], at)) + 0.5).clamp(0, 1)
    return _normalised(inside.unflatten(2, (-1, FINE)).unflatten(1, (-1, FINE)).mean((2, 4)))


def moffat(width_px: torch.Tensor, exponent: torch.Tensor, size_px: int) -> torch.Tensor:
    """Moffat profiles (1 + (r / a)^2)^-exponent; the smaller the exponent, the more light is in the wings.

    width_px: (n,) full widths at half maximum. exponent: (n,), at least 1.
    """
    at = (torch.arange(size_px * FINE, device=width_px.device) + 0.5) / FINE - size_px / 2
    half = 2 * torch.hypot(at[:, None], at) / width_px[:, None, None]
    beta = exponent[:, None, None]
    values = (1 + half.square() * (2 ** (1 / beta) - 1)) ** -beta
    return _normalised(values.unflatten(2, (-1, FINE)).unflatten(1, (-1, FINE)).mean((2, 4)))


def halo(
    core_px: torch.Tensor, wide_px: torch.Tensor, share: torch.Tensor, size_px: int
) -> torch.Tensor:
    """Sums of two Gaussians of different full widths at half maximum; all arguments are (n,).

    share: share of the light in the wide one.
    """
    core, wide = (
        gaussian_psfs(width[:, None].expand(-1, 2), size_px) for width in (core_px, wide_px)
    )
    return torch.lerp(core, wide, share[:, None, None])


def aberrated(
    waves: dict[str, torch.Tensor], angle: torch.Tensor, cutoff: torch.Tensor, size_px: int
) -> torch.Tensor:
    """PSFs of a pupil with Zernike modes; the intensity is integrated over the pixel.

    Parameters
    ----------
    waves
        Amplitudes (n,) in waves RMS, by keys of MODES.
    angle
        (n,) rotation of the pupil in radians.
    cutoff
        (n,) cut-off in cycles/px.
    size_px
        Side of the PSFs in px.
    """
    side = PUPIL * (2 * size_px + 1)
    frequency = torch.fft.fftfreq(side, 1 / PUPIL, device=cutoff.device)
    y, x = frequency[:, None], frequency[None, :]
    radius = torch.hypot(y, x) / cutoff[:, None, None]
    turned = torch.atan2(y, x) - angle[:, None, None]
    phase = sum(
        size[:, None, None] * zernike(MODES[name], radius.clamp(max=1), turned)
        for name, size in waves.items()
    )
    # The pupil's edge is one sample wide.
    edge = (1 - radius) * cutoff[:, None, None] * (side / PUPIL) + 0.5
    field = torch.fft.fft2(torch.polar(edge.clamp(0, 1), 2 * math.pi * phase))
    intensity = torch.fft.fftshift(field.real.square() + field.imag.square(), dim=(-2, -1))
    # The middle sample is at side // 2. PUPIL is odd, so every pixel has a sample at its centre.
    first = side // 2 - PUPIL * (size_px // 2) - PUPIL // 2
    crop = intensity[:, first : first + PUPIL * size_px, first : first + PUPIL * size_px]
    return _normalised(crop.unflatten(2, (-1, PUPIL)).unflatten(1, (-1, PUPIL)).mean((2, 4)))


def draw_others(
    cutoff: torch.Tensor, size_px: int, generator: torch.Generator, own: tuple[str, ...] = ()
) -> torch.Tensor:
    """Draw one PSF for each cut-off, strong enough to be visible in a bright picture.

    Parameters
    ----------
    cutoff
        (n,) in cycles/px.
    size_px
        Side of the PSFs in px.
    generator
        Random numbers, on the device of the cut-offs.
    own
        Kinds of DRAWN that are left out, because they belong to the PSF model.

    Returns
    -------
    torch.Tensor
        (n, size_px, size_px), of sum 1.
    """
    drawn = [kind for kind in DRAWN if kind not in own]
    n, device = len(cutoff), cutoff.device
    psfs = torch.empty(n, size_px, size_px, device=device)
    kinds = torch.randint(len(drawn), (n,), generator=generator, device=device)
    u, v, w = torch.rand(3, n, generator=generator, device=device)
    reach = size_px / 31  # PSFs in larger windows are larger
    for kind, name in enumerate(drawn):
        of = kinds == kind
        one, two, three = u[of], v[of], w[of]
        if name == "motion":
            made = motion(reach * (4 + 10 * one), math.pi * two, size_px)
            width = 0.5 + 1.5 * three[:, None]
            made = _blurred(made, gaussian_psfs(width.expand(-1, 2), size_px))
        elif name == "disk":
            made = disk(reach * (2.5 + 5 * one), size_px)
        elif name == "halo":
            made = halo(1 + 3 * one, reach * (8 + 7 * two), 0.15 + 0.4 * three, size_px)
        else:
            made = aberrated({name: 0.12 + 0.23 * one}, 2 * math.pi * two, cutoff[of], size_px)
        psfs[of] = made
    return psfs


def _blurred(psfs: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    size = psfs.shape[-1]
    wide = (2 * size, 2 * size)
    spectrum = torch.fft.rfft2(psfs, s=wide) * torch.fft.rfft2(kernels, s=wide)
    middle = slice(size // 2, size // 2 + size)
    return _normalised(torch.fft.irfft2(spectrum, s=wide)[:, middle, middle].clamp_min(0))


def _tent(place: torch.Tensor, size_px: int) -> torch.Tensor:
    """Linear weights (n, k, s) of points at positions (n, k) px from the middle, in their two pixels."""
    at = torch.arange(size_px, device=place.device) - size_px // 2
    return (1 - (at - place[..., None]).abs()).clamp_min(0)


def _normalised(psfs: torch.Tensor) -> torch.Tensor:
    return psfs / psfs.sum((-2, -1), keepdim=True)
