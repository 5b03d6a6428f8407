"""isoplan for notebooks and programs: map the PSF of a picture, restore it, simulate one, compare two.

Pictures are (H, W) arrays of counts as they came from the camera: numpy arrays, memory maps, dask arrays, zarr
arrays, whatever gives a numpy array for a window, or what `open_mosaic` opened. They are read by window, so that a
picture may be larger than memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from isoplan.base.device import pick_device
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress, silent
from isoplan.config.entries import LEARNT, entry, single_modes
from isoplan.config.schema import choices
from isoplan.config.validation import validate
from isoplan.evaluation import compared
from isoplan.mosaic import tiles
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.ground import without_ground
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.measure import describe_facts, measure
from isoplan.mosaic.reader import open_mosaic
from isoplan.mosaic.table import cutoff_of
from isoplan.mosaic.window import Picture
from isoplan.one_picture import (
    MapNetwork,
    PictureMap,
    blocks_of,
    describe_map,
    estimate_map,
    how_to_restore,
    network_for,
    restored_cores,
)
from isoplan.optics.camera_facts import check_camera_of, complete_camera
from isoplan.optics.psf import make_psf_model
from isoplan.restoration.in_memory import Counts
from isoplan.restoration.trust import NAMES
from isoplan.restoration.weight_store import CELL_PX, cells_of
from isoplan.simulation import BLOCK_PX, Simulation

# Side of simulated PSFs of single Zernike modes; the schema's default is for narrow ones.
SINGLE_MODES_PX = 81
P = ParamSpec("P")
R = TypeVar("R")

__all__ = [
    "PsfMap",
    "Restored",
    "Simulated",
    "compare",
    "map_psf",
    "open_mosaic",
    "restore",
    "simulate",
]


@dataclass(frozen=True)
class PsfMap:
    """The PSF map of a picture, and what it was made with.

    Attributes
    ----------
    parameters : dict of str to ndarray
        Each parameter of the PSF model, (ny, nx), in `units`; NaN in every cell where no PSF is known at all.
    uncertainty : dict of str to ndarray
        Half-widths of 90 % intervals, (ny, nx).
    valid : ndarray of bool
        (ny, nx): cells that were measured. The others took the PSF of their neighbours.
    units : dict of str to str
        Unit of each parameter.
    y_px, x_px : ndarray
        Centres of the rows (ny,) and columns (nx,) of cells, in px from the picture's edge.
    notes : list of str
        What was found on the way, as the command line prints it.
    """

    parameters: dict[str, np.ndarray]
    uncertainty: dict[str, np.ndarray]
    valid: np.ndarray
    units: dict[str, str]
    y_px: np.ndarray
    x_px: np.ndarray
    notes: list[str]
    _made: "_Made"

    def table(self) -> pd.DataFrame:
        """The map as a pandas table, a row per cell, as the command `map` writes it to psf_map.csv."""
        return self._made.found.table()

    def psf(self, y_px: float, x_px: float) -> np.ndarray:
        """The PSF of the cell that holds a place of the picture: (size, size) float32 of sum 1, odd size.

        Parameters
        ----------
        y_px, x_px : float
            The place, in px from the picture's edge.

        Raises
        ------
        UserError
            Where the place is outside the picture, or no PSF is known.
        """
        import torch

        found = self._made.found
        shape, stride = found.layout.shape_px, found.layout.stride_px
        if not (0 <= y_px < shape[0] and 0 <= x_px < shape[1]):
            raise UserError(f"({y_px:g}, {x_px:g}) px lies outside the picture of {shape} px")
        if not found.any_known:
            raise UserError("no PSF of this picture is known: no cell of its map is valid")
        cell = tuple(
            min(int(at // stride), n - 1)
            for at, n in zip((y_px, x_px), self.valid.shape, strict=True)
        )
        values = [float(grid[cell]) for grid in self.parameters.values()]
        return found.model.psf(torch.tensor([values]))[0][0].numpy()


@dataclass(frozen=True)
class Restored:
    """A restored picture.

    Attributes
    ----------
    picture : array
        (H, W) float32, counts above the camera's offset; NaN where nothing is known. The array that was given as `out`.
    psf_map : PsfMap
        The map that restored it.
    trust : dict of str to ndarray
        How far to trust it, by cells of `trust_px` px: `doubt` is 0 for none, 1 without a sure PSF of its own, 2 where the
        picture does not agree with the data, 3 both. The other layers say why.
    trust_px : int
        Side of these cells.
    settings : dict
        The settings of the restoration, with what was chosen from the data.
    notes : list of str
        What was found on the way, as the command line prints it.
    tv_weights : ndarray or None
        With ``{"tv_weight": "learnt"}``, the geometric mean of the TV weights in each square of `tv_weights_px` px.
    tv_weights_px : int
        Side of these squares.
    """

    picture: Any
    psf_map: PsfMap
    trust: dict[str, np.ndarray]
    trust_px: int
    settings: dict
    notes: list[str]
    tv_weights: np.ndarray | None = None
    tv_weights_px: int = CELL_PX


@dataclass(frozen=True)
class Simulated:
    """A picture with a known truth.

    Attributes
    ----------
    observed : ndarray
        (H, W) counts as the camera gives them, offset included.
    truth : ndarray
        (H, W) float32: the sharp picture in expected counts above the offset.
    """

    observed: np.ndarray
    truth: np.ndarray


def _can_be_quiet(function: Callable[P, R]) -> Callable[P, R]:
    """Gives a function's `quiet` to all bars of progress."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with silent(bool(kwargs.get("quiet"))):
            return function(*args, **kwargs)

    return called


