"""Other methods to restore a picture whose PSF is unknown, for comparison.

Blind methods estimate one PSF for the whole picture, as they are made for this. The picture is then restored by the
same Richardson-Lucy as with any other PSF (thesis, section 4.3).
"""

import importlib.util
import math

import numpy as np
import torch

from isoplan.base.errors import UserError
from isoplan.optics.blur_cells import good_size

BLIND_PSF_PX = 31  # the limit in the thesis
# Numbers of rounds, and of Richardson-Lucy steps for the PSF and for the object in each (Fish et al. 1995).
BLIND_ROUNDS, BLIND_STEPS = 10, 5
# The result depends on the initial PSF: a flat one, or a Gaussian of 4 or 6 px, did more harm.
START_FWHM_PX = 2.0


def check_installed(methods) -> None:
    """Raise UserError if one of the methods needs a package that is not installed."""
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
    """Blind Richardson-Lucy (Fish, Brinicombe, Pike, Walker 1995, JOSA A 12, 58).

    Every round has Richardson-Lucy steps for the PSF with a constant object, and as many for the object with a
    constant PSF. Each step increases the Poisson likelihood of the picture. The PSF starts from `start_psf`, and the
    object from the picture and its mirror image: it extends beyond the picture by size_px // 2 px, so that no border
    is invented.

    Parameters
    ----------
    picture
        (h, w) counts above the offset, in any unit. Negative values count as 0.
    size_px
        Side of the PSF, odd.
    rounds
        Number of rounds.
    steps
        Number of steps for each factor in a round.

    Returns
    -------
    psf
        (size_px, size_px), of sum 1.
    object
        (h + size_px - 1, w + size_px - 1).

    Examples
    --------
    >>> picture = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    >>> psf, restored = blind_psf(picture, size_px=15, rounds=2)
    >>> psf.shape, round(float(psf.sum()), 3), restored.shape
    (torch.Size([15, 15]), 1.0, torch.Size([78, 78]))
    """
    y = picture.clamp(min=0)
    margin = size_px // 2
    x = torch.nn.functional.pad(y[None, None], (margin,) * 4, mode="reflect")[0, 0]
    dark = 1e-6 * float(y.mean()) + torch.finfo(y.dtype).tiny
    x = x.clamp(min=dark)
    h = start_psf(size_px).to(y)
    ones = torch.ones_like(y)
    for _ in range(rounds):
        # The other factor is constant, so it is transformed only once.
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
    """The initial PSF (size_px, size_px) of blind methods: a Gaussian of START_FWHM_PX, of sum 1."""
    at = torch.arange(size_px, dtype=torch.float64) - size_px // 2
    line = torch.exp(-4 * math.log(2) * (at / START_FWHM_PX) ** 2)
    return torch.outer(line, line) / line.sum() ** 2


class _Factor:
    """One factor of y = x * h, the complete part of a convolution, as a linear operator on the other factor."""

    def __init__(self, values: torch.Tensor, shape):
        self.shape = shape
        # Lengths satisfy y = x - h + 1; this factor may be x or h.
        self.other = [
            n - m + 1 if n >= m else m + n - 1 for n, m in zip(values.shape, shape, strict=True)
        ]
        # As long as the larger one: what wraps around is outside the complete part.
        self.size = [good_size(max(n, k)) for n, k in zip(values.shape, self.other, strict=True)]
        self.first = [min(n, k) - 1 for n, k in zip(values.shape, self.other, strict=True)]
        self.spectrum = torch.fft.rfft2(values, s=self.size)

    def blur(self, other: torch.Tensor) -> torch.Tensor:
        """The complete part y of the convolution with the other factor."""
        whole = torch.fft.irfft2(self.spectrum * torch.fft.rfft2(other, s=self.size), s=self.size)
        (top, left), (h, w) = self.first, self.shape
        return whole[top : top + h, left : left + w]

    def correlate(self, y: torch.Tensor) -> torch.Tensor:
        """The transpose of `blur`, with the shape of the other factor."""
        wide = y.new_zeros(self.size)
        (top, left), (h, w) = self.first, self.shape
        wide[top : top + h, left : left + w] = y
        back = torch.fft.irfft2(torch.fft.rfft2(wide) * self.spectrum.conj(), s=self.size)
        return back[: self.other[0], : self.other[1]]


def deepinv_psf(picture: torch.Tensor, *, size_px: int = BLIND_PSF_PX) -> torch.Tensor:
    """Blind Richardson-Lucy of deepinv (BlindRL), with the same initial PSF and as many steps as `blind_psf`.

    It alternates steps for the PSF and for the object, and treats the picture as periodic.

    Parameters
    ----------
    picture
        (h, w) counts above the offset. It is scaled to a mean of 1, as deepinv's constants expect.
    size_px
        Side of the PSF, odd.

    Returns
    -------
    torch.Tensor
        The PSF (size_px, size_px), of sum 1.
    """
    from deepinv.optim import BlindRL  # takes seconds to import, and is rarely needed

    y = picture.clamp(min=0).float()
    y = (y / y.mean().clamp(min=1e-12)).clamp(min=1e-6)
    start = y[None, None], start_psf(size_px).to(y)[None, None]
    steps = BLIND_ROUNDS * BLIND_STEPS
    with torch.no_grad():
        _, psf = BlindRL(max_iter=steps, init=start, use_fft=True, eps=1e-8)(y[None, None])
    return psf[0, 0]


def wiener(picture: np.ndarray, psf: np.ndarray, *, seed: int) -> np.ndarray:
    """Unsupervised Wiener-Hunt deconvolution of scikit-image (Orieux et al. 2010) with one PSF.

    Parameters
    ----------
    picture
        (h, w) with a peak of about 1. It is extended by its mirror image, as the method treats it as periodic.
    psf
        (s, s).
    seed
        Seed of the method's random samples.
    """
    from skimage.restoration import unsupervised_wiener

    margin = min(psf.shape[0] // 2, min(picture.shape) - 1)
    wide = np.pad(picture.astype(np.float64), margin, mode="reflect")
    restored, _ = unsupervised_wiener(wide, psf.astype(np.float64), clip=False, rng=seed)
    return restored[margin : margin + picture.shape[0], margin : margin + picture.shape[1]]


def unsharp(picture: np.ndarray) -> np.ndarray:
    """Unsharp mask of scikit-image with its default radius (1 px) and amount (1)."""
    from skimage.filters import unsharp_mask

    return unsharp_mask(picture.astype(np.float64), preserve_range=True)
