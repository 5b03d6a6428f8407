"""Dense PSF map of a picture: one pass against the published ResNet-34, slid window by window."""

from pathlib import Path

import timm
import torch
from isoplan.networks import store
from isoplan.networks.onepass import FINE, FINE_TOP, SQUARE_PX, STEP_PX, OnePass, spectra
from isoplan.networks.outputs import channel_count
from timing import in_turn

SIZE_PX, STRIDE_PX = 1024, 64
MODELS = Path(__file__).resolve().parents[2] / "resources" / "models"
BATCH = 64


@torch.inference_mode()
def run() -> list[dict]:
    """The released networks, and one without the fit of the spectrum; the peer untrained, which costs
    the same time. The floor is the spectra of all squares alone."""
    torch.manual_seed(0)
    picture = torch.rand(1, 1, SIZE_PX, SIZE_PX)
    rows = [_row(*_released(name), picture, name) for name in ("gaussian-2", "zernike-3")]
    fitted, model = _released("gaussian-2")
    width = fitted.encoder[0][0].out_channels
    quick = OnePass(fitted.window_px, model, width, fit=False).eval()
    return [*rows, _row(quick, model, picture, "gaussian-2 without the fit")]


def _released(name: str):
    network, model, _ = store.load(MODELS / f"{name}.safetensors")
    return network, model


def _row(network, model, picture: torch.Tensor, what: str) -> dict:
    window = network.window_px
    peer = timm.create_model(
        "resnet34", pretrained=False, in_chans=1, num_classes=channel_count(model)
    )
    peer = peer.eval().to(memory_format=torch.channels_last)

    def slide():
        windows = picture[0, 0].unfold(0, window, STRIDE_PX).unfold(1, window, STRIDE_PX)
        ny, nx = windows.shape[:2]
        windows = windows.reshape(-1, 1, window, window)
        windows = windows - windows.mean((2, 3), keepdim=True)
        windows = windows / windows.std((2, 3), keepdim=True)
        windows = windows.contiguous(memory_format=torch.channels_last)
        return torch.cat([peer(batch) for batch in windows.split(BATCH)]).T.reshape(-1, ny, nx)

    cutoff = torch.tensor([model.cutoff])
    if network(picture, STRIDE_PX, cutoff)[0].shape != slide().shape:
        raise RuntimeError("the two maps have different cells")
    times = in_turn(
        lambda: network(picture, STRIDE_PX, cutoff),
        slide,
        lambda: spectra(picture, SQUARE_PX, STEP_PX, FINE_TOP * cutoff, FINE),
        runs=3,
    )
    title = f"PSF map of {SIZE_PX} px, window {window} px, stride {STRIDE_PX} px, {what}"
    return {"benchmark": title, "peer": "timm ResNet-34, sliding window", **times}
