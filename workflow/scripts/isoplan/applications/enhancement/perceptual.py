"""How far two pictures differ for a network that knows pictures: layers of VGG16 (Simonyan and Zisserman 2015)."""

from pathlib import Path
from typing import Self

import torch
from torch import nn
from torch.nn.functional import max_pool2d

from isoplan.base.errors import UserError
from isoplan.networks.pretrained import read_weights

# Channels of its 13 convolutions, a pooling between blocks, and the number of convolutions up to each layer.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
LAYERS = {"relu1_2": 2, "relu2_2": 4, "relu3_3": 7, "relu4_3": 10, "relu5_3": 13}
POOLED = (2, 4, 7, 10)
# Of the pictures that torchvision's weights were trained on, values 0 to 1; of Keras's, 0 to 255 without a deviation.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KERAS_MEAN = (103.939, 116.779, 123.68)
GREY, SPAN = 0.5, 0.15  # where the mean of a target is shown, and its standard deviation


class Features(nn.Module):
    """Convolutions of VGG16 up to the last layer that is compared; they do not learn.

    Attributes
    ----------
    layers : tuple of int
        Convolutions up to each layer that is compared.
    mean, deviation : torch.Tensor
        (3, 1, 1) of the pictures, of values 0 to 1, that the weights were trained on.
    """

    def __init__(self, kernels: list[torch.Tensor], biases: list[torch.Tensor], layers: list[int]):
        super().__init__()
        self.layers = tuple(layers)
        self.count = len(kernels)
        for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            self.register_buffer(f"kernel{number}", kernel)
            self.register_buffer(f"bias{number}", bias)

    @classmethod
    def load(cls, file: str | Path, names: list[str]) -> Self:
        """The layers `names` of the file's VGG16.

        Parameters
        ----------
        file
            .pth or .safetensors, as of torchvision, or .h5, as of Keras. Of the file's tensors the first convolutions of 3 x 3
            count, in their order; what follows them may be missing.
        names
            Of LAYERS.

        Raises
        ------
        UserError
            If the file is missing, unreadable, or holds another network.
        """
        wanted = max(LAYERS[name] for name in names)
        channels = [one for block in BLOCKS for one in block][:wanted]
        shapes = [(b, a, 3, 3) for a, b in zip([3, *channels], channels, strict=False)]
        given = list(read_weights(file, "perceptual_weights").values())
        kernels = [one.float() for one in given if one.ndim == 4][:wanted]
        biases = [one.float() for one in given if one.ndim == 1][:wanted]
        if [tuple(one.shape) for one in kernels] != shapes or [len(b) for b in biases] != channels:
            raise UserError(
                f"{file}: does not begin with the {wanted} convolutions of VGG16 that {', '.join(names)} want; "
                "give weights of VGG16"
            )
        # The network sees one grey picture in all three colours, each scaled as the weights expect it.
        keras = Path(file).suffix == ".h5"
        mean = torch.tensor(KERAS_MEAN if keras else MEAN)
        scale = torch.full((3,), 255.0) if keras else 1 / torch.tensor(DEVIATION)
        shift = -mean if keras else -mean * scale
        made = cls(kernels, biases, [LAYERS[name] for name in names])
        made.register_buffer("scale", scale[:, None, None])
        made.register_buffer("shift", shift[:, None, None])
        return made

    def forward(self, grey: torch.Tensor) -> list[torch.Tensor]:
        """Layers of (n, 1, h, w) pictures of values 0 to 1."""
        x, found = grey * self.scale + self.shift, []
        for number in range(self.count):
            kernel, bias = getattr(self, f"kernel{number}"), getattr(self, f"bias{number}")
            x = nn.functional.conv2d(x, kernel, bias, padding=1).relu()
            if number + 1 in self.layers:
                found.append(x)
            if number + 1 in POOLED:
                x = max_pool2d(x, 2)
        return found

    def apart(self, made: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean over the layers of the squared difference, as a share of the squared variation of the target's layer.

        Both are shown with the target's mean and standard deviation at GREY and SPAN.
        """
        level = target.mean((2, 3), keepdim=True)
        spread = target.std((2, 3), keepdim=True).clamp(min=1e-3)
        own, other = (self((one - level) / spread * SPAN + GREY) for one in (made, target))
        return torch.stack(
            [
                (a - b.detach()).square().mean() / (b.detach().var() + 1e-12)
                for a, b in zip(own, other, strict=True)
            ]
        ).mean()
