"""How near a kernel comes to the true one, and what it would cost to take its mirror image."""

import torch

from isoplan.training.samples import blur_patches


def psnr(kernel: torch.Tensor, true: torch.Tensor, peak=None) -> torch.Tensor:
    """PSNR (n,) in dB of kernels or pictures (n, h, w).

    peak: that of the true kernel if not given. With a peak of 1, as some code takes it, the error of a kernel of
    33 px is so small beside the peak that a constant answer comes to 55 dB.

    Examples
    --------
    >>> true = torch.zeros(1, 3, 3)
    >>> true[0, 1, 1] = 0.1
    >>> [round(float(psnr(torch.zeros(1, 3, 3), true, peak)), 2) for peak in (None, 1.0)]
    [9.54, 29.54]
    """
    square = (kernel - true).square().mean((1, 2)).clamp_min(1e-20)
    most = true.amax((1, 2)) if peak is None else torch.full_like(square, peak)
    return 10 * torch.log10(most.square() / square)


def snr(kernel: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Signal-to-noise ratio (n,) in dB of kernels (n, s, s): energy of the true kernel over that of the error."""
    error = (kernel - true).square().sum((1, 2)).clamp_min(1e-20)
    return 10 * torch.log10(true.square().sum((1, 2)) / error)


VALUES = (
    *("psnr", "psnr_either", "psnr_peak_1", "snr", "snr_either"),
    *("reblurred", "reblurred_either", "mirror_cost", "told_right", "seconds"),
)


def score(kernel: torch.Tensor, true: torch.Tensor, scene: torch.Tensor) -> dict:
    """VALUES but the seconds, (n,) each.

    Those of `either` are of the kernel or its mirror image, whichever is nearer. reblurred: PSNR of the scene
    blurred with the kernel, at a peak of 1. mirror_cost: by how many dB the kernel and its mirror image differ.
    told_right: whether the kernel is nearer than its mirror image.

    kernel, true: (n, s, s). scene: (n, h, w) sharp.
    """
    back = kernel.flip(1, 2)
    one, other = psnr(kernel, true), psnr(back, true)
    clean = blur_patches(scene, true)
    again, mirrored = (psnr(blur_patches(scene, k), clean, 1.0) for k in (kernel, back))
    return {
        "psnr": one,
        "psnr_either": torch.maximum(one, other),
        "psnr_peak_1": psnr(kernel, true, 1.0),
        "snr": snr(kernel, true),
        "snr_either": torch.maximum(snr(kernel, true), snr(back, true)),
        "reblurred": again,
        "reblurred_either": torch.maximum(again, mirrored),
        "mirror_cost": (one - other).abs(),
        "told_right": (one >= other).float(),
    }
