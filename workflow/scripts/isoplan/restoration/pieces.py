"""Pieces of a mosaic that stand for what is to be seen in it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isoplan.mosaic import tiles
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.model import equivalent_width_px
from isoplan.optics.plain import PlainPsf
from isoplan.restoration.psfs import LocalPsfs

# PIECES pieces are taken of LOOKED_AT that are looked at.
PIECES, LOOKED_AT, PIECE_PX = 4, 64, 256
# How well PSFs are put together for judging: a restoration wants a hundred times as well.
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Piece:
    """counts (h, w) above the offset. blur_by: the blur of that shape with PSFs narrower by a factor, or
    of another kind; width_by: the width in px of their median, 0 where none is known. judged: (rows, columns), the slices of it
    whose surroundings are in it too, as far as there are any. doubt: deviation of the PSFs' width as a share
    of it; None where they are known.
    """

    counts: np.ndarray
    blur_by: Callable[[float | PlainPsf], SpaceVariantBlur]
    judged: tiles.Window
    width_by: Callable[[float | PlainPsf], float]
    doubt: float | None = None


def pieces_of(mosaic, local: LocalPsfs, facts: dict, *, order: str, device="cpu") -> list[Piece]:
    """PIECES pieces of a mosaic that stand for what is to be seen in it, or fewer of a small one.

    Squares of PIECE_PX, spread evenly over the mosaic, are looked at, at most LOOKED_AT. Each has some
    texture: its variance beyond the noise's. In the order of their texture they are cut into
    PIECES groups of equal texture in sum, and the middle one of each is taken: bright detail, where
    restoring matters, is drawn before empty ground. Where nothing stands out of the noise, light takes the place of
    texture. Each piece comes with a margin of half a PSF.
    facts: of `mosaic.measure`, with offset, gain and read_noise_e. Where no PSF is known, one pixel stands
    for all of them.
    """
    cores = tiles.shards(mosaic.shape, PIECE_PX)
    looked_at = np.unique(np.linspace(0, len(cores) - 1, LOOKED_AT).round().astype(int))
    cores = [cores[k] for k in looked_at]
    texture, light = np.transpose([_seen(_read(mosaic, core, facts), facts) for core in cores])
    if not texture.any():
        texture = light
    ranked = np.argsort(texture, kind="stable")
    share = np.cumsum(texture[ranked])
    if not share[-1] > 0:
        return []
    middles = (np.arange(PIECES) + 0.5) / PIECES * share[-1]
    margin = local.size_px // 2
    pieces = []
    for k in np.unique(np.searchsorted(share, middles)):
        core = cores[ranked[k]]
        outer = tiles.with_halo(core, margin, mosaic.shape)
        window = outer[0].start, outer[0].stop, outer[1].start, outer[1].stop
        counts = _read(mosaic, outer, facts)

        def blur_by(which: float | PlainPsf, window=window, shape=counts.shape) -> SpaceVariantBlur:
            psfs, *centres = local.by(which).around(*window)
            return SpaceVariantBlur(
                psfs.to(device), *centres, shape, order=order, tolerance=TOLERANCE
            )

        def width_by(which: float | PlainPsf, window=window) -> float:
            psfs = local.by(which).around(*window)
            return float(equivalent_width_px(psfs[0]).median()) if psfs else 0.0

        judged, doubt = tiles.inside(core, outer), local.doubt(*window)
        pieces.append(Piece(counts, blur_by, judged, width_by, doubt))
    return pieces


def _read(mosaic, window: tiles.Window, facts: dict) -> np.ndarray:
    rows, columns = window
    counts = mosaic.read(rows.start, rows.stop, columns.start, columns.stop)
    return counts - np.float32(facts["offset"])


def _seen(counts: np.ndarray, camera: dict) -> tuple[float, float]:
    """Sums over the piece of its variance beyond that of photons and read noise, in counts^2, and of its light, in
    counts."""
    finite = counts[np.isfinite(counts)].astype(np.float64)
    if not finite.size:
        return 0.0, 0.0
    gain, light = camera["gain"] or 0.0, max(finite.mean(), 0.0)
    noise = gain * light + (gain * (camera["read_noise_e"] or 0.0)) ** 2
    return finite.size * max(finite.var() - noise, 0.0), finite.size * light