@dataclass(frozen=True)
class _Made:
    """What a map needs to restore: the picture's array, how it is read, what was measured on it."""

    image: Any
    picture: Picture
    facts: Facts
    network: MapNetwork
    found: PictureMap


@_can_be_quiet
def map_psf(
    image: Any,
    *,
    pixel_size_um: float | None = None,
    na: float | None = None,
    wavelength_um: float | None = None,
    cutoff: float | None = None,
    offset: float = 0.0,
    gain: float | None = None,
    read_noise_e: float | None = None,
    psf_model: str | None = None,
    network: str | Path | None = None,
    stride_px: int | None = None,
    alarm_threshold: float = 0.5,
    device: str = "auto",
    quiet: bool = False,
) -> PsfMap:
    """Finds the local PSF of every cell of a picture, from the picture alone.

    Parameters
    ----------
    image : array or Picture
        (H, W) counts: an array, or what `open_mosaic` opened.
    pixel_size_um, na, wavelength_um : float, optional
        Pixel size at the sample, numerical aperture, wavelength of the light that is seen; taken from the file of
        `open_mosaic` where it has them. PSF models of a pupil (zernike-1 to zernike-8) need all three, or `cutoff`.
    cutoff : float, optional
        NA * pixel size / wavelength in cycles/px, in place of the three.
    offset : float, optional
        The camera's counts without light. A picture does not tell it: give it if you know it.
    gain, read_noise_e : float, optional
        Counts per electron, and the read noise in electrons; estimated where they are not given.
    psf_model : str, optional
        gaussian-1, gaussian-2 (the default), zernike-1, zernike-2, zernike-3 or zernike-8: whose released network is taken.
    network : path, optional
        A trained network (.safetensors) to take instead.
    stride_px : int, optional
        Distance between two cells, a multiple of 32; half the network's window by default.
    alarm_threshold : float, optional
        Cells whose alarm is above this take the PSF of their neighbours.
    device : {"auto", "cpu", "cuda"}, optional
        auto takes a GPU where there is one.
    quiet : bool, optional
        Prints nothing; what would have been said stands in `notes` all the same.

    Returns
    -------
    PsfMap

    Raises
    ------
    UserError
        For pictures that are not (H, W), that are too small for the network, and for what does not fit together.

    Examples
    --------
    >>> import isoplan
    >>> from skimage import data
    >>> seen = isoplan.simulate(data.camera()[:256, :256], {"width_y": 3, "width_x": 3}, photons=3000, offset=100)
    >>> found = isoplan.map_psf(seen.observed, offset=100, quiet=True)
    >>> {name: unit for name, unit in found.units.items()}
    {'width_y': 'px', 'width_x': 'px'}
    >>> bool(abs(found.parameters["width_x"][found.valid] - 3).max() < 1)
    True
    """
    notes, say = _notes(quiet)
    given = {"pixel_size_um": pixel_size_um, "na": na, "wavelength_um": wavelength_um}
    camera: dict[str, Any] = {"offset": offset, "gain": gain, "read_noise_e": read_noise_e}
    picture = without_ground(_picture(image))
    optics, found_optics = complete_optics(given, picture.optics)
    settings = validate({"map": {"alarm_threshold": alarm_threshold}})["map"]
    chosen = network_for(
        picture.shape,
        pick_device(device),
        psf_model=psf_model,
        file=network,
        cutoff=cutoff_of({**optics, "cutoff": cutoff}),
        stride_px=stride_px,
        say=say,
    )
    camera, found_camera = complete_camera(camera, picture.middle())
    facts = Facts(measure(picture, offset=offset) | camera)
    for note in [
        *picture.notes,
        *found_optics,
        *found_camera,
        *check_camera_of(facts, "the picture"),
        *describe_facts(facts),
    ]:
        say(note)
    bar = Progress("mapping, blocks", blocks_of(picture.shape, chosen, settings))
    found = estimate_map(chosen, picture, facts, settings, step=bar.step)
    for line in describe_map(found):
        say(line)
    named = found.model.parameters
    return PsfMap(
        parameters={p.name: found[p.name] for p in named},
        uncertainty={p.name: found[f"{p.name}_uncertainty"] for p in named},
        valid=found.valid,
        units={p.name: p.unit for p in named},
        y_px=found.layout.centres_px(0),
        x_px=found.layout.centres_px(1),
        notes=notes,
        _made=_Made(image, picture, facts, chosen, found),
    )


