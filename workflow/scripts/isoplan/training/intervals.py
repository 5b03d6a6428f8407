"""Half-widths of a trained network, fitted once more where softness is common.

A specimen that is soft itself looks as if it were blurred, and a network cannot tell the two apart: on soft scenes its
errors are larger than elsewhere, and half-widths that hold 90 % of all samples hold fewer of these. Users' pictures may
all be soft. So the head of the half-widths is fitted again to samples most of which show soft scenes; what is
estimated, validity and flags stay as they are. On sharp scenes the intervals are wider than they need be, then.
"""

from dataclasses import replace

import torch

from isoplan.networks.outputs import log_errors, pinball_loss, split
from isoplan.objects.scenes import SOFT
from isoplan.training.samples import Recipe, make_set

SHARE = 0.1  # of the samples that the network learnt from
MOST, BLOCK = 8192, 512  # samples at most (100 MB of features), and at a time (150 MB)
ROUNDS, BATCH, RATE = 6, 64, 1e-3


def fit_intervals(network: torch.nn.Module, recipe: Recipe, spec: dict, seed: int) -> None:
    """Fits the half-widths of a network, in place, by the pinball loss that they were trained on.

    recipe: what it was trained on. spec: of the config's `networks`, with `interval_soft`, the share of samples that
    show scenes of the recipe's soft kinds. Nothing is done where it has none, that share is 0, or the
    network has no head of its own for the half-widths.
    """
    soft = [kind for kind in recipe.objects["kinds"] if kind in SOFT]
    if not soft or not spec["interval_soft"] or not hasattr(network, "spread_head"):
        return
    device = next(network.parameters()).device
    parts = [
        _seen(network, recipe.model, part, device) for part in _samples(recipe, soft, spec, seed)
    ]
    features, wrong = (torch.cat(part) for part in zip(*parts, strict=True))
    head = network.spread_head
    optimiser = torch.optim.Adam(head.parameters(), lr=RATE)
    order = torch.Generator().manual_seed(seed)
    steps = ROUNDS * (len(features) // BATCH)
    fade = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    network.eval()  # statistics of the features stay those of the training
    for _ in range(steps):
        chosen = torch.randint(len(features), (BATCH,), generator=order).to(device)
        loss = pinball_loss(wrong[chosen], head(features[chosen])[:, :, 0, 0]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        fade.step()


def _samples(recipe: Recipe, soft: list[str], spec: dict, seed: int):
    """Sets of samples, one after the other."""
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
def _seen(network, model, batch, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the samples whose PSF can be told: what the half-widths are made of, and logarithms of the errors."""
    network.eval()
    known = batch.measurable
    params = batch.params[known].to(device)
    fixed = network.fixed_features(
        batch.patches[known].to(device), cutoff=batch.cutoff[known].to(device)
    )
    targets = split(network.regress(fixed)[:, :, 0, 0], model)[0]
    return network.features(fixed), log_errors(model, params, targets)
