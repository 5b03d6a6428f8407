"""PSFs of one or two numbers that need no optics: a Gaussian, a disk, a motion."""

import math
from dataclasses import dataclass, replace

import torch

from isoplan.optics.gaussian import gaussian_psfs
from isoplan.optics.other_blurs import disk, motion

# What each kind's size is, and how many sizes a PSF spans.
KINDS = {"gaussian": 3.0, "disk": 2.0, "motion": 1.0}


@dataclass(frozen=True)
class PlainPsf:
    """A PSF by its kind and size.

    size_px: of a gaussian the full width at half maximum, of a disk the radius, of a motion the length.
    angle_deg: of a motion, from x towards y, in [0, 180). Written as in the config's `psf_shape`.

    >>> str(PlainPsf("motion", 6.5, 34)), PlainPsf.read("disk 4")
    ('motion 6.5 34', PlainPsf(kind='disk', size_px=4.0, angle_deg=0.0))
    """

    kind: str
    size_px: float
    angle_deg: float = 0.0

    @classmethod
    def read(cls, text: str) -> "PlainPsf":
        """Of the config's words, as in: motion 6.5 34. Raises ValueError where they are none."""
        kind, *numbers = text.split()
        size, *angle = (float(number) for number in numbers)
        if kind not in KINDS or not size > 0 or len(angle) != (kind == "motion"):
            raise ValueError(f"{text!r} is no PSF")
        return cls(kind, size, *(number % 180 for number in angle))

    def __str__(self) -> str:
        angle = f" {self.angle_deg:g}" if self.kind == "motion" else ""
        return f"{self.kind} {self.size_px:g}{angle}"

    @property
    def words(self) -> str:
        """For people."""
        if self.kind == "gaussian":
            return f"Gaussian of {self.size_px:g} px"
        if self.kind == "disk":
            return f"disk of radius {self.size_px:g} px"
        return f"motion of {self.size_px:g} px at {self.angle_deg:g} degrees"

    def fits(self, side: int) -> bool:
        """Whether a square of so many px holds it."""
        return KINDS[self.kind] * self.size_px <= side

    def resized(self, by: float) -> "PlainPsf":
        return replace(self, size_px=float(f"{self.size_px * by:.3g}"))

    def turned(self, degrees: float) -> "PlainPsf":
        return replace(self, angle_deg=round(self.angle_deg + degrees, 1) % 180)

    def psf(self, side: int) -> torch.Tensor:
        """(side, side) float32 of sum 1."""
        size = torch.tensor([float(self.size_px)])
        if self.kind == "gaussian":
            return gaussian_psfs(size[:, None].expand(-1, 2), side)[0]
        if self.kind == "disk":
            return disk(size, side)[0]
        return motion(size, torch.tensor([math.radians(self.angle_deg)]), side)[0]
