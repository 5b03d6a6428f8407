"""Fits the half-widths of a trained network again, on samples that are mostly soft.

A soft specimen looks as if it were blurred, and a network cannot tell the difference. So its errors are
larger on soft scenes, and intervals that contain 90 % of all true values contain fewer of these. All
pictures of a user may be soft. Therefore the head of the half-widths is fitted again to mostly soft
scenes; estimates, validity and flags do not change. The price is that intervals on sharp scenes are wider
than necessary.
"""

from dataclasses import replace

import torch

from isoplan.networks.outputs import log_errors, pinball_loss, split
from isoplan.objects.scenes import SOFT
from isoplan.training.samples import Recipe, make_set

SHARE = 0.1  # number of samples, as a share of those of the training
MOST, BLOCK = 8192, 512  # samples at most (100 MB of features), and at a time (150 MB)
ROUNDS, BATCH, RATE = 6, 64, 1e-3


def fit_intervals(network: torch.nn.Module, recipe: Recipe, spec: dict, seed: int) -> None:
    """Fit the half-widths of a network in place, with the pinball loss of its training.

    Nothing is done if the recipe has no soft kinds, if `interval_soft` is 0, or if the network has no
    separate head for the half-widths.

    Parameters
    ----------
    network
        The trained network.
    recipe
        Recipe of its samples.
    spec
        Entry of the config's `networks`; `interval_soft` is the share of soft scenes.
    seed
        The study's seed.
    """
    soft = [kind for kind in recipe.objects["kinds"] if kind in SOFT]
    if not soft or not spec["interval_soft"] or not hasattr(network, "spread_head"):
        return
    device = next(network.parameters()).device
    parts = [
        _features_and_errors(network, recipe.model, part, device)
        for part in _samples(recipe, soft, spec, seed)
    ]
    features, wrong = (torch.cat(part) for part in zip(*parts, strict=True))
    head = network.spread_head
    optimiser = torch.optim.Adam(head.parameters(), lr=RATE, fused=True)
    order = torch.Generator().manual_seed(seed)
    steps = ROUNDS * (len(features) // BATCH)
    fade = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    network.eval()  # batch normalisation keeps the statistics of the training
    for _ in range(steps):
        chosen = torch.randint(len(features), (BATCH,), generator=order).to(device)
        loss = pinball_loss(wrong[chosen], head(features[chosen])[:, :, 0, 0]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        fade.step()


def _samples(recipe: Recipe, soft: list[str], spec: dict, seed: int):
    """Blocks of samples, one after the other."""
    count = max(1, min(MOST, round(SHARE * spec["samples"])))
    share = spec["interval_soft"]
    scenes = {"soft": (replace(recipe, objects=recipe.objects | {"kinds": soft}), share)}
    scenes["any"] = recipe, 1 - share
    for name, (drawn, part) in scenes.items():
        left = round(part * count)
        for block in range(-(-left // BLOCK)):
            yield make_set(
                drawn,
                min(BLOCK, left - block * BLOCK),
                seed=seed,
                stream=f"intervals/{spec['name']}/{name}/{block}",
                split="train",
            )


@torch.no_grad()
def _features_and_errors(network, model, batch, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and log errors of the samples whose PSF can be estimated."""
    network.eval()
    known = batch.measurable
    params = batch.params[known].to(device)
    fixed = network.fixed_features(
        batch.patches[known].to(device), cutoff=batch.cutoff[known].to(device)
    )
    targets = split(network.regress(fixed)[:, :, 0, 0], model)[0]
    return network.features(fixed), log_errors(model, params, targets)
