"""Dense PSF map of a picture: one pass against the published ResNet-34, slid window by window."""

import timm
import torch
from isoplan.base.config import validate
from isoplan.networks.onepass import FINE, FINE_TOP, SQUARE_PX, STEP_PX, OnePass, spectra
from isoplan.networks.outputs import count
from isoplan.optics.psf import make_psf_model
from timing import in_turn

SIZE_PX, WINDOW_PX, STRIDE_PX = 1024, 128, 64
WIDTH = 128  # of the default study's network
PSF = {"model": "gaussian-2"}
BATCH = 64


@torch.inference_mode()
def run() -> list[dict]:
    """All untrained, which costs the same time. The floor is the spectra of all squares alone."""
    torch.manual_seed(0)
    picture = torch.rand(1, 1, SIZE_PX, SIZE_PX)
    model = make_psf_model(validate({"psfs": [PSF | {"name": "gaussian-2"}]})["psfs"][0])
    ours = OnePass(WINDOW_PX, model, WIDTH).eval()
    quick = OnePass(WINDOW_PX, model, WIDTH, fit=False).eval()
    outputs = count(model)
    peer = timm.create_model("resnet34", pretrained=False, in_chans=1, num_classes=outputs)
    peer = peer.eval().to(memory_format=torch.channels_last)

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
    top = torch.tensor([FINE_TOP * 0.25])
    rows = []
    for network, what in ((ours, ""), (quick, ", without the fit")):
        times = in_turn(
            lambda: network(picture, STRIDE_PX),  # noqa: B023
            slide,
            lambda: spectra(picture, SQUARE_PX, STEP_PX, top, FINE),
            runs=3,
        )
        title = f"PSF map of {SIZE_PX} px, window {WINDOW_PX} px, stride {STRIDE_PX} px{what}"
        rows.append({"benchmark": title, "peer": "timm ResNet-34, sliding window", **times})
    return rows
