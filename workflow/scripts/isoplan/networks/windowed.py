"""The published backbones: one patch in, one vector out, slid over a picture window by window."""

import math
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from isoplan.base.errors import UserError
from isoplan.networks import outputs
from isoplan.optics.model import PsfModel

BATCH = 64  # windows at a time, which bounds the memory of a large block
BACKBONES = {"resnet34": "resnet34", "resnext50": "resnext50_32x4d"}  # timm's names
PRETRAINED_PX = 224  # side of the pictures that ImageNet weights have seen


class Windowed(nn.Module):
    """ResNet-34 or ResNeXt-50 (32 x 4d) of the thesis (2.3.1) from timm, standardised patch by patch.

    window_px: side of a window. channels: of outputs (outputs.py). pretrained: whether it starts from
    ImageNet weights (`take_pretrained`); its patches are then enlarged to 224 x 224 px, bilinearly,
    as published. cutoff_range: where cut-offs vary, they are a second, constant input channel.

    Deviation from the thesis: timm's stride-2 stem and global pooling, the same as torchvision's.
    """

    @classmethod
    def of(cls, spec: dict, window_px: int, model: PsfModel) -> "Windowed":
        """The network of an entry of the config's `networks`."""
        return cls(
            window_px,
            outputs.count(model),
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
        """(n, 1, h, w) -> (n, outputs, ny, nx), as `OnePass.forward`; cutoff: (n,) cycles/px."""
        n, window = len(picture), self.window_px
        stride = stride_px or window
        views = picture[:, 0].unfold(1, window, stride).unfold(2, window, stride)
        ny, nx = views.shape[1:3]
        if cutoff is None:
            cutoff = picture.new_full((n,), math.sqrt(self.cutoff_range[0] * self.cutoff_range[1]))
        if self.training:  # the batch is the windows
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
        """Starts from ImageNet weights of this architecture: torchvision's or timm's, .pth or
        .safetensors.

        The first convolution is summed over red, green and blue, which gives the numbers of a grey
        picture in all three for a third of the work; the last layer starts anew. Raises UserError
        where the file is missing, unreadable or of another network.
        """
        given = {k: v for k, v in _read_weights(path).items() if not k.startswith("fc.")}
        own = self.backbone.state_dict()
        stem = "conv1.weight"
        if stem in given and given[stem].ndim == 4:
            summed = given[stem].float().sum(1, keepdim=True)
            # The cut-off's channel, if there is one, starts without a say.
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


def _read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a .safetensors or .pth file."""
    if not Path(path).is_file():
        raise UserError(
            f"{path}: no such file; `pretrained` names ImageNet weights that you have (.pth or "
            ".safetensors), nothing is downloaded; null starts from scratch"
        )
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        return dict(found.get("state_dict", found))
    except Exception as error:  # both readers raise many kinds
        reason = str(error).partition("\n")[0][:200]
        raise UserError(f"{path}: cannot be read as .pth or .safetensors ({reason})") from None
