"""The outputs of every network for PSF regression, and their meaning.

For each window, in this order:

- T targets, which the PSF model decodes into its P parameters;
- P logarithms of the half-width of the 90 % interval, in units of the parameter's range (or period);
- for models with mirror images, the logit of "this PSF and not its mirror image";
- the logit of "no usable texture";
- the logit of "not a raw camera picture of a thin sample" (alarm);
- the logit of "blurred by no PSF of this model" (other blur).
"""

from dataclasses import dataclass

import torch

from isoplan.optics.model import PsfModel

FLAGS = 3
CHECK_BLOCK = 512  # windows at a time outside training
COVERAGE = 0.9  # share of true values that intervals should contain


@dataclass
class Estimate:
    """Estimates for n windows.

    Attributes
    ----------
    params
        (n, P) PSF parameters in their units; angles are wrapped to their period.
    half_width
        (n, P) half-widths of intervals around `params` that should contain the truth in 90 % of cases.
    validity
        (n,) probability of usable texture.
    alarm
        (n,) probability that the picture is not of the kind that the network was trained for
        (denoised, compressed, resampled, saturated, hazy).
    other_blur
        (n,) probability that the blur is not of the model's kind (motion, coma, a disk, a halo).
    mirror
        (n,) probability of the PSF against its mirror image; None for a model without mirror images.
    """

    params: torch.Tensor
    half_width: torch.Tensor
    validity: torch.Tensor
    alarm: torch.Tensor
    other_blur: torch.Tensor
    mirror: torch.Tensor | None = None


def channel_count(model: PsfModel) -> int:
    """Number of output channels of a network for a PSF model."""
    return model.n_targets + len(model.parameters) + model.mirrors + FLAGS


def split(outputs: torch.Tensor, model: PsfModel) -> tuple[torch.Tensor, ...]:
    """Split outputs (n, channels) into targets (n, T), log half-widths (n, P) and three logits (n,)."""
    targets, spread, _, flags = _parts(outputs, model)
    return targets, spread, *flags.unbind(1)


def mirror_logit(outputs: torch.Tensor, model: PsfModel) -> torch.Tensor | None:
    """Logit (n,) of the PSF against its mirror image; None for a model without mirror images."""
    return _parts(outputs, model)[2][:, 0] if model.mirrors else None


def _parts(outputs: torch.Tensor, model: PsfModel) -> tuple[torch.Tensor, ...]:
    return outputs.split([model.n_targets, len(model.parameters), int(model.mirrors), FLAGS], dim=1)


def interval_units(model: PsfModel, like: torch.Tensor) -> torch.Tensor:
    """(P,) units of the half-widths: each parameter's range, or its period."""
    return like.new_tensor([p.period or p.high - p.low for p in model.parameters])


def errors(model: PsfModel, true: torch.Tensor, estimated: torch.Tensor) -> torch.Tensor:
    """Absolute errors (n, P) in `interval_units`, periodic ones wrapped, of whichever form of the PSF is nearest."""
    error = (model.nearest(estimated, true) - true) / interval_units(model, true)
    turn = torch.tensor([p.period is not None for p in model.parameters], device=true.device)
    return torch.where(turn, error - error.round(), error).abs()


def log_errors(model: PsfModel, true: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Logarithms (n, P) of the `errors` of targets (n, T), without gradients."""
    with torch.no_grad():  # intervals should adapt to the errors, not the errors to the intervals
        return errors(model, true, model.decode(targets)).clamp_min(1e-5).log()


def pinball_loss(wrong: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Quantile loss (n,) of log half-widths, minimal if a share COVERAGE of errors lies below them.

    Logarithms give confident and uncertain samples the same weight. Source: Koenker and Bassett,
    Econometrica 46 (1978) 33.

    Parameters
    ----------
    wrong
        (n, P) from `log_errors`.
    spread
        (n, P) log half-widths.
    """
    over = wrong - spread
    return torch.maximum(COVERAGE * over, (COVERAGE - 1) * over).mean(dim=1)


def to_estimate(outputs: torch.Tensor, model: PsfModel) -> Estimate:
    """Convert outputs (n, channels) of single windows to parameters and probabilities."""
    targets, spread, *flags = split(outputs, model)
    # An interval is not wider than the parameter's whole range.
    half = spread.clamp(-12, 0).exp() * interval_units(model, spread)
    invalid, alarm, other_blur = (torch.sigmoid(flag) for flag in flags)
    logit = mirror_logit(outputs, model)
    mirror = None if logit is None else torch.sigmoid(logit)
    return Estimate(model.decode(targets), half, 1 - invalid, alarm, other_blur, mirror)


@torch.no_grad()
def predict(network: torch.nn.Module, batch, device) -> torch.Tensor:
    """Outputs of a network for the windows of a batch, in blocks of CHECK_BLOCK.

    The last block is padded with its last sample to a multiple of 64. Otherwise results would depend
    on the block's size: arithmetic differs in the last bits, and logarithms of weak spectra amplify that.

    Parameters
    ----------
    network
        The network; it is set to evaluation mode.
    batch
        `patches` and `cutoff` of n windows, as in `training.samples.Batch`.
    device
        Where the network lies.

    Returns
    -------
    torch.Tensor
        (n, channels) on the CPU.
    """
    network.eval()
    outputs, count = [], len(batch.patches)
    for first in range(0, count, CHECK_BLOCK):
        some = min(CHECK_BLOCK, count - first)
        block = torch.arange(first, first + -(-some // 64) * 64).clamp_max(count - 1)
        patches, cutoff = batch.patches[block].to(device), batch.cutoff[block].to(device)
        outputs.append(network(patches, cutoff=cutoff)[:some, :, 0, 0].cpu())
    return torch.cat(outputs)
