"""What depth needs to know of a microscope, and how it is found from pictures whose distances are known up to an offset.

Cylinder, axis, spherical aberration and softness are those under which the pictures' spectra are explained best at
their distances: the lowest sum of log misfits over windows (`networks.defocus_fit`), first on a grid, then by quadratic models
in a trust region (COBYQA; Ragonneau, PhD thesis, 2022). Intervals are those of an estimating equation: its curvature, and how its slopes scatter between places
(Huber, Proc. Fifth Berkeley Symp., 1967), as windows of one place share a scene.
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import t as student

from isoplan.base.errors import UserError
from isoplan.mosaic.window import Picture
from isoplan.networks.defocus_fit import DefocusFit, binning_of, nodes_at, reach_um
from isoplan.networks.spectrum_fit import SHARPNESS
from isoplan.optics.defocus import Defocus
from isoplan.psf_map.layout import MapLayout

FORMAT = "isoplan depth calibration 1"
FOUND = ("cylinder_waves", "axis_rad", "spherical_waves", "softness_um")
# First steps of the search and of derivatives, in units of FOUND; that of the softness in px.
STEPS = (0.05, 0.1, 0.05, 0.5)
# Half-widths are at least as large, in units of FOUND (softness in px): distances are tried in steps, and a scene's softness counts as the
# optics'. Neither scatters between places, from which half-widths are told.
LEAST_HALF_WIDTH = (0.01, 0.005, 0.005, 1.0)
DERIVATIVE = 0.2  # of STEPS
GRID_CYLINDERS, GRID_AXES = (0.12, 0.25, 0.4), 8
COARSE, FINE = 2.0, 4.0  # distances per depth of field, on the grid and after it
TOGETHER = 24  # windows of similar distances that are compared at a time
SEARCHED = 90  # evaluations after the grid
LEAST_CYLINDER = 0.05  # waves: below it, the two signs look too much alike
INTERVAL = 0.9
LEAST_FLAT = 12  # places that tell how a field is curved
LEAVE = "leave the field as it is (--leave-field, or field: leave)"
ALONG = 21  # places along each axis at which the field's height is looked at
FLAT_DEPTHS = 2.0  # depths of field that it is looked for in, on both sides


@dataclass(frozen=True)
class Calibration:
    """A microscope whose pictures tell depth.

    Attributes
    ----------
    optics
        What was found.
    half_width
        Half-widths of 90 % intervals, by FOUND.
    offset_um
        Distance from focus of the pictures where they count as 0.
    flat
        Distances (um) that a flat specimen seems to have over the field: coefficients of 1, x, y, x^2, x y and y^2, where x and y are
        -1 and 1 at the edges. Empty if they are not known.
    shape_px
        (height, width) of the pictures.
    """

    optics: Defocus
    half_width: dict[str, float]
    offset_um: float
    flat: tuple[float, ...]
    shape_px: tuple[int, int]

    def flat_at(self, picture: Picture, layout: MapLayout) -> np.ndarray:
        """Heights (ny, nx) in um that a flat specimen seems to have in the cells of a picture.

        In a mosaic of tiles each tile is an exposure of its own.

        Raises UserError if an exposure's shape is not the one that they were measured with.
        """
        found = np.zeros(layout.cells, np.float32)
        if not self.flat:
            return found
        for rows, columns in layout.units:
            starts = layout.starts_px(0)[rows], layout.starts_px(1)[columns]
            y0, y1, x0, x1 = np.moveaxis(picture.exposures(*starts, layout.window_px), -1, 0)
            known = y0 >= 0
            for height, width in np.unique(np.stack([y1 - y0, x1 - x0], -1)[known], axis=0):
                if (height, width) != tuple(self.shape_px):
                    raise UserError(
                        f"the picture has {height} x {width} px, and the calibration, which knows how the field is curved, {self.shape_px[0]} x "
                        f"{self.shape_px[1]}: give a picture of the same camera region, or tiles of it; or {LEAVE}"
                    )
            y = 2 * (layout.centres_px(0)[rows][:, None] - y0) / self.shape_px[0] - 1
            x = 2 * (layout.centres_px(1)[columns] - x0) / self.shape_px[1] - 1
            found[rows, columns] = np.where(known, np.tensordot(self.flat, bent(y, x), 1), 0)
        return found

    @property
    def bend_um(self) -> float:
        """The largest height that a flat specimen seems to have anywhere in the field."""
        if not self.flat:
            return 0.0
        along = np.linspace(-1, 1, ALONG)
        return float(np.abs(np.tensordot(self.flat, bent(along[:, None], along), 1)).max())

    def told(self) -> dict:
        """All of it, for a file."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def of(cls, told: dict) -> "Calibration":
        """The calibration that `told` gives."""
        if told["format"] != FORMAT:
            raise UserError(f"is not of the format {FORMAT}; calibrate again")
        return cls(
            Defocus(**told["optics"]),
            dict(told["half_width"]),
            float(told["offset_um"]),
            tuple(float(value) for value in told["flat"]),
            tuple(int(length) for length in told["shape_px"]),
        )

    @classmethod
    def read(cls, path: str | Path) -> "Calibration":
        """Raises UserError if the file is no calibration."""
        try:
            return cls.of(json.loads(Path(path).read_text()))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: is no calibration of `depth-calibrate` ({error})") from None


