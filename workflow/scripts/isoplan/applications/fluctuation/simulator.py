"""Sequences of fluctuating emitters, with the truth known.

Emitters lie on curves, at any position. Each switches on and off, until it bleaches. What it emits within a frame goes
photon by photon to the pixels, so given the intensities the pixels' shot noise is independent:

    electrons_t = Poisson(light_t (Psi_t (brightness on_t) + background slow_t))

`on_t` is the part of frame t for which an emitter is on, from switching times that are exact. Psi_t is the PSF,
integrated over the pixels, at the emitters' positions with the drift of frame t.

Random numbers are a pure function of the seed, the stream and the frame. So frames can be made in blocks of any size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from math import ceil, inf, sqrt

import numpy as np
from scipy import ndimage, sparse
from scipy.special import erf

from isoplan.applications.fluctuation.camera import Camera
from isoplan.applications.fluctuation.formation import SIGMA, Psf
from isoplan.applications.fluctuation.moments import share_on
from isoplan.base.errors import UserError

# Streams of random numbers.
CURVES, EMITTERS, BRIGHTNESS, BACKGROUND, DRIFT, LIGHT, START, SWITCHING, NOISE = range(9)

FILAMENTS_PER_UM2, FILAMENT_UM, STEP_UM, BEND_PER_UM = 0.25, 6.0, 0.02, 1.0
RINGS_PER_UM2, TRIPLET_UM, CELL_UM = 0.5, 1.2, 1.6
SPOKES, HUB_UM = 16, 0.15
CLOUD_UM_PER_UM2, PIECE_UM = 40.0, 0.1
SMOOTH = 6  # what is slow or smooth changes over this part of the length
UNEVEN = 0.2  # standard deviation of the background over the field, of its mean
BORDER_PX = 10  # emitters reach so far beyond the picture
FINER = 16  # an Airy pattern is interpolated between so many values per pixel
EMITTERS_AT_ONCE, BLOCK = 10_000, 100  # these bound the memory


@dataclass(frozen=True)
class Settings:
    """What a sequence is made from.

    Parameters
    ----------
    structure : str
        `filaments`, `rings`, `lines` (triplets of parallel lines), `star` (a test pattern of spokes, whose distance
        falls towards the middle) or `cloud` (short pieces gathered around the middle: smooth
        where emitters are many).
    density_per_um : float
        Emitters per micrometre of curve, on average.
    spacing_um : float
        Between the lines of a triplet.
    radius_um : tuple of float
        Least and largest radius of rings.
    shape, frames, factor
        Height and width in px, length, and fine pixels per pixel of the truth.
    pixel_um : float
        Size of a pixel.
    psf : Psf
        In focus.
    photons, spread : float
        Electrons per frame while an emitter is on, and their standard deviation between emitters, as a share.
    on_frames, off_frames : float
        Mean times of the states, which are exponential. 0 frames off: never off.
    bleaching_frames : float
        Mean time until an emitter is bleached, on or off: exponential.
    background_e : float
        Mean electrons per pixel and frame. The background is smooth, and stays where it is.
    background_change : float
        Standard deviation of the background's slow change in time, as a share.
    flicker : float
        Standard deviation of the laser's light from frame to frame, as a share.
    out_of_focus_per_um2, out_of_focus_fwhm_px : float
        Emitters of a second layer, anywhere in the field, and the FWHM of their Gaussian PSF.
    drift_px, wander_px : float
        Length of a straight drift, and the rms length of a random walk beside it, from first frame to last.
    camera : Camera
        Its facts.
    """

    structure: str = "filaments"
    density_per_um: float = 40.0
    spacing_um: float = 0.125
    radius_um: tuple[float, float] = (0.06, 0.15)
    shape: tuple[int, int] = (32, 32)
    frames: int = 500
    factor: int = 4
    pixel_um: float = 0.1
    psf: Psf = field(default_factory=lambda: Psf(2.59))
    photons: float = 100.0
    spread: float = 0.0
    on_frames: float = 2.0
    off_frames: float = 4.0
    bleaching_frames: float = 2000.0
    background_e: float = 20.0
    background_change: float = 0.05
    flicker: float = 0.0
    out_of_focus_per_um2: float = 0.0
    out_of_focus_fwhm_px: float = 8.0
    drift_px: float = 0.0
    wander_px: float = 0.0
    camera: Camera = field(default_factory=Camera)

    def __post_init__(self):
        if self.structure not in STRUCTURES:
            raise UserError(
                f"structure {self.structure}: unknown; known are {', '.join(STRUCTURES)}"
            )
        above = ("frames", "factor", "pixel_um", "photons", "on_frames", "bleaching_frames")
        for name in above:
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be above 0")
        least = ("density_per_um", "spread", "off_frames", "background_e", "background_change")
        for name in (*least, "flicker", "out_of_focus_per_um2", "drift_px", "wander_px"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must not be below 0")


@dataclass(frozen=True)
class Sequence:
    """Frames and their truth.

    Parameters
    ----------
    counts : ndarray
        (t, h, w) uint16.
    truth : ndarray
        (h factor, w factor) mean emission in electrons per frame, of what the emitters did: their brightness times
        the mean time that they were on, with bleaching and flicker. Without those out of focus.
    emitters : recarray
        `y`, `x` in px (pixel i covers [i, i + 1]), `brightness` in electrons per frame while on, `on` the mean share
        of a frame for which it was on. Some lie beyond the picture, as far as the PSF reaches.
    curves : list of ndarray
        (k, 2) points (y, x) in px, of the structure.
    drift_px : ndarray
        (t, 2): an emitter at y is seen at y + drift. Its mean over time is 0, so the truth lies at the mean position.
    background_e : ndarray
        (h, w) mean background over time, in electrons per frame.
    light : ndarray
        (t,) the laser's light, about 1.
    settings : Settings
        With the PSF and the camera.
    """

    counts: np.ndarray
    truth: np.ndarray
    emitters: np.recarray
    curves: list[np.ndarray]
    drift_px: np.ndarray
    background_e: np.ndarray
    light: np.ndarray
    settings: Settings


def simulate(
    settings: Settings, seed: int, *, positions: np.ndarray | None = None, out=None, block=BLOCK
) -> Sequence:
    """A sequence, as a pure function of settings and seed.

    Parameters
    ----------
    settings : Settings
        What it is made from.
    seed : int
        0 or more.
    positions : ndarray, optional
        (n, 2) emitters (y, x) in px, in place of those on the structure.
    out : array, optional
        (t, h, w) uint16 that takes the counts, on the disk for instance.
    block : int
        Frames made at once. The result does not depend on it.

    Returns
    -------
    Sequence
        Beyond its counts it takes memory for `block` frames and, of each of them, one number per emitter.

    Examples
    --------
    >>> made = simulate(Settings(structure="rings", shape=(16, 16), frames=50), seed=1)
    >>> made.counts.shape, made.truth.shape
    ((50, 16, 16), (64, 64))
    >>> light = made.settings.camera.electrons(made.counts).mean(0) - made.background_e
    >>> bool(abs(light.sum() / made.truth.sum() - 1) < 0.2)
    True
    """
    curves, layers = _layers(settings, seed, positions)
    paths = [_on_times(layer, settings, seed, i) for i, layer in enumerate(layers)]
    drift, light, slow = _drift(settings, seed), _light(settings, seed), _slow(settings, seed)
    field_e = _background(settings, seed)
    counts = out
    if counts is None:
        counts = np.empty((settings.frames, *settings.shape), np.uint16)
    emitted, on_time = (np.zeros(len(layers[0].positions)) for _ in range(2))
    for start in range(0, settings.frames, block):
        part = slice(start, min(start + block, settings.frames))
        mean = slow[part, None, None] * field_e
        for layer, path in zip(layers, paths, strict=True):
            on = np.stack([next(path) for _ in range(part.stop - start)])
            mean += _images(layer, on, drift[part], settings.shape)
            if layer is layers[0]:
                emitted += light[part] @ on
                on_time += on.sum(0)
        mean *= light[part, None, None]
        for t, frame in zip(range(start, part.stop), mean, strict=True):
            counts[t] = settings.camera.expose(frame, _rng(seed, NOISE, t))
    first = layers[0]
    table = np.rec.fromarrays(
        [*first.positions.T, first.brightness, on_time / settings.frames],
        names="y,x,brightness,on",
    )
    truth = on_grid(first.positions, first.brightness * emitted / settings.frames, settings)
    background = field_e * (light @ slow) / settings.frames
    return Sequence(counts, truth, table, curves, drift, background, light, settings)


def on_grid(positions: np.ndarray, values: np.ndarray, settings: Settings) -> np.ndarray:
    """Sums of the emitters' values in fine pixels: (h factor, w factor) float64. Those beyond are left out."""
    shape = np.array(settings.shape) * settings.factor
    at = np.floor(positions * settings.factor).astype(int)
    inside = ((at >= 0) & (at < shape)).all(1)
    flat = np.ravel_multi_index(tuple(at[inside].T), tuple(shape))
    return np.bincount(flat, values[inside], shape.prod()).reshape(shape)


