"""The height of a specimen above the plane in focus, in every cell of a picture of any size."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from isoplan.applications.depth.calibration import Calibration
from isoplan.applications.depth.matching import BENT, REACH, joined, moments, smoothed
from isoplan.applications.depth.rivals import Doubt, doubt
from isoplan.base.errors import UserError
from isoplan.cluster.unit_files import load_unit
from isoplan.mosaic import tiles
from isoplan.mosaic.window import Picture
from isoplan.networks.defocus_fit import (
    WINDOW_PX,
    DefocusFit,
    Scene,
    binning_of,
    distances_um,
    nodes_at,
)
from isoplan.networks.defocus_fit import reach_um as reach_um_of
from isoplan.networks.sliding import STEP_PX
from isoplan.networks.spectrum_fit import texture_over_noise
from isoplan.optics.defocus import Defocus
from isoplan.psf_map.layout import QUANTILE, SHARD_CELLS, MapLayout
from isoplan.psf_map.window_spectra import window_spectra

# Windows of twice the pixels tell the sides of focus apart where blur is wide. They count less, as they see more than a cell.
COARSER, COARSER_WEIGHT = 2, 0.5
LEARNT = 256  # windows that tell what the scene looks like
ASKED = 64  # windows that tell whether the optics are the picture's
LEAST_TEXTURE = 1.0  # of signal over noise
# A height is valid if its probability of being right within a depth of field is as large.
SURE = 0.9
LEAST_DEVIATION = 0.05  # of any height, in depths of field
DEEPEST = 30.0  # log probabilities are stored down to there, below the largest
JOINED, HALO = (
    128,
    24,
)  # side of a square of cells that is joined at once, and of what it sees around
CHANNELS = ("height", "height_uncertainty", "validity")


@dataclass(frozen=True)
class HeightMap:
    """Heights of the cells of a picture.

    Attributes
    ----------
    layout
        Where the cells lie.
    height_um, half_width_um
        (ny, nx) heights, and half-widths of their 90 % intervals; NaN where nothing is known.
    validity
        (ny, nx) probability that a height is right within a depth of field.
    reach_um
        Heights were looked for up to so far from focus.
    doubt
        Other optics that explain the picture better, if any. If those are another microscope's, no height is valid.
    """

    layout: MapLayout
    height_um: np.ndarray
    half_width_um: np.ndarray
    validity: np.ndarray
    reach_um: float
    doubt: Doubt | None = None

    @property
    def valid(self) -> np.ndarray:
        return self.validity >= SURE

    def table(self) -> pd.DataFrame:
        """A row per cell: centre in px, height, half-width, validity."""
        y, x = np.meshgrid(*(self.layout.centres_px(axis) for axis in (0, 1)), indexing="ij")
        columns = {"y_px": y, "x_px": x, "height_um": self.height_um}
        columns |= {"height_uncertainty_um": self.half_width_um, "validity": self.validity}
        return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


def layout_of(optics: Defocus, shape_px: tuple[int, int]) -> MapLayout:
    """Where the cells of a picture lie; those whose window crosses its edge know nothing of their own."""
    binning = binning_of(optics)
    return MapLayout(shape_px, WINDOW_PX * binning, STEP_PX * binning, "valid")


class HeightFit:
    """Tells how likely each height is in the cells of a picture, once it has learnt (`learn`, or `recall`) what the picture looks like.

    Parameters
    ----------
    calibration
        Of the microscope.
    reach_um
        Heights from -reach_um to reach_um are told apart.

    Raises
    ------
    UserError
        If the blur at that distance is wider than a window.
    """

    def __init__(self, calibration: Calibration, reach_um: float):
        self.calibration = calibration
        optics, self.binning = calibration.optics, binning_of(calibration.optics)
        most = reach_um_of(optics)
        if not 0 < reach_um <= most:
            raise UserError(
                f"a reach of {reach_um:g} um: beyond {most:.3g} um the blur is wider than a window of {self.window_px} px; give at most that"
            )
        self.reach_um, self.z_um = reach_um, distances_um(optics, reach_um)
        self.scenes: list[Scene] = []
        self.doubt: Doubt | None = None

    @cached_property
    def fits(self) -> list[DefocusFit]:
        """Of windows, and of those of twice the pixels; made when they are wanted first, which takes seconds."""
        optics, reach = self.calibration.optics, self.reach_um
        step = float(self.z_um[1] - self.z_um[0])
        # Where coarse ones count, blur is wide and changes slowly.
        return [
            DefocusFit(optics, reach, self.binning),
            DefocusFit(optics, reach, self.binning * COARSER, step * COARSER),
        ]

    @property
    def window_px(self) -> int:
        return WINDOW_PX * self.binning

    @property
    def stride_px(self) -> int:
        return STEP_PX * self.binning

    def layout(self, shape_px: tuple[int, int]) -> MapLayout:
        return layout_of(self.calibration.optics, shape_px)

    def learn(self, picture: Picture) -> None:
        """Learn what the scene looks like, from windows all over a picture, and whether its optics are those of the calibration."""
        layout = self.layout(picture.shape)
        count = layout.cells[0] * layout.cells[1]
        chosen = tiles.spread(count, LEARNT)
        spectra: list[list[torch.Tensor]] = [[] for _ in self.fits]
        self.scenes = [fit.unknown for fit in self.fits]
        for cell in chosen:
            y, x = (int(v) for v in np.unravel_index(cell, layout.cells))
            found = self._spectra(picture, (slice(y, y + 1), slice(x, x + 1)))
            for some, (one, told) in zip(spectra, found, strict=True):
                some.append(one[told])
        for k, (fit, some) in enumerate(zip(self.fits, spectra, strict=True)):
            known = torch.cat(some)
            if fit is self.fits[0]:
                asked = known[tiles.spread(len(known), ASKED)]
                reach = float(self.z_um.max())
                self.doubt = doubt(asked, self.calibration.optics, reach, self.binning)
            if len(known) > known.shape[1] // 16:
                self.scenes[k] = fit.learn(known)

    def record(self) -> dict:
        """What was learnt of a picture, for JSON."""
        scenes = [{"mean": one.mean.tolist(), "ridge": one.ridge.tolist()} for one in self.scenes]
        return {"scenes": scenes, "doubt": self.doubt and asdict(self.doubt)}

    def recall(self, record: dict) -> None:
        """What another fit of the same calibration and reach learnt of the picture."""
        self.scenes = [
            Scene(torch.tensor(one["mean"]), torch.tensor(one["ridge"])) for one in record["scenes"]
        ]
        self.doubt = record["doubt"] and Doubt(**record["doubt"])

    def unit(self, picture: Picture, layout: MapLayout, unit: int) -> np.ndarray:
        """Log probabilities (ny, nx, Z) float16 of one unit's cells, 0 for the largest; all 0 where nothing is known."""
        cells = layout.units[unit]
        total: torch.Tensor | None = None
        for fit, scene, weight, (spectra, told) in zip(
            self.fits,
            self.scenes,
            (1.0, COARSER_WEIGHT),
            self._spectra(picture, cells),
            strict=True,
        ):
            found = torch.zeros(*told.shape, len(self.z_um))
            if told.any():
                found[told] = weight * _at(
                    fit.log_posterior(spectra[told], scene), fit.z_um, self.z_um
                )
            total = found if total is None else total + found
        assert total is not None
        total = (total - total.amax(-1, keepdim=True)).clamp_min(-DEEPEST)
        return total.numpy().astype(np.float16)

    def _spectra(self, picture: Picture, cells) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """For each fit the spectra (ny, nx, F) of cells, and which of them (ny, nx) tell something."""
        found = []
        for coarser in (1, COARSER):
            window = self.window_px * coarser
            before = (window - self.stride_px) // 2
            starts = [np.arange(part.start, part.stop) * self.stride_px - before for part in cells]
            spectra, told = window_spectra(picture, *starts, self.stride_px, self.binning * coarser)
            told[told.clone()] = texture_over_noise(spectra[told]) > LEAST_TEXTURE
            found.append((spectra, told))
        return found


