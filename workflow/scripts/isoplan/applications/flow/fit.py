"""What moved where in a picture while the camera exposed, in every cell of a picture of any size."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from isoplan.applications.flow import rest
from isoplan.applications.flow.defaults import AXIAL, BINNED_CUTOFF, LATERAL_PX, NEAR
from isoplan.base.errors import UserError
from isoplan.mosaic import tiles
from isoplan.mosaic.window import Picture
from isoplan.networks.defocus_fit import WINDOW_PX
from isoplan.networks.motion_fit import MotionFit, Posterior, Prior
from isoplan.networks.spectrum_fit import SHARPNESS, texture_over_noise
from isoplan.optics.defocus import Defocus
from isoplan.psf_map.layout import QUANTILE, MapLayout
from isoplan.psf_map.window_spectra import window_spectra

STEP_PX = 64  # between windows, in binned px; a window has four parts of WINDOW_PX, so far apart
# Cells along each side of a square whose windows share the motions that they draw, which bounds memory.
BLOCK = 12
ROOM = 0.8  # of a part of a window, which the widest blur that is looked for takes by default
LEAST_TEXTURE = 1.0  # of signal over noise
# Logarithm of the ratio of misfits, of one motion for a window and of one for each of its parts. About 5 % of the windows that
# have one motion exceed it, and 45 % of those at a border of two.
APART = 0.2
# Lateral displacements (in binned px) and axial ones (in depths of field) that no picture tells from 0: scenes with structures along one direction
# look as if they moved by 1 to 3 px. And the logarithm of a likelihood ratio
# up to which 0 lies in a 90 % interval, of two parameters.
REST_PX, REST_DEPTHS, UNSURE = 2.0, 0.25, 2.3
CHANNELS = (
    *("displacement", "displacement_uncertainty", "direction", "direction_uncertainty"),
    *("axial", "axial_uncertainty", "middle", "middle_uncertainty", "apart", "validity"),
)
UNITS = (*("um", "um", "rad", "rad", "um", "um", "um", "um"), "log ratio", "0 or 1")
SPEEDS = {"displacement": "speed", "axial": "axial_speed"}  # over the exposure


@dataclass(frozen=True)
class FlowMap:
    """What moved in the cells of a picture, during the exposure.

    Attributes
    ----------
    layout
        Where the cells lie.
    values
        (len(CHANNELS), ny, nx). displacement: length in the picture (um); direction: from x towards growing y, from 0 to pi
        (rad), as opposite directions look the same; axial: path along the axis (um), and middle: distance from focus in its
        middle (um), both without sign. Each is followed by the half-width of its 90 % interval. apart: how much better several
        motions explain the window than one; beyond APART, the motion is a mean of what differs. validity: 0 where there is no texture,
        where all others are NaN, and everywhere if there is a doubt.
    pixel_size_um
        Of the picture.
    longest_um
        Displacements along x and y were looked for up to so far.
    doubt
        With what optics a specimen at rest would look like this picture, more than what moves; nothing if with none.
    """

    layout: MapLayout
    values: np.ndarray
    pixel_size_um: float
    longest_um: float
    doubt: str = ""

    def __getitem__(self, channel: str) -> np.ndarray:
        """(ny, nx) of a channel."""
        return self.values[CHANNELS.index(channel)]

    @property
    def valid(self) -> np.ndarray:
        return self["validity"] > 0

    @property
    def apart(self) -> np.ndarray:
        """(ny, nx) bool: where the parts of a window moved differently."""
        return self["apart"] > APART

    def agrees(self, exposure_ms: float, shorter: "FlowMap", shorter_ms: float) -> np.ndarray:
        """Whether speeds agree with those in a shorter exposure of the same scene, within 90 % intervals.

        Blur that does not grow with the exposure is not motion. This check needs no model.

        Returns
        -------
        numpy.ndarray
            (ny, nx): 1 where they agree, 0 where not, NaN where either is not known.

        Raises
        ------
        UserError
            If cells do not lie at the same places.
        """
        if (shorter.layout, shorter.pixel_size_um) != (self.layout, self.pixel_size_um):
            raise UserError(
                "two exposures: cells lie at other places; both need the same size, optics and longest displacement"
            )
        speed, half = (
            [found[name] / time for found, time in ((self, exposure_ms), (shorter, shorter_ms))]
            for name in ("displacement", "displacement_uncertainty")
        )
        agree = np.abs(speed[0] - speed[1]) <= np.hypot(*half)
        return np.where(self.valid & shorter.valid, agree.astype(float), np.nan)

    def table(
        self, exposure_ms: float | None = None, shorter: "tuple[FlowMap, float] | None" = None
    ) -> pd.DataFrame:
        """A row per cell: centre in px, and all channels; with an exposure, speeds beside displacements.

        shorter: of a shorter exposure the map and the time in ms; its speeds, and whether they agree, come last.
        """
        y, x = np.meshgrid(*(self.layout.centres_px(axis) for axis in (0, 1)), indexing="ij")
        columns = {"y_px": y, "x_px": x}
        for name, unit in zip(CHANNELS, UNITS, strict=True):
            columns[f"{name}_{unit}" if unit in ("um", "rad") else name] = self[name]
        if exposure_ms is not None:
            for name, speed in SPEEDS.items():
                for end in ("", "_uncertainty"):
                    columns[f"{speed}{end}_um_s"] = self[f"{name}{end}"] * 1000 / exposure_ms
            if shorter:
                other, time = shorter
                for end in ("", "_uncertainty"):
                    columns[f"shorter_speed{end}_um_s"] = other[f"displacement{end}"] * 1000 / time
                columns["agrees"] = self.agrees(exposure_ms, *shorter)
        return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


class FlowFit:
    """Tells what moved in the cells of a picture.

    Parameters
    ----------
    optics
        The microscope; round.
    longest_px
        Displacements along x and along y are looked for up to so many pixels.
    near_um
        Paths have an end no farther from focus; NEAR depths of field if not given, as far as windows
        allow.
    axial_um
        Paths along the axis are looked for up to so far; AXIAL depths of field if not given, likewise.
    one_side
        No path crosses focus.

    Raises
    ------
    UserError
        If the blur of what is looked for is wider than a part of a window.
    """

    def __init__(
        self,
        optics: Defocus,
        longest_px: float = LATERAL_PX,
        near_um: float | None = None,
        axial_um: float | None = None,
        one_side: bool = False,
    ):
        sampled, long = round(BINNED_CUTOFF / optics.cutoff), longest_px / LATERAL_PX
        self.binning = max(1, sampled, math.ceil(long - 1e-9))
        part = WINDOW_PX * self.binning
        # At a high NA blur grows fast: what is looked for by default has room.
        depth, room = optics.depth_of_field_um, ROOM * part / 2 / optics.radius_px(1.0)
        near = min(NEAR * depth, room / 2) if near_um is None else near_um
        axial = min(AXIAL * depth, room / 2) if axial_um is None else axial_um
        self.optics, self.prior = optics, Prior(longest_px, near, axial, crosses=not one_side)
        farthest = self.prior.farthest_um
        wide = 2 * optics.radius_px(farthest)
        if wide > part:
            raise UserError(
                f"{farthest:.3g} um from focus the blur is {wide:.0f} px wide, and the parts of a window have {part}; give a smaller --near-um or --axial-um"
            )

    @cached_property
    def fit(self) -> MotionFit:
        """Made when it is wanted first, which takes seconds."""
        return MotionFit(self.optics, self.prior, self.binning)

    @property
    def window_px(self) -> int:
        return (WINDOW_PX + STEP_PX) * self.binning

    @property
    def stride_px(self) -> int:
        return STEP_PX * self.binning

    def layout(self, shape_px: tuple[int, int]) -> MapLayout:
        """Where cells lie; those whose window crosses the edge stay unknown."""
        return MapLayout(shape_px, self.window_px, self.stride_px, "valid")

    def map_of(self, layout: MapLayout, values: np.ndarray, doubt: str) -> FlowMap:
        """values: CHANNELS (len, ny, nx) of all cells, which lose their validity if there is a doubt."""
        if doubt:
            values[-1] = 0
        size = self.optics.pixel_size_um
        return FlowMap(layout, values, size, self.prior.lateral_px * size, doubt)

    def doubt(self, pictures: Iterable[Picture], layout: MapLayout, count: int = 1) -> str:
        """With what optics a specimen at rest explains pictures better than motion, in words; nothing if with none. count: of the pictures."""
        spectra = []
        for picture in pictures:
            for cell in tiles.spread(layout.cells[0] * layout.cells[1], -(-rest.ASKED // count)):
                at = np.unravel_index(cell, layout.cells)
                starts = (np.array([n - 1, n]) * self.stride_px for n in at)
                parts, seen = window_spectra(picture, *starts, self.stride_px, self.binning)
                if seen.all():
                    spectra.append(parts.mean((0, 1)))
        told = torch.stack(spectra) if spectra else torch.empty(0, 1)
        return rest.doubt(told[texture_over_noise(told) > LEAST_TEXTURE], self.fit)

    def unit(self, picture: Picture, layout: MapLayout, unit: int) -> np.ndarray:
        """CHANNELS (len, ny, nx) of one unit's cells."""
        rows, columns = layout.units[unit]
        shape = rows.stop - rows.start, columns.stop - columns.start
        values = np.empty((len(CHANNELS), *shape), np.float32)
        for block in tiles.shards(shape, BLOCK):
            # A part begins at each cell's first pixel, and one stride before.
            tops, lefts = (
                (np.arange(part.start - 1, part.stop) + cells.start) * self.stride_px
                for part, cells in zip(block, (rows, columns), strict=True)
            )
            seen = window_spectra(picture, tops, lefts, self.stride_px, self.binning)
            values[(slice(None), *block)] = self.read(*seen)
        return values

    def read(self, parts: torch.Tensor, seen: torch.Tensor) -> np.ndarray:
        """CHANNELS (len, ny, nx) from spectra (ny + 1, nx + 1, F) of parts, and which are seen."""
        ny, nx = (n - 1 for n in seen.shape)
        corners = [(slice(y, y + ny), slice(x, x + nx)) for y in (0, 1) for x in (0, 1)]
        known = torch.stack([seen[corner] for corner in corners]).all(0)
        # The squares of a window are those of its parts.
        whole = torch.stack([parts[corner] for corner in corners]).mean(0)
        known[known.clone()] = texture_over_noise(whole[known]) > LEAST_TEXTURE
        values = np.full((len(CHANNELS), ny, nx), np.nan, np.float32)
        values[-1] = 0
        if not known.any():
            return values
        told = seen.clone()
        told[seen] = texture_over_noise(parts[seen]) > LEAST_TEXTURE
        # Numbers of a window's parts among those that tell something; -1 for others.
        number = torch.full(told.shape, -1)
        number[told] = torch.arange(int(told.sum()))
        four = torch.stack([number[corner][known] for corner in corners], 1)
        found = self.fit.posterior(whole[known], parts[told])
        values[:, known.numpy()] = self.channels(found, four).numpy()
        return values

    def channels(self, found: Posterior, four: torch.Tensor) -> torch.Tensor:
        """(len(CHANNELS), n) from the posterior of n windows, and the numbers (n, 4) of their parts."""
        length = found.motion.lateral_px.norm(dim=1) * self.optics.pixel_size_um
        axial, middle = found.motion.axial_um, found.motion.middle_um
        # A mean of lengths is never 0. Where 0 is about as likely as the best, its interval reaches it.
        at_rest = {
            0: length < REST_PX * self.binning * self.optics.pixel_size_um,
            1: axial < REST_DEPTHS * self.optics.depth_of_field_um,
        }
        values = torch.stack([length, axial, middle], 1)
        parts, apart = found.parts_mean(values), _apart(found.parts, four)
        told = []
        for k, value in enumerate(values.T):
            mean, half = found.mean(value), QUANTILE * found.deviation(value)
            if k in at_rest:
                unsure = found.behind(at_rest[k]) < UNSURE
                half = torch.where(unsure, torch.maximum(half, mean), half)
            # Where parts moved differently, the interval holds what each of them tells.
            away = _farthest(parts[:, k], four, mean)
            told.append((mean, torch.where(apart > APART, torch.maximum(half, away), half)))
        displacement, along, depth = told
        known = torch.ones_like(apart)
        return torch.stack([*displacement, *axis_of(found), *along, *depth, apart, known])