def view(positions: np.ndarray, psf: Psf, shape: tuple[int, int]) -> sparse.csc_matrix:
    """Share of an emitter's light that each pixel takes.

    Parameters
    ----------
    positions : ndarray
        (n, 2) emitters (y, x) in px.
    psf : Psf
        A Gaussian is integrated exactly. An Airy pattern is interpolated linearly between FINER values per pixel.
    shape : tuple of int
        (h, w) px.

    Returns
    -------
    csc_matrix
        (h w, n) float64.
    """
    reach = psf.reach_px()
    at = np.floor(positions).astype(np.int32)[:, :, None] + np.arange(
        -reach, reach + 1, dtype=np.int32
    )
    last = np.array(shape, np.int32)[:, None] - 1
    inside = (at >= 0) & (at <= last)
    away = at + 0.5 - positions[:, :, None]  # of the pixel's middle from the emitter
    if psf.shape == "gaussian":
        wide = sqrt(2) * psf.fwhm_px * SIGMA
        sides = (erf((away + 0.5) / wide) - erf((away - 0.5) / wide)) / 2 * inside
        share = _outer(np.multiply, sides)
    else:
        where = np.broadcast_arrays(*_open((reach + 0.5 - away) * FINER - 0.5))
        share = ndimage.map_coordinates(_finely(psf), where, order=1) * _outer(np.multiply, inside)
    pixel = _outer(np.add, np.clip(at, 0, last) * np.array([[shape[1]], [1]], np.int32))
    ends = np.arange(len(positions) + 1) * (2 * reach + 1) ** 2
    return sparse.csc_matrix((share.ravel(), pixel.ravel(), ends), (shape[0] * shape[1], len(at)))


