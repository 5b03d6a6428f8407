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
