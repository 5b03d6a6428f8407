"""PSFs from a pupil with focus and astigmatism, as Zernike modes (thesis, eq. 2.6 and 2.7).

    amplitude(x) = sum over the pupil of exp(2 pi i W(nu)) exp(2 pi i nu.x)      PSF = |amplitude|^2
    W = focus Z4 + cylinder (cos(2 axis) Z6 + sin(2 axis) Z5),  Noll-normalised, in waves RMS

The intensity is integrated over each pixel, at every cut-off. `axis` is measured from the x axis towards
growing y (down).

A PSF does not change if all even modes change sign together. So a network regresses these targets:
  zernike-1  focus >= 0
  zernike-2  cylinder (cos 4 axis, sin 4 axis), axis in [0, pi/2), since axis 0 and pi/2 give the same PSF
  zernike-3  the six products v v' of v = (focus, cylinder cos 2 axis, cylinder sin 2 axis), axis in
             [0, pi), each entry of v over its largest value; decoded by the leading eigenvector

The published form has Seidel terms on its own radius, its own ranges, a fixed cut-off of 0.242 and the
astigmatism cylinder (x cos axis + y sin axis)^2; a network regresses its plain parameters.
"""

import math

import torch

from isoplan.base.errors import UserError
from isoplan.optics.model import Parameter, PsfModel, read_range
from isoplan.optics.pupil import Pupil, make_pupil, published_pupil

PUBLISHED_CUTOFF = 0.242
PUBLISHED_FOCUS_WAVES = (0.0, 4.0)
PUBLISHED_CYLINDER_WAVES = (0.0, 3.0)
PRODUCTS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