def _open(sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2, k) along y and x as (n, k, 1) and (n, 1, k)."""
    return sides[:, 0, :, None], sides[:, 1, None, :]


def _outer(function: np.ufunc, sides: np.ndarray) -> np.ndarray:
    return function(*_open(sides))


@cache
def _finely(psf: Psf) -> np.ndarray:
    return psf.kernel(FINER)


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# Emitters ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    positions: np.ndarray  # (n, 2) px
    brightness: np.ndarray  # (n,)
    psf: Psf


def _layers(settings: Settings, seed: int, positions) -> tuple[list[np.ndarray], list[_Layer]]:
    """The structure's curves and emitters, and those out of focus where there are some."""
    curves = []
    # One border for all but wide PSFs, so that settings that differ in drift or PSF share their structure.
    border = max(BORDER_PX, settings.psf.reach_px())
    low, high = np.full(2, -border), np.array(settings.shape) + border
    if positions is None:
        curves = STRUCTURES[settings.structure](settings, low, high, _rng(seed, CURVES))
        positions = _on_curves(
            curves, settings.density_per_um * settings.pixel_um, _rng(seed, EMITTERS)
        )
        positions = positions[((positions >= low) & (positions < high)).all(1)]
    found = [(positions, settings.psf)]
    if settings.out_of_focus_per_um2:
        wide = Psf(settings.out_of_focus_fwhm_px)
        low, high = low - wide.reach_px(), high + wide.reach_px()
        rng = _rng(seed, EMITTERS, 1)
        number = settings.out_of_focus_per_um2 * settings.pixel_um**2 * (high - low).prod()
        found.append((rng.uniform(low, high, (rng.poisson(number), 2)), wide))
    return curves, [
        _Layer(
            np.asarray(at, float), _brightness(settings, len(at), _rng(seed, BRIGHTNESS, i)), psf
        )
        for i, (at, psf) in enumerate(found)
    ]


