"""Gaussian PSFs, isotropic and anisotropic (thesis, eq. 2.8); widths are full widths at half maximum.

In our form the Gaussian is integrated over each pixel, as a camera does, and both widths of `gaussian-2`
are drawn independently. The published form samples the Gaussian at the pixels' centres, and draws widths
from a mixture.
"""

import math

import torch

from isoplan.optics.model import Parameter, PsfModel, read_range

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
PUBLISHED_WIDTH_PX = (0.0, 20.0)


class Gaussian(PsfModel):
    """`gaussian-1` (width) or `gaussian-2` (width_y, width_x), in px."""

    def __init__(self, spec: dict):
        super().__init__(spec)
        low, high = PUBLISHED_WIDTH_PX if self.published else read_range(spec, "width_px")
        names = ["width"] if spec["model"] == "gaussian-1" else ["width_y", "width_x"]
        self.parameters = tuple(Parameter(name, "px", low, high) for name in names)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        if not self.published or len(self.parameters) == 1:
            return super().sample(n, generator)
        return _published_pairs(n, generator)

    def _crop(self, params, cutoff) -> tuple[torch.Tensor, torch.Tensor]:
        line = _line(params, self.size_px)
        kept = line.sum(-1)
        if self.published:
            sigma = (params / FWHM_PER_SIGMA).clamp_min(1e-3)[..., None]
            at = torch.arange(self.size_px, device=params.device, dtype=params.dtype)
            line = torch.exp(-0.5 * ((at - self.size_px // 2) / sigma) ** 2)
        # (n, P, size): an isotropic Gaussian uses the same line in both directions.
        y, x = line[:, 0], line[:, -1]
        lost = (1 - kept[:, 0] * kept[:, -1]).clamp_min(0)
        return y[:, :, None] * x[:, None, :], lost


def gaussian_psfs(widths_px: torch.Tensor, size_px: int) -> torch.Tensor:
    """Gaussian PSFs (n, size_px, size_px) of sum 1, integrated over the pixels.

    widths_px: (n, 2) full widths at half maximum along y and x.

    Examples
    --------
    >>> psf = gaussian_psfs(torch.tensor([[3.0, 3.0]]), 15)
    >>> psf.shape, round(float(psf.sum()), 3)
    (torch.Size([1, 15, 15]), 1.0)
    """
    lines = _line(widths_px, size_px)
    psfs = lines[:, 0, :, None] * lines[:, 1, None, :]
    return psfs / psfs.sum((-2, -1), keepdim=True)


def _line(widths_px: torch.Tensor, size_px: int) -> torch.Tensor:
    """One-dimensional Gaussians (..., size_px) of widths (...), integrated over the pixels."""
    sigma = (widths_px / FWHM_PER_SIGMA).clamp_min(1e-3)[..., None]  # width 0 is a single pixel
    at = torch.arange(size_px, device=widths_px.device, dtype=widths_px.dtype) - size_px // 2
    return torch.special.ndtr((at + 0.5) / sigma) - torch.special.ndtr((at - 0.5) / sigma)


def _published_pairs(n: int, generator: torch.Generator) -> torch.Tensor:
    """(n, 2) widths: a third each is narrow in x, narrow in y, and isotropic."""
    device = generator.device
    narrow, wide, both = torch.rand(3, n, generator=generator, device=device)
    narrow, wide, both = 2 * narrow, 5 + 15 * wide, 20 * both
    kind = torch.randint(3, (n,), generator=generator, device=device)
    y = torch.where(kind == 0, wide, torch.where(kind == 1, narrow, both))
    x = torch.where(kind == 0, narrow, torch.where(kind == 1, wide, both))
    return torch.stack([y, x], 1)