@_can_be_quiet
def restore(
    image: Any,
    *,
    psf_map: PsfMap | None = None,
    out: Any = None,
    quiet: bool = False,
    restoration: dict | None = None,
    **of_map: Any,
) -> Restored:
    """Restores a picture with its own PSF map, core by core.

    Parameters
    ----------
    image : array or Picture
        (H, W) counts: an array, or what `open_mosaic` opened.
    psf_map : PsfMap, optional
        The map of this picture; found by `map_psf` where it is not given.
    out : array, optional
        (H, W) array that takes the result by window: a numpy array, a memory map, a zarr array. A new numpy
        array by default, which has to fit into memory.
    quiet : bool, optional
        Prints nothing; what would have been said stands in `notes` all the same.
    restoration : dict, optional
        Keys of the config's `restoration` (config/README.md), such as ``{"iterations": 20}``. By default iterations,
        weight of total variation and width of the PSFs are chosen from photons held out, and a picture that cannot be
        improved is left as it is.
    **of_map
        pixel_size_um, offset and the other parameters of `map_psf`.

    Returns
    -------
    Restored

    Raises
    ------
    UserError
        As `map_psf`, and for settings that cannot be.

    Examples
    --------
    >>> import isoplan
    >>> from skimage import data
    >>> seen = isoplan.simulate(data.camera()[:256, :256], {"width_y": 3, "width_x": 3}, photons=3000, offset=100)
    >>> result = isoplan.restore(seen.observed, pixel_size_um=0.1, offset=100, quiet=True)
    >>> before = isoplan.compare(seen.observed - 100.0, seen.truth)
    >>> isoplan.compare(result.picture, seen.truth)["SNR"] > before["SNR"] + 1
    True
    """
    notes, say = _notes(quiet)
    settings = validate({"restoration": restoration or {}})["restoration"]
    if psf_map is None:
        psf_map = map_psf(image, quiet=quiet, **of_map)
        notes.extend(psf_map.notes)
    elif of_map:
        raise UserError(
            f"{', '.join(of_map)}: what psf_map was made with counts; leave one of them out"
        )
    elif psf_map._made.image is not image:
        raise UserError("psf_map: is that of another picture; map this one")
    made = psf_map._made
    picture, facts, device = made.picture, made.facts, made.network.device
    if out is None:
        out = np.empty(picture.shape, np.float32)
    elif tuple(out.shape) != picture.shape:
        raise UserError(f"out: has the shape {tuple(out.shape)}, the picture {picture.shape}")
    settings = how_to_restore(picture, made.found, settings, facts, device, say=say)
    size = settings["trust_px"]
    cells = tuple(-(-length // size) for length in picture.shape)
    trust = np.full((len(NAMES), *cells), np.nan, np.float32)
    bar = Progress("restoring, squares", len(tiles.shards(picture.shape, settings["core_px"])))
    squares = tuple(-(-length // CELL_PX) for length in picture.shape)
    weights = np.full(squares, np.nan, np.float32) if settings["tv_weight"] == LEARNT else None
    for core, (block, trusted, told) in restored_cores(
        picture, made.found, settings, facts, device, step=bar.step
    ):
        out[core] = block
        if weights is not None and told is not None:
            rows, columns = (slice(p.start // CELL_PX, -(-p.stop // CELL_PX)) for p in core)
            weights[rows, columns] = cells_of(told)[0]
        rows, columns = (slice(part.start // size, -(-part.stop // size)) for part in core)
        trust[:, rows, columns] = trusted
    layers = dict(zip(NAMES, trust, strict=True))
    return Restored(out, psf_map, layers, size, settings, notes, weights)


def simulate(
    sharp: np.ndarray,
    psf: dict[str, float | tuple[str, float, float]],
    *,
    psf_model: str = "gaussian-2",
    photons: float = 1e4,
    gain: float = 1.0,
    offset: float = 0.0,
    read_noise_e: float = 2.0,
    bits: int = 16,
    cutoff: float | None = None,
    seed: int = 0,
) -> Simulated:
    """Blurs a sharp picture by a PSF that may vary over the field, and exposes it with a camera.

    Parameters
    ----------
    sharp : ndarray
        (H, W), any range; its brightest pixel gets the photons.
    psf : dict
        Each parameter of the PSF model: a number, or (shape, low, high) for one that varies over the field, where
        shape is tilt-x, tilt-y, bowl or saddle.
    psf_model : str, optional
        Model of the PSF, as in the config's `psfs`.
    photons : float, optional
        Photons at the brightest pixel.
    gain, offset, read_noise_e, bits : float, float, float, int, optional
        Of the camera: counts per electron, counts without light, electrons, depth (0 rounds nothing).
    cutoff : float, optional
        NA * pixel size / wavelength in cycles/px, for zernike models.
    seed : int, optional
        Start of the noise.

    Returns
    -------
    Simulated

    Raises
    ------
    UserError
        For parameters that the model does not have or that lie outside what it can be.

    Examples
    --------
    >>> import isoplan
    >>> from skimage import data
    >>> seen = isoplan.simulate(data.coins(), {"width": ("tilt-x", 1, 5)}, psf_model="gaussian-1")
    >>> seen.observed.shape == data.coins().shape
    True
    """
    sharp = np.asarray(sharp, np.float32)
    if (
        sharp.ndim != 2
        or not sharp.size
        or not np.isfinite(sharp).all()
        or sharp.min() < 0
        or not sharp.max()
    ):
        raise UserError(
            f"sharp: give a picture (H, W) of finite numbers from 0 on, not {sharp.shape}"
        )
    field = [
        {"parameter": name, "shape": "constant", "low": told, "high": None}
        if not isinstance(told, tuple | list)
        else dict(zip(("shape", "low", "high"), told, strict=True)) | {"parameter": name}
        for name, told in psf.items()
    ]
    entry_psf = {"name": "psf", "model": psf_model} | ({"cutoff": cutoff} if cutoff else {})
    if psf_model in choices("psfs") and single_modes(psf_model):
        entry_psf["size_px"] = SINGLE_MODES_PX
    camera = {"name": "camera", "photons": [photons] * 2, "gain": [gain] * 2, "offset": offset}
    camera |= {"read_noise_e": [read_noise_e] * 2, "bits": bits}
    simulation = {
        "mosaic": "simulated",
        "psf": "psf",
        "camera": "camera",
        "field": field,
        "size_px": list(sharp.shape),
    }
    study = validate(
        {
            "psfs": [entry_psf],
            "cameras": [camera],
            "simulations": [simulation],
            "networks": [{"name": "none", "psf": "psf", "camera": "camera", "fit": "none"}],
            "test_sets": [],
            "tests": [],
        }
    )
    scene = Simulation(
        entry(study, "simulations", "simulated", key="mosaic"),
        make_psf_model(entry(study, "psfs", "psf")),
        entry(study, "cameras", "camera"),
        study["restoration"]["order"],
        seed,
        layout=_Mirrored(sharp / sharp.max()),
    )
    observed, truth = np.empty(sharp.shape, scene.dtype), np.empty(sharp.shape, np.float32)
    for unit, (rows, columns) in enumerate(tiles.shards(sharp.shape, BLOCK_PX)):
        window = rows.start, rows.stop, columns.start, columns.stop
        observed[rows, columns] = scene.observed(*window, unit)
        truth[rows, columns] = scene.truth(*window)
    return Simulated(observed, truth)


def compare(picture: np.ndarray, truth: np.ndarray | None = None) -> dict[str, float]:
    """The metrics of a picture, as a study's metrics.csv has them.

    Parameters
    ----------
    picture : ndarray
        (H, W), in counts above the offset; NaN where nothing is known.
    truth : ndarray, optional
        (H, W), what it should be; most metrics need it.

    Returns
    -------
    dict of str to float
        SNR and PSNR in dB, SSIM, MSE and gradient-MSE on a scale where the truth's 99.9th percentile is 255, CV,
        Sharpness and what else the catalogue has.

    Raises
    ------
    UserError
        Where shapes differ.

    Examples
    --------
    >>> import isoplan
    >>> from skimage import data
    >>> truth = data.camera().astype(float)
    >>> round(isoplan.compare(truth + 10, truth)["MSE"], 1)
    100.0
    """
    picture = np.asarray(picture, np.float32)
    known = None if truth is None else np.asarray(truth, np.float32)
    if picture.ndim != 2 or (known is not None and known.shape != picture.shape):
        raise UserError(
            f"give pictures (H, W) of one shape, not {picture.shape} and {() if known is None else known.shape}"
        )
    return compared(picture, known)


class _Mirrored(Counts):
    """A picture that goes on as its mirror image beyond its edges."""

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        if y0 >= 0 and y1 <= self.shape[0] and x0 >= 0 and x1 <= self.shape[1]:
            return super().read(y0, y1, x0, x1)
        return self.read_reflected(y0, y1, x0, x1)


def _picture(image: Any) -> Picture:
    if isinstance(image, Picture):
        return image
    shape = getattr(image, "shape", ())
    if len(shape) != 2:
        raise UserError(
            f"give a picture of one plane, (H, W), not of the shape {tuple(shape)}: choose channel, slice or frame first"
        )
    return Counts(image)


def _notes(quiet: bool) -> tuple[list[str], Callable[[str], None]]:
    """A list of what is said, and how it is said."""
    notes: list[str] = []

    def say(note: str) -> None:
        notes.append(note)
        if not quiet:
            print(note)

    return notes, say