def _brightness(settings: Settings, n: int, rng: np.random.Generator) -> np.ndarray:
    """Gamma distributed where there is a spread."""
    if not settings.spread:
        return np.full(n, settings.photons)
    return rng.gamma(settings.spread**-2, settings.photons * settings.spread**2, n)


def _on_curves(curves, per_px: float, rng: np.random.Generator) -> np.ndarray:
    """(n, 2) emitters, evenly at random along the curves."""
    found = [np.empty((0, 2))]
    for curve in curves:
        along = np.append(0, np.hypot(*np.diff(curve, axis=0).T).cumsum())
        at = rng.uniform(0, along[-1], rng.poisson(per_px * along[-1]))
        found.append(np.stack([np.interp(at, along, axis) for axis in curve.T], 1))
    return np.concatenate(found)


def _filaments(settings: Settings, low, high, rng) -> list[np.ndarray]:
    """Curves whose bend changes smoothly."""
    area_um2 = (high - low).prod() * settings.pixel_um**2
    steps = int(FILAMENT_UM / STEP_UM)
    made = []
    for _ in range(ceil(FILAMENTS_PER_UM2 * area_um2)):
        bend = BEND_PER_UM * _smooth((steps,), rng) * STEP_UM
        angle = rng.uniform(0, 2 * np.pi) + bend.cumsum()
        points = np.stack([np.sin(angle), np.cos(angle)], 1).cumsum(0) * STEP_UM / settings.pixel_um
        made.append(points - points.mean(0) + rng.uniform(low, high))
    return made


def _rings(settings: Settings, low, high, rng) -> list[np.ndarray]:
    number = ceil(RINGS_PER_UM2 * (high - low).prod() * settings.pixel_um**2)
    angle = np.linspace(0, 2 * np.pi, 65)[:, None]
    circle = np.hstack([np.sin(angle), np.cos(angle)]) / settings.pixel_um
    radii = rng.uniform(*settings.radius_um, number)
    return [r * circle + c for r, c in zip(radii, rng.uniform(low, high, (number, 2)), strict=True)]


def _lines(settings: Settings, low, high, rng) -> list[np.ndarray]:
    """A triplet in each cell of the picture, at any angle. Triplets do not cross."""
    cells = [max(1, int(n * settings.pixel_um / CELL_UM)) for n in settings.shape]
    made = []
    for cell in np.ndindex(*cells):
        middle = (np.array(cell) + 0.5) / cells * settings.shape
        angle = rng.uniform(0, np.pi)
        along, across = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
        ends = np.array([[-0.5], [0.5]]) * TRIPLET_UM / settings.pixel_um * along
        for k in (-1, 0, 1):
            made.append(middle + ends + k * settings.spacing_um / settings.pixel_um * across)
    return made


def _star(settings: Settings, low, high, rng) -> list[np.ndarray]:
    """Spokes: at r from the middle they are 2 pi r / SPOKES apart."""
    radii = np.array([[HUB_UM / settings.pixel_um], [0.45 * min(settings.shape)]])
    angles = 2 * np.pi * np.arange(SPOKES) / SPOKES
    return [np.array(settings.shape) / 2 + radii * (np.sin(a), np.cos(a)) for a in angles]