def axis_of(found: Posterior) -> tuple[torch.Tensor, torch.Tensor]:
    """Direction (n,) from 0 to pi, and the half-width (n,) of its 90 % interval, at most pi / 2."""
    y, x = found.motion.lateral_px.unbind(1)
    twice, strong = 2 * torch.atan2(y, x), y.square() + x.square()
    sine, cosine = (found.mean(part * strong) for part in (twice.sin(), twice.cos()))
    direction = torch.remainder(torch.atan2(sine, cosine) / 2, math.pi)
    sine, cosine = (found.wide @ part for part in (twice.sin(), twice.cos()))
    variance = -2 * torch.hypot(sine, cosine).clamp(1e-6, 1).log() / 4
    return direction, (QUANTILE * variance.sqrt()).clamp_max(math.pi / 2)


def _apart(likely: torch.Tensor, four: torch.Tensor) -> torch.Tensor:
    """(n,) from logarithms (m, N) of how well motions explain parts, and the numbers (n, 4) of each window's parts, -1 for none."""
    apart = torch.zeros(len(four))
    for window, some in enumerate(four):
        if len(own := likely[some[some >= 0]]):
            apart[window] = own.amax(1).sum() - own.sum(0).max()
    return apart / SHARPNESS


def _farthest(parts: torch.Tensor, four: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """(n,) distance from means of the part that is farthest; parts (m,), numbers (n, 4) of each window's parts, -1 for none."""
    if not len(parts):
        return torch.zeros_like(mean)
    away = (parts[four.clamp_min(0)] - mean[:, None]).abs()
    return torch.where(four >= 0, away, 0.0).amax(1)


def check_picture(picture: Picture, fit: FlowFit) -> None:
    """Raises UserError if a picture is smaller than a window."""
    if min(picture.shape) < fit.window_px:
        raise UserError(
            f"{picture.path}: has {picture.shape[0]} x {picture.shape[1]} px; a window has {fit.window_px}, as displacements up to {fit.prior.lateral_px:g} px are looked for"
        )


def estimate_flow(
    picture: Picture,
    fit: FlowFit,
    *,
    doubt: bool = True,
    step: Callable[[], None] = lambda: None,
) -> FlowMap:
    """Estimate what moved where in a picture of any size.

    Parameters
    ----------
    picture
        The picture.
    fit
        Of the microscope.
    doubt
        Ask whether a specimen at rest explains the picture better.
    step
        Called after each unit.

    Raises
    ------
    UserError
        If the picture is smaller than a window.
    """
    check_picture(picture, fit)
    layout = fit.layout(picture.shape)
    values = np.empty((len(CHANNELS), *layout.cells), np.float32)
    for number, cells in enumerate(layout.units):
        values[(slice(None), *cells)] = fit.unit(picture, layout, number)
        step()
    return fit.map_of(layout, values, fit.doubt([picture], layout) if doubt else "")
