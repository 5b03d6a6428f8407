"""Base class of PSF models: named parameters with ranges, their PSFs, and the targets of a network.

A PSF is cropped to `size_px` and normalised to sum 1. The share of energy that is lost by the crop is
returned as well.
"""

import itertools
import math
import warnings
from dataclasses import dataclass

import torch

from isoplan.base.errors import UserError

WARN_LOST = 0.01
MOST_LOST = 0.02
# Cut-off of models that know of none: the frequencies of their spectra are then plain cycles per px.
NOMINAL_CUTOFF = 0.25


@dataclass(frozen=True)
class Parameter:
    """A parameter of a PSF.

    Attributes
    ----------
    name, unit
        Its name, and its unit, which may be empty.
    low, high
        Its range.
    period
        Period of an angle; None for other parameters.
    size
        Whether it determines the size of the PSF, like a width or an aberration, and unlike an exponent.
    """

    name: str
    unit: str
    low: float
    high: float
    period: float | None = None
    size: bool = True

    @property
    def span(self) -> str:
        """The range, in words."""
        return of_unit(f"{self.low:g} to {self.high:.4g}", self.unit)


def of_unit(number: str, unit: str) -> str:
    """A number with its unit, if it has one."""
    return f"{number} {unit}".rstrip()


class PsfModel:
    """A family of PSFs with P parameters. Subclasses set `parameters` and implement `_crop`.

    spec: an entry of the config's `psfs`, with all keys.
    """

    parameters: tuple[Parameter, ...]
    knows_cutoff = False  # whether its PSFs depend on the optics' cut-off
    mirrors = (
        False  # whether a PSF and its mirror image are both of the model, and hard to tell apart
    )
    # Kinds of `optics.plain` and `optics.other_blurs` that it contains, exactly or nearly.
    plain_kinds: tuple[str, ...] = ("gaussian",)

    def __init__(self, spec: dict):
        self.spec = spec
        self.size_px = spec["size_px"]
        if self.size_px < 3 or self.size_px % 2 == 0:
            raise UserError(
                f"psfs {spec['name']}: size_px is {self.size_px}; a PSF has a middle pixel, "
                "so give an odd number from 3 on"
            )

    @property
    def published(self) -> bool:
        """Whether the model keeps the published form and ranges."""
        return self.spec["form"] == "published"

    @property
    def n_targets(self) -> int:
        """How many numbers a network regresses."""
        return len(self.parameters)

    @property
    def cutoff_range(self) -> tuple[float, float]:
        """Lowest and highest cut-off (cycles/px) that samples are made for."""
        return NOMINAL_CUTOFF, NOMINAL_CUTOFF

    @property
    def cutoff(self) -> float:
        """Cut-off (cycles/px) that is used if none is given."""
        return NOMINAL_CUTOFF

    def size_at(self, cutoff: float) -> int:
        """Side of the PSFs in px at a cut-off of the range; of PSFs that shrink with it, it may be smaller."""
        return self.size_px

    def draw_cutoff(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """(n,) float32 cut-offs, log-uniform over their range, on the generator's device."""
        low, high = self.cutoff_range
        share = torch.rand(n, generator=generator, device=generator.device)
        return low * (high / low) ** share

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """(n, P) float32 parameters, uniform over the ranges, on the generator's device."""
        share = torch.rand(n, len(self.parameters), generator=generator, device=generator.device)
        low, high = self._range(share)
        return low + share * (high - low)

    def psf(
        self, params: torch.Tensor, cutoff: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute PSFs.

        Parameters
        ----------
        params
            (n, P) in the parameters' units, on the device where the PSFs are needed.
        cutoff
            (n,) cut-offs in cycles/px, within `cutoff_range`; that of the model if not given.

        Returns
        -------
        psfs
            (n, size_px, size_px) float32, of sum 1.
        lost
            (n,) share of the energy that lies outside.
        """
        crop, lost = self._crop(params, cutoff)
        return crop / crop.sum((-2, -1), keepdim=True), lost

    def _crop(self, params, cutoff) -> tuple[torch.Tensor, torch.Tensor]:
        """PSFs (n, size_px, size_px) of any sum, and the share of energy lost (n,)."""
        raise NotImplementedError

    def encode(self, params: torch.Tensor) -> torch.Tensor:
        """Targets (n, n_targets), each within [-1, 1], that a network regresses."""
        low, high = self._range(params)
        return 2 * (params - low) / (high - low).clamp_min(1e-12) - 1

    def decode(self, targets: torch.Tensor) -> torch.Tensor:
        """Parameters (n, P) of any targets (n, n_targets), clipped to the ranges."""
        low, high = self._range(targets)
        return low + (targets.clamp(-1, 1) + 1) / 2 * (high - low)

    def narrowed(self, params: torch.Tensor, factor: float) -> torch.Tensor:
        """Parameters (n, P) of narrower PSFs: their sizes are multiplied by the factor."""
        return params * params.new_tensor(
            [factor if p.size and not p.period else 1.0 for p in self.parameters]
        )

    def nearest(
        self, params: torch.Tensor, true: torch.Tensor, *, mirror: bool = True
    ) -> torch.Tensor:
        """Parameters (n, P) of the same PSFs that are the nearest to others, if several mean the same PSF.

        mirror: whether a mirror image counts as the same.
        """
        return params

    def check(self) -> float:
        """The largest share of energy lost, over the `extremes` of the parameters.

        Warns above 1 %. Raises UserError above 2 %, unless the form is the published one.
        """
        corners = self.extremes()
        lost = max(
            float(self.psf(corners, corners.new_full((len(corners),), cutoff))[1].max())
            for cutoff in set(self.cutoff_range)
        )
        text = (
            f"psfs {self.spec['name']}: {self.size_px} px lose up to {100 * lost:.1f} % of the "
            "PSF's energy; enlarge size_px or narrow the ranges"
        )
        if lost > MOST_LOST and not self.published:
            raise UserError(text)
        if lost > WARN_LOST:
            warnings.warn(text, stacklevel=2)
        return lost

    def extremes(self) -> torch.Tensor:
        """Parameters (n, P) of the PSFs that lose the most energy: the corners of the ranges."""
        axes = [
            [p.low, p.high] if p.period is None else [p.low + p.period * k / 8 for k in range(8)]
            for p in self.parameters
        ]
        return torch.tensor(list(itertools.product(*axes)), dtype=torch.float32)

    def _range(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low = [p.low for p in self.parameters]
        high = [p.high for p in self.parameters]
        return like.new_tensor(low), like.new_tensor(high)


def equivalent_width_px(psfs: torch.Tensor) -> torch.Tensor:
    """Full width at half maximum (...,) of Gaussians with the same sum of squares as PSFs (..., s, s).

    The PSFs have sum 1. The sum of squares says how much noise a PSF averages; for a Gaussian of standard
    deviation d it is 1 / (4 pi d^2). A single pixel has a width of 0.66 px.
    """
    return 2 * (math.log(2) / (2 * math.pi) / psfs.square().sum((-2, -1))).sqrt()


def read_range(spec: dict, key: str) -> tuple[float, float]:
    """A range [low, high] of a spec. Raises UserError if it is negative, reversed or not finite."""
    low, high = (float(v) for v in spec[key])
    if not (0 <= low <= high < math.inf):
        raise UserError(
            f"psfs {spec['name']}: {key} is [{low:g}, {high:g}]; give [low, high] with "
            "0 <= low <= high"
        )
    return low, high
