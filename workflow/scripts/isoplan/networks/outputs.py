"""What every network puts out for a window, and how it reads.

In this order: T targets that the PSF model decodes into its P parameters; P logarithms of the
half-width of the 90 % interval, in units of the parameter's range (of its period, if it has one);
a logit of "no usable texture"; a logit of "no raw camera picture of a thin sample"; a logit of "blurred by
no PSF of this model".
"""

from dataclasses import dataclass

import torch

from isoplan.optics.model import PsfModel

FLAGS = 3
CHECK_BLOCK = 512  # windows at a time outside training
COVERAGE = 0.9  # share of the truth that an interval is to hold


@dataclass
class Estimate:
    """n estimates. params, half_width: (n, P) in the parameters' units, an axis wrapped.

    The interval params +- half_width holds the truth in 90 % of cases. validity: (n,) probability of
    usable texture. alarm: (n,) probability that the picture is not what the network was made for
    (denoised, compressed, resampled, saturated, a thick sample's haze). other_blur: (n,) probability that
    no PSF of the model blurred it (motion, coma, a disk, a halo).
    """

    params: torch.Tensor
    half_width: torch.Tensor
    validity: torch.Tensor
    alarm: torch.Tensor
    other_blur: torch.Tensor


def count(model: PsfModel) -> int:
    """Channels of a network for a PSF model."""
    return model.n_targets + len(model.parameters) + FLAGS


def split(outputs: torch.Tensor, model: PsfModel) -> tuple[torch.Tensor, ...]:
    """(n, count) -> targets (n, T), log half-widths (n, P), logits of invalid, alarm and other blur
    (n,)."""
    targets, spread, flags = outputs.split([model.n_targets, len(model.parameters), FLAGS], dim=1)
    return targets, spread, *flags.unbind(1)


def units(model: PsfModel, like: torch.Tensor) -> torch.Tensor:
    """(P,) what a half-width counts in: the parameter's range, or its period."""
    return like.new_tensor([p.period or p.high - p.low for p in model.parameters])


def errors(model: PsfModel, true: torch.Tensor, estimated: torch.Tensor) -> torch.Tensor:
    """Absolute errors (n, P) in `units`; those of a parameter with a period are wrapped."""
    error = (estimated - true) / units(model, true)
    turn = torch.tensor([p.period is not None for p in model.parameters], device=true.device)
    return torch.where(turn, error - error.round(), error).abs()


def log_errors(model: PsfModel, true: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Logarithms (n, P) of the `errors` of targets (n, T), which nothing can be learnt through."""
    with torch.no_grad():  # an interval is to fit the errors, not the errors the interval
        return errors(model, true, model.decode(targets)).clamp_min(1e-5).log()


def pinball(wrong: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Loss (n,) of log half-widths (n, P), least where they hold COVERAGE of the errors (Koenker and Bassett
    1978). wrong: of `log_errors`; on logarithms sure and unsure samples count alike."""
    over = wrong - spread
    return torch.maximum(COVERAGE * over, (COVERAGE - 1) * over).mean(dim=1)


def read(outputs: torch.Tensor, model: PsfModel) -> Estimate:
    """Outputs (n, count) of single windows in the parameters' units."""
    targets, spread, *flags = split(outputs, model)
    # No interval is wider than all that there is.
    half = spread.clamp(-12, 0).exp() * units(model, spread)
    invalid, alarm, other_blur = (torch.sigmoid(flag) for flag in flags)
    return Estimate(model.decode(targets), half, 1 - invalid, alarm, other_blur)


@torch.no_grad()
def predict(network: torch.nn.Module, batch, device) -> torch.Tensor:
    """Outputs of a batch's windows, (n, count) on the CPU, in blocks of CHECK_BLOCK.

    batch: `patches` and `cutoff` of n windows, as in `training.samples.Batch`. The last block is filled up with its
    last sample to a multiple of 64: arithmetic differs in the last bits between sizes, and the logarithm of a weak
    spectrum enlarges that.
    """
    network.eval()
    outputs, count = [], len(batch.patches)
    for first in range(0, count, CHECK_BLOCK):
        some = min(CHECK_BLOCK, count - first)
        block = torch.arange(first, first + -(-some // 64) * 64).clamp_max(count - 1)
        patches, cutoff = batch.patches[block].to(device), batch.cutoff[block].to(device)
        outputs.append(network(patches, cutoff=cutoff)[:some, :, 0, 0].cpu())
    return torch.cat(outputs)
