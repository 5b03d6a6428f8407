"""A U-Net whose encoder is EfficientNet-Lite0, which may start from ImageNet weights.

It is built by the package segmentation-models-pytorch, which is an extra.
"""

from pathlib import Path
from typing import Any, Self

import timm
import torch
from torch import nn

from isoplan.applications.enhancement.unet import BASE, CHANNELS, OverGaussians
from isoplan.base.errors import MissingPackage, UserError
from isoplan.networks.pretrained import read_weights

INSTALL = "install the extra, .venv/bin/uv pip install -r envs/requirements-smp.txt"
ENCODER = "tf_efficientnet_lite0"  # timm's name of it
DEEPEST = 5
STAGES = (1, 2, 3, 5, 7)  # of the encoder's blocks, how many a depth of 1, 2, ... runs
WIDTHS = (
    256,
    128,
    64,
    32,
    16,
)  # channels of the decoder, from the coarsest resolution to the finest
STEM = "conv_stem.weight"
COUNTER = "num_batches_tracked"  # of batch normalisations; some files have it, and nothing reads it
CLASSIFIER = ("classifier.weight", "classifier.bias")  # the last of a file, of no use here


class EfficientUNet(OverGaussians):
    """From a standardised picture to the same with less noise, as `unet.UNet`.

    It sees the same Gaussians beside the picture and adds to the same one of them. The encoder has no squeeze-and-excitation,
    so that no pixel counts beyond `halo_px`.

    Parameters
    ----------
    depth : int
        Times that the encoder halves the resolution, up to DEEPEST.

    Raises
    ------
    MissingPackage
        If the package is not installed.
    """

    def __init__(self, depth: int = DEEPEST):
        super().__init__()
        self.depth = depth
        self.body = _body(depth)
        self.encoder.blocks = self.encoder.blocks[
            : STAGES[depth - 1]
        ]  # the others would run for nothing
        _pad_evenly(self.body)
        last = self.body.segmentation_head[0]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    @classmethod
    def of(cls, spec: dict) -> Self:
        """The network of an entry of `enhancers`, with random weights."""
        return cls(spec["encoder_depth"])

    @property
    def encoder(self) -> nn.Module:
        """By timm, with timm's names."""
        return self.body.encoder.model

    @property
    def step_px(self) -> int:
        """Windows that are worked on alone begin at multiples of this, as the coarsest resolution does."""
        return 2**self.depth

    @property
    def halo_px(self) -> int:
        """How far around a pixel the picture counts, as a multiple of `step_px`."""
        reach, stride = self.blurs.shape[-1] // 2, 1
        for part in self.encoder.modules():
            if isinstance(part, nn.Conv2d):
                reach += part.kernel_size[0] // 2 * stride
                stride *= part.stride[0]
        reach += stride - 1  # nearest neighbours, of all levels together
        for _ in range(self.depth):
            stride //= 2
            reach += 2 * stride  # two convolutions a level
        reach += 1  # the last one
        return -(-reach // self.step_px) * self.step_px

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, 1, h, w) standardised -> the same. Borders are mirrored, up to a multiple of `step_px`."""
        h, w = pictures.shape[-2:]
        seen = self.seen(pictures)
        return (seen[:, BASE : BASE + 1] + self.body(seen))[..., :h, :w]

    def take_encoder(self, path: str | Path) -> None:
        """Start from ImageNet weights of EfficientNet-Lite0 (.pth or .safetensors).

        Tensors are told by timm's names, or by their order where a file has other names. The first convolution is summed
        over red, green and blue, and shared among the picture and its Gaussians: what is smooth is seen as if it were grey.

        Raises
        ------
        UserError
            If the file is missing, unreadable or belongs to another network.
        """
        whole = timm.create_model(ENCODER, pretrained=False, num_classes=0).state_dict()
        found = _fitted(read_weights(path, "encoder_weights"), whole, path)
        own = self.encoder.state_dict()
        self.encoder.load_state_dict({name: found.get(name, own[name]) for name in own})


def _body(depth: int) -> Any:
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        text = f"efficientnet needs segmentation_models_pytorch, which is not installed ({error})"
        raise MissingPackage(f"{text}; {INSTALL}, or choose another architecture") from None
    return smp.Unet(
        f"tu-{ENCODER}",
        encoder_depth=depth,
        encoder_weights=None,  # it would download them
        decoder_channels=WIDTHS[-depth:],
        in_channels=CHANNELS,
        classes=1,
    )


def _pad_evenly(body: nn.Module) -> None:
    """Let all convolutions repeat the border, on both sides alike.

    Zeros would be a dark border, or a bright one. Those with a stride pad by the picture's size, and more on one side.
    """
    for name, part in list(body.named_modules()):
        if not isinstance(part, nn.Conv2d):
            continue
        sides = tuple(k // 2 for k in part.kernel_size)
        own = nn.Conv2d(
            part.in_channels,
            part.out_channels,
            part.kernel_size,
            part.stride,
            sides,
            groups=part.groups,
            bias=part.bias is not None,
            padding_mode="replicate" if any(sides) else "zeros",
        )
        own.load_state_dict(part.state_dict())
        above, _, last = name.rpartition(".")
        setattr(body.get_submodule(above), last, own)


def _fitted(
    given: dict[str, torch.Tensor], own: dict[str, torch.Tensor], path: str | Path
) -> dict[str, torch.Tensor]:
    """The tensors of a file by the encoder's names, with the first convolution for its channels.

    Raises
    ------
    UserError
        If neither names nor the order fit.
    """
    # A checkpoint may hold numbers beside tensors.
    given = {
        name: one for name, one in given.items() if torch.is_tensor(one) and _kind(name) != COUNTER
    }
    wanted = {name: tuple(one.shape) for name, one in own.items() if _kind(name) != COUNTER}
    wanted[STEM] = (wanted[STEM][0], 3, *wanted[STEM][2:])
    if STEM not in given and len(given) in (len(wanted), len(wanted) + len(CLASSIFIER)):
        # Tensors of a normalisation are all of one shape: the ends of names tell them apart, should they be sorted.
        pairs = list(zip(wanted, given, strict=False))
        if all(_kind(name) == _kind(theirs) for name, theirs in pairs):
            given = {name: given[theirs] for name, theirs in pairs}
    wrong = [
        *(f"{name} is missing" for name in wanted if name not in given),
        # Deeper encoders, and those with squeeze-and-excitation, have all that is wanted and more.
        *(f"{name} is no part of it" for name in given if name not in (*wanted, *CLASSIFIER)),
        *(
            f"{name} is {tuple(given[name].shape)}, not {shape}"
            for name, shape in wanted.items()
            if name in given and tuple(given[name].shape) != shape
        ),
    ]
    if wrong:
        raise UserError(
            f"{path}: weights of another architecture: its {len(given)} tensors fit EfficientNet-Lite0 neither by name nor in "
            f"order ({wrong[0]}); give a file of tf_efficientnet_lite0, or null"
        )
    found = {name: given[name].float() for name in wanted}
    found[STEM] = found[STEM].sum(1, keepdim=True).expand(-1, CHANNELS, -1, -1) / CHANNELS
    return found


def _kind(name: str) -> str:
    return name.rpartition(".")[2]
