"""Where the focus is, from a few pictures of one specimen at known positions of the stage.

Two comparisons, for each block of the region:

- alone: how far from focus each picture is, by the fit of `networks.defocus_fit`, which knows what scenes look like in general. It is made
  with pixels taken together by more and more, as far as windows fit into the region: what is left of distant specimens is coarse;
- together: which position of focus explains how the pictures differ, by `networks.shared_scene`, which needs to know nothing of the
  scene, but two pictures or more.

Blocks without texture say nothing. The others vote: each may be wrong with a small probability, so a few cannot lead astray.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from isoplan.base.errors import UserError
from isoplan.networks.defocus_fit import (
    WINDOW_PX,
    DefocusFit,
    binning_of,
    nodes_at,
    reach_um,
    spectra_of,
)
from isoplan.networks.shared_scene import SharedScene
from isoplan.networks.sliding import STEP_PX
from isoplan.networks.spectrum_fit import texture_over_noise
from isoplan.optics.defocus import Defocus
from isoplan.psf_map.layout import QUANTILE

BLOCKS = 2  # along each axis, at most
LEAST_TEXTURE = 1.0  # of signal over noise
NODES_ALONE = 2.0  # distances per depth of field
LEVELS = 3  # of pixels taken together, by 1, 2, 4 beyond what the optics ask for
SHARPNESS = 30.0  # power of the misfit of all pictures together
ALONE = 2.0  # weight of what pictures say alone, as their scene is one
WRONG = 0.02  # probability that a block is
GRID, FINE = 3.0, 40.0  # positions per depth of field, first and near the best
SURE = 0.9  # probability within a depth of field from which the focus is known
LEAST_DEVIATION = 0.03  # depths of field: stages stop no better
ONE_SIDED = 0.1  # deviation per um from the nearest picture, if all lie on one side: optics are known so well
CLOSE = 0.25  # depths of field: one picture changes the focus by no more
SIDE = 1.5  # depths of field from focus at which pictures tell most


@dataclass(frozen=True)
class Seen:
    """What is kept of a picture.

    Attributes
    ----------
    z_um
        The stage's position.
    spectra
        (rows, columns, F) of the blocks, in units of the picture's squared mean, with pixels taken together by more and more.
    told
        (rows, columns) which of them have texture, likewise.
    """

    z_um: float
    spectra: tuple[torch.Tensor, ...]
    told: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Look:
    """What a picture tells.

    Attributes
    ----------
    z_um
        The stage's position.
    spectra
        (B, F) of the blocks, with the fewest pixels taken together.
    told
        (B,) which of them have texture, if only a coarse one.
    compared
        (B,) which of them have a fine one, too.
    alone
        (B, Z) logarithms of how likely each distance is.
    """

    z_um: float
    spectra: torch.Tensor
    told: torch.Tensor
    compared: torch.Tensor
    alone: torch.Tensor


@dataclass(frozen=True)
class Focus:
    """Where the focus is.

    Attributes
    ----------
    z_um, half_width_um
        Position of the stage, and half-width of its 90 % interval.
    probability
        That it is right within a depth of field.
    why
        Why it is not known; empty if it is.
    """

    z_um: float
    half_width_um: float
    probability: float
    why: str = ""

    @property
    def known(self) -> bool:
        return not self.why


class Finder:
    """Finds the focus of a calibrated microscope.

    Parameters
    ----------
    optics
        What `autofocus-calibrate` found.
    reach
        Distances (um) from focus are told apart up to so far; as far as the blur fits into a window if not given.
    """

    def __init__(self, optics: Defocus, reach: float | None = None):
        self.optics, self.binning = optics, binning_of(optics)
        self.reach_um = reach or reach_um(optics)
        self.together = SharedScene(optics, self.reach_um, self.binning)
        self._fits: dict[int, DefocusFit] = {}

    @property
    def window_px(self) -> int:
        return WINDOW_PX * self.binning

    @property
    def binnings(self) -> list[int]:
        """Pixels taken together, if the region is large enough."""
        return [self.binning * 2**level for level in range(LEVELS)]

    def alone(self, binning: int) -> DefocusFit:
        """The fit of pictures alone; made when it is wanted first, which takes seconds."""
        if binning not in self._fits:
            step = self.optics.depth_of_field_um / NODES_ALONE
            fit = DefocusFit(self.optics, self.reach_um, binning, step, (0.0,))
            fit.keep()
            self._fits[binning] = fit
        return self._fits[binning]

    def look(self, picture: np.ndarray, z_um: float) -> Look:
        """Look at a picture (h, w) taken at z_um; each side is a window long at least."""
        return self.read(self.see(picture, z_um))

    def see(self, picture: np.ndarray, z_um: float) -> Seen:
        """What is kept of a picture (h, w) taken at z_um."""
        picture = torch.from_numpy(np.ascontiguousarray(picture, np.float32))
        if min(picture.shape) < self.window_px:
            raise UserError(
                f"the region has {picture.shape[0]} x {picture.shape[1]} px; give {self.window_px} a side at least"
            )
        picture = picture / picture.mean().clamp_min(1e-12)
        spectra, told = [], []
        for binning in self.binnings:
            if min(picture.shape) < WINDOW_PX * binning:
                break
            windows = spectra_of(picture, binning, STEP_PX * binning)
            parts = [_parts(count) for count in windows.shape[:2]]
            blocks = [torch.stack([windows[y, x].mean((0, 1)) for x in parts[1]]) for y in parts[0]]
            spectra.append(torch.stack(blocks))
            told.append(torch.stack([texture_over_noise(row) > LEAST_TEXTURE for row in blocks]))
        return Seen(float(z_um), tuple(spectra), tuple(told))

    def read(self, seen: Seen) -> Look:
        """What a picture tells."""
        rows, columns = seen.told[0].shape
        told = torch.zeros(rows, columns, dtype=torch.bool)
        alone = torch.zeros(rows, columns, len(self.alone(self.binning).z_um))
        for binning, spectra, has in zip(self.binnings, seen.spectra, seen.told, strict=False):
            if not has.any():
                continue
            fit = self.alone(binning)
            found = fit.log_posterior(spectra.flatten(0, 1), fit.unknown)
            found = found.log_softmax(1).unflatten(0, has.shape) * has[..., None]
            # The blocks under a coarser one share what it says.
            y, x = (torch.arange(n) * m // n for n, m in zip(told.shape, has.shape, strict=True))
            told |= has[y][:, x]
            alone += found[y][:, x] * (has.numel() / told.numel())
        return Look(
            seen.z_um,
            seen.spectra[0].flatten(0, 1),
            told.flatten(),
            seen.told[0].flatten(),
            alone.flatten(0, 1),
        )

    def score(self, look: Look) -> float:
        """How far from focus a picture seems to be, in um: the median over its blocks with texture; NaN if there is none."""
        if not look.told.any():
            return math.nan
        share = look.alone[look.told].softmax(1)
        return float((share @ self.alone(self.binning).z_um.abs()).median())

    def focus(self, looks: list[Look], limits_um: tuple[float, float]) -> Focus:
        """The focus, from all pictures so far; limits_um: where the stage may go."""
        told = torch.stack([look.told for look in looks])
        middle = looks[-1].z_um
        if not told.any():
            return Focus(middle, math.inf, 0.0, "no picture has texture")
        depth = self.optics.depth_of_field_um
        near = [look.z_um for look, some in zip(looks, told, strict=True) if some.any()]
        low, high = min(near) - self.reach_um, max(near) + self.reach_um
        wide = torch.arange(low, high + depth / GRID, depth / GRID).clamp_max(high)
        found = self._vote(looks, told, wide).softmax(0)
        best = float(wide[found.argmax()])
        within = float(found[(wide - best).abs() <= depth].sum())
        fine = torch.arange(-depth, depth + 1e-6, depth / FINE) + best
        fine = fine[(fine >= low) & (fine <= high)]
        mean, deviation = self._moments(looks, told, fine)
        if len(looks) > 2:
            close = fine[(fine - mean).abs() <= CLOSE * depth]
            deviation = math.hypot(deviation, self._jackknife(looks, told, close))
        least = LEAST_DEVIATION * depth
        if not min(near) <= mean <= max(near):
            least += ONE_SIDED * min(abs(z - mean) for z in near)
        half = QUANTILE * math.hypot(deviation, least)
        why = ""
        if within < SURE:
            half = max(half, _half_width(found, wide, best))
            why = "the pictures allow for more than one position"
        elif min(best - low, high - best) < depth:
            why = "the focus seems to be farther than can be told"
        elif not limits_um[0] <= mean <= limits_um[1]:
            why = f"the focus seems to lie beyond the limits, at {mean:.4g} um"
        return Focus(mean, half, within, why)

    def _moments(
        self, looks: list[Look], told: torch.Tensor, focus_um: torch.Tensor
    ) -> tuple[float, float]:
        """Mean and standard deviation of the positions of focus."""
        share = self._vote(looks, told, focus_um).softmax(0)
        mean = float(share @ focus_um)
        return mean, math.sqrt(max(0.0, float(share @ (focus_um - mean) ** 2)))

    def _jackknife(self, looks: list[Look], told: torch.Tensor, focus_um: torch.Tensor) -> float:
        """Standard error that pictures tell by how the focus changes without each (Tukey, Ann. Math. Stat. 29, 1958).

        It knows of what no model does: a stage that stops elsewhere, drift, light that changes.
        """
        without = []
        for k in range(len(looks)):
            others = [*range(k), *range(k + 1, len(looks))]
            left = [looks[i] for i in others]
            without.append(self._moments(left, told[others], focus_um)[0])
        found = np.array(without)
        return float(np.sqrt(((found - found.mean()) ** 2).sum() * (len(found) - 1) / len(found)))

    def _vote(self, looks: list[Look], told: torch.Tensor, focus_um: torch.Tensor) -> torch.Tensor:
        """(n,) logarithms of how likely each position of focus is."""
        z_um = torch.tensor([look.z_um for look in looks])
        total = torch.zeros(len(focus_um))
        for block in range(told.shape[1]):
            if not told[:, block].any():
                continue
            own = torch.zeros(len(focus_um))
            for look in looks:
                if look.told[block]:
                    own += self._alone(look, block, focus_um) * (ALONE / len(looks))
            if len(looks) > 1 and any(look.compared[block] for look in looks):
                spectra = torch.stack([look.spectra[block] for look in looks])
                misfit = self.together.misfit(spectra, z_um, focus_um)
                own -= SHARPNESS * (len(looks) - 1) * misfit.log()
            share = own.softmax(0)
            total += (share * (1 - WRONG) + WRONG / len(share)).log()
        return total

    def _alone(self, look: Look, block: int, focus_um: torch.Tensor) -> torch.Tensor:
        values = look.alone[block]
        low, share = nodes_at(self.alone(self.binning).z_um, look.z_um - focus_um)
        return torch.lerp(values[low], values[low + 1], share)


def _half_width(probability: torch.Tensor, z_um: torch.Tensor, best: float) -> float:
    """Half-width of the interval about `best` that holds 90 %."""
    apart, order = (z_um - best).abs().sort()
    held = probability[order].cumsum(0)
    return float(apart[int((held >= 0.9).nonzero()[0])]) if held[-1] >= 0.9 else math.inf


def _parts(count: int) -> list[slice]:
    """At most BLOCKS runs of windows, as long as each other."""
    ends = np.linspace(0, count, min(count, BLOCKS) + 1).round().astype(int)
    return [slice(a, b) for a, b in pairwise(ends)]
