"""Chooses pieces of a mosaic that represent its detail."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from isoplan.mosaic import tiles
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.model import equivalent_width_px
from isoplan.optics.plain import PlainPsf
from isoplan.restoration.learnt_weights import widths_of
from isoplan.restoration.psfs import LocalPsfs

CPU = torch.device("cpu")
# PIECES pieces are chosen out of LOOKED_AT.
PIECES, LOOKED_AT, PIECE_PX = 4, 64, 256
# Tolerance of the blur for judging; a restoration needs one a hundred times as small.
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Piece:
    """A piece of a mosaic.

    Attributes
    ----------
    counts
        (h, w) above the offset.
    blur_by
        Makes the blur of this shape, with PSFs narrower by a factor or of another kind.
    judged
        (rows, columns) slices of the piece without its margin.
    width_by
        Width in px of the median PSF that `blur_by` uses; 0 if none is known.
    doubt
        Relative standard deviation of the PSFs' width; None if they are known.
    widths_at
        The width in px of these PSFs at every pixel of the piece, (h, w); only learnt weights need it.
    device
        Device of the blurs.
    """

    counts: np.ndarray
    blur_by: Callable[[float | PlainPsf], SpaceVariantBlur]
    judged: tiles.Window
    width_by: Callable[[float | PlainPsf], float]
    doubt: float | None = None
    widths_at: Callable[[float | PlainPsf], np.ndarray] | None = None
    device: torch.device = CPU


def pieces_of(mosaic, local: LocalPsfs, facts: dict, *, order: str, device="cpu") -> list[Piece]:
    """Choose PIECES pieces that represent the detail of a mosaic, or fewer if it is small.

    At most LOOKED_AT squares of PIECE_PX are compared, spread evenly over the mosaic. Their texture is the
    variance in excess of the noise. Sorted by texture, they are divided into PIECES groups with equal sums of
    texture, and the middle square of each group is chosen. So bright detail, where restoration matters, is
    preferred to empty ground. If no square has texture, light is used instead.

    Parameters
    ----------
    mosaic
        The picture, read by window.
    local
        Its PSFs.
    facts
        From `mosaic.measure`, with offset, gain and read_noise_e.
    order
        "mask-blur" or "blur-mask".
    device
        Device of the blurs.

    Returns
    -------
    list of Piece
        The pieces, each with a margin of half a PSF; empty if there is no light.
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

        def widths_at(which: float | PlainPsf, window=window, shape=counts.shape) -> np.ndarray:
            return widths_of(local.by(which).around(*window), shape)

        judged, doubt = tiles.inside(core, outer), local.doubt(*window)
        made_by = blur_by, judged, width_by, doubt, widths_at, torch.device(device)
        pieces.append(Piece(counts, *made_by))
    return pieces


def _read(mosaic, window: tiles.Window, facts: dict) -> np.ndarray:
    rows, columns = window
    counts = mosaic.read(rows.start, rows.stop, columns.start, columns.stop)
    return counts - np.float32(facts["offset"])


def _seen(counts: np.ndarray, camera: dict) -> tuple[float, float]:
    """Texture and light of a square, summed over its pixels.

    Texture is the variance in excess of that of photons and read noise, in counts^2. Light is in counts.
    """
    finite = counts[np.isfinite(counts)].astype(np.float64)
    if not finite.size:
        return 0.0, 0.0
    gain, light = camera["gain"] or 0.0, max(finite.mean(), 0.0)
    noise = gain * light + (gain * (camera["read_noise_e"] or 0.0)) ** 2
    return finite.size * max(finite.var() - noise, 0.0), finite.size * light
