"""Tells a PSF from its mirror image, which has the same power spectrum: the sharper picture is the sparser one.

The window is deconvolved (Wiener's filter) with the PSF and with its mirror image. The phases of the right
one bring edges together, so that the gradients are sparser: mean |gradient|^EXPONENT, relative to their
strength, is smaller. Sparsity of gradients after Levin et al., ACM Trans. Graph. 26 (2007) 70.
"""

import torch

# Noise-to-signal ratios of the filter, relative to that of the window; strong regularisation tells best, even
# where there is less noise than LEAST_NOISE of the window's variance.
RATIOS = (3.0, 10.0, 30.0)
LEAST_NOISE = 0.01
EXPONENT = 0.8
BORDER_PX = 16  # pixels at the edges do not count, as the filter continues the window periodically
SCALE = 0.03  # of differences between the logarithms


@torch.no_grad()
def mirror_evidence(windows: torch.Tensor, otf: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """How much sparser windows become with their PSF than with its mirror image.

    Parameters
    ----------
    windows
        (n, h, w).
    otf
        (n, h, w // 2 + 1) OTFs of the PSFs at the windows' frequencies.
    noise
        (n,) variance of the noise of a pixel.

    Returns
    -------
    torch.Tensor
        (n, len(RATIOS)): differences of log sparsity over SCALE, positive if the PSF is likelier.
    """
    shape = windows.shape[1:]
    y = torch.fft.fftfreq(shape[0], device=windows.device)[:, None]
    x = torch.fft.rfftfreq(shape[1], device=windows.device)
    squared = y.square() + x.square()
    slopes = [1 - torch.polar(torch.ones_like(f), -2 * torch.pi * f) for f in (x, y)]
    spectrum = torch.fft.rfft2(windows - windows.mean((1, 2), keepdim=True))
    ratio = (noise / windows.var((1, 2)).clamp_min(1e-30)).clamp_min(LEAST_NOISE)
    passed = otf.abs().square()
    found = []
    for times in RATIOS:
        # Scenes have the spectrum 1 / f^2, scaled to the window's variance.
        weighed = spectrum / (passed + (5 * times) * ratio[:, None, None] * squared)
        one, other = (
            _log_sparsity(weighed * filtered, slopes, shape) for filtered in (otf.conj(), otf)
        )
        found.append((other - one) / SCALE)
    return torch.stack(found, 1)


def _log_sparsity(spectrum, slopes, shape) -> torch.Tensor:
    """log (mean |gradient|^EXPONENT / (mean gradient^2)^(EXPONENT / 2)), (n,)."""
    inner = slice(BORDER_PX, -BORDER_PX)
    gradient = torch.stack([torch.fft.irfft2(spectrum * slope, s=shape) for slope in slopes], 1)
    square = gradient[..., inner, inner].square()
    strength = square.mean((1, 2, 3)).clamp_min(1e-30)
    share = (square ** (EXPONENT / 2)).mean((1, 2, 3)).clamp_min(1e-30 ** (EXPONENT / 2))
    return share.log() - EXPONENT / 2 * strength.log()
