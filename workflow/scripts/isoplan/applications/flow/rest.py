"""Does a specimen at rest explain a picture better than motion? Its own windows are asked.

Each window has an evidence for motion, and one for a specimen at rest at any distance, seen through optics other than those given. What is at
rest has the same optics everywhere, and fewer ways to look. So where one of a few such optics is ahead in most windows, it counts.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import torch

from isoplan.mosaic import tiles
from isoplan.networks.motion_fit import MotionFit
from isoplan.optics.defocus import Defocus

ASKED = 64  # windows
LEAST = 12  # of them must have texture
# Mean by which rest must be ahead in the logarithm of the evidence, and in its standard errors.
AHEAD, SURE = 0.5, 3.0
# A little softness is assumed while spherical aberration is looked for.
SOFTNESS_PX, LITTLE_PX = (0.0, 0.5, 1.0, 2.0, 3.0), 0.5
SPHERICAL_WAVES = (0.0, 0.05, 0.1, 0.2)
NA_SHARES = (0.7, 0.85)
# Astigmatism is looked for along the motion that explains most windows, where it would be taken for that out of focus, and between that and what is across, in focus; then
# more finely, in steps of waves and radians.
CYLINDER_WAVES = (0.05, 0.1, 0.15, 0.2, 0.3)
FINER = ((0.025, 0.2), (0.012, 0.1))


def apertures(optics: Defocus) -> Iterator[tuple[str, Defocus]]:
    """Narrower apertures that a picture may have been taken with, in words, too.

    Examples
    --------
    >>> [words for words, _ in apertures(Defocus(0.3, 0.48, 0.32))]
    ['an aperture of about 0.21', 'an aperture of about 0.26']
    """
    for share in NA_SHARES:
        yield f"an aperture of about {share * optics.na:.2g}", replace(optics, na=share * optics.na)


def soft_or_spherical(spectra: torch.Tensor, fit: MotionFit) -> tuple[str, Defocus]:
    """The softness and spherical aberration with which a specimen at rest explains windows of spectra (n, F) best, in words, too."""
    size = fit.binning * fit.optics.pixel_size_um

    def told(px: float, waves: float) -> float:
        return float(fit.evidence_at_rest(spectra, seen_with(px, waves)).mean())

    def seen_with(px: float, waves: float) -> Defocus:
        return replace(fit.optics, softness_um=px * size, spherical_waves=waves)

    waves = max(SPHERICAL_WAVES, key=lambda waves: told(LITTLE_PX, waves))
    px = max(SOFTNESS_PX if waves else SOFTNESS_PX[1:], key=lambda px: told(px, waves))
    soft = [f"a softness of about {px * size:.2g} um"] if px else []
    aberrated = [f"spherical aberration of about {waves:g} waves"] if waves else []
    return " and ".join(soft + aberrated), seen_with(px, waves)


def astigmatic(spectra: torch.Tensor, fit: MotionFit, along_rad: float) -> tuple[str, Defocus]:
    """The astigmatism with which a specimen at rest explains windows of spectra (n, F) best, in words, too; along_rad: a motion's direction."""

    def told(at: tuple[float, float]) -> float:
        return float(fit.evidence_at_rest(spectra, cylinder(at)).mean())

    def cylinder(at: tuple[float, float]) -> Defocus:
        return replace(fit.optics, cylinder_waves=at[0], axis_rad=at[1])

    axes = along_rad, along_rad + math.pi / 4
    known = {at: told(at) for at in product(CYLINDER_WAVES, axes)}
    for waves, turn in FINER:
        best = max(known, key=lambda at: known[at])
        near = [
            (best[0] + a * waves, best[1] + b * turn) for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))
        ]
        known |= {at: told(at) for at in near}
    best = max(known, key=lambda at: known[at])
    return f"astigmatism of about {best[0]:.2g} waves", cylinder(best)


def doubt(spectra: torch.Tensor, fit: MotionFit) -> str:
    """What explains a picture's windows better than motion, in words; nothing if nothing does.

    Parameters
    ----------
    spectra
        (n, F) of windows all over the picture.
    fit
        That its motion is found with.
    """
    if len(spectra) < LEAST:
        return ""
    found = fit.posterior(spectra)
    # All windows may move alike, as in a picture of a shaken specimen.
    common = int(found.likely.sum(0).argmax())
    moves = torch.maximum(found.evidence, found.likely[:, common])
    y, x = found.motion.lateral_px[common].tolist()
    best, ahead = "", AHEAD
    some = spectra[tiles.spread(len(spectra), LEAST)]
    for words, optics in (
        *apertures(fit.optics),
        soft_or_spherical(some, fit),
        astigmatic(some, fit, math.atan2(y, x)),
    ):
        apart = fit.evidence_at_rest(spectra, optics) - moves
        mean, error = float(apart.mean()), float(apart.std()) / math.sqrt(len(apart))
        if mean > max(ahead, SURE * error):
            best, ahead = words, mean
    return best
