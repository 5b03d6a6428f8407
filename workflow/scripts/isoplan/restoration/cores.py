"""Restoration of a mosaic, core by core: local PSFs from the map, then space-variant TV-RL.

The unit is one output shard of core_px; it is computed in one block, the core with a halo wide
enough that what lies beyond changes it by less than the tolerance of `halo.halo_px`.
Memory: about 14 arrays of (core_px + 2 halo_px + PSF)^2 float32 for the iterations, and what the blur
keeps, under 0.4 GiB of OTFs and as many masks as modes. A core of 1024 px with a halo of 256 px and 24 x 24
PSFs of 127 px takes a process to under 1.5 GiB, whatever the PSFs are (`tests/bench/memory_stages.py`).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from isoplan.mosaic import tiles
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.exposure import Exposure, Pixels, sort_pixels
from isoplan.optics.gaussian import FWHM_PER_SIGMA
from isoplan.restoration import trust
from isoplan.restoration.algorithm import algorithm_of
from isoplan.restoration.psfs import LocalPsfs


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
    """One block restored: (h, w) counts above the offset -> the same shape, float32.

    psfs: of `LocalPsfs.around`; None returns the block as it is, and so do 0 iterations. settings: the
    config's `restoration`. start, scale: one value each for the whole mosaic, so that tiles agree. Pixels
    that are not finite, dead or hot leave the likelihood, and their restored value comes from their
    neighbours; saturated ones only pull up.
    """
    return _restored(counts, psfs, settings, {"start": start, "scale": scale}, device, exposure)[0]


def _restored(counts, psfs, settings, brightness: dict, device, exposure: Exposure):
    """As `restore_block`; beside it the block's `Pixels`, and a function that gives what the camera
    should have seen of the restored object, (h, w), or None where no PSF is known."""
    pixels = sort_pixels(counts, exposure)
    if psfs is None or not settings["iterations"]:
        return counts, pixels, None
    kernels, centres_y, centres_x = psfs
    blur = SpaceVariantBlur(
        kernels.to(device), centres_y, centres_x, counts.shape, order=settings["order"]
    )
    usable, saturated = pixels.usable, pixels.saturated
    picture = torch.from_numpy(np.where(usable, counts, 0).astype(np.float32)).to(device)
    x = algorithm_of(settings).restore(
        picture,
        blur,
        iterations=settings["iterations"],
        tv_weight=settings["tv_weight"],
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
    return shown[margin:-margin, margin:-margin].cpu().numpy(), pixels, seen


def softened(x: torch.Tensor, width_px: float) -> torch.Tensor:
    """Picture (h, w) through a Gaussian of some full width at half maximum; its rim goes on as it is.

    What a restoration is shown at: sharper than its pixels can hold, or than its PSFs are sure, it rings
    (Magain, Courbin, Sohy 1998).
    """
    if not width_px:
        return x
    kernel = softening(width_px).to(x)
    reach = len(kernel) // 2
    wide = F.pad(x[None, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(wide, kernel[None, None, :, None]), kernel[None, None, None])[0, 0]


def softening(width_px: float) -> torch.Tensor:
    """Weights of sum 1 along an axis, an odd number: a Gaussian integrated over the pixels."""
    sigma = width_px / FWHM_PER_SIGMA
    at = torch.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1, dtype=torch.float64)
    line = torch.special.ndtr((at + 0.5) / sigma) - torch.special.ndtr((at - 0.5) / sigma)
    return line / line.sum()


def restore_core(mosaic, local: LocalPsfs, core, settings: dict, *, brightness: dict, device):
    """One core of a mosaic, read with its halo and restored: the core's shape, float32.

    core: (rows, columns) slices. settings: the config's `restoration` with its halo_px settled, the
    mosaic's `offset` and `exposure`, the fields of its `Exposure`. brightness: `start` and `scale` of the
    mosaic, in counts above the offset. Pixels that no tile of the mosaic covers are NaN, and so are those
    that are not finite in it.
    """
    return _restored_core(mosaic, local, core, settings, brightness, device)[0]


def restore_with_trust(
    mosaic, local: LocalPsfs, core, settings: dict, *, brightness: dict, device
) -> tuple[np.ndarray, np.ndarray]:
    """As `restore_core`, and how far to trust it: (len(trust.CHANNELS), ny, nx), the core's cells of
    settings["trust_px"] px. Where no PSF is known all of them are in doubt, and no more is said."""
    restored, look_back = _restored_core(mosaic, local, core, settings, brightness, device)
    size = settings["trust_px"]
    uncertainty, filled, other_blur = local.doubts(core, size)
    if look_back is None:
        cells = np.full((len(trust.CHANNELS), *filled.shape), np.nan, np.float32)
        if np.isfinite(restored).any():
            cells[0] = trust.NO_PSF
        return restored, cells
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
    return restored, cells


def _restored_core(mosaic, local, core, settings, brightness, device):
    """As `restore_core`; beside it a function that gives the core's counts, what the camera should have
    seen, its `Pixels` and the `Exposure`; None where no tile is or no PSF is known."""
    covered = mosaic.covered(core[0].start, core[0].stop, core[1].start, core[1].stop)
    if covered is not None and not covered.any():
        return np.full(covered.shape, np.nan, np.float32), None
    outer = tiles.with_halo(core, settings["halo_px"], mosaic.shape)
    window = outer[0].start, outer[0].stop, outer[1].start, outer[1].stop
    counts = mosaic.read(*window) - np.float32(settings["offset"])
    exposure = Exposure(**settings.get("exposure", {}))
    psfs = local.chosen(settings).around(*window)
    restored, pixels, seen = _restored(counts, psfs, settings, brightness, device, exposure)
    inside = tiles.inside(core, outer)

    def look_back():
        return counts[inside], seen()[inside], Pixels(*(m[inside] for m in pixels)), exposure

    known = np.isfinite(counts[inside])
    if covered is not None:
        known &= covered
    restored = np.where(known, restored[inside], np.float32(np.nan))
    return restored, look_back if seen else None


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
    """Largest difference that cutting a mosaic into cores made, as a share of its range.

    At `borders` borders between neighbouring cores, spread over the mosaic, a block as large as a
    core and centred on the border is restored. A strip of strip_px on either side of the border is
    compared with `restored`, the array (H, W) that the cores were written to; the difference is
    divided by brightness["scale"]. cores: all of them, as `tiles.shards` gives them. settings, brightness,
    device: as for `restore_core`. 0 where there is but one core.
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
    """Reader of what the camera should see of a restored picture, noise aside: another exposure of the
    field, as blurred as the one that was restored, can be compared with it.

    read: (y0, y1, x0, x1) -> (h, w) restored counts above the offset, of a mosaic of shape_px. background: in
    counts. Beyond the mosaic its mirror image is taken. Where no PSF is known the picture stays as it is.
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
