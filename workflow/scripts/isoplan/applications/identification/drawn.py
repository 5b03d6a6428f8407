"""Pictures with known kernels, before a camera has taken them, and the kernel of whoever does not look at them."""

from dataclasses import dataclass

import torch

from isoplan.base.seeds import torch_rng
from isoplan.objects.scenes import draw_scenes
from isoplan.training.samples import blur_patches

LEAST_WAVES = 0.02  # of the largest amplitude, where that is drawn for each picture
MEAN_DRAWS = 256  # PSFs that are averaged


@dataclass
class Sample:
    """n pictures (n, h, w), the larger scenes that they show, their kernels (n, s, s), and what is known of these, (n, .)."""

    scene: torch.Tensor
    picture: torch.Tensor
    kernel: torch.Tensor
    theta: torch.Tensor
    cutoff: torch.Tensor
    most_waves: torch.Tensor


def draw(
    objects: dict,
    model,
    count: int,
    size_px: int,
    *,
    seed: int,
    stream: str,
    number: int,
    split: str,
    amplitude_drawn: bool,
) -> Sample:
    """Draw block `number` of a stream: `count` clean pictures.

    Cut-offs are drawn evenly from the model's range, and modes from theirs, or from a largest amplitude of each picture's
    own that is drawn evenly up to it.
    """
    scene = draw_scenes(
        objects,
        count,
        size_px + model.size_px - 1,
        seed=seed,
        stream=f"{stream}/scenes",
        first=number * count,
        split=split,
    )
    rng = torch_rng(seed, f"{stream}/kernels", number)
    low, high = model.cutoff_range
    cutoff = low + (high - low) * torch.rand(count, generator=rng)
    most = torch.full((count,), model.most_waves)
    if amplitude_drawn:
        most = (most * torch.rand(count, generator=rng)).clamp_min(LEAST_WAVES)
    theta = model.sample(count, rng) * (most / model.most_waves)[:, None]
    kernel, _ = model.psf(theta, cutoff)
    clean = blur_patches(scene, kernel).clamp_min(0)
    return Sample(scene, clean, kernel, theta, cutoff, most)


def mean_kernels(model, cutoff: torch.Tensor, most_waves: torch.Tensor) -> torch.Tensor:
    """The conditional mean, (n, s, s): the kernel of least error for whoever does not look at the picture."""
    rng = torch.Generator().manual_seed(0)
    unit = 2 * torch.rand(MEAN_DRAWS, len(model.noll), generator=rng) - 1
    rows = [
        model.psf(unit * float(most), cutoff.new_full((MEAN_DRAWS,), float(one)))[0].mean(0)
        for one, most in zip(cutoff, most_waves, strict=True)
    ]
    return torch.stack(rows)
