"""Maps of the TV weight that a network tells from a picture and its PSFs (`networks.weight_maps`).

Nothing in it depends on the whole picture but its brightness, so tiles with a halo agree.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad

from isoplan.networks.weight_maps import load
from isoplan.optics.exposure import Exposure, Pixels, replace_lone_pixels
from isoplan.optics.model import equivalent_width_px


def weights_of(
    file: str | Path,
    counts: np.ndarray,
    pixels: Pixels,
    widths: np.ndarray,
    exposure: Exposure,
    *,
    scale: float,
    gain: float,
    doubt: float,
) -> torch.Tensor:
    """The TV weight of every pixel of a block.

    Parameters
    ----------
    file
        The network's.
    counts
        (h, w) counts above the offset. Values that are not usable are replaced by their neighbours'.
    pixels
        What they can be used for.
    widths
        (h, w) from `widths_of`.
    exposure
        Exposure of the mosaic.
    scale
        Brightness of the whole mosaic in counts above the offset.
    gain
        Counts per electron, that of the exposure or as the noise corrected it.
    doubt
        Relative standard deviation of the PSFs' width, the same for the whole mosaic; 0 if they are known. More than the
        network learnt with counts as that.

    Returns
    -------
    torch.Tensor
        (h, w) float32, above 0.
    """
    network, card = load(file)
    filled = np.where(np.isfinite(counts), counts, scale / 2).astype(np.float32)
    filled = replace_lone_pixels(filled, pixels.lone)
    one = torch.ones(1)
    with torch.inference_mode():
        told = network(
            torch.from_numpy(filled / np.float32(gain))[None],
            torch.from_numpy(widths)[None],
            one * max(scale / gain, 1.0),
            one * (exposure.floor / (gain * (exposure.gain or gain))),
            one * min(doubt, card["network"]["psf_error"][1]),
        )
    return told[0].exp()


def widths_of(psfs, shape: tuple[int, int]) -> np.ndarray:
    """Width in px of the PSF at every pixel (h, w), linear between the centres.

    psfs: as from `LocalPsfs.around`: (ny, nx, s, s), and their centres along y and x.
    """
    kernels, *centres = psfs
    widths = equivalent_width_px(kernels).cpu().numpy()
    for axis, places in enumerate(centres):
        at = np.arange(shape[axis])
        hats = np.stack([np.interp(at, np.asarray(places), row) for row in np.eye(len(places))])
        widths = np.moveaxis(np.tensordot(hats, widths, (0, axis)), 0, axis)
    return widths.astype(np.float32)


def of_object(weights: torch.Tensor, margin: int) -> torch.Tensor:
    """Weights (h, w) of a picture, and beyond it by `margin` that of the nearest pixel."""
    return pad(weights[None, None], (margin,) * 4, mode="replicate")[0, 0]
