"""Power spectra of windows all over a picture, read block by block."""

import numpy as np
import torch

from isoplan.mosaic.window import Picture
from isoplan.networks.defocus_fit import WINDOW_PX, spectra_of
from isoplan.networks.spectrum_fit import spectral_bins


def window_spectra(
    picture: Picture, tops: np.ndarray, lefts: np.ndarray, stride_px: int, binning: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Spectra of the windows whose first pixels are all combinations of tops and lefts, stride_px apart.

    Windows have WINDOW_PX * binning pixels a side. Those that cross the picture's edge, contain pixels that are not known, or lie in no single
    exposure are not seen.

    Returns
    -------
    tuple of torch.Tensor
        (ny, nx, F) spectra, 0 where not seen, and (ny, nx) bool which are seen.

    Examples
    --------
    >>> from isoplan.restoration.in_memory import Counts
    >>> picture = Counts(np.random.default_rng(0).poisson(100, (300, 300)))
    >>> spectra, seen = window_spectra(picture, np.array([-64, 0, 64]), np.array([0, 64]), 64, 1)
    >>> spectra.shape, seen.tolist()
    (torch.Size([3, 2, 528]), [[False, False], [True, True], [True, True]])
    """
    window = WINDOW_PX * binning
    # Reflected windows would mix what lies apart, and turn what has a direction.
    inside = np.logical_and.outer(
        *(
            (begin >= 0) & (begin + window <= length)
            for begin, length in zip((tops, lefts), picture.shape, strict=True)
        )
    )
    bins = len(spectral_bins(torch.device("cpu"))[1])
    spectra = torch.zeros(*inside.shape, bins)
    seen = torch.zeros(inside.shape, dtype=torch.bool)
    # A window with a seam shows two things.
    for read, served in picture.seamless(tops, lefts, window):
        block = read(tops[0], tops[-1] + window, lefts[0], lefts[-1] + window)
        own, bad = _view(block, window, stride_px, binning)
        has = torch.from_numpy(served & inside) & ~bad
        spectra[has] = own[has]
        seen |= has
    return spectra, seen


def _view(
    block: np.ndarray, window_px: int, stride_px: int, binning: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The spectra (ny, nx, F) of a block's windows, and which of them (ny, nx) have a pixel that is not known."""
    bad = ~np.isfinite(block)
    level = block[~bad].mean() if not bad.all() else 0.0
    spectra = spectra_of(
        torch.from_numpy(np.where(bad, np.float32(level), block)), binning, stride_px
    )
    if not bad.any():
        return spectra, torch.zeros(spectra.shape[:2], dtype=torch.bool)
    # Sums over rectangles, as a window has many pixels.
    sums = np.pad(bad.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    ends = sums[window_px::stride_px], sums[:-window_px:stride_px]
    lost = [part[:, window_px::stride_px] - part[:, :-window_px:stride_px] for part in ends]
    return spectra, torch.from_numpy(lost[0] - lost[1] > 0)
