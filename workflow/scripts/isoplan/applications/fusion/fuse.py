"""One picture that is in focus everywhere, from a focus series.

In a block, slice k shows the specimen blurred by the PSF of its distance from the focal plane: Y_k = H_k X + noise. The distance
is that of the sharpest slice. The best linear estimate of the specimen, as it looks in focus, takes all slices:

    H_0 X = H_0 sum_k conj(H_k) Y_k / N_k / (sum_k |H_k|^2 / N_k + 1 / S)

(Wiener filter for several pictures; Berenstein and Patrick, Proc. IEEE 78, 1990.) N_k is the power of the noise, and of what the
optics are off by, which grows with the distance. S is that of the specimen, a power law. So dim series gain from all slices, and
bright ones are taken from the nearest.

Where the estimate does not reproduce the slices near focus, the optics or the height are wrong there: steep or thick specimens,
aberrations, drift. There the pixels of the sharpest slices are taken, as classical fusion does.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from isoplan.optics.defocus import Defocus

BLOCK_PX, STEP_PX = 64, 32
CORE_PX = 512  # side of what is fused at a time
NODES = 8.0  # distances of the table per depth of field
OFF = 0.05  # error of the transfer function a depth of field away, as a share of that in focus
FARTHEST = 4.0  # depths of field from where it no longer grows
LOW = 1.5 / BLOCK_PX  # cycles/px below which the window leaks
BEYOND = 1.05  # times the cut-off: only noise is left
CORNER = 0.45  # cycles/px above which least is left if the camera does not reach the cut-off
REPRODUCED = 1.5  # squared residual over noise up to which the estimate is taken
SMOOTH = (0.25, 0.5, 0.25)  # of the sharpness of neighbouring blocks
EDGES_PX, AROUND_PX = (
    2.0,
    10.0,
)  # scales of classical fusion: of edges, and of what is looked at around a pixel
HALO_PX = 64  # around a core: a block, and what classical fusion looks at
AT_ONCE = 1024  # blocks of slices, which bounds memory

Stack = Callable[[int, int, int, int], np.ndarray]  # rows and columns of all slices (M, h, w)


@dataclass(frozen=True)
class Fused:
    """A core of the picture.

    Attributes
    ----------
    place
        Its rows and columns.
    picture
        (h, w) in the slices' units.
    share
        (h, w) from 0, all from the sharpest slices, to 1, all from the estimate.
    """

    place: tuple[slice, slice]
    picture: np.ndarray
    share: np.ndarray


class Fusion:
    """Fusion of slices at known positions.

    Parameters
    ----------
    z_um
        (M,) positions of the slices.
    optics
        Nominal ones do.

    Examples
    --------
    >>> fusion = Fusion([0, 4, 8], Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32))
    >>> slices = np.random.default_rng(0).poisson(50, (3, 100, 90)).astype(np.float32)
    >>> stack = lambda y0, y1, x0, x1: slices[:, y0:y1, x0:x1]
    >>> heights = fusion.heights(stack, (100, 90))
    >>> core = next(fusion.fuse(stack, (100, 90), heights))
    >>> heights.shape, core.picture.shape
    ((4, 3), (100, 90))
    """

    def __init__(self, z_um, optics: Defocus):
        self.z_um, self.optics = torch.tensor(np.asarray(z_um, np.float32)), optics
        frequency = torch.fft.fftfreq(BLOCK_PX)[:, None] ** 2 + torch.fft.rfftfreq(BLOCK_PX) ** 2
        self.radius = frequency.sqrt()
        beyond = 2 * optics.cutoff * BEYOND
        self.noise_band = self.radius > min(beyond, CORNER)
        self.band = ~self.noise_band & (self.radius >= LOW)
        self.law = frequency + 1e-3
        window = torch.hann_window(BLOCK_PX, periodic=True)
        self.window = (window[:, None] * window).sqrt()
        # Blur that is wider does not fit into a block.
        reach = BLOCK_PX / 4 / optics.radius_px(1.0)
        self.step_um = optics.depth_of_field_um / NODES
        half = max(1, math.ceil(reach / self.step_um))
        self.table = _transfer(optics, torch.arange(-half, half + 1) * self.step_um)

    def heights(
        self, stack: Stack, shape: tuple[int, int], step: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """Positions of focus (ny, nx) in um of blocks, whose centres are STEP_PX apart from the first pixel on."""
        sharp = np.zeros((*_blocks(shape), len(self.z_um)), np.float32)
        for place in _cores(shape):
            tops = [range(s.start, s.stop, STEP_PX) for s in place]
            part = _read(stack, shape, *[(r[0] - STEP_PX, r[-1] + STEP_PX) for r in tops])
            for row, y in enumerate(tops[0]):
                for some in self._some(len(tops[1])):
                    columns = tops[1][some]
                    found = self._sharpness(_cut(part, row, some))
                    sharp[y // STEP_PX, columns[0] // STEP_PX : columns[-1] // STEP_PX + 1] = found
            step()
        weights = np.outer(SMOOTH, SMOOTH)
        return _peaks(ndimage.convolve(sharp, weights[..., None]), self.z_um.numpy())

    def fuse(self, stack: Stack, shape: tuple[int, int], heights: np.ndarray) -> Iterator[Fused]:
        """The picture, core by core; heights: what `heights` found."""
        for place in _cores(shape):
            (y0, y1), (x0, x1) = ((s.start, s.stop) for s in place)
            ends = [(a - HALO_PX, _up(b) + HALO_PX) for a, b in ((y0, y1), (x0, x1))]
            part = _read(stack, shape, *ends)
            sharpest = torch.from_numpy(sharpest_pixels(part))
            made, share = self._core(part, sharpest, heights, ends)
            inner = slice(HALO_PX, HALO_PX + y1 - y0), slice(HALO_PX, HALO_PX + x1 - x0)
            yield Fused(place, made[inner].numpy(), share[inner].numpy())

    def _core(self, part, sharpest, heights, ends) -> tuple[torch.Tensor, torch.Tensor]:
        total, share, weight = (torch.zeros(part.shape[1:]) for _ in range(3))
        square = self.window.square()
        first = [a // STEP_PX + 1 for a, _ in ends]  # block whose first pixel is that of the part
        rows, columns = ((n - BLOCK_PX) // STEP_PX + 1 for n in part.shape[1:])
        for row in range(rows):
            y = min(max(row + first[0], 0), heights.shape[0] - 1)
            for some in self._some(columns):
                x = np.clip(np.arange(columns)[some] + first[1], 0, heights.shape[1] - 1)
                around = torch.tensor(heights[y, x], dtype=torch.float32)
                block, fits = self._estimate(_cut(part, row, some), around)
                plain = _cut(sharpest[None].numpy(), row, some)[:, 0]
                block = fits * block + (1 - fits) * plain * self.window
                down = slice(row * STEP_PX, row * STEP_PX + BLOCK_PX)
                for number, column in enumerate(range(columns)[some]):
                    across = slice(column * STEP_PX, column * STEP_PX + BLOCK_PX)
                    total[down, across] += block[number] * self.window
                    share[down, across] += fits[number] * square
                    weight[down, across] += square
        weight = weight.clamp_min(1e-6)
        return total / weight, share / weight

    def _estimate(self, blocks, heights) -> tuple[torch.Tensor, torch.Tensor]:
        """Windowed estimates (n, b, b) of blocks (n, M, b, b) at heights (n,), and how far each is taken (n, 1, 1)."""
        away = heights[:, None] - self.z_um
        near, every = away.abs().argmin(1), torch.arange(len(away))
        level = blocks[every, near].mean((1, 2))
        power_of = torch.fft.rfft2((blocks - level[:, None, None, None]) * self.window)
        power = power_of.abs().square()
        node = (away / self.step_um).round().long() + len(self.table) // 2
        fit = (node >= 0) & (node < len(self.table))
        fit[every, near] = True
        transfer = self.table[node.clamp(0, len(self.table) - 1)]
        sharp = self.table[len(self.table) // 2]
        noise = self._noise(power)
        signal = (power[every, near] - noise[:, None, None])[:, self.band].clamp_min(0).sum(1)
        signal = signal / (sharp.abs().square() / self.law)[self.band].sum()
        scene = signal.clamp_min(1e-12)[:, None, None] / self.law
        depths = (away.abs() / self.optics.depth_of_field_um).clamp_max(FARTHEST)
        off = (OFF * depths)[..., None, None] ** 2 * (sharp.abs().square() * scene)[:, None]
        weight = fit[..., None, None] / (noise[:, None, None, None] + off)
        prior = 1 / scene
        prior[:, 0, 0] = 0  # the mean is not pulled
        found = (transfer.conj() * power_of * weight).sum(1)
        found = found / ((transfer.abs().square() * weight).sum(1) + prior)
        left = (power_of - transfer * found[:, None])[..., self.band].abs().square().mean(2)
        apart = self.z_um.diff().abs().max() if len(self.z_um) > 1 else 0.0
        close = fit & (away.abs() <= max(self.optics.depth_of_field_um, float(apart)))
        close[every, near] = True
        left = (left * close).sum(1) / close.sum(1) / noise
        fits = (REPRODUCED / left.clamp_min(1e-12)).clamp_max(1)[:, None, None]
        made = torch.fft.irfft2(sharp * found, s=(BLOCK_PX, BLOCK_PX))
        return made + level[:, None, None] * self.window, fits

    def _sharpness(self, blocks) -> np.ndarray:
        """Power (n, M) above the noise, more for high frequencies, of blocks (n, M, b, b), relative to that of all slices."""
        level = blocks.mean((2, 3), keepdim=True)
        power = torch.fft.rfft2((blocks - level) * self.window).abs().square()
        above = power[..., self.band] - self._noise(power)[:, None, None]
        whole = power[..., self.band].sum(2).mean(1, keepdim=True).clamp_min(1e-12)
        return ((above * self.radius[self.band]).sum(2) / whole).numpy()

    def _some(self, count: int) -> list[slice]:
        most = max(1, AT_ONCE // len(self.z_um))
        return [slice(a, min(a + most, count)) for a in range(0, count, most)]

    def _noise(self, power) -> torch.Tensor:
        """Power (n,) of the noise in a bin, from that (n, M, b, b / 2 + 1) of slices: least is left of the specimen in the blurriest."""
        return power[..., self.noise_band].mean(2).amin(1).clamp_min(1e-12)


def sharpest_pixels(slices: np.ndarray) -> np.ndarray:
    """Classical fusion (h, w) of slices (M, h, w): every pixel from the slice whose edges around it are strongest.

    Edges are measured by the Laplacian of a Gaussian. Review: Pertuz et al., IEEE Trans. Image Process. 22, 2013.
    """
    edges = [
        ndimage.gaussian_filter(ndimage.gaussian_laplace(one, EDGES_PX) ** 2, AROUND_PX)
        for one in slices
    ]
    return np.take_along_axis(slices, np.argmax(edges, 0)[None], 0)[0]


def _transfer(optics: Defocus, z_um: torch.Tensor) -> torch.Tensor:
    """Transfer functions (n, b, b / 2 + 1) at distances (n,), of PSFs cut to a block."""
    size = BLOCK_PX - 1
    padded = torch.zeros(len(z_um), BLOCK_PX, BLOCK_PX)
    padded[:, :size, :size] = optics.psf(z_um, size)
    return torch.fft.rfft2(padded.roll((-(size // 2),) * 2, (1, 2)))


def _blocks(shape: tuple[int, int]) -> tuple[int, int]:
    """Numbers of blocks along both axes."""
    y, x = (-(-n // STEP_PX) for n in shape)
    return y, x


def _cores(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    rows, columns = ([slice(a, min(a + CORE_PX, n)) for a in range(0, n, CORE_PX)] for n in shape)
    return [(y, x) for y in rows for x in columns]


def cores(shape: tuple[int, int]) -> int:
    """How many cores are fused one after the other."""
    return len(_cores(shape))


def _up(end: int) -> int:
    """The end of the last block that a core touches."""
    return -(-end // STEP_PX) * STEP_PX


def _read(stack: Stack, shape, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """All slices (M, h, w) of rows and columns, mirrored beyond the edges."""
    kept = [_mirrored(np.arange(*ends), n) for ends, n in zip((rows, columns), shape, strict=True)]
    (y, x), (low, high) = kept, zip(*((k.min(), k.max() + 1) for k in kept), strict=True)
    part = stack(low[0], high[0], low[1], high[1])
    return np.ascontiguousarray(part[:, y - low[0]][:, :, x - low[1]], np.float32)


def _mirrored(at: np.ndarray, count: int) -> np.ndarray:
    period = max(1, 2 * (count - 1))
    at = np.abs(at) % period
    return np.minimum(at, period - at)


def _cut(part: np.ndarray, row: int, columns: slice) -> torch.Tensor:
    """Blocks (n, M, b, b) of a row of blocks of a part (M, h, w)."""
    strip = torch.from_numpy(part[:, row * STEP_PX : row * STEP_PX + BLOCK_PX])
    return strip.unfold(2, BLOCK_PX, STEP_PX)[:, :, columns].permute(2, 0, 1, 3)


def _peaks(sharp: np.ndarray, z_um: np.ndarray) -> np.ndarray:
    """Positions (ny, nx) at which the sharpness (ny, nx, M) peaks, between slices by a parabola."""
    if len(z_um) < 3:
        return z_um[sharp.argmax(2)]
    best = sharp.argmax(2).clip(1, len(z_um) - 2)
    before, here, after = (
        np.take_along_axis(sharp, (best + k)[..., None], 2)[..., 0] for k in (-1, 0, 1)
    )
    bend = before - 2 * here + after
    move = np.where(bend < 0, (before - after) / (2 * np.minimum(bend, -1e-12)), 0.0).clip(-1, 1)
    found = np.interp(best + move, np.arange(len(z_um)), z_um)
    return ndimage.median_filter(found, 3).astype(np.float32)
