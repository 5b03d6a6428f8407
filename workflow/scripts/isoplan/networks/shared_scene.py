"""How well optics explain several pictures of one scene, taken at known distances from one another.

    log S_k(f) = log(A(f) |OTF(f; z_k)|^2 + N)

S_k is Welch's estimate of the power spectrum of picture k, A that of the scene. A is fitted in every bin of the spectrum, so nothing is
assumed of scenes: what all pictures share, as a specimen's softness, does not matter. The model is linear in A, so the spectra of windows at one
distance may be summed before.

This is depth from defocus (Pentland, IEEE Trans. Pattern Anal. Mach. Intell. 9, 1987) with the power spectra of
`optics.defocus`, for any number of pictures.
"""

import math

import torch

from isoplan.networks.defocus_fit import nodes_at, seen
from isoplan.optics.defocus import Defocus

LAW = 1  # of `spectrum_fit.SLOPES`: only leakage depends on it
NODES = 4.0  # distances per depth of field
# That are tried, of the weakest bins' power. Where nothing else is seen those scatter below the noise: too little of it would be taken for a
# scene so far from focus that all pictures show the same.
NOISES = (1.7, 1.3, 1.0, 0.3)
WEAK = 0.05  # share of the bins that count as weakest
ROUNDS = 3  # of the fit of A: near the best position, further ones change the logarithm of the likelihood by less than .2
LEAST = 1e-7  # of a bin's highest power: what no distance shows
AT_ONCE = 64  # positions of focus, which bounds memory


class SharedScene:
    """The comparison for given optics.

    Parameters
    ----------
    optics
        The microscope.
    reach_um
        Distances lie from -reach_um to reach_um.
    binning
        Pixels taken together along each axis.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    >>> fit = SharedScene(optics, reach_um=12, binning=2)
    >>> near, far = fit.table[len(fit.z_um) // 2], fit.table[0]
    >>> spectra = torch.stack([far, near]) + 1e-6
    >>> found = fit.misfit(spectra, torch.tensor([-12.0, 0.0]), torch.tensor([-1.0, 0.0, 1.0]))
    >>> found.argmin().item()
    1
    """

    def __init__(self, optics: Defocus, reach_um: float, binning: int = 1):
        self.optics, self.binning = optics, binning
        step = optics.depth_of_field_um / NODES
        half = max(1, math.ceil(reach_um / step - 1e-9))
        self.z_um = torch.arange(-half, half + 1) * step
        table = seen(optics, self.z_um, binning)[LAW]
        self.table = (table / table.amax(0)).clamp_min(LEAST)

    def at(self, z_um: torch.Tensor) -> torch.Tensor:
        """(..., F) powers at distances (...), as shares of the highest in each bin."""
        low, share = nodes_at(self.z_um, z_um)
        return torch.lerp(self.table[low], self.table[low + 1], share[..., None])

    def misfit(
        self, spectra: torch.Tensor, z_um: torch.Tensor, focus_um: torch.Tensor
    ) -> torch.Tensor:
        """Mean squared residuals (n,) of the logarithms.

        Parameters
        ----------
        spectra
            (M, F), in units in which all pictures are as bright.
        z_um
            (M,) positions at which they were taken.
        focus_um
            (n,) positions of focus that are tried.
        """
        noise = spectra.quantile(WEAK, dim=1).min()
        found = []
        for some in focus_um.split(AT_ONCE):
            share = self.at(z_um[:, None] - some)
            levels = [_misfit(spectra[:, None], share, noise * level) for level in NOISES]
            found.append(torch.stack(levels).amin(0))
        return torch.cat(found).clamp_min(1e-6)


def _misfit(spectra: torch.Tensor, share: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """(n,) from spectra (M, 1, F) and shares (M, n, F); the scene is fitted by Gauss and Newton's method in its logarithm."""
    y = spectra.log()
    scene = ((spectra - noise).clamp_min(0) * share).sum(0) / share.square().sum(0)
    scene = scene.clamp_min(float(noise) * 1e-3)
    # In place, as the arrays are larger than a cache.
    for _ in range(ROUNDS):
        signal = scene * share
        power = signal + noise
        slope = signal.div_(power)
        along = power.log_().neg_().add_(y).mul_(slope).sum(0)
        scene *= (along / slope.square_().sum(0).clamp_min_(1e-9)).clamp_(-1, 1).exp_()
    left = (scene * share).add_(noise).log_().neg_().add_(y)
    return left.square_().mean((0, 2))