def _cloud(settings: Settings, low, high, rng) -> list[np.ndarray]:
    """Pieces of curve whose number falls from the middle as a Gaussian of a quarter of the field."""
    shape = np.array(settings.shape)
    number = round(CLOUD_UM_PER_UM2 * shape.prod() * settings.pixel_um**2 / PIECE_UM)
    middles = shape / 2 + shape / 4 * rng.standard_normal((number, 2))
    angles = rng.uniform(0, np.pi, number)
    halves = PIECE_UM / 2 / settings.pixel_um * np.stack([np.sin(angles), np.cos(angles)], 1)
    return list(np.stack([middles - halves, middles + halves], 1))


STRUCTURES = {
    "filaments": _filaments,
    "rings": _rings,
    "lines": _lines,
    "star": _star,
    "cloud": _cloud,
}


# Over time -----------------------------------------------------------------------------------------


def _on_times(layer: _Layer, settings: Settings, seed: int, number: int) -> Iterator[np.ndarray]:
    """Of each frame, (n,) how long the emitters are on, in frames.

    Exponential times have no memory, so a frame goes on from the state in which the last one ended.
    """
    rng, n = _rng(seed, START, number), len(layer.positions)
    on = rng.random(n) < share_on(settings.on_frames, settings.off_frames)
    bleached = np.full(n, inf)
    if settings.bleaching_frames < inf:
        bleached = rng.exponential(settings.bleaching_frames, n)
    for t in range(settings.frames):
        time, on = _one_frame(
            on, np.clip(bleached - t, 0, 1), settings, _rng(seed, SWITCHING, number, t)
        )
        yield time


def _one_frame(on: np.ndarray, left: np.ndarray, settings: Settings, rng):
    """Time on within one frame and the state at its end. left: (n,) time until the frame or the emitter ends."""
    time, on = np.zeros(len(on)), on.copy()
    going = np.flatnonzero(left)
    while going.size:
        state = on[going]
        stay = rng.standard_exponential(going.size) * np.where(
            state, settings.on_frames, settings.off_frames
        )
        spent = np.minimum(stay, left[going])
        time[going] += spent * state
        left[going] -= spent
        going = going[stay == spent]
        going = going[left[going] > 0]
        on[going] ^= True
    return time, on


def _images(layer: _Layer, on: np.ndarray, drift: np.ndarray, shape) -> np.ndarray:
    """(t, h, w) electrons from emitters that are on for `on`, (t, n)."""
    made = np.zeros((len(on), shape[0] * shape[1]))
    still = (drift == drift[0]).all()
    for start in range(0, len(layer.positions), EMITTERS_AT_ONCE):
        part = slice(start, start + EMITTERS_AT_ONCE)
        light = on[:, part] * layer.brightness[part]
        if still:
            made += (view(layer.positions[part] + drift[0], layer.psf, shape) @ light.T).T
        else:
            for picture, own, shift in zip(made, light, drift, strict=True):
                picture += view(layer.positions[part] + shift, layer.psf, shape) @ own
    return made.reshape(-1, *shape)


def _drift(settings: Settings, seed: int) -> np.ndarray:
    rng = _rng(seed, DRIFT)
    angle = rng.uniform(0, 2 * np.pi)
    straight = np.linspace(0, settings.drift_px, settings.frames)[:, None]
    steps = rng.standard_normal((settings.frames, 2)) / sqrt(2 * settings.frames)
    path = straight * (np.sin(angle), np.cos(angle)) + settings.wander_px * steps.cumsum(0)
    return path - path.mean(0)


def _light(settings: Settings, seed: int) -> np.ndarray:
    flicker = settings.flicker * _rng(seed, LIGHT).standard_normal(settings.frames)
    return np.maximum(1 + flicker, 0)


def _slow(settings: Settings, seed: int) -> np.ndarray:
    change = settings.background_change * _smooth((settings.frames,), _rng(seed, BACKGROUND, 1))
    return np.maximum(1 + change, 0)


def _background(settings: Settings, seed: int) -> np.ndarray:
    uneven = UNEVEN * _smooth(settings.shape, _rng(seed, BACKGROUND))
    return settings.background_e * np.maximum(1 + uneven, 0)


def _smooth(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1."""
    values = ndimage.gaussian_filter(rng.standard_normal(shape), [n / SMOOTH for n in shape])
    values -= values.mean()
    return values / (values.std() or 1)
