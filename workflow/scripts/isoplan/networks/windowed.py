"""The published backbones: one patch in, one vector out, slid over a picture window by window."""

import timm
import torch
from torch import nn

BATCH = 64  # windows at a time, which bounds the memory of a large block


class Windowed(nn.Module):
    """ResNet-34 of the thesis (2.3.1) from timm: one grey channel, standardised patch by patch.

    Deviation from the thesis: timm's stride-2 stem and global pooling, the same as torchvision's.
    """

    def __init__(self, window_px: int, outputs: int, backbone: str = "resnet34"):
        super().__init__()
        self.window_px = window_px
        self.backbone = timm.create_model(
            backbone, pretrained=False, in_chans=1, num_classes=outputs
        )

    def forward(self, picture: torch.Tensor, stride_px: int | None = None) -> torch.Tensor:
        """(n, 1, h, w) -> (n, outputs, ny, nx), as `OnePass.forward`."""
        n, window = len(picture), self.window_px
        stride = stride_px or window
        views = picture[:, 0].unfold(1, window, stride).unfold(2, window, stride)
        ny, nx = views.shape[1:3]
        if n * ny * nx == n:  # training: the batch is the windows
            return self._patches(picture)[:, :, None, None]
        flat = [views[k, j, i] for k in range(n) for j in range(ny) for i in range(nx)]
        out = [
            self._patches(torch.stack(flat[first : first + BATCH])[:, None])
            for first in range(0, len(flat), BATCH)
        ]
        return torch.cat(out).reshape(n, ny, nx, -1).permute(0, 3, 1, 2)

    def _patches(self, patches: torch.Tensor) -> torch.Tensor:
        mean = patches.mean(dim=(2, 3), keepdim=True)
        deviation = patches.std(dim=(2, 3), keepdim=True)
        return self.backbone((patches - mean) / (deviation + 1e-6 * mean.abs() + 1e-12))
