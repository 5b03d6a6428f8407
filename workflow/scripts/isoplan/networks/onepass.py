"""The one-pass regressor: one forward pass over a picture gives the PSF targets of every cell.

Blur is visible in the local power spectrum: log |Y|^2 = log |X|^2 + log |H|^2 where there is signal, and
the noise floor where there is none. The picture's phase says where objects are, which does not help to
estimate a symmetric PSF. So the network takes log power spectra of overlapping squares of SQUARE_PX,
encodes each by itself, and pools them over the window.

Frequencies are in units of the pupil's cut-off. A wavefront aberration looks the same at every cut-off,
so one network is enough for every objective. Frequencies beyond Nyquist are left blank.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from isoplan.networks import sliding
from isoplan.networks.outputs import FLAGS
from isoplan.networks.sliding import STEP_PX
from isoplan.networks.spectrum_fit import SpectrumFit
from isoplan.optics.model import PsfModel

SQUARE_PX = 64  # side of a square; neighbours are STEP_PX apart
# Frequencies per axis, and the highest one in units of the cut-off. Those of a square reach to the end of
# the OTF, those of the whole window to the end of the OTF of wide PSFs.
FINE, FINE_TOP = 33, 2.0
COARSE, COARSE_TOP = 17, 0.5
SQUARES = {"cpu": 128, "cuda": 16384}  # squares at a time, which bounds memory


def bins(frequencies: int) -> int:
    """Number of bins of a half-plane: kx from 0, ky of both signs."""
    return frequencies * (2 * frequencies - 2)


class Pointwise(nn.Conv2d):
    """A linear layer that is applied to every pixel by itself (1 x 1 convolution)."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True):
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return sliding.pointwise(values, self.weight, self.bias)


