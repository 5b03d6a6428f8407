"""Windows whose distances are known up to an offset: of a z stack, or of a plane of known tilt."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from isoplan.applications.depth.calibration import Windows
from isoplan.applications.depth.heights import LEAST_TEXTURE
from isoplan.base.errors import UserError
from isoplan.mosaic import tiles
from isoplan.mosaic.slices import check_order
from isoplan.mosaic.window import Picture
from isoplan.networks.defocus_fit import WINDOW_PX, binning_of, spectra_of
from isoplan.networks.spectrum_fit import texture_over_noise
from isoplan.optics.defocus import Defocus

MOST_WINDOWS, MOST_PLACES = 240, 24
LEAST_PLACES = 8
LEAST_SLICES = 5
LEAST_RANGE = 3.0  # depths of field that slices span
PATCH = 2  # neighbouring windows of a plane, along each axis, that make one place
NO_TEXTURE = "too few windows have texture that rises above the noise; give a longer exposure, or a specimen with texture all over the field"


def check_slices(z_um: Sequence[float], optics: Defocus) -> np.ndarray:
    """The positions of slices.

    Raises
    ------
    UserError
        If they are too few, not in order, or span too little.
    """
    z = np.asarray(z_um, float)
    if len(z) < LEAST_SLICES:
        raise UserError(
            f"{len(z)} slices are too few for a calibration; give at least {LEAST_SLICES}"
        )
    check_order(z)
    span = abs(z[-1] - z[0])
    if span < LEAST_RANGE * optics.depth_of_field_um:
        raise UserError(
            f"the slices span {span:g} um, {span / optics.depth_of_field_um:.2g} depths of field (of {optics.depth_of_field_um:.3g} um): take them "
            f"over {2 * LEAST_RANGE:g} or more, and check that positions are in um"
        )
    return z


def of_stack(
    pictures: Iterable[Picture], z_um: Sequence[float], optics: Defocus
) -> tuple[Windows, np.ndarray]:
    """Windows of the slices of a stack.

    Parameters
    ----------
    pictures
        The slices, of one shape; each is read once.
    z_um
        Their positions, of `check_slices`.
    optics
        NA, wavelength and pixel size.

    Returns
    -------
    windows
        At most MOST_WINDOWS of them.
    centres
        (places, 2): y and x from -1 to 1.

    Raises
    ------
    UserError
        If they have too little texture.
    """
    binning = binning_of(optics)
    window = WINDOW_PX * binning
    spectra, told, shape = [], [], (0, 0)
    for picture in pictures:
        shape = picture.shape
        if min(shape) < window:
            raise UserError(
                f"{picture.path}: has {shape[0]} x {shape[1]} px; a window has {window}"
            )
        corners = _corners(shape, window)
        blocks = [picture.read(y, y + window, x, x + window) for y, x in corners]
        found = torch.cat([_spectrum(block, binning, window) for block in blocks])
        spectra.append(found)
        told.append(texture_over_noise(found) > LEAST_TEXTURE)
    seen = torch.stack(told)
    places = (seen.float().mean(0) >= 0.5).nonzero()[:, 0]
    if len(places) < LEAST_PLACES:
        raise UserError(NO_TEXTURE)
    places = places[tiles.spread(len(places), MOST_PLACES)]
    slices = tiles.spread(len(spectra), max(LEAST_SLICES, MOST_WINDOWS // len(places)))
    rows = [(k, p) for k in slices for p in range(len(places)) if seen[k, places[p]]]
    windows = Windows(
        torch.stack([spectra[k][places[p]] for k, p in rows]),
        torch.tensor([float(z_um[k]) for k, _ in rows]),
        torch.tensor([p for _, p in rows]),
    )
    centres = (np.array(corners)[places.numpy()] + window / 2) / shape * 2 - 1
    return windows, centres


def of_plane(picture: Picture, tilt_deg: float, towards_deg: float, optics: Defocus) -> Windows:
    """Windows of a plane.

    Parameters
    ----------
    picture
        Of a plane with texture.
    tilt_deg
        Its tilt against the focal plane.
    towards_deg
        The direction in which its height rises, from the x axis towards growing y.
    optics
        NA, wavelength and pixel size.

    Raises
    ------
    UserError
        If it spans too few depths of field, or has too little texture.
    """
    if not 0 < tilt_deg < 60:
        raise UserError(f"a tilt of {tilt_deg:g} degrees: give one above 0 and below 60")
    binning = binning_of(optics)
    window = WINDOW_PX * binning
    stride = window // 2
    corners = _corners(picture.shape, window, stride)
    if not corners:
        raise UserError(f"{picture.path}: is smaller than a window of {window} px")
    towards = math.radians(towards_deg)
    slope = math.tan(math.radians(tilt_deg)) * optics.pixel_size_um
    z = np.array([slope * (math.sin(towards) * y + math.cos(towards) * x) for y, x in corners])
    check_slices(np.linspace(z.min(), z.max(), LEAST_SLICES), optics)
    chosen = tiles.spread(len(corners), MOST_WINDOWS)
    blocks = [picture.read(y, y + window, x, x + window) for y, x in (corners[k] for k in chosen)]
    spectra = torch.cat([_spectrum(block, binning, window) for block in blocks])
    told = texture_over_noise(spectra) > LEAST_TEXTURE
    across = corners[-1][1] // (stride * PATCH) + 1
    place = [
        corners[k][0] // (stride * PATCH) * across + corners[k][1] // (stride * PATCH)
        for k in chosen
    ]
    if len(set(np.array(place)[told.numpy()])) < LEAST_PLACES:
        raise UserError(NO_TEXTURE)
    middle = (z.min() + z.max()) / 2
    return Windows(
        spectra[told],
        torch.tensor(z[chosen] - middle, dtype=torch.float32)[told],
        torch.tensor(place)[told],
    )


def _corners(shape: tuple[int, int], window: int, stride: int = 0) -> list[tuple[int, int]]:
    stride = stride or window
    ys, xs = (range(0, length - window + 1, stride) for length in shape)
    return [(y, x) for y in ys for x in xs]


def _spectrum(block: np.ndarray, binning: int, window: int) -> torch.Tensor:
    """(1, F); a window with missing pixels counts as one without texture."""
    if not np.isfinite(block).all():
        block = np.zeros_like(block)
    return spectra_of(torch.from_numpy(np.ascontiguousarray(block)), binning, window).flatten(0, 1)
