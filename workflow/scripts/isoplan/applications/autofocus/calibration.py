"""What autofocus needs to know of a microscope, from z stacks of any objects.

Astigmatism and spherical aberration are those under which the slices of each stack are explained best as pictures of one scene
(`networks.shared_scene`). Softness is that under which the slices, each alone, are found nearest to their distances.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from isoplan.applications.autofocus.focus import SIDE, Finder, Seen
from isoplan.base.errors import UserError
from isoplan.mosaic.slices import check_order
from isoplan.networks.shared_scene import SharedScene
from isoplan.optics.defocus import Defocus

FORMAT = "isoplan autofocus calibration 1"
LEAST_SLICES, MOST_SLICES = 5, 24
SPAN = 6.0  # depths of field on both sides of focus that are used
LEAST_SPAN = 4.0  # that a stack spans, in depths of field
STEP_WAVES, LAST_STEP = 0.05, 0.05  # first step of the search, and its last, in first ones
SEARCHED = 60
NEAR = 1.5  # depths of field from where focus seemed to be with perfect optics
SOFTNESS_PX = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class Calibration:
    """A microscope whose focus can be found.

    Attributes
    ----------
    optics
        What was found.
    apart_um
        How far from each stack's focus three of its slices alone lead.
    shape_px
        (height, width) of the slices.
    """

    optics: Defocus
    apart_um: tuple[float, ...]
    shape_px: tuple[int, int]

    def told(self) -> dict:
        """All of it, for a file."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def read(cls, path: str | Path) -> "Calibration":
        """Raises UserError if the file is no calibration."""
        try:
            told = json.loads(Path(path).read_text())
            if told["format"] != FORMAT:
                raise UserError(f"{path}: is not of the format {FORMAT}; calibrate again")
            return cls(
                Defocus(**told["optics"]),
                tuple(told["apart_um"]),
                tuple(told["shape_px"]),
            )
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}: is no calibration of `autofocus-calibrate` ({error})"
            ) from None


def calibrate(
    stacks: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]],
    start: Defocus,
    *,
    step: Callable[[], None] = lambda: None,
) -> Calibration:
    """Find a microscope's aberrations.

    Parameters
    ----------
    stacks
        Positions (n,) in um and slices (h, w) of each.
    start
        NA, wavelength, pixel size and index.
    step
        Called after each evaluation.

    Raises
    ------
    UserError
        If a stack has too few slices, too little span or no texture, or is not in focus within.
    """
    names = [f"stack {number + 1}" for number in range(len(stacks))]
    for (z, _), name in zip(stacks, names, strict=True):
        check_positions(z, start, name)
    plain = Finder(start)
    seen = [_looks(plain, *stack, name) for stack, name in zip(stacks, names, strict=True)]

    def optics_at(place: np.ndarray) -> Defocus:
        y, x, spherical = np.asarray(place) * STEP_WAVES
        return replace(
            start,
            cylinder_waves=float(math.hypot(y, x)),
            axis_rad=float(math.atan2(y, x) / 2 % math.pi),
            spherical_waves=float(spherical),
        )

    def compared(place: np.ndarray) -> SharedScene:
        optics = optics_at(place)
        return SharedScene(optics, (SPAN + NEAR) * optics.depth_of_field_um, plain.binning)

    def cost(place: np.ndarray) -> float:
        step()
        fit = compared(place)
        return float(
            np.mean([_best(fit, looks, at)[1] for looks, at in zip(seen, near, strict=True)])
        )

    first = compared(np.zeros(3))
    near = [_best(first, looks)[0] for looks in seen]
    options = {"initial_tr_radius": 1.0, "final_tr_radius": LAST_STEP, "maxfev": SEARCHED}
    best = minimize(cost, np.zeros(3), method="COBYQA", options=options).x
    optics, fit = optics_at(best), compared(best)
    focus = [_best(fit, looks, at)[0] for looks, at in zip(seen, near, strict=True)]
    for looks, at, name in zip(seen, focus, names, strict=True):
        ends = sorted((looks[0].z_um, looks[-1].z_um))
        if not ends[0] < at < ends[1]:
            raise UserError(f"{name}: its focus does not lie within; take more slices")
    optics = _softened(optics, seen, focus, plain, step)
    finder = Finder(optics)
    apart = [_apart(finder, *stack, at) for stack, at in zip(stacks, focus, strict=True)]
    return Calibration(optics, tuple(apart), stacks[0][1][0].shape)


