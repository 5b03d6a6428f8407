"""The one-pass regressor: one forward pass over a picture gives the PSF targets of every cell.

Blur is plain in the local power spectrum: log |Y|^2 = log |X|^2 + log |H|^2 where there is signal,
and the noise floor shows where there is none. The picture's phase says where things are, which does
not help to find an even PSF. The network therefore sees log power spectra of overlapping squares
of SQUARE_PX, encodes each by itself, and pools over the window.
"""

import torch
from torch import nn
from torch.nn import functional as F

SQUARE_PX, STEP_PX = 32, 16  # side of a square and distance between neighbours
BINS = SQUARE_PX * (SQUARE_PX // 2 + 1)


def pointwise(inputs: int, outputs: int) -> nn.Sequential:
    """One layer at every place by itself: 1 x 1 convolution, normalisation, rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class OnePass(nn.Module):
    """Fully convolutional regressor on local power spectra, without padding.

    window_px: side of the window that one output sees, a multiple of STEP_PX. outputs: targets plus
    one validity logit. width: channels of the squares' encoder; the head has twice as many.
    Neither offset nor scale of the picture matters: each square's mean goes, and its log spectrum is
    taken relative to its own power.
    """

    def __init__(self, window_px: int, outputs: int, width: int):
        super().__init__()
        if window_px % STEP_PX or window_px < SQUARE_PX:
            raise ValueError(
                f"window_px {window_px} is no multiple of {STEP_PX} from {SQUARE_PX} on"
            )
        self.window_px = window_px
        self.squares = (window_px - SQUARE_PX) // STEP_PX + 1  # of a window, per axis
        taper = torch.hann_window(SQUARE_PX, periodic=True)
        taper = taper[:, None] * taper[None, :]
        self.register_buffer("taper", taper / taper.sum(), persistent=False)
        self.encoder = nn.Sequential(pointwise(BINS, width), pointwise(width, width))
        self.pooled_norm = nn.BatchNorm2d(BINS)
        self.head = nn.Sequential(
            pointwise(2 * width + BINS, 2 * width),
            pointwise(2 * width, 2 * width),
            nn.Conv2d(2 * width, outputs, 1),
        )

    def forward(self, picture: torch.Tensor, stride_px: int | None = None) -> torch.Tensor:
        """(n, 1, h, w) -> (n, outputs, ny, nx): one output per window, every stride_px pixels.

        ny = (h - window_px) // stride_px + 1 (thesis, eq. 2.12). stride_px: a multiple of STEP_PX;
        without it the windows do not overlap.
        """
        stride = (stride_px or self.window_px) // STEP_PX

        def pool(values: torch.Tensor) -> torch.Tensor:
            return F.avg_pool2d(values, self.squares, stride)

        power, floor = self.power(picture)
        code = self.encoder(relative_log(power, floor))
        mean = pool(code)
        deviation = (pool(code * code) - mean * mean).clamp_min(1e-6).sqrt()
        welch = self.pooled_norm(relative_log(pool(power), pool(floor)))
        return self.head(torch.cat([mean, deviation, welch], dim=1))

    def power(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Power spectra of the squares (n, BINS, ky, kx), and a floor far below any noise's."""
        views = picture[:, 0].unfold(1, SQUARE_PX, STEP_PX).unfold(2, SQUARE_PX, STEP_PX)
        mean = (views * self.taper).sum(dim=(-2, -1), keepdim=True)
        spectrum = torch.fft.rfft2((views - mean) * self.taper)
        power = spectrum.real.square() + spectrum.imag.square()
        power = power.flatten(-2).permute(0, 3, 1, 2)
        return power, 1e-13 * mean[..., 0, 0].square()[:, None] + 1e-30


def relative_log(power: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """log of a power spectrum (n, BINS, ky, kx) relative to its mean over the bins, about -5 to 2."""
    power = power + floor
    return (torch.log(power) - torch.log(power.mean(dim=1, keepdim=True))) / 4