def _at(values: torch.Tensor, z_um: torch.Tensor, wanted_um: torch.Tensor) -> torch.Tensor:
    """(n, Z') values (n, Z) at other distances, by linear interpolation."""
    if torch.equal(z_um, wanted_um):
        return values
    low, share = nodes_at(z_um, wanted_um)
    return torch.lerp(values[:, low], values[:, low + 1], share)


def estimate_heights(
    picture: Picture, fit: HeightFit, *, step: Callable[[], None] = lambda: None
) -> HeightMap:
    """Estimate the heights of a picture.

    A cell takes two bytes of memory for each height that is told apart: with cells of 64 x 64 px and 100 heights, a picture of
    100,000 px a side takes 490 MB. A study (`height_maps`) keeps them on disk.

    Parameters
    ----------
    picture
        Of any size.
    fit
        Of the microscope; it learns what the scene looks like.
    step
        Called after each unit.

    Raises
    ------
    UserError
        If the calibration is of another region of the camera.
    """
    layout = fit.layout(picture.shape)
    flat = fit.calibration.flat_at(picture, layout)
    fit.learn(picture)
    stored = np.zeros((*layout.cells, len(fit.z_um)), np.float16)
    for number, cells in enumerate(layout.units):
        stored[cells] = fit.unit(picture, layout, number)
        step()
    return surface(stored, fit, layout, flat)


