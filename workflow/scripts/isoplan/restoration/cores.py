"""Restores a mosaic core by core, with local PSFs from the map.

The unit is one output shard of core_px. It is computed in one block, the core with a halo so wide that what lies
beyond changes it by less than the tolerance of the algorithm's `halo_px`.

Memory: about 14 float32 arrays of (core_px + 2 halo_px + PSF)^2 px for the iterations, and what the blur keeps,
below 0.4 GiB of OTFs and as many masks as modes. A core of 1024 px with a halo of 256 px and 24 x 24 PSFs of 127 px
needs less than 1.5 GiB, whatever the PSFs are (`tests/bench/memory_stages.py`).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from isoplan.base.device import return_freed_memory
from isoplan.config.entries import LEARNT
from isoplan.mosaic import tiles
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.exposure import Exposure, Pixels, sort_pixels
from isoplan.optics.gaussian import FWHM_PER_SIGMA
from isoplan.restoration import trust
from isoplan.restoration.algorithm import algorithm_of
from isoplan.restoration.psfs import LocalPsfs


class RestoredCore(NamedTuple):
    """What becomes of a core.

    Attributes
    ----------
    picture
        (h, w) float32 counts above the offset. Pixels that are not finite or that no tile covers are NaN.
    trust
        (len(trust.CHANNELS), ny, nx) of the core's cells.
    tv_weights
        (h, w) float32 of the core's pixels where weights are learnt, NaN where no PSF is known; else None.
    """

    picture: np.ndarray
    trust: np.ndarray
    tv_weights: np.ndarray | None = None


def restore_block(
    counts: np.ndarray,
    psfs,
    settings: dict,
    *,
    start: float,
    scale: float,
    device,
    exposure: Exposure = Exposure(),
) -> np.ndarray:
    """Restore one block of a picture.

    Pixels that are not finite, dead or hot are ignored, and their restored values come from their neighbours.
    Saturated pixels are lower bounds.

    Parameters
    ----------
    counts
        (h, w) counts above the offset.
    psfs
        From `LocalPsfs.around`. If it is None, or with 0 iterations, the block is returned unchanged.
    settings
        The config's `restoration`, without "auto".
    start, scale
        Brightness of the whole mosaic in counts, see `richardson_lucy`; the same for all tiles, so that
        they agree.
    device
        Device that computes.
    exposure
        Exposure of the mosaic.

    Returns
    -------
    numpy.ndarray
        (h, w) float32 counts above the offset.
    """
    return _restored(counts, psfs, settings, {"start": start, "scale": scale}, device, exposure)[0]


def _restored(counts, psfs, settings, brightness: dict, device, exposure: Exposure):
    """Like `restore_block`. Also returns the block's `Pixels`, a function that computes the expected picture, and learnt weights.

    The function returns what the camera should have seen of the restored object, (h, w) counts; it is None if
    no PSF is known. So are the weights, (h, w), also if they are not learnt.
    """
    pixels = sort_pixels(counts, exposure)
    if psfs is None or not settings["iterations"]:
        return counts, pixels, None, None
    kernels, centres_y, centres_x = psfs
    blur = SpaceVariantBlur(
        kernels.to(device), centres_y, centres_x, counts.shape, order=settings["order"]
    )
    usable, saturated = pixels.usable, pixels.saturated
    picture = torch.from_numpy(np.where(usable, counts, 0).astype(np.float32)).to(device)
    weights, tv_weight = None, settings["tv_weight"]
    if tv_weight == LEARNT:
        from isoplan.restoration import learnt_weights

        weights = learnt_weights.weights_of(
            settings["weights_file"],
            *(counts, pixels, learnt_weights.widths_of(psfs, counts.shape), exposure),
            scale=brightness["scale"],
            gain=settings.get("weights_gain") or exposure.gain,
            doubt=settings.get("weights_doubt") or 0.0,
        )
        tv_weight = learnt_weights.of_object(weights, blur.margin).to(device)
    x = algorithm_of(settings).restore(
        picture,
        blur,
        iterations=settings["iterations"],
        tv_weight=tv_weight,
        start=exposure.start(brightness["start"]),
        scale=brightness["scale"],
        background=exposure.background,
        shift=exposure.shift,
        valid=None if usable.all() else torch.from_numpy(usable).to(device),
        saturated=torch.from_numpy(saturated).to(device) if saturated.any() else None,
    )

    def seen() -> np.ndarray:
        return blur.forward(x).clamp_(min=0).add_(exposure.background).cpu().numpy()

    margin = blur.margin
    shown = softened(x, settings.get("resolution_px", 0.0))
    told = None if weights is None else weights.numpy()
    return shown[margin:-margin, margin:-margin].cpu().numpy(), pixels, seen, told


def softened(x: torch.Tensor, width_px: float) -> torch.Tensor:
    """Blur a picture (h, w) by a Gaussian of a full width at half maximum in px; edge pixels are repeated.

    A restoration is shown at this resolution. A sharper one would have rings, because its pixels cannot
    represent it or its PSFs are uncertain (Magain, Courbin, Sohy 1998).
    """
    if not width_px:
        return x
    kernel = softening(width_px).tolist()
    # Tap by tap: a convolution of torch's would take several times the picture's memory.
    for axis in (0, 1):
        reach = [len(kernel) // 2 if axis == k else 0 for k in (1, 1, 0, 0)]
        wide, x = F.pad(x[None, None], reach, mode="replicate")[0, 0], torch.zeros_like(x)
        for i, weight in enumerate(kernel):
            x.add_(wide.narrow(axis, i, x.shape[axis]), alpha=weight)
    return x


def softening(width_px: float) -> torch.Tensor:
    """Weights along one axis of a Gaussian that is integrated over the pixels: an odd number, of sum 1."""
    sigma = width_px / FWHM_PER_SIGMA
    at = torch.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1, dtype=torch.float64)
    line = torch.special.ndtr((at + 0.5) / sigma) - torch.special.ndtr((at - 0.5) / sigma)
    return line / line.sum()


def restore_core(mosaic, local: LocalPsfs, core, settings: dict, *, brightness: dict, device):
    """Read one core of a mosaic with its halo, and restore it.

    Parameters
    ----------
    mosaic
        The picture, read by window.
    local
        Its PSFs.
    core
        (rows, columns) slices.
    settings
        The config's `restoration` without "auto", with the halo in halo_px, the mosaic's `offset`, and
        `exposure`, the fields of its `Exposure`.
    brightness
        `start` and `scale` of the mosaic, in counts above the offset.
    device
        Device that computes.

    Returns
    -------
    numpy.ndarray
        The core, float32 counts above the offset. Pixels that are not finite or that no tile covers are NaN.
    """
    return _restored_core(mosaic, local, core, settings, brightness, device)[0]


def restore_with_trust(
    mosaic, local: LocalPsfs, core, settings: dict, *, brightness: dict, device
) -> RestoredCore:
    """Like `restore_core`, but also judge how far to trust the result.

    Cells have settings["trust_px"] px. If no PSF is known, all are in doubt and other channels are NaN.
    """
    restored, look_back, weights = _restored_core(mosaic, local, core, settings, brightness, device)
    if weights is None and settings["tv_weight"] == LEARNT:
        weights = np.full(restored.shape, np.nan, np.float32)
    size = settings["trust_px"]
    uncertainty, filled, other_blur = local.doubts(core, size)
    if look_back is None:
        cells = np.full((len(trust.CHANNELS), *filled.shape), np.nan, np.float32)
        if np.isfinite(restored).any():
            cells[0] = trust.NO_PSF
        return RestoredCore(restored, cells, weights)
    counts, seen, pixels, exposure = look_back()
    cells = trust.assess(
        counts,
        seen,
        **pixels._asdict(),
        noise=(exposure.gain, exposure.floor) if exposure.gain else None,
        size=size,
        iterations=max(algorithm_of(settings).strength(settings["iterations"]), 1),
        uncertainty=uncertainty,
        filled=filled,
        other_blur=other_blur if local.contradicted(settings) else np.full_like(other_blur, np.nan),
    )
    return RestoredCore(restored, cells, weights)


def _restored_core(mosaic, local, core, settings, brightness, device):
    """Like `restore_core`. Also returns a function for `trust`, or None if no tile or no PSF is there, and learnt weights.

    The function returns the core's counts, what the camera should have seen, its `Pixels` and the `Exposure`.
    """
    covered = mosaic.covered(core[0].start, core[0].stop, core[1].start, core[1].stop)
    if covered is not None and not covered.any():
        return np.full(covered.shape, np.nan, np.float32), None, None
    return_freed_memory()  # of what came before, such as the last core
    outer = tiles.with_halo(core, settings["halo_px"], mosaic.shape)
    window = outer[0].start, outer[0].stop, outer[1].start, outer[1].stop
    counts = mosaic.read(*window) - np.float32(settings["offset"])
    exposure = Exposure(**settings.get("exposure", {}))
    psfs = local.chosen(settings).around(*window)
    restored, pixels, seen, weights = _restored(
        counts, psfs, settings, brightness, device, exposure
    )
    inside = tiles.inside(core, outer)

    def look_back():
        return counts[inside], seen()[inside], Pixels(*(m[inside] for m in pixels)), exposure

    known = np.isfinite(counts[inside])
    if covered is not None:
        known &= covered
    restored = np.where(known, restored[inside], np.float32(np.nan))
    weights = None if weights is None else weights[inside]
    return restored, look_back if seen else None, weights


def seam_error(
    mosaic,
    restored,
    local: LocalPsfs,
    cores: Sequence[tiles.Window],
    settings: dict,
    *,
    brightness: dict,
    device,
    borders: int = 4,
    strip_px: int = 32,
) -> float:
    """Measure the largest difference that cutting a mosaic into cores made.

    At some borders between neighbouring cores, a block as large as a core is restored that is centred on the
    border. Strips on both sides of the border are compared with the restored mosaic.

    Parameters
    ----------
    mosaic, local, settings, brightness, device
        As for `restore_core`.
    restored
        (H, W) array that the cores were written to.
    cores
        All cores, from `tiles.shards`.
    borders
        Number of borders, which are spread over the mosaic.
    strip_px
        Width of the strip on each side of a border.

    Returns
    -------
    float
        The largest difference, divided by brightness["scale"]; 0 if there is a single core.
    """
    starts = {tuple(part.start for part in core): core for core in cores}
    pairs = []
    for core in cores:
        for axis in (0, 1):
            beyond = [part.start for part in core]
            beyond[axis] = core[axis].stop
            if tuple(beyond) in starts:
                pairs.append((core, starts[tuple(beyond)], axis))
    chosen = np.linspace(0, len(pairs) - 1, min(borders, len(pairs))).round().astype(int)
    worst = 0.0
    for first, second, axis in (pairs[k] for k in chosen):
        border = first[axis].stop
        block, strip = list(first), list(first)
        block[axis] = slice(
            border - (border - first[axis].start + 1) // 2,
            border + (second[axis].stop - border + 1) // 2,
        )
        strip[axis] = slice(
            max(border - strip_px, block[axis].start), min(border + strip_px, block[axis].stop)
        )
        block, strip = tuple(block), tuple(strip)
        again = restore_core(mosaic, local, block, settings, brightness=brightness, device=device)
        difference = np.abs(again[tiles.inside(strip, block)] - np.asarray(restored[strip]))
        worst = max(worst, float(np.nanmax(difference)) / brightness["scale"])
    return worst


def blurred_again(
    read: Callable, local: LocalPsfs, shape_px, *, order: str, background: float, device="cpu"
) -> Callable:
    """A reader of what the camera should see of a restored picture, without noise.

    It can be compared with another exposure of the field, which is as blurred as the one that was restored.

    Parameters
    ----------
    read
        (y0, y1, x0, x1) -> (h, w) restored counts above the offset.
    local
        The PSFs. Where none is known, the picture is returned unchanged.
    shape_px
        Shape of the mosaic; beyond it, its mirror image is used.
    order
        "mask-blur" or "blur-mask".
    background
        In counts.
    device
        Device that computes.

    Returns
    -------
    callable
        (y0, y1, x0, x1) -> (h, w) float32.
    """
    reach = local.size_px // 2

    def seen(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        core = slice(y0, y1), slice(x0, x1)
        outer = tiles.with_halo(core, reach, shape_px)
        window = outer[0].start, outer[0].stop, outer[1].start, outer[1].stop
        x, psfs = read(*window), local.around(*window)
        if psfs is None:
            return x[tiles.inside(core, outer)]
        known = np.isfinite(x)
        blur = SpaceVariantBlur(psfs[0].to(device), *psfs[1:], x.shape, order=order)
        whole = np.pad(np.where(known, x, 0).astype(np.float32), blur.margin, mode="symmetric")
        again = blur.forward(torch.from_numpy(whole).to(device)).cpu().numpy() + np.float32(
            background
        )
        return np.where(known, again, np.float32(np.nan))[tiles.inside(core, outer)]

    return seen