def bent(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The functions (6, ...) of which `Calibration.flat` has the coefficients; y, x: from -1 to 1."""
    one = np.ones(np.broadcast_shapes(y.shape, x.shape))
    return np.stack([one, x * one, y * one, x * x * one, x * y * one, y * y * one])


@dataclass(frozen=True)
class Windows:
    """Spectra of windows whose distances are known up to an offset.

    Attributes
    ----------
    spectra
        (n, F), of `defocus_fit.spectra_of`.
    z_um
        (n,) distances.
    place
        (n,) numbers of the places; windows of one place share a scene.
    """

    spectra: torch.Tensor
    z_um: torch.Tensor
    place: torch.Tensor


def flatness(
    windows: Windows, centres: np.ndarray, optics: Defocus, offset_um: float
) -> tuple[float, ...]:
    """`Calibration.flat` from windows of a flat specimen's stack; empty if there are too few places.

    centres: (places, 2), y and x from -1 to 1.
    """
    if len(centres) < LEAST_FLAT:
        return ()
    known = windows.z_um + offset_um
    depth = optics.depth_of_field_um
    near = FLAT_DEPTHS * depth
    reach = min(float(known.abs().max()) + near, reach_um(optics))
    fit = DefocusFit(optics, reach, binning_of(optics), depth / FINE)
    profile = _Profile(_near(fit, replace(windows, z_um=known), -near, near), fit.z_um, known, 0.0)
    tried = torch.arange(-near, near + 1e-6, depth / FINE / 4)
    costs = torch.stack([profile.at(float(height)) for height in tried])
    heights = [
        _lowest(tried, costs[:, windows.place == place].mean(1)) for place in range(len(centres))
    ]
    functions = bent(centres[:, 0], centres[:, 1]).T
    return tuple(np.linalg.lstsq(functions, np.array(heights), rcond=None)[0].tolist())


def _lowest(at: torch.Tensor, cost: torch.Tensor) -> float:
    """Where a parabola through the neighbourhood of the lowest cost has its vertex."""
    best = int(cost.argmin())
    part = slice(max(best - 4, 0), best + 5)
    bend, slope, _ = np.polyfit((at[part] - at[best]).numpy(), cost[part].numpy(), 2)
    most = 4 * float(at[1] - at[0])
    move = -slope / (2 * bend) if bend > 0 else 0.0
    return float(at[best]) + float(np.clip(move, -most, most))


def calibrate(
    windows: Windows, start: Defocus, *, step=lambda: None
) -> tuple[Defocus, dict, float]:
    """Find a microscope's aberrations.

    Parameters
    ----------
    windows
        At known distances.
    start
        NA, wavelength, pixel size and index; its aberrations do not matter.
    step
        Called after each evaluation.

    Returns
    -------
    optics, half_width, offset_um
        As in `Calibration`; the offset is added to the windows' distances.

    Raises
    ------
    UserError
        If the optics cannot tell the sign of a distance, or the windows tell too little.
    """
    unit = np.array([1.0, 1.0, 1.0, start.pixel_size_um])
    scale = np.array(STEPS) * unit

    def optics_at(place: np.ndarray) -> Defocus:
        cylinder, axis, spherical, softness = place * scale
        turn = math.pi / 2 if cylinder < 0 else 0
        return replace(
            start,
            cylinder_waves=float(abs(cylinder)),
            axis_rad=float((axis + turn) % math.pi),
            spherical_waves=float(spherical),
            softness_um=float(abs(softness)),
        )

    grid = [
        np.array([c, math.pi * k / GRID_AXES, 0.0, start.pixel_size_um / 2]) / scale
        for c in GRID_CYLINDERS
        for k in range(GRID_AXES)
    ]
    tried = []
    for place in grid:
        tried.append(_Profile.of(optics_at(place), windows, COARSE))
        step()
    first = min(range(len(grid)), key=lambda k: tried[k].least)
    near = tried[first].offset_um

    def cost(place: np.ndarray) -> float:
        step()
        return _Profile.of(optics_at(place), windows, FINE, near).least

    options = {"initial_tr_radius": 1.0, "final_tr_radius": 0.01, "maxfev": SEARCHED}
    best = minimize(cost, grid[first], method="COBYQA", options=options).x
    optics = optics_at(best)
    offset = _Profile.of(optics, windows, FINE, near).offset_um
    half = _half_widths(
        lambda place: _Profile.of(optics_at(place), windows, FINE, near),
        best,
        offset,
        optics.depth_of_field_um / FINE,
        windows,
    )
    least = np.array(LEAST_HALF_WIDTH) * unit
    half = np.maximum(half[: len(FOUND)] * scale, least)
    half_width = dict(zip(FOUND, half.tolist(), strict=True))
    if not optics.cylinder_waves - half_width["cylinder_waves"] > LEAST_CYLINDER:
        raise UserError(
            f"the astigmatism found is {optics.cylinder_waves:.3f} +- {half_width['cylinder_waves']:.3f} waves: too little to tell "
            "which side of focus a place lies on. Put a weak cylindrical lens into the beam, or give pictures with more texture"
        )
    return optics, half_width, offset


@dataclass(frozen=True)
class _Profile:
    """Log misfits (n, Z) of windows at distances z_um (Z,), and the offset at which their mean is least."""

    values: torch.Tensor
    z_um: torch.Tensor
    known: torch.Tensor
    offset_um: float

    @classmethod
    def of(
        cls, optics: Defocus, windows: Windows, nodes: float, near: float | None = None
    ) -> "_Profile":
        """nodes: distances per depth of field. near: the offset lies within a depth of field of it, if given."""
        depth, known = optics.depth_of_field_um, windows.z_um
        span = float(known.max() - known.min())
        middle = float(known.max() + known.min()) / 2
        low, high = (-middle - span / 2, -middle + span / 2)
        if near is not None:
            low, high = near - depth, near + depth
        reach = float(max((known + low).abs().max(), (known + high).abs().max()))
        reach = min(reach, reach_um(optics))
        fit = DefocusFit(optics, reach, binning_of(optics), depth / nodes)
        made = cls(_near(fit, windows, low, high), fit.z_um, known, 0.0)
        offsets = torch.linspace(low, high, 2 * math.ceil((high - low) / depth * nodes) + 1)
        means = torch.stack([made.at(float(offset)).mean() for offset in offsets])
        return replace(made, offset_um=float(offsets[means.argmin()]))

    def at(self, offset_um: float) -> torch.Tensor:
        """(n,) log misfits with an offset."""
        low, share = nodes_at(self.z_um, self.known + offset_um)
        rows = torch.arange(len(low))
        return torch.lerp(self.values[rows, low], self.values[rows, low + 1], share)

    @property
    def least(self) -> float:
        return float(self.at(self.offset_um).mean())


def _near(fit: DefocusFit, windows: Windows, low: float, high: float) -> torch.Tensor:
    """Log misfits (n, Z) of windows at the distances that offsets from low to high lead to; infinite at others."""
    found = windows.z_um.new_full((len(windows.z_um), len(fit.z_um)), math.inf)
    scene, step = fit.unknown, float(fit.z_um[1] - fit.z_um[0])
    for some in windows.z_um.argsort().split(TOGETHER):
        known = windows.z_um[some]
        ends = (known.min() + low - fit.z_um[0]) / step, (known.max() + high - fit.z_um[0]) / step
        first = min(max(math.floor(ends[0]), 0), len(fit.z_um) - 2)
        last = max(min(math.ceil(ends[1]) + 2, len(fit.z_um)), first + 2)
        part = fit.between(first, last)
        told = part.log_posterior(windows.spectra[some], scene)
        found[some[:, None], torch.arange(first, last)] = -told / SHARPNESS
    return found


def _half_widths(
    profile, best: np.ndarray, offset: float, move_um: float, windows: Windows
) -> np.ndarray:
    """Half-widths (parameters and offset) of INTERVAL, in steps; the offset's in um, which is moved by move_um."""
    count = len(best) + 1
    unit = np.append(np.full(len(best), DERIVATIVE), move_um)
    cache: dict[tuple, _Profile] = {}

    def values(move: np.ndarray) -> torch.Tensor:
        key = tuple(move[:-1])
        if key not in cache:
            cache[key] = profile(best + move[:-1])
        return cache[key].at(offset + move[-1]).double()

    moves = np.diag(unit)
    plus, minus = ([values(sign * move) for move in moves] for sign in (1, -1))
    middle = values(np.zeros(count))
    slopes = torch.stack([(a - b) for a, b in zip(plus, minus, strict=True)], 1) / torch.tensor(
        2 * unit
    )
    curvature = torch.zeros(count, count, dtype=torch.float64)
    for i in range(count):
        curvature[i, i] = (plus[i] + minus[i] - 2 * middle).mean() / unit[i] ** 2
        for j in range(i):
            both = values(moves[i] + moves[j]) - plus[i] - plus[j] + middle
            curvature[i, j] = curvature[j, i] = both.mean() / (unit[i] * unit[j])
    places = windows.place.unique()
    if len(places) <= count + 1:
        raise UserError(
            f"only {len(places)} places of the field have texture, which is too few to say how sure a calibration is; give a larger "
            "picture, or one with more texture"
        )
    sums = torch.stack([slopes[windows.place == place].sum(0) for place in places]) / len(slopes)
    inverse = torch.linalg.pinv((curvature + curvature.T) / 2)
    covariance = inverse @ (sums.T @ sums) @ inverse
    reach = student.ppf((1 + INTERVAL) / 2, len(places) - count)
    return reach * covariance.diagonal().clamp_min(0).sqrt().numpy()