class Stored(Protocol):
    """Log probabilities of all cells of a map, of which a rectangle of cells gives an array (ny, nx, Z)."""

    def __getitem__(self, cells: tuple[slice, slice]) -> np.ndarray: ...


class StoredUnits:
    """Log probabilities that lie in a folder, unit by unit.

    Parameters
    ----------
    folder
        Of `cluster.unit_files`; each unit is one of `HeightFit.unit`.
    layout
        Of the map.
    """

    def __init__(self, folder: str | Path, layout: MapLayout):
        across = tiles.cell_grid(layout.cells[1], SHARD_CELLS)
        # A square of JOINED cells with its surroundings touches at most so many units.
        read = lru_cache((JOINED // SHARD_CELLS + 2) ** 2)(partial(load_unit, folder))
        self._of = lambda row, column: read(row * across + column)

    def __getitem__(self, cells: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (
            range(part.start // SHARD_CELLS, (part.stop - 1) // SHARD_CELLS + 1) for part in cells
        )
        joined_units = np.concatenate(
            [np.concatenate([self._of(row, column) for column in columns], 1) for row in rows]
        )
        y, x = (
            part.start - units.start * SHARD_CELLS
            for part, units in zip(cells, (rows, columns), strict=True)
        )
        height, width = (part.stop - part.start for part in cells)
        return joined_units[y : y + height, x : x + width]


def surface(stored: Stored, fit: HeightFit, layout: MapLayout, flat: np.ndarray) -> HeightMap:
    """The most likely surface, from log probabilities of all cells, less that of a flat specimen (ny, nx)."""
    depth = fit.calibration.optics.depth_of_field_um
    known, deviation, sure = (np.full(layout.cells, np.nan, np.float32) for _ in range(3))
    for core in tiles.shards(layout.cells, JOINED):
        outer = tiles.with_halo(core, HALO, layout.cells)
        own = torch.from_numpy(stored[outer].astype(np.float32))
        found = joined(own)[tiles.inside(core, outer)]
        told = (own != 0).any(-1)[tiles.inside(core, outer)]
        mean, spread_um = moments(found, fit.z_um)
        near = (fit.z_um - mean[..., None]).abs() <= depth
        known[core] = torch.where(told, mean, torch.nan).numpy() - flat[core]
        deviation[core] = spread_um.numpy()
        sure[core] = ((found * near).sum(-1) * told).numpy()
    if fit.doubt and fit.doubt.foreign:
        sure[:] = 0
    least = LEAST_DEVIATION * depth
    height, half = (np.empty(layout.cells, np.float32) for _ in range(2))
    for core in tiles.shards(layout.cells, JOINED):
        outer = tiles.with_halo(core, 2 * REACH, layout.cells)
        own, spread_um = (torch.from_numpy(values[outer]) for values in (known, deviation))
        fitted = smoothed(own, spread_um, least)
        variance = (spread_um.square() + least**2) * (1 + BENT * fitted.excess)
        inner = tiles.inside(core, outer)
        height[core] = fitted.distance_um.numpy()[inner]
        half[core] = QUANTILE * variance.sqrt().numpy()[inner]
    return HeightMap(layout, height, half, sure, float(fit.z_um.max()), fit.doubt)
