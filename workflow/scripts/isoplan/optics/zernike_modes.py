"""PSFs from a pupil with single Zernike modes, Noll 4 onwards, as real microscopes have them (seed 003, eq. 1).

    h = |transform of exp(2 pi i W)|^2,   W = sum over j of theta_j Z_j,  Noll-normalised, in waves RMS

`zernike-5` has focus, astigmatism and coma (Noll 4 to 8), `zernike-7` also trefoil (to 10), `zernike-8`
also spherical aberration (to 11), and `zernike-12` also secondary astigmatism and quadrafoil (to 15). Each
mode is uniform within `modes_waves`, times a number for all modes together that is drawn from `modes_scale`, evenly in
its logarithm. The intensity is integrated over each pixel.

Two sets of coefficients can mean the same or nearly the same:

- If all even modes (of even radial order) change their sign together, the PSF does not change at all.
- If all odd modes (coma, trefoil) change their sign together, the PSF is mirrored at its middle. Its transfer
  of contrast, |OTF|, does not change, so no power spectrum can tell it.

Piston does not change the PSF, and tilt shifts it, which no picture tells from a shift of the specimen.
Therefore they are left out.
"""

import math
from functools import cached_property

import torch

from isoplan.base.errors import UserError
from isoplan.config.schema import choices
from isoplan.optics.blur_cells import good_size
from isoplan.optics.full_pupil import FullPupil, pixel_transfer
from isoplan.optics.model import Parameter, PsfModel
from isoplan.optics.pupil import noll_order
from isoplan.optics.zernike import check_cutoffs, leading_vector

FIRST_NOLL = 4
CHECKED = 512  # draws that `check` looks at
BLOCK_BYTES = 2**26  # memory of the intensities that are computed at a time


