"""How a sequence is made finer: by what is given, and by what its frames tell."""

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from isoplan.applications.fluctuation import preparation
from isoplan.applications.fluctuation.blocks import mean_of
from isoplan.applications.fluctuation.camera import Camera
from isoplan.applications.fluctuation.formation import Psf, airy_fwhm
from isoplan.applications.fluctuation.sequence import Frames
from isoplan.applications.fluctuation.tiles import TILE_PX
from isoplan.base.errors import UserError

STILL_PX, STEADY, FADES = (
    0.1,
    0.005,
    0.3,
)  # what drifts, flickers and fades less is not worth a word
MOVES_PX, MOST_PARTS, LEAST_FRAMES = 0.12, 6, 50  # drift within a part; number and length of parts
Parts = tuple[tuple[int, tuple[float, float]], ...]


@dataclass(frozen=True)
class Settings:
    """How a sequence is made finer.

    Parameters
    ----------
    psf : Psf
        Of the microscope.
    camera : Camera
        Its facts.
    factor : int
        Fine pixels per camera pixel.
    parts : tuple
        (frames, (y, x) shift in px) of each part of the sequence, where the picture drifts; empty: it does not.
    flicker : ndarray, optional
        (t,) brightness of the light, relative to a slow trend.
    broken : ndarray, optional
        (height, width) bool, of pixels that are not used.
    halves : bool
        Whether pictures of both halves of the sequence are made too.
    """

    psf: Psf
    camera: Camera
    factor: int = 4
    parts: Parts = ()
    flicker: np.ndarray | None = None
    broken: np.ndarray | None = None
    halves: bool = False

    def of(self, first: int, last: int) -> "Settings":
        """Those of some frames, from the first to before the last, of a sequence in even light."""
        parts, at = [], 0
        for count, shift in self.parts:
            inside = min(at + count, last) - max(at, first)
            if inside > 0:
                parts.append((inside, shift))
            at += count
        return replace(self, parts=tuple(parts), flicker=None)


def psf_of(
    pixel_size_um: float,
    psf_fwhm_nm: float | None,
    na: float | None,
    wavelength_um: float | None,
    shape: str = "gaussian",
) -> tuple[Psf, list[str]]:
    """The PSF by its width or the optics, and what is to be told of it.

    Examples
    --------
    >>> psf_of(0.1, None, 1.4, 0.6)[0].fwhm_px
    2.205
    """
    if psf_fwhm_nm is not None:
        return Psf(psf_fwhm_nm / 1000 / pixel_size_um, shape), []
    if not na or not wavelength_um:
        raise UserError(
            "NA and wavelength are not known; give them, or the PSF's FWHM in nm as measured on beads"
        )
    fwhm_um = airy_fwhm(na, wavelength_um)
    told = f"the PSF is {1000 * fwhm_um:.0f} nm wide (FWHM, 0.51 wavelength / NA)"
    return Psf(round(fwhm_um / pixel_size_um, 4), shape), [told]


def check(frames: Frames, psf: Psf) -> None:
    """Raise UserError where a sequence or its PSF cannot be used."""
    least = TILE_PX
    if min(frames.shape) < least:
        raise UserError(f"{frames.path}: its frames are {frames.shape}; give at least {least} px")
    if not 1.2 <= psf.fwhm_px <= 8:
        raise UserError(
            f"the PSF's FWHM is {psf.fwhm_px:.3g} px; from 1.2 to 8 px fluctuations can tell more than the mean: look at "
            "the pixel size, NA and wavelength"
        )


def prepare(
    frames: Frames,
    psf: Psf,
    *,
    factor: int = 4,
    excess: float = 1.0,
    halves: bool = False,
    **given: float | None,
) -> tuple[Settings, list[str]]:
    """Settings from the sequence itself, where nothing is given, and what is to be told of them.

    Parameters
    ----------
    frames : Frames
        The sequence. It is read four times.
    psf, factor, halves
        See `Settings`.
    excess : float
        2 of an electron-multiplying camera.
    **given
        `gain`, `offset` and `read_noise_e`, None where not known.

    Raises
    ------
    UserError
        If the sequence cannot be used, or its gain is neither given nor found.
    """
    check(frames, psf)
    counts = frames.counts
    try:
        preparation.check(counts)
        found = preparation.calibrate(counts, excess=excess, **given)
    except UserError as error:
        raise UserError(f"{frames.path}: {error}") from None
    camera, notes = found.camera, list(found.notes)
    level = float(np.median(mean_of(counts)))
    if level <= camera.offset:
        raise UserError(
            f"{frames.path}: the offset, {camera.offset:g} counts, is above most of the frames ({level:.4g} counts); give "
            "the camera's own"
        )
    broken = preparation.broken_pixels(counts, camera).any
    if broken.any():
        notes.append(f"{broken.sum()} broken pixels are not used")
    path = preparation.drift(counts, broken=broken)
    parts = (
        parts_of(path.path_px) if path.length_px > max(STILL_PX, 3 * path.error_px.max()) else ()
    )
    if path.length_px > STILL_PX:
        into = (
            f": {len(parts)} parts are taken where they lie"
            if parts
            else ", which is left as it is"
        )
        notes.append(f"the picture drifts by {path.length_px:.2f} px{into}")
    light = preparation.light(counts, offset=camera.offset, broken=broken)
    flicker = light.best / light.trend if light.flicker_sd > STEADY else None
    if flicker is not None:
        notes.append(f"the light flickers by {100 * light.flicker_sd:.1f} %, which is divided out")
    if light.lost > FADES:
        notes.append(
            f"{100 * light.lost:.0f} % of the light fades from the first frame to the last"
        )
    masked = broken if broken.any() else None
    return Settings(psf, camera, factor, parts, flicker, masked, halves), notes


def parts_of(path_px: np.ndarray) -> Parts:
    """Parts of a sequence within which the picture hardly moves, with their places.

    Parameters
    ----------
    path_px : ndarray
        (t, 2), see `preparation.Drift`.

    Examples
    --------
    >>> parts_of(np.linspace(-0.15, 0.15, 400)[:, None] * [1, 0])[0]
    (134, (-0.1, 0.0))
    """
    length = float(np.ptp(path_px, axis=0).max())
    count = min(ceil(length / MOVES_PX), MOST_PARTS, len(path_px) // LEAST_FRAMES)
    if count < 2:
        return ()
    parts = np.array_split(path_px, count)
    return tuple((len(part), tuple(map(float, part.mean(axis=0).round(3)))) for part in parts)
