"""A second exposure of a picture: noise that a network took for structure is not in it again."""

from dataclasses import dataclass

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic.window import Picture
from isoplan.registration import APART_PX, register, shifted


@dataclass(frozen=True)
class Match:
    """How a second exposure lies to the first.

    Attributes
    ----------
    shift : tuple of int
        Pixel (y, x) of the first shows what the second shows at (y + shift[0], x + shift[1]).
    brightness : float
        Light of the second, as a multiple of the first's.
    """

    shift: tuple[int, int]
    brightness: float


@dataclass(frozen=True)
class Second:
    """The second exposure, and how it lies to the first."""

    picture: Picture
    match: Match

    def read(self, window: tuple[slice, slice]) -> np.ndarray:
        """A window of the first: (h, w) float32, NaN where the second does not reach."""
        return shifted(self.picture, window, self.match.shift)


def matched(picture: Picture, second: Picture, means: tuple[float, float]) -> tuple[Match, str]:
    """Register a second exposure, to whole pixels, so that its noise stays as it is.

    Parameters
    ----------
    picture, second : Picture
        Both exposures.
    means : tuple of float
        Mean counts of either over the offset.

    Returns
    -------
    tuple
        The match, and what is to be said of it.

    Raises
    ------
    UserError
        If it is of another field, turned, warped, of another size or the picture itself, or has no light.
    """
    if picture.shape != second.shape:
        sizes = " and ".join(f"{h} x {w} px" for h, w in (picture.shape, second.shape))
        raise UserError(f"{second.path}: the second exposure has another size ({sizes})")
    if min(means) <= 0:
        raise UserError(f"{second.path}: an exposure has no light over the offset; give the offset")
    try:
        found = register(picture, second)
    except UserError as problem:
        words = str(problem).replace("the reference", "the second exposure")
        raise UserError(f"{second.path}: {words}") from problem.__cause__
    if found.apart_px > APART_PX:
        raise UserError(f"{second.path}: is turned, scaled or warped against the picture")
    y, x = (round(s) for s in found.shift)
    told = f"the second exposure lies {found.shift[0]:+.2f}, {found.shift[1]:+.2f} px (y, x) away"
    brightness = means[1] / means[0]
    return Match((y, x), brightness), f"{told} and has {brightness:.3g} of the light"