class Zernike(PsfModel):
    """`zernike-1` (focus), `zernike-2` (cylinder, axis) or `zernike-3` (focus, cylinder, axis).

    Focus and cylinder are in waves RMS, or in waves of the Seidel terms in the published form; the axis is
    in radians. Confocal PSFs (if `excitation_cutoff` is given) are excitation times emission.

    Raises UserError if a cut-off or a range is impossible.

    Examples
    --------
    >>> from isoplan.optics.psf import make_psf_model
    >>> model = make_psf_model({
    ...     "name": "my_psfs", "model": "zernike-3", "form": "isoplan", "size_px": 63, "cutoff": 0.25,
    ...     "excitation_cutoff": None, "focus_waves": [0, 0.2], "cylinder_waves": [0, 0.1],
    ... })
    >>> [parameter.name for parameter in model.parameters]
    ['focus', 'cylinder', 'axis']
    >>> psfs, lost = model.psf(torch.tensor([[0.2, 0.1, 0.0]]))
    >>> psfs.shape, bool(lost[0] < 0.02)
    (torch.Size([1, 63, 63]), True)
    """

    knows_cutoff = True

    def __init__(self, spec: dict):
        super().__init__(spec)
        self.kind = int(spec["model"][-1])
        focus, cylinder = PUBLISHED_FOCUS_WAVES, PUBLISHED_CYLINDER_WAVES
        if not self.published:
            check_cutoffs(spec)
            focus, cylinder = (
                read_range(spec, key) if key in spec else (0.0, 0.0)
                for key in ("focus_waves", "cylinder_waves")
            )
        # Published axes are 0 and pi/2, which Seidel terms distinguish even without focus.
        period = math.pi / 2 if self.kind == 2 and not self.published else math.pi
        self.parameters = (
            Parameter("focus", "waves", *focus),
            Parameter("cylinder", "waves", *cylinder),
            Parameter("axis", "rad", 0.0, math.pi / 2 if self.published else period, period),
        )[slice(*{1: (0, 1), 2: (1, 3), 3: (0, 3)}[self.kind])]
        # Odd, so that a whole confocal field has a middle pixel. The gap of 64 px keeps what wraps around
        # from the neighbouring periods below 1 % of the peak.
        if not self.published:
            self.field_px = self.size_px + max(64, 2 * math.ceil(self._reach_px()))
        self._pupils: dict[torch.device, list[Pupil]] = {}

    @property
    def n_targets(self) -> int:
        return len(PRODUCTS) if self.kind == 3 and not self.published else len(self.parameters)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        params = super().sample(n, generator)
        return _published_draw(params, self.kind, generator) if self.published else params

    def encode(self, params: torch.Tensor) -> torch.Tensor:
        if self.published or self.kind == 1:
            return super().encode(params)
        focus, cylinder, axis = self._split(params)
        scale = self._scale()
        if self.kind == 2:
            return _polar(cylinder / scale[1], 4 * axis)
        v = torch.cat([focus[:, None] / scale[0], _polar(cylinder / scale[1], 2 * axis)], 1)
        return torch.stack([v[:, i] * v[:, j] for i, j in PRODUCTS], 1)

    def decode(self, targets: torch.Tensor) -> torch.Tensor:
        """Parameters (n, P), clipped to the ranges; NaN where a target is not finite."""
        if self.published or self.kind == 1:
            return super().decode(targets)
        scale = self._scale()
        if self.kind == 2:
            cylinder, axis = targets.norm(dim=1) * scale[1], _angle(targets, 4)
            return self._hold(torch.stack([cylinder, axis], 1))
        finite = targets.isfinite().all(1)
        known = torch.where(finite[:, None], targets, 0.0)
        products = known.new_zeros(len(known), 3, 3)
        for k, (i, j) in enumerate(PRODUCTS):
            products[:, i, j] = products[:, j, i] = known[:, k]
        v = leading_vector(products)
        v = torch.where(v[:, :1] < 0, -v, v)
        cylinder = v[:, 1:].norm(dim=1) * scale[1]
        params = self._hold(torch.stack([v[:, 0] * scale[0], cylinder, _angle(v[:, 1:], 2)], 1))
        return torch.where(finite[:, None], params, torch.nan)

    @property
    def cutoff_range(self) -> tuple[float, float]:
        varied = None if self.published else self.spec.get("cutoff_range")
        return tuple(varied or (self.cutoff, self.cutoff))

    @property
    def cutoff(self) -> float:
        return PUBLISHED_CUTOFF if self.published else self.spec["cutoff"]

    def _crop(self, params, cutoff) -> tuple[torch.Tensor, torch.Tensor]:
        pupils = self._pupils_on(params.device)
        # The pupil is tabulated for the highest cut-off; others stretch the PSF.
        scale = None
        if self.cutoff_range[0] < self.cutoff_range[1]:
            scale = params.new_full((len(params),), self.cutoff) if cutoff is None else cutoff
            scale = scale / self.cutoff_range[1]
        parts = [
            self._crop_block(params[block], None if scale is None else scale[block], pupils)
            for block in torch.arange(len(params), device=params.device).split(pupils[0].block())
        ]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _crop_block(self, params, scale, pupils) -> tuple[torch.Tensor, torch.Tensor]:
        """PSFs of one block and the share of energy lost."""
        waves = self._modes(params)
        emission = pupils[0].intensity(waves, scale)
        if len(pupils) == 1:
            crop = pupils[0].integrate(emission)
            # A pupil sampled more finely by `scale` has a longer period by the same factor.
            total = pupils[0].total if scale is None else pupils[0].total / scale**2
            return crop, (1 - crop.sum((1, 2)) / total).clamp_min(0)
        # Confocal: a path difference is more waves of the shorter wavelength. Parseval does not hold for a
        # product, so the whole field is computed and cropped.
        shorter = self.spec["excitation_cutoff"] / self.spec["cutoff"]
        (a, b), (c, d) = emission, pupils[1].intensity(waves * shorter, scale)
        # (a + b)(c + d) and (a - b)(c - d) in the same two parts.
        whole = pupils[0].integrate((a * c + b * d, a * d + b * c))
        edge = (whole.shape[-1] - self.size_px) // 2
        crop = whole[:, edge : edge + self.size_px, edge : edge + self.size_px]
        return crop, (1 - crop.sum((1, 2)) / whole.sum((1, 2))).clamp_min(0)

    def _modes(self, params: torch.Tensor) -> torch.Tensor:
        """Coefficients (n, modes) of the pupil's modes."""
        focus, cylinder, axis = self._split(params)
        if self.published:
            c, s = torch.cos(axis), torch.sin(axis)
            return torch.stack([focus, cylinder * c * c, 2 * cylinder * c * s, cylinder * s * s], 1)
        turned = _polar(cylinder, 2 * axis)
        return torch.stack([focus, turned[:, 1], turned[:, 0]], 1)

    def _pupils_on(self, device: torch.device) -> list[Pupil]:
        """The emission pupil, and the excitation pupil of a confocal; tabulated once per device."""
        if device not in self._pupils:
            self._pupils[device] = self._build(device)
        return self._pupils[device]

    def _build(self, device) -> list[Pupil]:
        if self.published:
            return [published_pupil(self.size_px, device)]
        highest = self.cutoff_range[1] / self.cutoff
        cutoffs = [self.spec["cutoff"], self.spec["excitation_cutoff"]]
        cutoffs = [c * highest for c in cutoffs if c is not None]
        settings = {
            "noll": (4, 5, 6),
            "size_px": self.size_px if len(cutoffs) == 1 else self.field_px,
            "field_px": self.field_px,
            # The bandwidth of an intensity is twice its cut-off, that of a confocal product the sum of both.
            "nodes": 1 + math.ceil(4 * sum(cutoffs) - 1e-9),
            "device": device,
        }
        return [make_pupil(cutoff, **settings) for cutoff in cutoffs]

    def _reach_px(self) -> float:
        """How far the strongest aberration displaces a ray: the phase's slope over the highest cut-off."""
        focus, cylinder = self._most_waves()
        return (4 * math.sqrt(3) * focus + 2 * math.sqrt(6) * cylinder) / self.cutoff_range[1]

    def _most_waves(self) -> tuple[float, float]:
        high = {p.name: p.high for p in self.parameters}
        return high.get("focus", 0.0), high.get("cylinder", 0.0)

    def _scale(self) -> list[float]:
        return [max(waves, 1e-6) for waves in self._most_waves()]

    def _split(self, params: torch.Tensor) -> list[torch.Tensor]:
        """Focus, cylinder and axis, (n,) each; 0 if the model does not have them."""
        column = {p.name: params[:, i] for i, p in enumerate(self.parameters)}
        zero = torch.zeros_like(params[:, 0])
        return [column.get(name, zero) for name in ("focus", "cylinder", "axis")]

    def _hold(self, params: torch.Tensor) -> torch.Tensor:
        low, high = self._range(params)
        return torch.minimum(torch.maximum(params, low), high)


