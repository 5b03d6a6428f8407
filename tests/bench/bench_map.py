"""Dense PSF map of a picture: one pass against the published ResNet-34, slid window by window."""

import timm
import torch
from isoplan.networks.onepass import SQUARE_PX, STEP_PX, OnePass
from timing import in_turn

SIZE_PX, WINDOW_PX, STRIDE_PX = 1024, 128, 64
WIDTH = 128  # of the default study's network
TARGETS = 3  # Gaussian-2 and validity
BATCH = 64


@torch.inference_mode()
def run() -> list[dict]:
    """Both untrained, which costs the same time. The floor is the transforms of all squares alone."""
    torch.manual_seed(0)
    picture = torch.rand(1, 1, SIZE_PX, SIZE_PX)
    ours = OnePass(WINDOW_PX, TARGETS, WIDTH).eval()
    peer = timm.create_model("resnet34", pretrained=False, in_chans=1, num_classes=TARGETS)
    peer = peer.eval().to(memory_format=torch.channels_last)
    squares = picture[0, 0].unfold(0, SQUARE_PX, STEP_PX).unfold(1, SQUARE_PX, STEP_PX)

    def slide():
        windows = picture[0, 0].unfold(0, WINDOW_PX, STRIDE_PX).unfold(1, WINDOW_PX, STRIDE_PX)
        ny, nx = windows.shape[:2]
        windows = windows.reshape(-1, 1, WINDOW_PX, WINDOW_PX)
        windows = windows - windows.mean((2, 3), keepdim=True)
        windows = windows / windows.std((2, 3), keepdim=True)
        windows = windows.contiguous(memory_format=torch.channels_last)
        return torch.cat([peer(batch) for batch in windows.split(BATCH)]).T.reshape(-1, ny, nx)

    if ours(picture, STRIDE_PX)[0].shape != slide().shape:
        raise RuntimeError("the two maps have different cells")
    times = in_turn(
        lambda: ours(picture, STRIDE_PX), slide, lambda: torch.fft.rfft2(squares), runs=3
    )
    return [
        {
            "benchmark": f"PSF map of {SIZE_PX} px, window {WINDOW_PX} px, stride {STRIDE_PX} px",
            "peer": "timm ResNet-34, sliding window",
            **times,
        }
    ]
