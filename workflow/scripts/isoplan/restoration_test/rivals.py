"""Other people's ways to restore a picture whose PSF is not known, to measure ours by.

The blind ones give one PSF for the whole picture, since that is what they are made for; it then restores
by the same Richardson-Lucy as every other PSF (as in the thesis, section 4.3).
"""

import importlib.util
import math

import numpy as np
import torch

from isoplan.base.errors import UserError
from isoplan.optics.blur_cells import good_size

BLIND_PSF_PX = 31  # the thesis' own limit for its rivals
# Of Fish et al. 1995: rounds, and Richardson-Lucy steps for the PSF and for the object in each.
BLIND_ROUNDS, BLIND_STEPS = 10, 5
# What the PSF starts from decides: from a flat one or a Gaussian of 4 or 6 px the result did more harm.
START_FWHM_PX = 2.0


def check_installed(methods) -> None:
    """Raises UserError where one of the methods needs a package that is not there."""
    if "deepinv-blind" in methods and importlib.util.find_spec("deepinv") is None:
        raise UserError(
            "restoration_tests: the method deepinv-blind needs deepinv, which is not installed; "
            "install envs/requirements-dev.txt, or leave the method out"
        )


def blind_psf(
    picture: torch.Tensor,
    *,
    size_px: int = BLIND_PSF_PX,
    rounds: int = BLIND_ROUNDS,
    steps: int = BLIND_STEPS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """PSF and object by blind Richardson-Lucy (Fish, Brinicombe, Pike, Walker 1995, JOSA A 12, 58).

    In every round, `steps` Richardson-Lucy steps for the PSF with the object held, and as many for the
    object with the PSF held; each raises the Poisson likelihood of the picture. The PSF starts as
    `start_psf`, the object as the picture, continued by its mirror image: it reaches size_px // 2 px
    beyond the picture, so that no border is made up.

    picture: (h, w) counts above the offset, any unit; below 0 counts as 0. size_px: odd, side of the
    PSF's support. Returns the PSF (size_px, size_px), sum 1, and the object (h + size_px - 1, ...).
    """
    y = picture.clamp(min=0)
    margin = size_px // 2
    x = torch.nn.functional.pad(y[None, None], (margin,) * 4, mode="reflect")[0, 0]
    dark = 1e-6 * float(y.mean()) + torch.finfo(y.dtype).tiny
    x = x.clamp(min=dark)
    h = start_psf(size_px).to(y)
    ones = torch.ones_like(y)
    for _ in range(rounds):
        # No step moves the other factor, so its transform is the same for all of them.
        of_object = _Factor(x, y.shape)
        seen = of_object.correlate(ones)
        for _ in range(steps):
            gain = of_object.correlate(y / of_object.blur(h).clamp(min=dark)) / seen
            h = (h * gain).clamp(min=0)
            h = h / h.sum()
        of_psf = _Factor(h, y.shape)
        weight = of_psf.correlate(ones).clamp(min=1e-3)
        for _ in range(steps):
            ratio = of_psf.correlate(y / of_psf.blur(x).clamp(min=dark)) / weight
            x = (x * ratio).clamp(min=dark)
    return h, x


def start_psf(size_px: int) -> torch.Tensor:
    """The PSF (size_px, size_px) of sum 1 that blind methods start from: a Gaussian of START_FWHM_PX."""
    at = torch.arange(size_px, dtype=torch.float64) - size_px // 2
    line = torch.exp(-4 * math.log(2) * (at / START_FWHM_PX) ** 2)
    return torch.outer(line, line) / line.sum() ** 2


class _Factor:
    """One factor of y = x * h, where the blur is whole; it takes the other one to y, and y back to it."""

    def __init__(self, values: torch.Tensor, shape):
        self.shape = shape
        # |y| = |x| - |h| + 1, whichever of the two is the larger.
        self.other = [
            n - m + 1 if n >= m else m + n - 1 for n, m in zip(values.shape, shape, strict=True)
        ]
        # As long as the larger one: what comes round falls where the blur is not whole.
        self.size = [good_size(max(n, k)) for n, k in zip(values.shape, self.other, strict=True)]
        self.first = [min(n, k) - 1 for n, k in zip(values.shape, self.other, strict=True)]
        self.spectrum = torch.fft.rfft2(values, s=self.size)

    def blur(self, other: torch.Tensor) -> torch.Tensor:
        """y (shape) of the other factor: the part of the convolution that is whole."""
        whole = torch.fft.irfft2(self.spectrum * torch.fft.rfft2(other, s=self.size), s=self.size)
        (top, left), (h, w) = self.first, self.shape
        return whole[top : top + h, left : left + w]

    def correlate(self, y: torch.Tensor) -> torch.Tensor:
        """The transpose of `blur`: the other factor's shape."""
        wide = y.new_zeros(self.size)
        (top, left), (h, w) = self.first, self.shape
        wide[top : top + h, left : left + w] = y
        back = torch.fft.irfft2(torch.fft.rfft2(wide) * self.spectrum.conj(), s=self.size)
        return back[: self.other[0], : self.other[1]]


def deepinv_psf(picture: torch.Tensor, *, size_px: int = BLIND_PSF_PX) -> torch.Tensor:
    """PSF (size_px, size_px) of sum 1 by deepinv's BlindRL, of the same start and as many steps.

    It takes one step for the PSF and one for the object in turn, and the picture as periodic.
    picture: (h, w) counts above the offset; scaled to a mean of 1, as its small constants expect.
    """
    from deepinv.optim import BlindRL  # seconds to import, and seldom wanted

    y = picture.clamp(min=0).float()
    y = (y / y.mean().clamp(min=1e-12)).clamp(min=1e-6)
    start = y[None, None], start_psf(size_px).to(y)[None, None]
    steps = BLIND_ROUNDS * BLIND_STEPS
    with torch.no_grad():
        _, psf = BlindRL(max_iter=steps, init=start, use_fft=True, eps=1e-8)(y[None, None])
    return psf[0, 0]


def wiener(picture: np.ndarray, psf: np.ndarray, *, seed: int) -> np.ndarray:
    """scikit-image's unsupervised Wiener-Hunt deconvolution (Orieux et al. 2010) with one PSF.

    picture: (h, w) of peak about 1; continued by its mirror image, as the method takes it for periodic.
    psf: (s, s). It samples at random: seed.
    """
    from skimage.restoration import unsupervised_wiener

    margin = min(psf.shape[0] // 2, min(picture.shape) - 1)
    wide = np.pad(picture.astype(np.float64), margin, mode="reflect")
    restored, _ = unsupervised_wiener(wide, psf.astype(np.float64), clip=False, rng=seed)
    return restored[margin : margin + picture.shape[0], margin : margin + picture.shape[1]]


def unsharp(picture: np.ndarray) -> np.ndarray:
    """scikit-image's unsharp mask with its default radius (1 px) and amount (1)."""
    from skimage.filters import unsharp_mask

    return unsharp_mask(picture.astype(np.float64), preserve_range=True)