def check_positions(z_um: Sequence[float], optics: Defocus, name: str) -> None:
    """Raise UserError if slices at these positions (n,) in um are no stack for a calibration."""
    z, depth = np.asarray(z_um, float), optics.depth_of_field_um
    if len(z) < LEAST_SLICES:
        raise UserError(f"{name}: {len(z)} slices are too few; give at least {LEAST_SLICES}")
    try:
        check_order(z)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    if abs(z[-1] - z[0]) < LEAST_SPAN * depth:
        raise UserError(
            f"{name}: spans {abs(z[-1] - z[0]):g} um, {abs(z[-1] - z[0]) / depth:.2g} depths of field (of {depth:.3g} um); give at least "
            f"{LEAST_SPAN:g}, and check that positions are in um"
        )


def _looks(plain: Finder, z_um, slices, name: str) -> list[Seen]:
    """Looks at the slices about focus, at most MOST_SLICES of them."""
    z, depth = np.asarray(z_um, float), plain.optics.depth_of_field_um
    looks = [plain.see(one, at) for one, at in zip(slices, z, strict=True)]
    if not any(look.told[0].any() for look in looks):
        raise UserError(f"{name}: has no texture")
    power = [float(look.spectra[0].sum()) for look in looks]
    near = np.flatnonzero(np.abs(z - z[int(np.argmax(power))]) <= SPAN * depth)
    chosen = np.linspace(0, len(near) - 1, min(len(near), MOST_SLICES)).round().astype(int)
    return [looks[k] for k in near[np.unique(chosen)]]


def _best(fit: SharedScene, looks: list[Seen], near: float | None = None) -> tuple[float, float]:
    """Position of focus of a stack, and the mean logarithm of its blocks' misfits there; near: where it is looked for."""
    z = torch.tensor([look.z_um for look in looks])
    low, high = float(z.min()), float(z.max())
    if near is not None:
        reach = NEAR * fit.optics.depth_of_field_um
        low, high = near - reach, near + reach
    tried = torch.arange(low, high + 1e-6, float(fit.z_um[1] - fit.z_um[0]))
    told = torch.stack([look.told[0] for look in looks]).any(0)
    spectra = torch.stack([look.spectra[0] for look in looks])
    costs = [fit.misfit(own, z, tried).log() for own in spectra[:, told].unbind(1)]
    cost = torch.stack(costs).mean(0)
    k = int(cost.argmin().clamp(1, len(cost) - 2))
    before, here, after = (float(cost[j]) for j in (k - 1, k, k + 1))
    bend = before - 2 * here + after
    move = (before - after) / (2 * bend) if bend > 0 else 0.0
    move = min(max(move, -1.0), 1.0)
    at = float(tried[k]) + move * float(tried[1] - tried[0])
    return at, here - (before - after) * move / 4


def _softened(optics, seen, focus, plain: Finder, step) -> Defocus:
    """The optics with the softness under which slices, each alone, are found nearest to their distances."""
    found = []
    for softness in SOFTNESS_PX:
        tried = replace(optics, softness_um=softness * optics.pixel_size_um)
        finder = Finder(tried, min(plain.reach_um, (SPAN + NEAR) * optics.depth_of_field_um))
        apart = [
            abs(finder.score(finder.read(look)) - abs(look.z_um - at))
            for looks, at in zip(seen, focus, strict=True)
            for look in looks
        ]
        found.append(float(np.nanmean(apart)))
        step()
    return replace(optics, softness_um=SOFTNESS_PX[int(np.argmin(found))] * optics.pixel_size_um)


def _apart(finder: Finder, z_um, slices, focus_um: float) -> float:
    """How far from a stack's focus three slices lead: about SIDE from it on both sides, and twice as far below."""
    z, side = np.asarray(z_um, float), SIDE * finder.optics.depth_of_field_um
    chosen = {int(np.abs(z - focus_um - d).argmin()) for d in (-2 * side, -side, side)}
    looks = [finder.look(slices[k], z[k]) for k in sorted(chosen)]
    return finder.focus(looks, (float(z.min()), float(z.max()))).z_um - focus_um
