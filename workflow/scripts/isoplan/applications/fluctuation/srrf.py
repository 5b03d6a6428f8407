"""SRRF (Gustafsson et al. 2016) and eSRRF (Laine et al. 2023), by the package nanopyx of their authors, which is an extra.

Of each frame by itself they tell how well the gradients around a fine pixel point to it, times the light there. The picture
is the mean of these maps over time, or the root of the covariance of each with the next.

The settings (`CHOSEN`) are those that came closest to the truth on average over one sequence each of filaments of 10, 40 and
160 emitters per micrometre with a background of 100, 20 and 20 electrons, by PSNR: SRRF has 25.2 dB with a radius of 0.5 px
(0.25: 24.9, 1: 25.0) and 24.6 dB by the mean over time; eSRRF has 25.1 dB with 1.5 px (1: 25.0, 2: 25.1) and sensitivity 2
(1: 24.7, 3: 24.8), and 24.4 dB by the mean. `tests/bench/srrf_settings.py` makes all of these again. Sparse emitters alone
would choose larger radii, and gain 0.3 dB at most.

Neither is told the camera or the PSF. What differs from a plain call of nanopyx:

- Frames are continued by their mirror image, as nanopyx leaves edges empty.
- The light by which maps are weighted is that above the background.
- Covariances are of blocks of frames. Their root is taken, which makes them proportional to light.
- eSRRF's maps are moved back by half a camera pixel, by which its gradients lie aside. (SRRF's lie right. The light lies
  half a fine pixel aside in both; it is left there.)
- Macro-pixels are not corrected.
"""

import atexit
import contextlib
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from unittest import mock

import numpy as np
from scipy import ndimage

from isoplan.applications.fluctuation import baselines
from isoplan.applications.fluctuation.blocks import blocks, mean_of
from isoplan.base.errors import UserError

CHOSEN = {
    "srrf": {"order": 2, "radius_px": 0.5},
    "esrrf": {"order": 2, "radius_px": 1.5, "sensitivity": 2},
}
ASIDE = {"srrf": 0.0, "esrrf": 0.5}  # camera pixels by which nanopyx's maps lie down and right
BORDER_PX = 4  # by which frames are continued: no gradient is read from farther away
INSTALL = "install the extra, .venv/bin/uv pip install -r envs/requirements-srrf.txt"
# Without OpenCL, so that results are the same on all machines; threads are OpenMP's.
RUN = {"run_type": "threaded"}


def picture(
    frames, *, factor: int, kind: str, order: int, radius_px: float, sensitivity: int = 1
) -> np.ndarray:
    """SRRF's or eSRRF's picture of a sequence.

    Parameters
    ----------
    frames : array_like
        (t, y, x) electrons.
    factor : int
        Fine pixels per camera pixel: nanopyx's magnification.
    kind : str
        srrf or esrrf.
    order : int
        1: the mean of the frames' maps (nanopyx's AVG). 2: the root of the covariance of each with the next (TAC2,
        TRAC2).
    radius_px : float
        Of SRRF's ring, or of eSRRF's neighbourhood, in camera pixels.
    sensitivity : int
        Power of eSRRF's convergence.

    Returns
    -------
    ndarray
        (y * factor, x * factor) float32, at least 0, in no unit of light.

    Raises
    ------
    UserError
        If nanopyx is not installed.
    """
    background = baselines.background_of(mean_of(frames))
    made = 0
    for part in blocks(frames):
        pointed = convergence(part, factor, kind=kind, radius_px=radius_px)
        maps = pointed**sensitivity * light(part, factor, background)
        made = made + len(part) / len(frames) * joined(maps, order)
    return placed(made, factor, kind=kind, order=order)


def convergence(frames: np.ndarray, factor: int, *, kind: str, radius_px: float) -> np.ndarray:
    """How well gradients point to each fine pixel: (t, y * factor, x * factor) float32 from 0 to 1, at nanopyx's place."""
    wide, inner = _continued(frames, factor)
    how = {"magnification": factor, "doIntensityWeighting": False} | RUN
    with _quiet():
        if kind == "srrf":
            radiality = _nanopyx().Radiality(verbose=False)
            unread = np.empty((1, 1, 1), np.float32)  # where weights would stand
            made = radiality.run(wide, unread, ringRadius=radius_px, **how)
        else:
            made = _nanopyx().eSRRF_ST(verbose=False).run(wide, radius=radius_px, **how)
    return np.asarray(made)[inner]


def light(frames: np.ndarray, factor: int, background: float) -> np.ndarray:
    """By which nanopyx weighs convergence, without background: (t, y * factor, x * factor) float32, at least 0."""
    wide, inner = _continued(frames, factor)
    with _quiet():
        enlarged = _nanopyx().CRShiftAndMagnify(verbose=False)
        made = enlarged.run(wide, 0, 0, factor, factor, **RUN)
    return np.maximum(np.asarray(made)[inner] - np.float32(background), 0)


def _continued(frames: np.ndarray, factor: int) -> tuple[np.ndarray, tuple]:
    """Frames with a border, and what to take of their maps."""
    wide = np.pad(frames, ((0, 0), *((BORDER_PX,) * 2,) * 2), mode="reflect")
    inner = slice(BORDER_PX * factor, -BORDER_PX * factor)
    return wide.astype(np.float32), (slice(None), inner, inner)


def joined(made: np.ndarray, order: int) -> np.ndarray:
    """Of maps (t, y, x) their mean (order 1), or the covariance of each with the next (2)."""
    if order == 1:
        return made.mean(axis=0)
    apart = made - made.mean(axis=0)
    return (apart[:-1] * apart[1:]).mean(axis=0)


def placed(made: np.ndarray, factor: int, *, kind: str, order: int) -> np.ndarray:
    """The picture from what is joined: its root of that order, moved back to our grid."""
    root = np.maximum(made, 0) ** (1 / order)
    aside = ASIDE[kind] * factor
    moved = ndimage.shift(root, (-aside, -aside), order=3, mode="nearest") if aside else root
    return np.maximum(moved, 0).astype(np.float32)


@cache
def _nanopyx() -> SimpleNamespace:
    """The classes of nanopyx. It keeps the times of its runs in the home folder, where jobs would write at once, so it is
    given another one that does not stay."""
    try:
        import matplotlib.font_manager  # noqa: F401 (its cache is to stay at home)

        home = tempfile.mkdtemp(prefix="isoplan-nanopyx-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        with mock.patch.dict(os.environ, HOME=home), _quiet():
            from nanopyx.core.transform import CRShiftAndMagnify, Radiality, eSRRF_ST
    except ImportError as error:
        text = f"SRRF and eSRRF need nanopyx, which is not installed ({error})"
        raise UserError(f"{text}; {INSTALL}, or leave them out") from None
    return SimpleNamespace(
        CRShiftAndMagnify=CRShiftAndMagnify, Radiality=Radiality, eSRRF_ST=eSRRF_ST
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what nanopyx says of OpenCL, Numba and others that are not there."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
    ):
        yield
