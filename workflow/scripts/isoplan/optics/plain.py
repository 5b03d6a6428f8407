"""Simple PSFs with one or two parameters that need no optics: Gaussian, disk, motion, peak with wings."""

import math
from dataclasses import dataclass, replace

import torch

from isoplan.optics.gaussian import gaussian_psfs
from isoplan.optics.other_blurs import disk, moffat, motion

# The kinds, each with the number of its sizes that a PSF spans.
KINDS = {"gaussian": 3.0, "disk": 2.0, "motion": 1.0, "moffat": 4.0}


@dataclass(frozen=True)
class PlainPsf:
    """A PSF by its kind and size, written as in the config's `psf_shape`.

    Attributes
    ----------
    kind
        "gaussian", "disk", "motion" or "moffat".
    size_px
        Full width at half maximum of a gaussian or a moffat, radius of a disk, length of a motion.
    angle_deg
        Angle of a motion, from x towards y, in [0, 180).
    exponent
        Exponent of a moffat, at least 1; the smaller it is, the more light lies in the wings.

    Examples
    --------
    >>> str(PlainPsf("motion", 6.5, 34)), PlainPsf.read("disk 4")
    ('motion 6.5 34', PlainPsf(kind='disk', size_px=4.0, angle_deg=0.0, exponent=0.0))
    """

    kind: str
    size_px: float
    angle_deg: float = 0.0
    exponent: float = 0.0

    @classmethod
    def read(cls, text: str) -> "PlainPsf":
        """Parse a PSF of the config, such as: motion 6.5 34. Raises ValueError if it is not a PSF."""
        kind, *numbers = text.split()
        size, *more = (float(number) for number in numbers)
        if kind not in KINDS or not size > 0 or len(more) != (kind in ("motion", "moffat")):
            raise ValueError(f"{text!r} is not a PSF")
        if kind == "moffat":
            if not more[0] >= 1:
                raise ValueError(f"{text!r}: the exponent of a moffat must be at least 1")
            return cls(kind, size, exponent=more[0])
        return cls(kind, size, *(number % 180 for number in more))

    def __str__(self) -> str:
        more = {"motion": f" {self.angle_deg:g}", "moffat": f" {self.exponent:g}"}
        return f"{self.kind} {self.size_px:g}{more.get(self.kind, '')}"

    @property
    def words(self) -> str:
        """A description for users."""
        if self.kind == "gaussian":
            return f"Gaussian of {self.size_px:g} px"
        if self.kind == "disk":
            return f"disk of radius {self.size_px:g} px"
        if self.kind == "moffat":
            return f"peak of {self.size_px:g} px with wings (Moffat, exponent {self.exponent:g})"
        return f"motion of {self.size_px:g} px at {self.angle_deg:g} degrees"

    def fits(self, side: int) -> bool:
        """Whether the PSF fits into a square of this side in px."""
        return KINDS[self.kind] * self.size_px <= side

    def resized(self, by: float) -> "PlainPsf":
        """The PSF with its size multiplied by a factor."""
        return replace(self, size_px=float(f"{self.size_px * by:.3g}"))

    def turned(self, degrees: float) -> "PlainPsf":
        """The PSF of a motion, rotated by an angle in degrees."""
        return replace(self, angle_deg=round(self.angle_deg + degrees, 1) % 180)

    def winged(self, by: float) -> "PlainPsf":
        """The PSF with its exponent's distance from 1 (all light in the wings) scaled by a factor."""
        return replace(self, exponent=float(f"{1 + (self.exponent - 1) * by:.3g}"))

    def psf(self, side: int) -> torch.Tensor:
        """(side, side) float32 of sum 1."""
        size = torch.tensor([float(self.size_px)])
        if self.kind == "gaussian":
            return gaussian_psfs(size[:, None].expand(-1, 2), side)[0]
        if self.kind == "disk":
            return disk(size, side)[0]
        if self.kind == "moffat":
            return moffat(size, torch.tensor([float(self.exponent)]), side)[0]
        return motion(size, torch.tensor([math.radians(self.angle_deg)]), side)[0]
