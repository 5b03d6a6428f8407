"""What the phases of a window tell of its PSF: with the right ones its edges come together, so it is sparser.

PSFs that explain a power spectrum equally well differ in the phases of their OTFs; mirror images differ in
nothing else. So a window is filtered as Wiener does, with the same modulus for all of them and the phases of
each. Gradients of pictures are sparse (Levin et al., ACM Trans. Graph. 26 (2007) 70). Were they independent,
with density exp(-|g / s|^p), the logarithm of the likelihood would be -N / p log mean |g|^p. Hence

    evidence = -weight * log sparsity,   sparsity = mean |g|^p / (mean g^2)^(p / 2).

In a picture whose gradients are normally distributed, phases tell nothing. So the weight is proportional to
how much sparser than that the window is.
"""

import math
from dataclasses import dataclass

import torch

# Noise-to-signal ratios of the filter, relative to that of the window, which counts as LEAST_NOISE at least.
RATIOS = (1.0, 3.0, 10.0)
LEAST_NOISE = 0.01
EXPONENT = 0.8
# Logarithm of the sparsity of normally distributed gradients.
NORMAL = EXPONENT / 2 * math.log(2) + math.lgamma((EXPONENT + 1) / 2) - math.log(math.pi) / 2
WEIGHT = 0.6  # of a pixel, and of a window that is sparser by 1
BORDER_PX = 16  # pixels at the edges do not count, as the filter continues the window periodically
STEPS, MOST_TRIED = 10, 15  # of the refinement, and evaluations


@dataclass(frozen=True)
class Phases:
    """The phases of n windows.

    Attributes
    ----------
    shape
        (height, width) of the windows.
    filtered
        (n, len(RATIOS), 2, height, width // 2 + 1): spectra of both gradients, filtered but for the phases of the OTF.
    """

    shape: tuple[int, int]
    filtered: torch.Tensor

    @classmethod
    def of(cls, windows: torch.Tensor, modulus: torch.Tensor, noise: torch.Tensor) -> "Phases":
        """Phases of windows.

        Parameters
        ----------
        windows
            (n, h, w).
        modulus
            (n, h, w // 2 + 1) of the OTFs at the windows' frequencies, nearly the same for all PSFs.
        noise
            (n,) variance of the noise of a pixel.
        """
        shape = windows.shape[1:]
        y = torch.fft.fftfreq(shape[0], device=windows.device)[:, None]
        x = torch.fft.rfftfreq(shape[1], device=windows.device)
        ratio = (noise / windows.var((1, 2)).clamp_min(1e-30)).clamp_min(LEAST_NOISE)
        # Scenes have the spectrum 1 / f^2, scaled to the window's variance.
        prior = 5 * ratio[:, None, None] * (y.square() + x.square())
        spectrum = torch.fft.rfft2(windows - windows.mean((1, 2), keepdim=True))
        slopes = [1 - torch.polar(torch.ones_like(f), -2 * torch.pi * f) for f in (x, y)]
        gradients = torch.stack([spectrum * slope for slope in slopes], 1)
        passed = modulus.square()
        filters = [modulus / (passed + times * prior) for times in RATIOS]
        return cls(shape, torch.stack([gradients * one[:, None] for one in filters], 1))

    def __getitem__(self, some) -> "Phases":
        return Phases(self.shape, self.filtered[some])

    def log_sparsity(self, otf: torch.Tensor, ratios: slice = slice(None)) -> torch.Tensor:
        """log sparsity (n, R, ratios) with the phases of OTFs (n, R, h, w // 2 + 1); ratios: which of RATIOS."""
        unit = otf.conj() / (otf.abs() + 1e-6)
        inner = slice(BORDER_PX, -BORDER_PX)
        found = []
        for filtered in self.filtered[:, ratios].unbind(1):
            weighed = filtered[:, None] * unit[:, :, None]
            square = torch.fft.irfft2(weighed, s=self.shape)[..., inner, inner].square()
            strength = square.mean((2, 3, 4)).clamp_min(1e-30)
            share = (square + 1e-30).pow(EXPONENT / 2).mean((2, 3, 4))
            found.append(share.log() - EXPONENT / 2 * strength.log())
        return torch.stack(found, 2)

    def weight(self, sparsity: torch.Tensor) -> torch.Tensor:
        """What a unit of log sparsity (n, ...) counts in each window, (n,)."""
        beyond = (NORMAL - sparsity.flatten(1).amin(1)).clamp_min(0)
        return WEIGHT * self.shape[0] * self.shape[1] * beyond

    def refined(self, theta: torch.Tensor, weight, precision, otf_of) -> torch.Tensor:
        """Modes (n, K) that make windows sparser, and are not far from given ones (L-BFGS).

        weight: (n,), from `weight`. precision: (n, K, K) with which the power spectra tell the given modes.
        otf_of: makes OTFs (1, 1, h, w // 2 + 1) of modes (1, 1, K), for window k: otf_of(k, modes).
        """
        done = theta.clone()
        for k in (weight > 0).nonzero()[:, 0].tolist():

            def cost(modes, k=k, one=self[k : k + 1]):
                sparsity = one.log_sparsity(otf_of(k, modes[None, None])).mean()
                change = modes - theta[k]
                return weight[k] * sparsity + change @ precision[k] @ change / 2

            done[k] = _minimised(cost, theta[k])
        return done


def _minimised(cost, start: torch.Tensor) -> torch.Tensor:
    """Where a cost of (K,) is smaller than at the start."""
    place = start.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [place], max_iter=STEPS, max_eval=MOST_TRIED, history_size=8, line_search_fn="strong_wolfe"
    )

    def evaluate():
        search.zero_grad()
        # Scaled, as the first step is as long as the gradient.
        found = cost(place) / 100
        found.backward()
        return found.detach()

    with torch.enable_grad():
        search.step(evaluate)
    return torch.where(place.isfinite().all(), place.detach(), start)
