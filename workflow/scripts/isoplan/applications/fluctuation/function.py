"""`isoplan.superresolve`: an array of frames in, a picture on a finer grid out."""

from dataclasses import replace
from typing import Any

from isoplan.applications.fluctuation import superresolution
from isoplan.applications.fluctuation.sequence import Frames
from isoplan.applications.fluctuation.settings import prepare, psf_of
from isoplan.applications.fluctuation.superresolution import SuperResolved
from isoplan.base.progress import Progress, silent


def superresolve(
    frames: Any,
    *,
    pixel_size_um: float,
    psf_fwhm_nm: float | None = None,
    na: float | None = None,
    wavelength_um: float | None = None,
    psf_shape: str = "gaussian",
    factor: int = 4,
    offset: float | None = None,
    gain: float | None = None,
    read_noise_e: float | None = None,
    emccd: bool = False,
    halves: bool = False,
    quiet: bool = False,
) -> SuperResolved:
    """Make one picture on a finer grid from hundreds of frames of blinking or fluctuating fluorophores.

    Parameters
    ----------
    frames : array_like
        (t, H, W) counts: numpy, dask or zarr; 50 at least, better 500. They are read by windows.
    pixel_size_um : float
        Side of a pixel at the sample, in micrometres.
    psf_fwhm_nm : float, optional
        Full width at half maximum of the PSF, as measured on beads. Else `na` and `wavelength_um` are needed.
    na, wavelength_um : float, optional
        Numerical aperture, and wavelength of the emitted light in micrometres.
    psf_shape : str
        "gaussian" or "airy".
    factor : int
        Fine pixels per pixel.
    offset, gain, read_noise_e : float, optional
        Of the camera: counts without light, counts per electron, electrons. What is not given is estimated.
    emccd : bool
        Whether a register multiplies electrons, which doubles the shot noise's variance.
    halves : bool
        Whether pictures of both halves of the frames are made and compared too, which takes three times as long.
    quiet : bool
        Print nothing; all is in `notes`.

    Returns
    -------
    SuperResolved
        The picture in electrons per frame and fine pixel, and what it is judged by. Where the frames do not fluctuate in
        the PSF's shape, `information.enough` is false and the picture is the deconvolved mean.

    Raises
    ------
    UserError
        If the frames cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> still = np.random.default_rng(0).poisson(60, size=(60, 20, 20)) * 2 + 100
    >>> known = {"offset": 100, "gain": 2, "read_noise_e": 0}
    >>> made = superresolve(still, pixel_size_um=0.1, psf_fwhm_nm=250, quiet=True, **known)
    >>> made.picture.shape, made.information.enough
    ((80, 80), False)
    """
    sequence = Frames(frames)
    psf, notes = psf_of(pixel_size_um, psf_fwhm_nm, na, wavelength_um, psf_shape)
    settings, told = prepare(
        sequence,
        psf,
        factor=factor,
        excess=2.0 if emccd else 1.0,
        halves=halves,
        offset=offset,
        gain=gain,
        read_noise_e=read_noise_e,
    )
    with silent(quiet):
        bar = Progress("making finer, squares", 2 * len(superresolution.cores(sequence.shape)))
        made = superresolution.superresolve(sequence, settings, step=bar.step)
    notes += [*told, *superresolution.describe(made)]
    if not quiet:
        print(*notes, sep="\n")
    return replace(made, notes=tuple(notes))
