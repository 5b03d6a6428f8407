"""Transfer functions of a pupil with any Zernike modes, and their derivatives.

    amplitude(x) = sum over the pupil of exp(2 pi i W(nu)) exp(2 pi i nu.x),   W = sum_j theta_j Z_j
    intensity = |amplitude|^2,   OTF = transform of the intensity

`optics.pupil` makes PSFs of even modes in an eighth of the time. This form also has odd modes (coma,
trefoil), a cut-off of its own for every PSF, and derivatives, which fits need.
"""

import math
from dataclasses import dataclass

import torch

from isoplan.optics.blur_cells import good_size
from isoplan.optics.pupil import zernike


@dataclass(frozen=True)
class Modes:
    """Zernike modes on the samples of n pupils.

    Attributes
    ----------
    waves
        (n, K, m * m): each mode in waves per wave RMS.
    weights
        (n, m, m): share of each sample inside the aperture.
    """

    waves: torch.Tensor
    weights: torch.Tensor

    def __getitem__(self, some) -> "Modes":
        return Modes(self.waves[some], self.weights[some])


class FullPupil:
    """A pupil sampled every 1 / period_px cycles/px.

    Parameters
    ----------
    noll
        Noll indices of the modes.
    period_px
        Period of the amplitude in px.
    highest
        Highest cut-off in cycles/px.
    side
        Samples of a period. The intensity has frequencies up to twice the cut-off, so side must exceed
        4 highest period_px; by default it is the next good size.

    Examples
    --------
    Coma does not change the transfer of light, only its direction:

    >>> pupil = FullPupil((8,), period_px=64, highest=0.25)
    >>> modes = pupil.modes(torch.tensor([0.25]))
    >>> otf = pupil.otf(torch.tensor([[[0.2]]]), modes)
    >>> otf.shape, round(abs(complex(otf[0, 0, 0, 0])), 4)
    (torch.Size([1, 1, 72, 37]), 1.0)
    """

    def __init__(
        self, noll: tuple[int, ...], period_px: int, highest: float, side: int | None = None
    ):
        self.noll, self.period_px = noll, period_px
        half = math.ceil(highest * period_px + 0.5)
        self.side = side or good_size(math.ceil(4 * highest * period_px) + 2)
        step = torch.arange(-half, half + 1) / period_px
        y, x = torch.meshgrid(step, step, indexing="ij")
        self.distance, self.angle = torch.hypot(y, x), torch.atan2(y, x)

    def modes(self, cutoff: torch.Tensor) -> Modes:
        """The modes of pupils with cut-offs (n,) in cycles/px, at most `highest`."""
        distance, angle = (t.to(cutoff.device) for t in (self.distance, self.angle))
        scale = cutoff[:, None, None]
        # The edge is one sample wide, as a jagged one would scatter light into the PSF's wings.
        weights = ((scale - distance) * self.period_px + 0.5).clamp(0, 1)
        waves = torch.stack([zernike(j, distance / scale, angle) for j in self.noll], 1)
        return Modes(waves.flatten(2), weights)

    def intensity(self, theta: torch.Tensor, modes: Modes) -> torch.Tensor:
        """Intensities (n, R, side, side) of any sum, with the middle of the PSF at [0, 0].

        theta: (n, R, K) coefficients in waves RMS.
        """
        amplitude = self._amplitude(theta, modes)[0]
        return along(amplitude, amplitude)

    def otf(self, theta: torch.Tensor, modes: Modes) -> torch.Tensor:
        """OTFs (n, R, side, side // 2 + 1) complex, in the order of `torch.fft.rfft2`; 1 at frequency 0.

        theta: (n, R, K) coefficients in waves RMS.
        """
        intensity = self.intensity(theta, modes)
        return torch.fft.rfft2(intensity / intensity.sum((-2, -1), keepdim=True))

    def otf_slopes(self, theta: torch.Tensor, modes: Modes) -> tuple[torch.Tensor, torch.Tensor]:
        """OTFs as `otf`, and their derivatives (n, R, K, side, side // 2 + 1) by the coefficients."""
        amplitude, pupil = self._amplitude(theta, modes)
        intensity = along(amplitude, amplitude)
        total = intensity.sum((-2, -1), keepdim=True)
        turned = torch.complex(torch.zeros_like(modes.waves), modes.waves)
        turned = turned.unflatten(2, modes.weights.shape[1:])[:, None] * pupil[:, :, None]
        change = torch.fft.ifft2(turned, s=(self.side, self.side))
        # d|a|^2 = 2 Re(conj(a) da), with da = 2 pi change.
        slopes = torch.fft.rfft2(along(change, (amplitude * (4 * math.pi / total))[:, :, None]))
        return torch.fft.rfft2(intensity / total), slopes

    def _amplitude(self, theta, modes: Modes) -> tuple[torch.Tensor, torch.Tensor]:
        """Amplitudes (n, R, side, side) and the pupils (n, R, m, m) that they are transforms of."""
        phase = (2 * math.pi) * (theta @ modes.waves).unflatten(2, modes.weights.shape[1:])
        pupil = torch.polar(modes.weights[:, None].expand_as(phase).contiguous(), phase)
        # The pupil stands in the corner, not around frequency 0. That multiplies the amplitude by a wave
        # of modulus 1, which no intensity shows.
        return torch.fft.ifft2(pupil, s=(self.side, self.side)), pupil


def along(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Real part of the conjugate of one times the other; of a thing and itself, |.|^2 in a third of the time of `abs`."""
    return torch.addcmul(one.real * other.real, one.imag, other.imag)


def pixel_transfer(side: int, samples_per_px: float, device=None) -> torch.Tensor:
    """Transfer function (side, side // 2 + 1) of the integration over a pixel, in the order of rfft2.

    samples_per_px: how finely the transformed picture is sampled.
    """
    y = torch.fft.fftfreq(side, 1 / samples_per_px, device=device)
    x = torch.fft.rfftfreq(side, 1 / samples_per_px, device=device)
    return torch.sinc(y)[:, None] * torch.sinc(x)
