"""PSFs from a pupil's phase. Modes are tabulated once; a batch of PSFs is then a few matrix products.

Only the pixels of the crop are computed. The pupil is sampled every 1 / field_px cycles/px, so the intensity
repeats every field_px. The field is so wide that no ray wraps around into the crop.

All modes here are even (no tilt, no coma): each is the same in opposite quadrants, and from one quadrant
to the next it either stays the same (alpha) or changes its sign (beta). With a = 2 pi nu_y y and
b = 2 pi nu_x x, the sum over the four quadrants is a sum over a single one,

    amplitude = 4 sum exp(i alpha) (cos beta cos a cos b - i sin beta sin a sin b).

Changing the sign of x alone changes the sign of the second term. So a quarter of the pupil and a quarter of
the pixels give the whole PSF, with an eighth of the work. Odd modes would need two more such terms.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

# Pupil radius of the published optics, relative to the half-width of its grid.
PUBLISHED_APERTURE = math.sqrt(3867) / 63.5


@dataclass(frozen=True)
class Pupil:
    """A quadrant of a pupil, K x K samples, and its transform to the pixels of the crop's quadrant.

    Attributes
    ----------
    same, other
        (n_modes, K * K) modes of alpha and of beta in waves per unit; 0 for modes of the other kind.
    weights
        (K, K) share of each sample inside the aperture.
    phase
        (Q, K) phases in radians at Q points of one direction: the first points of pixels 0, 1, ..., then
        their second points, and so on.
    cosine, sine
        (Q, K) those of `phase`.
    quadrature
        Weights of a pixel's points, of sum 1.
    total
        Energy of a PSF in the whole field.
    """

    same: torch.Tensor
    other: torch.Tensor
    weights: torch.Tensor
    phase: torch.Tensor
    cosine: torch.Tensor
    sine: torch.Tensor
    quadrature: tuple[float, ...]
    total: float

    def intensity(
        self, coefficients: torch.Tensor, scale: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Intensities at the points.

        Parameters
        ----------
        coefficients
            (n, n_modes) in the modes' units.
        scale
            (n,) each pupil's cut-off over that of the table, at most 1. None is 1.

        Returns
        -------
        common, product
            (n, Q, Q) each, for points with y and x >= 0. Their sum is the intensity there, their difference
            is the intensity at -x.
        """
        shape = (len(coefficients), *self.weights.shape)
        alpha = 2 * math.pi * (coefficients @ self.same).view(shape)
        beta = 2 * math.pi * (coefficients @ self.other).view(shape)
        real, imaginary = torch.cos(alpha) * self.weights, torch.sin(alpha) * self.weights
        even = torch.stack([real, imaginary]) * torch.cos(beta)
        odd = torch.stack([imaginary, -real]) * torch.sin(beta)
        cosine, sine = self.cosine, self.sine
        if scale is not None:
            phase = self.phase * scale[:, None, None]
            cosine, sine = phase.cos(), phase.sin()
        even = cosine @ even @ cosine.mT
        odd = sine @ odd @ sine.mT
        # |even + odd|^2 and |even - odd|^2, as their common part and twice the product.
        product = (even[0] * odd[0]).addcmul_(even[1], odd[1]).mul_(2)
        common = even[0].square_().addcmul_(even[1], even[1])
        common.addcmul_(odd[0], odd[0]).addcmul_(odd[1], odd[1])
        return common, product

    def integrate(self, intensity: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Means (n, size, size) over the pixels, from the two parts of `intensity`."""
        common, product = (self._pixels(part) for part in intensity)
        right, left = common + product, common - product
        below = torch.cat([left[:, :, 1:].flip(2), right], 2)
        return torch.cat([below[:, 1:].flip(1, 2), below], 1)

    def _pixels(self, points: torch.Tensor) -> torch.Tensor:
        """Means over the pixels (n, Q / points, Q / points) of values at the points (n, Q, Q)."""
        count = len(self.quadrature)
        parts = points.unflatten(2, (count, -1)).unflatten(1, (count, -1))
        mean = torch.zeros_like(parts[:, 0, :, 0])
        for i, weight_y in enumerate(self.quadrature):
            for j, weight_x in enumerate(self.quadrature):
                mean.add_(parts[:, i, :, j], alpha=weight_y * weight_x)
        return mean

    def block(self) -> int:
        """How many PSFs to compute at a time, by a CPU's cache or about 1 GB of a GPU."""
        points, side = self.cosine.shape
        room = 2**22 if self.cosine.device.type == "cpu" else 2**26
        return max(1, room // (8 * max(points**2, points * side, side**2)))


def noll_order(noll: int) -> tuple[int, int]:
    """Radial order and azimuthal frequency of a Noll index (from 1)."""
    order = int((math.sqrt(8 * noll - 7) - 1) / 2)
    place = noll - order * (order + 1) // 2 - 1
    return order, 2 * ((place + 1 + order % 2) // 2) - order % 2


def zernike(noll: int, radius: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Zernike polynomial of RMS 1 over the unit disc (Noll, J. Opt. Soc. Am. 66 (1976) 207).

    Parameters
    ----------
    noll
        Noll index, from 1.
    radius, angle
        Polar coordinates in the pupil, of any one shape; the radius is 1 at the edge, the angle in radians.

    Returns
    -------
    torch.Tensor
        The polynomial's values, of the shape of radius and angle.

    Examples
    --------
    Defocus in the centre and at the edge of the pupil:

    >>> zernike(4, torch.tensor([0.0, 1.0]), torch.zeros(2))
    tensor([-1.7321,  1.7321])
    """
    order, turns = noll_order(noll)
    radial = torch.zeros_like(radius)
    for k in range((order - turns) // 2 + 1):
        factor = (-1) ** k * math.comb(order - k, k)
        factor *= math.comb(order - 2 * k, (order - turns) // 2 - k)
        radial = radial + factor * radius ** (order - 2 * k)
    if turns == 0:
        return math.sqrt(order + 1) * radial
    wave = torch.cos(turns * angle) if noll % 2 == 0 else torch.sin(turns * angle)
    return math.sqrt(2 * (order + 1)) * radial * wave


def make_pupil(
    cutoff: float,
    *,
    noll: tuple[int, ...],
    size_px: int,
    field_px: int,
    nodes: int,
    device,
) -> Pupil:
    """Make a pupil with Zernike modes in waves RMS.

    Parameters
    ----------
    cutoff
        Cut-off in cycles/px.
    noll
        Noll indices of the modes.
    size_px
        Side of the PSFs.
    field_px
        Period of the amplitude.
    nodes
        Gauss-Legendre points per pixel and direction. n points integrate the intensity over the pixel up to
        a bandwidth of about n / 2 cycles/px.
    device
        Device of the tables.

    Raises
    ------
    ValueError
        If a mode has an odd order.
    """
    if any(noll_order(j)[0] % 2 for j in noll):
        raise ValueError(f"Noll modes {noll}: only even orders have the symmetry used here")
    step = torch.arange(math.ceil(cutoff * field_px), dtype=torch.float64) + 0.5
    y, x = torch.meshgrid(step, step, indexing="ij")
    distance = torch.sqrt(x**2 + y**2)
    # The edge is one sample wide, as a jagged one would scatter light into the PSF's wings.
    weights = (cutoff * field_px - distance + 0.5).clamp(0, 1)
    radius, angle = distance / (cutoff * field_px), torch.atan2(y, x)
    modes = [zernike(j, radius, angle) for j in noll]
    other = [noll_order(j)[1] > 0 and j % 2 == 1 for j in noll]  # the sines
    place, quadrature = np.polynomial.legendre.leggauss(nodes)
    pixels = torch.arange(size_px // 2 + 1, dtype=torch.float64)
    points = (torch.from_numpy(place / 2)[:, None] + pixels).flatten()
    return _tabulate(
        modes, other, weights, step / field_px, points, quadrature / 2, field_px, device
    )


def published_pupil(size_px: int, device) -> Pupil:
    """The published pupil (cut-off 0.242 at 127 px), with Seidel modes r^2, x^2, x y and y^2 in waves.

    r is 1 at the grid's half-width, and the aperture has a hard edge just inside. The period is 2 size_px + 1
    px, and the intensity is sampled at the pixels' centres.
    """
    half = size_px // 2
    step = torch.arange(half + 1, dtype=torch.float64)
    y, x = torch.meshgrid(step / half, step / half, indexing="ij")
    square = x**2 + y**2
    # Samples on the axes belong to two quadrants, the one in the middle to four.
    share = torch.where(step == 0, 0.5, 1.0)
    weights = (square <= PUBLISHED_APERTURE**2) * share[:, None] * share[None, :]
    modes = [square, x * x, x * y, y * y]
    field_px = 2 * size_px + 1
    other = [False, False, True, False]
    return _tabulate(modes, other, weights, step / field_px, step, np.ones(1), field_px, device)


def _tabulate(modes, other, weights, frequency, points, quadrature, field_px, device) -> Pupil:
    wave = 2 * math.pi * points[:, None] * frequency[None, :]
    modes = torch.stack(modes).flatten(1)
    other = torch.tensor(other)[:, None]
    tables = (modes * ~other, modes * other, 4 * weights, wave, wave.cos(), wave.sin())
    # Parseval. A soft edge stands for a hard one, so its samples count by their area. It makes the wings in
    # the crop weaker, so the energy lost comes out about 0.3 % too large.
    total = field_px**2 * 4 * float(weights.sum())
    tables = (t.to(device, torch.float32) for t in tables)
    return Pupil(*tables, tuple(quadrature.tolist()), total)
