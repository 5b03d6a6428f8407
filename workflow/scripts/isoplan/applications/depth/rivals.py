"""Is a picture of the calibrated microscope? Its own windows are asked which optics explain them best.

Each of a picture's windows has an evidence for optics: how well they explain it at any distance. That of the calibrated optics is compared
with that of rivals. The mean difference over windows and its standard error need no threshold that depends on the scene.
Softness has no rival, as a scene's own counts as the optics'.
"""

import math
from dataclasses import dataclass, replace

import torch

from isoplan.networks.defocus_fit import DefocusFit
from isoplan.networks.spectrum_fit import SHARPNESS
from isoplan.optics.defocus import Defocus

NODES = 1.0  # distances per depth of field
LEAST = 12  # windows
SURE = 3.0  # standard errors by which a rival must be ahead
SHARES = (0.7, 1.4)  # of the cylinder
TURN_RAD, SPHERICAL_WAVES = 0.3, 0.05


@dataclass(frozen=True)
class Doubt:
    """Optics that explain a picture better than those it was measured with.

    Attributes
    ----------
    words
        What they have that the calibration has not.
    foreign
        They do not tell the sides of focus apart, or as others: the picture's heights mean nothing.
    """

    words: str
    foreign: bool


def rivals(optics: Defocus) -> dict[Doubt, Defocus]:
    """Optics that differ by more than a calibration errs.

    Examples
    --------
    >>> found = rivals(Defocus(0.3, 0.48, 0.32, cylinder_waves=0.3))
    >>> [doubt.words for doubt in found if doubt.foreign]
    ['no astigmatism', 'astigmatism along another axis']
    """
    cylinder, axis, spherical = optics.cylinder_waves, optics.axis_rad, optics.spherical_waves
    found = {
        Doubt("no astigmatism", True): {"cylinder_waves": 0.0},
        Doubt("astigmatism along another axis", True): {"axis_rad": axis + math.pi / 4},
    }
    for share in SHARES:
        words = f"astigmatism of about {share * cylinder:.2g} waves, not {cylinder:.2g}"
        found[Doubt(words, False)] = {"cylinder_waves": share * cylinder}
    for sign in (-1, 1):
        turned, other = axis + sign * TURN_RAD, spherical + sign * SPHERICAL_WAVES
        words = f"astigmatism turned by about {math.degrees(sign * TURN_RAD):.0f} degrees"
        found[Doubt(words, False)] = {"axis_rad": turned}
        words = f"spherical aberration of about {other:.2f} waves, not {spherical:.2f}"
        found[Doubt(words, False)] = {"spherical_waves": other}
    return {doubt: replace(optics, **change) for doubt, change in found.items()}


def doubt(spectra: torch.Tensor, optics: Defocus, reach_um: float, binning: int) -> Doubt | None:
    """The best of the rivals that explain a picture's windows better than its optics; None if none does.

    Parameters
    ----------
    spectra
        (n, F) of windows all over the picture, of `defocus_fit.spectra_of`.
    optics
        That the picture is measured with.
    reach_um
        Distances that are tried, on both sides of focus.
    binning
        Of the spectra.
    """
    if len(spectra) < LEAST:
        return None
    own = _evidence(spectra, optics, reach_um, binning)
    best, ahead = None, 0.0
    for rival, other in rivals(optics).items():
        apart = _evidence(spectra, other, reach_um, binning) - own
        mean, error = float(apart.mean()), float(apart.std()) / math.sqrt(len(apart))
        if mean > max(ahead, SURE * error):
            best, ahead = rival, mean
    return best


def _evidence(spectra, optics: Defocus, reach_um: float, binning: int) -> torch.Tensor:
    """(n,) in units of the logarithm of a misfit."""
    fit = DefocusFit(optics, reach_um, binning, optics.depth_of_field_um / NODES)
    told = fit.log_posterior(spectra, fit.unknown)
    return torch.logsumexp(told, 1) / SHARPNESS
