"""A microscope at any distance from focus: what depth, focus and its sign are found with.

    amplitude(x) = sum over the pupil of exp(2 pi i W(rho, theta; z)) exp(2 pi i nu.x)      PSF = |amplitude|^2
    W = z (n - sqrt(n^2 - NA^2 rho^2)) / wavelength + cylinder (cos(2 axis) Z6 + sin(2 axis) Z5) + spherical Z11

z is how far the specimen is from focus, in um and signed. The path of a high NA is exact, not a parabola (Gibson and Lanni,
J. Opt. Soc. Am. A 8, 1991, for one medium). Cylinder and spherical are in waves RMS, Noll-normalised; axis is measured from
the x axis towards growing y. The specimen's softness is a Gaussian.

Without a cylinder, z and -z have nearly the same PSF. With one, that of -z is turned by 90 degrees, which tells the sign.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from isoplan.base.errors import UserError
from isoplan.optics.full_pupil import FullPupil, Modes, along, pixel_transfer

NOLL = (5, 6, 11)
BLOCK_BYTES = 2**26  # memory of the intensities that are computed at a time
GAP_PX = 64  # keeps what wraps around from the neighbouring periods small


@dataclass(frozen=True)
class Defocus:
    """Optics whose PSF depends on the distance from focus alone.

    Parameters
    ----------
    na, wavelength_um, pixel_size_um
        Of the microscope; the pixel size is that at the sample.
    index
        Refractive index of the medium between objective and specimen.
    cylinder_waves, axis_rad, spherical_waves
        Aberrations that do not depend on the distance.
    softness_um
        Standard deviation of a Gaussian that makes everything softer.

    Raises
    ------
    UserError
        If a value is impossible.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32, cylinder_waves=0.3)
    >>> round(optics.cutoff, 3), round(optics.depth_of_field_um, 2)
    (0.2, 5.33)
    >>> above, below = optics.psf(torch.tensor([10.0, -10.0]), 63)
    >>> bool(torch.allclose(above, below.T, atol=1e-6))
    True
    """

    na: float
    wavelength_um: float
    pixel_size_um: float
    index: float = 1.0
    cylinder_waves: float = 0.0
    axis_rad: float = 0.0
    spherical_waves: float = 0.0
    softness_um: float = 0.0

    def __post_init__(self):
        for name in ("na", "wavelength_um", "pixel_size_um", "index"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise UserError(f"{name} is {value:g}; give a number above 0")
        if self.na >= self.index:
            raise UserError(
                f"na {self.na:g} is not below the index {self.index:g} of the medium; give that of the immersion"
            )
        if not self.softness_um >= 0:
            raise UserError(f"softness_um is {self.softness_um:g}; give 0 or more")

    @property
    def cutoff(self) -> float:
        """Cut-off of the pupil in cycles/px; intensities have frequencies up to twice that."""
        return self.na * self.pixel_size_um / self.wavelength_um

    @property
    def depth_of_field_um(self) -> float:
        return self.index * self.wavelength_um / self.na**2

    def radius_px(self, z_um: float) -> float:
        """Radius of the geometric blur in px."""
        slope = self.na / math.sqrt(self.index**2 - self.na**2)
        return abs(z_um) * slope / self.pixel_size_um

    def intensity(self, z_um: torch.Tensor, period_px: int, binning: int = 1) -> torch.Tensor:
        """Intensities (n, side, side) at distances (n,), of sum 1, with the middle of the PSF at [0, 0].

        period_px: period in binned px. A binned px has side / period_px samples, as many as the bandwidth needs.
        """
        fine = max(2, math.ceil(4 * self.cutoff * binning - 1e-9))
        cutoff = self.cutoff * binning
        pupil = FullPupil(NOLL, period_px, cutoff, side=fine * period_px)
        modes = pupil.modes(torch.tensor([cutoff], device=z_um.device))
        path = self._path(pupil.distance.to(z_um.device) / cutoff, modes.weights[0])
        modes = Modes(torch.cat([path.flatten()[None], modes.waves[0]])[None], modes.weights)
        theta = torch.stack([z_um, *(torch.full_like(z_um, value) for value in self._constant)], 1)
        block = max(1, BLOCK_BYTES // (16 * pupil.side**2))
        parts = [pupil.intensity(some[None], modes)[0] for some in theta.split(block)]
        found = torch.cat(parts)
        return found / found.sum((1, 2), keepdim=True)

    def psf(self, z_um: torch.Tensor, size_px: int) -> torch.Tensor:
        """PSFs (n, size_px, size_px) at distances (n,), integrated over the pixel, of sum 1. size_px is odd."""
        reach = self.radius_px(float(z_um.abs().max()))
        period = 2 * math.ceil((size_px + max(GAP_PX, 2 * reach)) / 2)
        whole = self.intensity(z_um, period)
        fine = whole.shape[-1] // period
        grid = whole.shape[-1], fine, z_um.device
        transfer = pixel_transfer(*grid) * self.soft(*grid)
        whole = torch.fft.irfft2(torch.fft.rfft2(whole) * transfer, s=whole.shape[1:])
        half = size_px // 2
        whole = whole.roll((half * fine, half * fine), (1, 2))[:, ::fine, ::fine]
        crop = whole[:, :size_px, :size_px].clamp_min(0)
        return crop / crop.sum((1, 2), keepdim=True)

    def spectra(self, z_um: torch.Tensor, side: int, binning: int, laws) -> torch.Tensor:
        """Power spectra that scenes of power laws leave in binned pixels, with what is aliased.

        Parameters
        ----------
        z_um
            (n,) distances.
        side
            Frequencies are multiples of 1 / side cycles per binned px.
        binning
            Pixels taken together along each axis.
        laws
            A function of squared frequencies in (cycles per binned px)^2 that gives a list of power laws.

        Returns
        -------
        torch.Tensor
            (laws, n, side, side // 2 + 1), in the order of `torch.fft.rfft2`.
        """
        block = max(1, BLOCK_BYTES // (16 * (4 * side) ** 2))
        return torch.cat(
            [self._spectra(some, side, binning, laws) for some in z_um.split(block)], 1
        )

    def _spectra(self, z_um, side: int, binning: int, laws) -> torch.Tensor:
        whole = self.intensity(z_um, side, binning)
        fine = whole.shape[-1] // side
        spectrum = torch.fft.fft2(whole)
        power = along(spectrum, spectrum)
        f = torch.fft.fftfreq(whole.shape[-1], 1 / fine, device=z_um.device)
        squared = f[:, None] ** 2 + f**2
        seen = (torch.sinc(f)[:, None] * torch.sinc(f)).square()
        seen = seen * torch.exp(-squared * (2 * math.pi * self.softness_px / binning) ** 2)
        # Frequencies that differ by a whole number of cycles per px look the same.
        return torch.stack(
            [
                (power * (law * seen))
                .unflatten(2, (fine, side))
                .unflatten(1, (fine, side))
                .sum((1, 3))
                for law in laws(squared)
            ]
        )[..., : side // 2 + 1]

    def _path(self, radius: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Waves per um of distance at radii of the pupil, without their mean, which no picture shows."""
        high = (self.na * radius.clamp_max(1)) ** 2
        path = (self.index - (self.index**2 - high).sqrt()) / self.wavelength_um
        return path - (path * weights).sum() / weights.sum()

    def soft(self, side: int, fine: int, device) -> torch.Tensor:
        """Transfer function (side, side // 2 + 1) of the softness, with `fine` samples per px."""
        y = torch.fft.fftfreq(side, 1 / fine, device=device)
        x = torch.fft.rfftfreq(side, 1 / fine, device=device)
        return torch.exp(-2 * (math.pi * self.softness_px) ** 2 * (y[:, None] ** 2 + x**2))

    @property
    def softness_px(self) -> float:
        return self.softness_um / self.pixel_size_um

    @cached_property
    def _constant(self) -> tuple[float, float, float]:
        """Coefficients of NOLL."""
        turn = 2 * self.axis_rad
        cylinder = self.cylinder_waves
        return cylinder * math.sin(turn), cylinder * math.cos(turn), self.spherical_waves