def pointwise(inputs: int, outputs: int) -> nn.Sequential:
    """A pointwise layer with batch normalisation and ReLU."""
    return nn.Sequential(
        Pointwise(inputs, outputs, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class OnePass(nn.Module):
    """Fully convolutional regressor on local power spectra, without padding.

    The picture's offset and scale do not matter: the mean of each square is subtracted, and its log
    spectrum is relative to its own power.

    Parameters
    ----------
    window_px
        Side of the window that one output sees, a multiple of STEP_PX.
    model
        The PSF model, which determines the outputs (`outputs`).
    width
        Channels of the encoder of squares; the heads have twice as many.
    fit
        Whether the network starts from the fit of the window's spectrum (`spectrum_fit`) and learns a
        correction to it.
    """

    @classmethod
    def of(cls, spec: dict, window_px: int, model: PsfModel) -> "OnePass":
        """The network of an entry of the config's `networks`."""
        return cls(window_px, model, spec["width"], fit=spec["fit"] == "spectrum")

    def __init__(self, window_px: int, model: PsfModel, width: int, *, fit: bool = True):
        super().__init__()
        if window_px % STEP_PX or window_px < SQUARE_PX:
            raise ValueError(
                f"window_px {window_px} is no multiple of {STEP_PX} from {SQUARE_PX} on"
            )
        self.window_px, self.targets, self.cutoff = window_px, model.n_targets, model.cutoff
        self.squares = (window_px - SQUARE_PX) // STEP_PX + 1  # of a window, per axis
        # In a list, so that torch does not register it: it has no weights and is not saved.
        self.fit = [SpectrumFit(window_px, model)] if fit else []
        spreads = len(model.parameters)
        side = len(TRACES) + 1 + (model.n_targets + spreads + 1 if fit else 0)
        fine, coarse = bins(FINE), bins(COARSE)
        self.encoder = nn.Sequential(pointwise(fine, width), pointwise(width, width))
        self.pooled_norm, self.coarse_norm = nn.BatchNorm2d(fine), nn.BatchNorm2d(coarse)
        self.side_norm = nn.BatchNorm2d(side)
        features = 2 * width + fine + coarse + side

        def head(outputs: int) -> nn.Sequential:
            return nn.Sequential(
                pointwise(features, 2 * width),
                pointwise(2 * width, 2 * width),
                Pointwise(2 * width, outputs),
            )

        self.head = head(self.targets + FLAGS)
        if fit:  # the correction starts at zero
            nn.init.zeros_(self.head[-1].weight[: self.targets])
            nn.init.zeros_(self.head[-1].bias[: self.targets])
        self.spread_head = head(spreads)

    def forward(
        self,
        picture: torch.Tensor,
        stride_px: int | None = None,
        cutoff: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Estimate the PSF of every window.

        Parameters
        ----------
        picture
            (n, 1, h, w).
        stride_px
            Distance between windows, a multiple of STEP_PX; None for windows that do not overlap.
        cutoff
            (n,) cut-offs in cycles/px; None for that of the PSF model.

        Returns
        -------
        torch.Tensor
            (n, channels, ny, nx), with ny = (h - window_px) // stride_px + 1 (thesis, eq. 2.12).
        """
        return self.regress(self.fixed_features(picture, stride_px, cutoff), stride_px)

    @torch.no_grad()
    def fixed_features(self, picture, stride_px=None, cutoff=None) -> tuple[torch.Tensor, ...]:
        """Features of a picture that do not depend on weights; training computes them once per sample.

        Arguments as in `forward`. Returns log spectra of the squares (n, bins, rows, columns); and for
        the windows, all (n, ., ny, nx): log spectra by Welch's method, log spectra of the whole window,
        and single numbers.
        """
        stride = stride_px or self.window_px
        if cutoff is None:
            cutoff = picture.new_full((len(picture),), self.cutoff)
        power, floor, seen = spectra(picture, SQUARE_PX, STEP_PX, FINE_TOP * cutoff, FINE)
        # With many channels, adding whole slices is faster than pooling each channel.
        strided_sums = [
            sliding.strided_sums(part, self.squares, stride // STEP_PX, (2, 3)) / self.squares**2
            for part in (power, floor)
        ]
        coarse = spectra(picture, self.window_px, stride, COARSE_TOP * cutoff, COARSE)
        side = [traces(picture, self.window_px, stride)]
        side.append(cutoff.log()[:, None, None, None].expand_as(side[0][:, :1]))
        # All outputs of the fit except the last two flags, which are constant.
        side += [fit(picture, stride, cutoff)[:, :-2] for fit in self.fit]
        return (
            relative_log(power, floor, seen),
            relative_log(*strided_sums, seen),
            relative_log(*coarse),
            torch.cat(side, dim=1),
        )

    def regress(self, fixed: tuple[torch.Tensor, ...], stride_px=None) -> torch.Tensor:
        """Outputs (n, channels, ny, nx) from `fixed_features`, computed with the same stride."""
        features, side = self.features(fixed, stride_px), fixed[-1]
        # Half-widths describe the estimate; training them must not change it.
        values, spread = self.head(features), self.spread_head(features.detach())
        targets = values[:, : self.targets]
        if self.fit:
            start = len(TRACES) + 1
            targets = targets + side[:, start : start + self.targets]
        return torch.cat([targets, spread, values[:, self.targets :]], dim=1)

    def features(self, fixed: tuple[torch.Tensor, ...], stride_px=None) -> torch.Tensor:
        """Inputs of the heads for each window, (n, ., ny, nx)."""
        squares, welch, coarse, side = fixed
        stride = stride_px or self.window_px
        code = self.encoder(squares)
        mean = self._pool(code, stride)
        deviation = self._pool(code * code, stride) - mean * mean
        parts = [mean, deviation.clamp_min(1e-6).sqrt(), self.pooled_norm(welch)]
        return torch.cat([*parts, self.coarse_norm(coarse), self.side_norm(side)], dim=1)

    def _pool(self, values: torch.Tensor, stride_px: int) -> torch.Tensor:
        return F.avg_pool2d(values, self.squares, stride_px // STEP_PX)


# Names of statistics that reveal processing which power spectra do not show.
TRACES = ("equal", "top", "tails", "peak", "shot", "skew", *(f"grid {k}" for k in range(8)))


@torch.no_grad()
def traces(picture: torch.Tensor, window_px: int, stride_px: int) -> torch.Tensor:
    """Traces of processing: statistics of neighbouring pixels in every window.

    (n, 1, h, w) -> (n, len(TRACES), ny, nx), in this order:

    - equal: share of pixels equal to their right neighbour (posterised, or few counts);
    - top: logarithm of the number of pixels at the window's maximum (saturated);
    - tails, peak: shape of the distribution of second differences (denoised, sharpened);
    - shot, skew: correlation of their square with brightness (shot noise), and their skewness;
    - grid: steps between columns and rows by position in blocks of 8 px, relative to the mean step,
      the largest first (JPEG).
    """

    side = window_px - 2  # second differences lose a pixel at each edge of a window

    def pool(values):
        return sliding.means(values, side, stride_px)

    scale = picture.std(dim=(2, 3), keepdim=True).clamp_min(1e-9)
    x = (picture - picture.mean(dim=(2, 3), keepdim=True)).div_(scale)
    inner = x[..., 1:-1, 1:-1]
    noise = x.diff(n=2, dim=2).diff(n=2, dim=3)
    square = noise * noise
    power = pool(square).clamp_min(1e-12)
    mean = pool(inner)
    variance = (pool(inner * inner) - mean * mean).clamp_min(1e-12)
    shot = (pool(square * inner) - power * mean) / (power * variance.sqrt())
    found = [
        pool((picture[..., 1:-1, 1:-1] - picture[..., 1:-1, 2:]).eq_(0)),
        sliding.count_maxima(picture, window_px, stride_px).log(),
        (pool(square * square) / power.square()).clamp_min(1e-3).log(),
        (pool(noise.abs()) / power.sqrt()).clamp_min(1e-3).log(),
        shot.clamp(-5, 5),
        (pool(square.mul_(noise)) / power**1.5).clamp(-5, 5),
    ]

    def raster(lines):
        """Mean steps between columns by position in blocks of 8, (n, 8, ny, nx), relative to all.

        lines: steps, already summed along the other axis. Windows begin at a block's edge.
        """
        place = torch.arange(lines.shape[-1], device=x.device) % 8
        kept = lines * (place == torch.arange(8, device=x.device)[:, None])[:, None]
        mean = sliding.sums_along(kept, side, stride_px, -1) / side**2
        return mean / mean.mean(1, keepdim=True).clamp_min(1e-9)

    across = x[..., 1:-1, :-1].diff(dim=3).abs_()
    down = x[..., :-1, 1:-1].diff(dim=2).abs_()
    across = raster(sliding.sums_along(across, side, stride_px, -2))
    down = raster(sliding.sums_along(down, side, stride_px, -1).mT).mT
    both = across.sort(1, descending=True)[0] + down.sort(1, descending=True)[0]
    return torch.cat([*found, both / 2], dim=1)


@torch.no_grad()
def spectra(picture: torch.Tensor, side: int, step: int, top: torch.Tensor, count: int):
    """Power spectra of tapered squares up to a highest frequency.

    Parameters
    ----------
    picture
        (n, 1, h, w).
    side, step
        Side of the squares and distance between them, in px.
    top
        (n,) highest frequencies in cycles/px.
    count
        Number of frequencies per axis, evenly spaced from 0 to `top`.

    Returns
    -------
    power
        (n, bins(count), rows, columns).
    floor
        A floor far below any noise, which keeps logarithms finite.
    seen
        (n, bins(count), 1, 1): bins with information, within Nyquist and without the mean.
    """
    device = picture.device
    frequency = top[:, None] * torch.linspace(0, 1, count, device=device)
    seen = frequency <= 0.5
    seen = seen[:, :, None] & torch.cat([seen, seen[:, 1:-1]], dim=1)[:, None]
    seen[:, 0, 0] = False  # the mean was subtracted, only rounding errors are left
    if len(frequency.unique(dim=0)) == 1:  # the same for all pictures: one product is enough
        frequency = frequency[:1]
    squares = picture[:, 0].unfold(1, side, step).unfold(2, side, step)
    n, rows, columns = squares.shape[:3]
    power = picture.new_empty(n, rows, columns, bins(count), dtype=torch.float32)
    mean = power.new_empty(n, rows, columns)
    deep = max(1, SQUARES[device.type] // columns)
    many = max(1, SQUARES[device.type] // (columns * min(deep, rows)))
    # Spectra span nine decades, so they are never computed in half precision.
    with torch.autocast(device.type, enabled=False):
        taper = _taper(side, device)
        plane = taper[:, None] * taper
        along = _waves(frequency, side)
        for first in range(0, n, many):
            some = slice(first, first + many)
            for top_row in range(0, rows, deep):
                part = some, slice(top_row, top_row + deep)
                block = squares[part].float()
                mean[part] = (block * plane).sum((-2, -1))
                own = along if len(along[0]) == 1 else [waves[some] for waves in along]
                power[part] = _power(block - mean[part][..., None, None], *own)
    floor = 1e-13 * mean.square()[:, None] + 1e-30
    return power.permute(0, 3, 1, 2), floor, seen.reshape(n, -1, 1, 1)


def _taper(side: int, device) -> torch.Tensor:
    taper = torch.hann_window(side, device=device)
    return taper / taper.sum()


def _waves(frequency: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tapered waves of frequencies (n, count) in cycles/px, as factors of a separable transform.

    For x: cosines and sines, (n, 2 count, side). For y, (n, 4 count - 4, 2 side): they combine both
    into the real and then the imaginary part, at ky = 0, 1, ... and -1, -2, ...
    """
    taper = _taper(side, frequency.device)
    place = torch.arange(side, device=frequency.device) - side // 2
    phase = 2 * math.pi * place * frequency[..., None]
    cosine, sine = phase.cos() * taper, phase.sin() * taper
    both = torch.cat([cosine, cosine[:, 1:-1]], 1), torch.cat([sine, -sine[:, 1:-1]], 1)
    real, imaginary = torch.cat([both[0], -both[1]], 2), torch.cat([both[1], both[0]], 2)
    return torch.cat([cosine, sine], 1), torch.cat([real, imaginary], 1)


def _power(squares: torch.Tensor, in_x: torch.Tensor, in_y: torch.Tensor) -> torch.Tensor:
    """Power (n, rows, columns, bins) of squares (n, rows, columns, side, side), with `_waves`."""
    shape, side = squares.shape[:3], squares.shape[-1]
    lines = _times(squares.reshape(len(squares), -1, side), in_x)
    lines = lines.reshape(*shape, side, 2, -1).permute(0, 1, 2, 5, 4, 3)  # kx, parts, y
    parts = _times(lines.reshape(len(squares), -1, 2 * side), in_y).square_()
    real, imaginary = parts.chunk(2, dim=-1)
    return (real + imaginary).reshape(*shape, -1)


def _times(rows: torch.Tensor, waves: torch.Tensor) -> torch.Tensor:
    """(n, m, k) times (n, count, k), or (1, count, k) for all: (n, m, count)."""
    return sliding.product(rows, waves[0]) if len(waves) == 1 else rows @ waves.mT


def relative_log(power: torch.Tensor, floor: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Log of power spectra (n, bins, y, x) relative to their mean over the bins seen; 0 in the others.

    Scaled by 1/4; values are about -5 to 2.
    """
    seen = seen.to(power.dtype)
    power = power + floor
    mean = torch.einsum("ncyx,nc->nyx", power, seen[..., 0, 0])[:, None] / seen.sum(1, keepdim=True)
    return power.log_().sub_(mean.log()).mul_(seen / 4)