def check_cutoffs(spec: dict) -> None:
    """Raise UserError if a cut-off of an entry of `psfs` is impossible."""
    for key in ("cutoff", "excitation_cutoff"):
        value = spec[key]
        if value is None and key == "excitation_cutoff":
            continue
        if value is None or not 0 < value <= 1:
            raise UserError(
                f"psfs {spec['name']}: {key} is {value}; it is NA * pixel size / wavelength, "
                "above 0 and at most 1 cycle per px"
            )


def _polar(length: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    return torch.stack([length * torch.cos(angle), length * torch.sin(angle)], 1)


def _angle(vector: torch.Tensor, folds: int) -> torch.Tensor:
    """Axis in [0, 2 pi / folds) from vectors (n, 2) at `folds` times the axis."""
    period = 2 * math.pi / folds
    axis = torch.remainder(torch.atan2(vector[:, 1], vector[:, 0]) / folds, period)
    return torch.where(axis >= period, torch.zeros_like(axis), axis)


def leading_vector(products: torch.Tensor) -> torch.Tensor:
    """Vectors v (n, k), of either sign, whose products v v' are nearest to symmetric ones (n, k, k)."""
    values, vectors = torch.linalg.eigh(products)
    return vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()


def _published_draw(params, kind: int, generator) -> torch.Tensor:
    """Draw as published: focus is often small, and always if the cylinder is large; axes are 0 and pi/2."""
    n, device = len(params), generator.device
    params = params.clone()
    if kind != 1:
        params[:, -1] = (math.pi / 2) * torch.randint(2, (n,), generator=generator, device=device)
    if kind != 2:
        small = torch.rand(n, generator=generator, device=device) < 50 / 101
        if kind == 3:
            small = small | (params[:, 1] > 0.5)
        params[:, 0] = torch.where(small, params[:, 0] / PUBLISHED_FOCUS_WAVES[1], params[:, 0])
    return params
