"""PSFs of what moves, sideways and along the optical axis, while the camera exposes.

h(x) = integral of PSF(x - u L; z + u D) du, u from -1/2 to 1/2      (thesis, equation 6.1, for a speed that does not change)

L is the displacement in the picture during the exposure, D that along the axis, and z the distance from focus in its middle.

What h tells is less than it depends on. (L, D, z), (-L, -D, z) and, without aberrations other than spherical ones that are
small, (L, -D, -z) have the same h; and those of L and -L differ in their phases alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import spherical_jn

from isoplan.base.errors import UserError
from isoplan.optics.defocus import GAP_PX, Defocus
from isoplan.optics.full_pupil import pixel_transfer
from isoplan.optics.surface_pictures import MARGIN_PX

AT_ONCE = 8  # distances whose intensities are held
TERMS, NODES = 10, 16  # Legendre polynomials in u, and nodes at which they are found
FINE = 256  # values of a spherical Bessel function per cycle
Z_A_DEPTH = 8  # distances per depth of field at which the OTF is tabulated
PERIOD_PX, RADII = (
    384,
    4096,
)  # of the PSFs of that table; radii up to twice the cut-off are told apart so finely


@dataclass(frozen=True)
class Motion:
    """Motions of n objects.

    Attributes
    ----------
    lateral_px
        (n, 2) displacement (y, x) in the picture during the exposure.
    middle_um, axial_um
        (n,) distance from focus in the middle of the exposure, and displacement along the axis.
    """

    lateral_px: torch.Tensor
    middle_um: torch.Tensor
    axial_um: torch.Tensor

    def __len__(self) -> int:
        return len(self.middle_um)

    def __getitem__(self, some) -> "Motion":
        return Motion(self.lateral_px[some], self.middle_um[some], self.axial_um[some])

    @property
    def start_um(self) -> torch.Tensor:
        """(n,) distance from focus when the exposure begins."""
        return self.middle_um - self.axial_um / 2

    @classmethod
    def joined(cls, parts: "list[Motion]") -> "Motion":
        return cls(
            torch.cat([one.lateral_px for one in parts]),
            torch.cat([one.middle_um for one in parts]),
            torch.cat([one.axial_um for one in parts]),
        )


def psfs(optics: Defocus, motion: Motion, size_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """PSFs (n, size_px, size_px) of motions, of sum 1, and the share (n,) that the crop loses of each; size_px is odd.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    >>> along = Motion(torch.tensor([[0.0, 12.0]]), torch.tensor([0.0]), torch.tensor([0.0]))
    >>> psf, lost = psfs(optics, along, 63)
    >>> bool(psf[0, 31, 31 - 5 : 31 + 6].min() > psf[0, 31 + 5, 31])
    True
    """
    found = [_psf(optics, motion[k : k + 1], size_px) for k in range(len(motion))]
    return torch.stack([psf for psf, _ in found]), torch.stack([lost for _, lost in found])


def _psf(optics: Defocus, motion: Motion, size_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    lateral, middle, axial = motion.lateral_px[0], motion.middle_um[0], motion.axial_um[0]
    length, path = float(lateral.norm()), float(axial.abs())
    reach = optics.radius_px(float(middle.abs()) + path / 2)
    period = 2 * math.ceil((size_px + max(GAP_PX, 2 * reach + length)) / 2)
    u, share = _gauss(math.ceil(1.5 * length + 6 * path / optics.depth_of_field_um) + 8)
    total: torch.Tensor | float = 0.0
    for at, weight in zip(u.split(AT_ONCE), share.split(AT_ONCE), strict=True):
        whole = optics.intensity(middle + axial * at, period)
        side = whole.shape[-1]
        fine = side // period
        y, x = (
            torch.fft.fftfreq(side, 1 / fine)[:, None] * lateral[0],
            torch.fft.rfftfreq(side, 1 / fine) * lateral[1],
        )
        turned = -2 * math.pi * at[:, None, None] * (y + x)
        phase = torch.polar(weight[:, None, None].expand_as(turned).contiguous(), turned)
        total = total + (torch.fft.rfft2(whole) * phase).sum(0)
    transfer = pixel_transfer(side, fine, total.device) * optics.soft(side, fine, total.device)
    whole = torch.fft.irfft2(total * transfer, s=(side, side))[None]
    half = size_px // 2
    every = whole.roll((half * fine, half * fine), (1, 2))[0, ::fine, ::fine].clamp_min(0)
    crop = every[:size_px, :size_px]
    return crop / crop.sum(), 1 - crop.sum() / every.sum()


def moving_picture(
    scene: torch.Tensor, motion: Motion, weights: torch.Tensor, optics: Defocus
) -> torch.Tensor:
    """The picture (h - 2 MARGIN_PX, w - 2 MARGIN_PX) of a scene (h, w) whose parts move differently, without noise.

    weights: (n, h, w) share of each of n motions in each point of the scene, of sum 1; a point keeps its own PSF.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    >>> still = Motion(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1))
    >>> moving_picture(torch.ones(300, 320), still, torch.ones(1, 300, 320), optics).shape
    torch.Size([44, 64])
    """
    size = 2 * MARGIN_PX - 1
    total: torch.Tensor | float = 0.0
    for k, weight in enumerate(weights):
        psf = torch.zeros_like(scene)
        psf[:size, :size] = psfs(optics, motion[k : k + 1], size)[0][0]
        psf = psf.roll((-(size // 2),) * 2, (0, 1))
        total = total + torch.fft.rfft2(weight * scene) * torch.fft.rfft2(psf)
    whole = torch.fft.irfft2(total, s=scene.shape).clamp_min(0)
    return whole[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def moving_sequence(
    scene: torch.Tensor,
    motion: Motion,
    weights: torch.Tensor,
    optics: Defocus,
    passed: Sequence[float],
    far_px: int,
) -> Iterator[torch.Tensor]:
    """Pictures of a scene (h, w) that goes on moving, without noise, as `moving_picture` makes them of what is far_px from its edges.

    weights: (n, h, w), the same all along a row. passed: times in exposures since the first picture, in which what moves along y moves so everywhere.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    >>> right = Motion(torch.tensor([[0.0, 8.0]]), torch.zeros(1), torch.zeros(1))
    >>> scene, every = torch.rand(400, 400), torch.ones(1, 400, 400)
    >>> first, second = moving_sequence(scene, right, every, optics, [0, 1.5], 20)
    >>> bool((second[:, 12:] - first[:, :-12]).abs().max() < 1e-4)
    True
    """
    inner = slice(far_px, -far_px or None)
    speed = weights[:, :, 0].T.to(motion.lateral_px.dtype) @ motion.lateral_px
    for time in passed:
        moved = displaced(scene, time * speed) if time else scene
        now = Motion(motion.lateral_px, motion.middle_um + time * motion.axial_um, motion.axial_um)
        yield moving_picture(moved[inner, inner], now, weights[:, inner, inner], optics)


def displaced(scene: torch.Tensor, lateral_px: torch.Tensor) -> torch.Tensor:
    """A scene (h, w) whose rows have moved, each by (y, x) of (h, 2) px; all by the same y. It is continued periodically.

    Examples
    --------
    >>> scene = torch.zeros(8, 8).index_put_((torch.tensor([2]), torch.tensor([3])), torch.tensor(1.0))
    >>> moved = displaced(scene, torch.tensor([[1.0, 2.0]]).expand(8, 2))
    >>> divmod(int(moved.argmax()), 8)
    (3, 5)
    """
    height, width = scene.shape
    y, x = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    down = torch.polar(torch.ones(height), -2 * math.pi * y * lateral_px[0, 0])
    moved = torch.fft.ifft(torch.fft.fft(scene, dim=0) * down[:, None], dim=0).real
    right = -2 * math.pi * lateral_px[:, 1:] * x
    turned = torch.fft.rfft(moved) * torch.polar(torch.ones_like(right), right)
    return torch.fft.irfft(turned, n=width)


class MotionPower:
    """|OTF|^2 of motions at given frequencies, a thousand times as fast as by PSFs, for optics that are round.

    With the OTF along the path as a sum of Legendre polynomials in u, each is transformed by a spherical Bessel function (Rayleigh):
    integral of P_q(2u) exp(-2 pi i u s) du = (-i)^q j_q(pi s), with s = f.L.

    Parameters
    ----------
    optics
        The microscope; pixels and softness do not count here.
    y, x
        (m,) frequencies in cycles/px, at most twice the cut-off.
    farthest_um
        No path goes farther from focus.
    longest_px
        No lateral displacement is longer.
    binning
        Pixels that are taken together; the OTF is tabulated for a period of PERIOD_PX of these.

    Raises
    ------
    UserError
        If the optics have a cylinder.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    >>> f = torch.tensor([0.0, 0.05, 0.1])
    >>> power = MotionPower(optics, f, 0 * f, farthest_um=10, longest_px=20)
    >>> down = Motion(torch.tensor([[10.0, 0.0]]), torch.tensor([0.0]), torch.tensor([0.0]))
    >>> bool(power.of(down)[0, 2] < 1e-6 < power.of(down)[0, 1])
    True
    """

    def __init__(
        self,
        optics: Defocus,
        y: torch.Tensor,
        x: torch.Tensor,
        farthest_um: float,
        longest_px: float,
        binning: int = 1,
    ):
        if optics.cylinder_waves:
            raise UserError("motion is found with round optics; leave the cylinder out")
        self.y, self.x, self.binning = y, x, binning
        radius = torch.hypot(y, x)
        step = optics.depth_of_field_um / Z_A_DEPTH
        self._step_um = step
        z = torch.arange(math.ceil(farthest_um / step) + 2) * step
        # Frequencies are equal for many directions.
        self._radii, self._of_radius = torch.unique(
            (radius * RADII / (2 * optics.cutoff)).round() / RADII * 2 * optics.cutoff,
            return_inverse=True,
        )
        self._otf = torch.cat([self._round(optics, some) for some in z.split(AT_ONCE)])
        u, share = _gauss(NODES)
        self._u = u
        polynomials = [
            np.polynomial.legendre.Legendre.basis(q)(2 * u.numpy()) for q in range(TERMS)
        ]
        scale = 2 * np.arange(TERMS)[:, None] + 1
        self._legendre = torch.tensor(scale * np.array(polynomials), dtype=torch.float32) * share
        s = np.arange(math.ceil(longest_px * 2 * optics.cutoff * FINE) + 2) / FINE
        signs = np.array([1, 1, -1, -1])  # of (-i)^q, for its real and its imaginary part
        self._bessel = torch.tensor(
            np.array([signs[q % 4] * spherical_jn(q, math.pi * s) for q in range(TERMS)]),
            dtype=torch.float32,
        )

    def of(self, motion: Motion) -> torch.Tensor:
        """(n, m) of motions (n)."""
        z = motion.middle_um[:, None] + motion.axial_um[:, None] * self._u
        number, weight = _cubic(z / self._step_um, len(self._otf) - 1)
        shares = torch.zeros(*z.shape, len(self._otf)).scatter_add_(2, number, weight)
        terms = self._legendre @ shares @ self._otf
        along = self.y * motion.lateral_px[:, :1] + self.x * motion.lateral_px[:, 1:]
        place = (along.abs_() * FINE).round_().long()
        parts = [torch.zeros_like(along), torch.zeros_like(along)]
        for q in range(TERMS):
            here = terms[:, q].index_select(1, self._of_radius)
            parts[q % 2].addcmul_(here, self._bessel[q].take(place))
        return parts[0].square_().add_(parts[1].square_())

    def _round(self, optics: Defocus, z_um: torch.Tensor) -> torch.Tensor:
        """OTFs (n, radii) at distances (n,)."""
        whole = optics.intensity(z_um, PERIOD_PX, self.binning)
        # The sum along y has the OTF's values at fy = 0.
        line = torch.fft.rfft(whole.sum(1)).real
        number, weight = _cubic(self._radii * PERIOD_PX * self.binning, line.shape[1] - 1)
        return (line[:, number] * weight).sum(2)


def _gauss(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss and Legendre's nodes from -1/2 to 1/2, and their weights, of sum 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.tensor(nodes / 2, dtype=torch.float32), torch.tensor(
        weights / 2, dtype=torch.float32
    )


def _cubic(place: torch.Tensor, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers (..., 4) and weights of the values that Catmull and Rom's cubic takes at places (...), of an even function at 0 to last."""
    place = place.abs().clamp_max(last - 1)
    before = place.floor()
    t = place - before
    weights = [-t * (1 - t) ** 2, 2 - t**2 * (5 - 3 * t), t * (1 + t * (4 - 3 * t)), t**2 * (t - 1)]
    number = before.long()[..., None] + torch.arange(-1, 3)
    return number.abs().clamp_max(last), torch.stack(weights, -1) / 2
