"""The published networks: an image classifier's backbone, applied to one window at a time."""

import math
from pathlib import Path

import timm
import torch
from torch import nn
from torch.nn import functional as F

from isoplan.base.errors import UserError
from isoplan.networks import outputs
from isoplan.networks.pretrained import read_weights
from isoplan.optics.model import PsfModel

BATCH = 64  # windows at a time, which bounds memory
BACKBONES = {"resnet34": "resnet34", "resnext50": "resnext50_32x4d"}  # timm's names
PRETRAINED_PX = 224  # side of the images that ImageNet weights were trained on


class Windowed(nn.Module):
    """ResNet-34 or ResNeXt-50 (32 x 4d) from timm, with patches standardised one by one.

    Source: the thesis, section 2.3.1. Deviation: timm's stride-2 stem and global pooling, the same as
    torchvision's.

    Parameters
    ----------
    window_px
        Side of a window in px.
    channels
        Number of outputs, see `outputs.channel_count`.
    architecture
        "resnet34" or "resnext50".
    pretrained
        Whether training starts from ImageNet weights (`take_pretrained`). Patches are then enlarged to
        224 x 224 px, bilinearly, as published.
    cutoff_range
        Range of cut-offs in cycles/px. If they vary, they are a second, constant input channel.
    """

    @classmethod
    def of(cls, spec: dict, window_px: int, model: PsfModel) -> "Windowed":
        """The network of an entry of the config's `networks`."""
        return cls(
            window_px,
            outputs.channel_count(model),
            spec["architecture"],
            pretrained=bool(spec.get("pretrained")),
            cutoff_range=model.cutoff_range,
        )

    def __init__(
        self,
        window_px: int,
        channels: int,
        architecture: str = "resnet34",
        *,
        pretrained: bool = False,
        cutoff_range: tuple[float, float] = (1.0, 1.0),
    ):
        super().__init__()
        self.window_px, self.architecture = window_px, architecture
        self.pretrained, self.cutoff_range = pretrained, cutoff_range
        self.varies = cutoff_range[0] < cutoff_range[1]
        self.backbone = timm.create_model(
            BACKBONES[architecture],
            pretrained=False,
            in_chans=1 + self.varies,
            num_classes=channels,
        )

    def forward(
        self,
        picture: torch.Tensor,
        stride_px: int | None = None,
        cutoff: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(n, 1, h, w) -> (n, channels, ny, nx), as `OnePass.forward`; cutoff: (n,) cycles/px."""
        n, window = len(picture), self.window_px
        stride = stride_px or window
        views = picture[:, 0].unfold(1, window, stride).unfold(2, window, stride)
        ny, nx = views.shape[1:3]
        if cutoff is None:
            cutoff = picture.new_full((n,), math.sqrt(self.cutoff_range[0] * self.cutoff_range[1]))
        if self.training:  # each picture of the batch is one window
            return self._patches(views[:, 0, 0, None], cutoff)[:, :, None, None]
        where = [(k, j, i) for k in range(n) for j in range(ny) for i in range(nx)]
        out = []
        for first in range(0, len(where), BATCH):
            k, j, i = torch.tensor(where[first : first + BATCH], device=picture.device).T
            out.append(self._patches(views[k, j, i][:, None], cutoff[k]))
        return torch.cat(out).reshape(n, ny, nx, -1).permute(0, 3, 1, 2)

    def _patches(self, patches: torch.Tensor, cutoff: torch.Tensor) -> torch.Tensor:
        mean = patches.mean(dim=(2, 3), keepdim=True)
        deviation = patches.std(dim=(2, 3), keepdim=True)
        patches = (patches - mean) / (deviation + 1e-6 * mean.abs() + 1e-12)
        if self.pretrained:
            side = (PRETRAINED_PX, PRETRAINED_PX)
            patches = F.interpolate(patches, side, mode="bilinear", align_corners=False)
        if self.varies:
            low, high = self.cutoff_range
            place = 2 * (cutoff / low).log() / math.log(high / low) - 1
            plane = place[:, None, None, None].expand_as(patches)
            patches = torch.cat([patches, plane.to(patches.dtype)], 1)
        return self.backbone(patches)

    def take_pretrained(self, path: str | Path) -> None:
        """Load ImageNet weights of this architecture from torchvision or timm (.pth or .safetensors).

        The first convolution is summed over red, green and blue. That is equivalent to a grey picture
        in all three channels, for a third of the work. The last layer is not loaded.

        Raises
        ------
        UserError
            If the file is missing, unreadable or belongs to another network.
        """
        given = {
            k: v for k, v in read_weights(path, "pretrained").items() if not k.startswith("fc.")
        }
        own = self.backbone.state_dict()
        stem = "conv1.weight"
        if stem in given and given[stem].ndim == 4:
            summed = given[stem].float().sum(1, keepdim=True)
            # The channel of the cut-off, if there is one, starts with zero weights.
            given[stem] = torch.cat([summed, torch.zeros_like(summed)], 1)[:, : own[stem].shape[1]]
        wanted = {k for k in own if not k.startswith("fc.") and "num_batches_tracked" not in k}
        wrong = sorted(
            k for k in wanted if k not in given or getattr(given[k], "shape", ()) != own[k].shape
        )
        if wrong or set(given) - set(own):
            name = (wrong or sorted(set(given) - set(own)))[0]
            raise UserError(
                f"{path}: not the ImageNet weights of {BACKBONES[self.architecture]} ({name} is missing, "
                "of another shape or unknown); give torchvision's or timm's file of that network"
            )
        self.backbone.load_state_dict({**own, **given})
