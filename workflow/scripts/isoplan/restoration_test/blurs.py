"""Blurs by name for restoration tests, some of which the network was made for.

Each is a field of PSFs of SIZE_PX: a single one, or several with gradual transitions along the picture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from isoplan.config.schema import choices
from isoplan.optics import other_blurs
from isoplan.optics.gaussian import gaussian_psfs

SIZE_PX = 63
CUTOFF = 0.25  # cycles/px, of aberrations


@dataclass(frozen=True)
class Blur:
    """A blur.

    Attributes
    ----------
    title
        The blur in words.
    psfs
        Makes its PSFs (ny, nx, s, s).
    """

    title: str
    psfs: Callable[[], torch.Tensor]


def _gaussian(*widths: tuple[float, float]) -> Callable[[], torch.Tensor]:
    """Gaussians along x with these widths (width_y, width_x) in px."""
    return lambda: gaussian_psfs(torch.tensor(widths), SIZE_PX)[None]


def _one(make: Callable[..., torch.Tensor], *numbers: float) -> Callable[[], torch.Tensor]:
    return lambda: make(*(torch.tensor([number]) for number in numbers), SIZE_PX)[None]


def _mode(name: str, waves: float) -> Callable[[], torch.Tensor]:
    def make() -> torch.Tensor:
        angle, cutoff = torch.tensor([0.3]), torch.tensor([CUTOFF])
        return other_blurs.aberrated({name: torch.tensor([waves])}, angle, cutoff, SIZE_PX)[None]

    return make


BLURS = {
    "none": Blur("no blur", lambda: gaussian_psfs(torch.zeros(1, 2), 3)[None]),
    "gaussian-narrow": Blur("Gaussian, 2.5 px", _gaussian((2.5, 2.5))),
    "gaussian": Blur("Gaussian, 4.5 x 3.5 px", _gaussian((4.5, 3.5))),
    "gaussian-wide": Blur("Gaussian, 7 px", _gaussian((7, 7))),
    "gaussian-varying": Blur("Gaussian, 2.5 to 6 px", _gaussian((3, 2.5), (3.5, 4.25), (4, 6))),
    "defocus": Blur("defocus, .3 waves", _mode("defocus", 0.3)),
    "astigmatism": Blur("astigmatism, .2 waves", _mode("astigmatism", 0.2)),
    "motion": Blur("motion of 6 px", _one(other_blurs.motion, 6, 0.6)),
    "disk": Blur("disk of radius 4 px", _one(other_blurs.disk, 4)),
    "coma": Blur("coma, .15 waves", _mode("coma", 0.15)),
    "spherical": Blur("spherical aberration, .15 waves", _mode("spherical", 0.15)),
    "halo": Blur("35 % in a halo of 11 px", _one(other_blurs.halo, 2.5, 11, 0.35)),
}


def kind_of(blur: str, model: str) -> str:
    """The kind of a blur for a PSF model: "sharp" (no blur), "inside" or "outside" of the model, as its schema says."""
    if blur == "none":
        return "sharp"
    return "inside" if blur in choices("psfs")[model].get("contains", ()) else "outside"