class ZernikeModes(PsfModel):
    """`zernike-5`, `zernike-7`, `zernike-8` or `zernike-12`: one coefficient per mode.

    A network regresses the products v v' of the even modes, which do not depend on their common sign, and
    the odd modes as they are, each over its largest value.

    Raises UserError if a cut-off or the range is impossible.

    Examples
    --------
    >>> from isoplan.optics.psf import make_psf_model
    >>> model = make_psf_model({
    ...     "name": "mine", "model": "zernike-8", "form": "isoplan", "size_px": 63, "cutoff": 0.25,
    ...     "cutoff_range": None, "excitation_cutoff": None, "modes_waves": [-0.1, 0.1],
    ... })
    >>> [parameter.name for parameter in model.parameters][3:]
    ['coma_y', 'coma_x', 'trefoil_y', 'trefoil_x', 'spherical']
    >>> coma = torch.zeros(2, 8)
    >>> coma[0, 3], coma[1, 3] = 0.1, -0.1
    >>> psfs, lost = model.psf(coma)
    >>> bool(torch.allclose(psfs[0], psfs[1].flip(0, 1), atol=1e-6))
    True
    """

    knows_cutoff = True
    plain_kinds = ("gaussian", "coma", "trefoil", "spherical")

    def __init__(self, spec: dict):
        super().__init__(spec)
        check_cutoffs(spec)
        low, high = (float(value) for value in spec["modes_waves"])
        if not 0 < high < math.inf or low != -high:
            raise UserError(
                f"psfs {spec['name']}: modes_waves is [{low:g}, {high:g}]; give [-a, a] with a > 0, as the "
                "signs of modes cannot be told from one another"
            )
        self.most_waves = high
        self.scale = tuple(float(value) for value in spec.get("modes_scale", (1, 1)))
        names = choices("psfs")[spec["model"]]["parameters"]
        self.noll = tuple(range(FIRST_NOLL, FIRST_NOLL + len(names)))
        self.parameters = tuple(Parameter(name, "waves", low, high) for name in names)
        self.even = [k for k, j in enumerate(self.noll) if noll_order(j)[0] % 2 == 0]
        self.mirrors = True
        self.odd = [k for k, j in enumerate(self.noll) if noll_order(j)[0] % 2]
        pairs = torch.triu_indices(len(self.even), len(self.even))
        self._pairs = pairs[0], pairs[1]
        # The gap of 64 px keeps what wraps around from the neighbouring periods small.
        self.field_px = good_size(self.size_px + max(64, 2 * math.ceil(self._reach_px())))

    @property
    def n_targets(self) -> int:
        return len(self._pairs[0]) + len(self.odd)

    @property
    def cutoff_range(self) -> tuple[float, float]:
        return tuple(self.spec.get("cutoff_range") or (self.cutoff, self.cutoff))

    @property
    def cutoff(self) -> float:
        return self.spec["cutoff"]

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        params = super().sample(n, generator)
        low, high = self.scale
        if low == high == 1:
            return params
        share = torch.rand(n, 1, generator=generator, device=generator.device)
        return params * low * (high / low) ** share

    def size_at(self, cutoff: float) -> int:
        """As many px as hold the same PSF, which shrinks as the cut-off grows."""
        return 2 * math.ceil(self.size_px * self.cutoff_range[0] / cutoff / 2) + 1

    def encode(self, params: torch.Tensor) -> torch.Tensor:
        unit = params / self.most_waves
        first, second = self._pairs
        even = unit[:, self.even]
        return torch.cat([even[:, first] * even[:, second], unit[:, self.odd]], 1)

    def decode(self, targets: torch.Tensor) -> torch.Tensor:
        """Parameters (n, P), clipped to the ranges, in `standard` form; NaN where a target is not finite."""
        finite = targets.isfinite().all(1)
        known = torch.where(finite[:, None], targets, 0.0)
        first, second = self._pairs
        products = known.new_zeros(len(known), len(self.even), len(self.even))
        products[:, first, second] = products[:, second, first] = known[:, : len(first)]
        params = known.new_empty(len(known), len(self.noll))
        params[:, self.even] = leading_vector(products)
        params[:, self.odd] = known[:, len(first) :]
        params = self.standard(params.clamp(-1, 1) * self.most_waves)
        return torch.where(finite[:, None], params, torch.nan)

    def standard(self, params: torch.Tensor) -> torch.Tensor:
        """The same PSFs (n, P) with the sign of the even modes in which the largest one is positive."""
        even = params[..., self.even]
        largest = even.gather(-1, even.abs().argmax(-1, keepdim=True))
        return self._signed(params, self.even, torch.where(largest < 0, -1.0, 1.0))

    def nearest(
        self, params: torch.Tensor, true: torch.Tensor, *, mirror: bool = True
    ) -> torch.Tensor:
        """The same PSFs, or their mirror images, (..., P) with the signs that are nearest to others (..., P)."""
        for modes in (self.even, self.odd) if mirror else (self.even,):
            along = (params[..., modes] * true[..., modes]).sum(-1, keepdim=True)
            params = self._signed(params, modes, torch.where(along < 0, -1.0, 1.0))
        return params

    def same_side(self, params: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """(n,) positive where PSFs are nearer to others than their mirror images, in square waves."""
        return (params[:, self.odd] * true[:, self.odd]).sum(1)

    def mirrored(self, params: torch.Tensor) -> torch.Tensor:
        """The mirrored PSFs (n, P): all odd modes change their sign."""
        return self._signed(params, self.odd, params.new_tensor(-1.0))

    def _signed(self, params, modes: list[int], sign) -> torch.Tensor:
        out = params.clone()
        out[..., modes] *= sign
        return out

    def extremes(self) -> torch.Tensor:
        """Draws (n, P) from the ranges: the corners of so many modes are too many, and nobody meets them."""
        return self.sample(CHECKED, torch.Generator().manual_seed(0))

    def _crop(self, params, cutoff) -> tuple[torch.Tensor, torch.Tensor]:
        if cutoff is None:
            cutoff = params.new_full((len(params),), self.cutoff)
        block = max(1, BLOCK_BYTES // (16 * self._pupil.side**2))
        parts = [
            self._crop_block(some, at)
            for some, at in zip(params.split(block), cutoff.split(block), strict=True)
        ]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _crop_block(self, params, cutoff) -> tuple[torch.Tensor, torch.Tensor]:
        """PSFs of one block and the share of energy lost."""
        modes = self._pupil.modes(cutoff)
        intensity = self._pupil.intensity(params[:, None], modes)[:, 0]
        # The pupil's soft edge stands for a hard one, which scatters more light into the far wings.
        hard = modes.weights.sum((1, 2)) / modes.weights.square().sum((1, 2))
        if self._shorter:
            # Confocal: a path difference is more waves of the shorter wavelength.
            modes = self._pupil.modes(cutoff * self._shorter)
            intensity *= self._pupil.intensity((params * self._shorter)[:, None], modes)[:, 0]
            hard = 1.0  # the product has hardly any wings
        fine = self._pupil.side // self.field_px  # samples per px
        transfer = pixel_transfer(self._pupil.side, fine, params.device)
        whole = torch.fft.irfft2(torch.fft.rfft2(intensity) * transfer, s=intensity.shape[1:])
        half = self.size_px // 2
        whole = whole.roll((half * fine, half * fine), (1, 2))[:, ::fine, ::fine]
        crop = whole[:, : self.size_px, : self.size_px].clamp_min(0)
        return crop, (1 - crop.sum((1, 2)) / (whole.sum((1, 2)) * hard)).clamp_min(0)

    @cached_property
    def _shorter(self) -> float | None:
        """Emission over excitation wavelength of a confocal microscope."""
        excitation = self.spec["excitation_cutoff"]
        return excitation and excitation / self.spec["cutoff"]

    @cached_property
    def _pupil(self) -> FullPupil:
        highest = self.cutoff_range[1] * max(1.0, self._shorter or 0)
        # The bandwidth of an intensity is twice its cut-off, that of a confocal product the sum of both.
        band = self.cutoff_range[1] * (1 + (self._shorter or 0))
        fine = max(1, math.ceil(4 * band - 1e-9))
        return FullPupil(self.noll, self.field_px, highest, side=fine * self.field_px)

    def _reach_px(self) -> float:
        """How far a strong aberration displaces a ray: the slope of focus, the steepest mode drawn often."""
        return 4 * math.sqrt(3) * self.most_waves / self.cutoff_range[0]
