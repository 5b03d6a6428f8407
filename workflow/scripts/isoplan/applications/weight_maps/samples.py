"""Pictures to learn weights from: sharp scenes under uneven light, blurred by PSFs that vary, and exposed."""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import torch

from isoplan.applications.weight_maps.blurs import Blurs, spread
from isoplan.base.seeds import torch_rng
from isoplan.optics.model import PsfModel, equivalent_width_px
from isoplan.optics.psf import make_psf_model
from isoplan.training.samples import SceneBank

BRIGHT = 0.999  # quantile of a picture's pixels that is called its brightness, as of a mosaic
SCENES, FRESH = 256, 64  # in memory, and new in each epoch
BRIGHTER = 1.0  # pictures of brighter mosaics are of up to 10^BRIGHTER times as bright ones
# Of a `Sample`, what each of its pictures has.
SHARED = ("photons", "truth", "widths", "bright", "peak", "level", "floor", "doubt")
FAINTEST = 1.5  # uneven light falls to 10^-FAINTEST at most across a picture


@dataclass
class Sample:
    """n pictures.

    Attributes
    ----------
    photons : (n, h / factor, w / factor)
        Photo-electrons of the camera's pixels.
    truth : (n, h + s - 1, w + s - 1)
        The objects, in electrons.
    true_blurs, blurs : Blurs
        What blurred them, and what is taken for it.
    widths : (n, h, w)
        Width in px of the PSF that is taken, at every pixel.
    bright : (n,)
        Electrons of the picture's brightest pixels of h x w.
    peak, level : (n,)
        The same, of the mosaic that the picture is of, and its mean.
    floor : (n,)
        Variance without light of the camera's pixels in electrons^2; of Gaussian noise the mean of all of it.
    doubt : (n,)
        Standard deviation of the logarithm of the factor by which the PSFs that are taken may be wrong.
    """

    photons: torch.Tensor
    truth: torch.Tensor
    true_blurs: Blurs
    blurs: Blurs
    widths: torch.Tensor
    bright: torch.Tensor
    peak: torch.Tensor
    level: torch.Tensor
    floor: torch.Tensor
    doubt: torch.Tensor

    @property
    def seen(self) -> tuple[torch.Tensor, ...]:
        """What a network is told, in pixels of h x w: photons, widths, peak, floor and doubt."""
        share = self.blurs.factor**2
        photons = spread(self.photons, self.blurs.factor) / share
        return photons, self.widths, self.peak, self.floor / share, self.doubt

    def only(self, which) -> "Sample":
        """Some of the pictures. which: an index of the first axis that keeps it."""
        own = {name: getattr(self, name)[which] for name in SHARED}
        return Sample(**own, true_blurs=self.true_blurs.only(which), blurs=self.blurs.only(which))


class Samples:
    """Samples of an entry of `weight_networks`.

    Parameters
    ----------
    recipe : dict
        `objects`, an entry of the config's `objects`, and `psfs`, a list of entries of `psfs`.
    spec : dict
        The entry.
    seed : int
    stream : str
        Of random numbers.
    split : str
        Of real pictures.
    device : torch.device

    Raises
    ------
    UserError
        If a PSF does not fit its window.
    """

    def __init__(self, recipe: dict, spec: dict, seed: int, stream: str, split: str, device):
        self.spec, self.seed, self.stream, self.device = spec, seed, stream, device
        self.models = [make_psf_model(psf) for psf in recipe["psfs"]]
        for model in self.models:
            model.check()
        self.margin = max(model.size_px for model in self.models) // 2
        side = spec["patch_px"] + 2 * self.margin
        self.bank = SceneBank(
            SimpleNamespace(objects=recipe["objects"], scene_px=max(256, side)),
            seed,
            f"{stream}/scenes",
            size=SCENES,
            fresh=FRESH,
            split=split,
            device=device,
        )

    def draw(self, epoch: int, step: int, count: int) -> Sample:
        """The `count` pictures of a step: a pure function of (seed, step)."""
        rng = torch_rng(self.seed, f"{self.stream}/batch", step, self.device)
        sharp = self._cut(self.bank.at_epoch(epoch), count, rng)
        side = sharp.shape[-1]
        sharp = sharp * uneven_light(count, side, self.spec["uneven_light_share"], rng)
        low, high = self.spec["psf_error"]
        doubt = low + (high - low) * torch.rand(count, generator=rng, device=self.device)
        psfs, wrong = self._psfs(doubt, rng)
        masks = ramps(count, side, rng)
        shape = (self.spec["patch_px"],) * 2
        factor = self.spec["factor"]
        true, taken = (Blurs(one, masks, shape, factor) for one in (psfs, wrong))
        clean = true.forward(sharp).clamp(min=0)
        low, high = (math.log(value) for value in self.spec["photons"])
        light = torch.exp(low + (high - low) * torch.rand(count, generator=rng, device=self.device))
        unit = light / torch.quantile(clean.flatten(1), BRIGHT, dim=1).clamp(min=1e-3)
        unit = unit[:, None, None]
        noise, varies = self._read_noise(count, rng), 1.0
        if self.spec["noise"] == "poisson":
            photons = torch.poisson(clean * unit, generator=rng)
        else:
            photons = clean * unit
            noise = photons.mean((1, 2)).sqrt()
            if self.spec["noise"] == "uneven":
                varies = uneven_light(count, photons.shape[-1], 1.0, rng)
                varies = varies / varies.square().mean((1, 2), keepdim=True).sqrt()
        photons = photons + noise[:, None, None] * varies * torch.randn(
            photons.shape, generator=rng, device=self.device
        )
        bright = torch.quantile(photons.flatten(1), BRIGHT, dim=1).clamp(min=1) / factor**2
        draw = torch.rand(2, count, generator=rng, device=self.device)
        brighter = torch.where(
            draw[0] < self.spec["brighter_mosaic_share"], BRIGHTER * draw[1], 0.0
        )
        brighter = 10**brighter
        edge = self.margin
        inner = masks[..., edge : side - edge, edge : side - edge]
        widths = (equivalent_width_px(wrong)[..., None, None] * inner).sum(1)
        return Sample(
            photons,
            sharp * unit,
            true,
            taken,
            widths,
            bright,
            bright * brighter,
            photons.mean((1, 2)).clamp(min=1e-2) / factor**2 * brighter.sqrt(),
            noise.square(),
            doubt,
        )

    def close(self) -> None:
        """Stop processes that make scenes; there are none."""
        self.bank.close()

    def _cut(self, scenes: torch.Tensor, count: int, rng) -> torch.Tensor:
        side, (whole, *_) = self.spec["patch_px"] + 2 * self.margin, scenes.shape[1:]

        def integers(high: int) -> list[int]:
            drawn = torch.randint(high, (count,), generator=rng, device=self.device)
            return drawn.tolist()

        places = zip(
            *(integers(n) for n in (len(scenes), whole - side + 1, whole - side + 1, 8)),
            strict=True,
        )
        cut = [
            torch.rot90(one.flip(0) if turn >= 4 else one, turn % 4)
            for one, turn in (
                (scenes[k, y : y + side, x : x + side], turn) for k, y, x, turn in places
            )
        ]
        return torch.stack(cut)

    def _psfs(self, doubt: torch.Tensor, rng) -> tuple[torch.Tensor, torch.Tensor]:
        """Two PSFs of each picture, and those that are taken for them: (n, 2, s, s) each."""
        count = len(doubt)
        which = torch.randint(len(self.models), (count,), generator=rng, device=self.device)
        varies = torch.rand(count, generator=rng, device=self.device)
        varies = varies < self.spec["varying_blur_share"]
        error = torch.randn(count, generator=rng, device=self.device) * doubt
        side = 2 * self.margin + 1
        found = torch.empty(2, count, 2, side, side, device=self.device)
        for k, model in enumerate(self.models):
            own = (which == k).nonzero()[:, 0]
            if not len(own):
                continue
            params = torch.stack([model.sample(len(own), rng) for _ in range(2)], 1)
            params[:, 1] = torch.where(varies[own, None], params[:, 1], params[:, 0])
            cutoff = model.draw_cutoff(len(own), rng).repeat_interleave(2)
            rim = self.margin - model.size_px // 2
            for j, one in enumerate((params, wider(model, params, error[own].exp()))):
                psfs, _ = model.psf(one.flatten(0, 1), cutoff)
                psfs = torch.nn.functional.pad(psfs, (rim,) * 4)
                found[j, own] = psfs.view(len(own), 2, side, side)
        return found[0], found[1]

    def _read_noise(self, count: int, rng) -> torch.Tensor:
        low, high = self.spec["read_noise_e"]
        return low + (high - low) * torch.rand(count, generator=rng, device=self.device)


def wider(model: PsfModel, params: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Parameters (n, k, P) with all that are no angles times a factor (n,), within the model's ranges."""
    found = params.clone()
    for index, parameter in enumerate(model.parameters):
        if not parameter.period:
            made = params[..., index] * factors[:, None]
            found[..., index] = made.clamp(parameter.low, parameter.high)
    return found


def ramps(count: int, side: int, rng) -> torch.Tensor:
    """How two PSFs share pictures: (n, 2, side, side), from one to the other along a direction at random."""
    along = _along(count, side, rng)
    share = ((along + 1) / 2).clamp(0, 1)
    return torch.stack([1 - share, share], 1)


def uneven_light(count: int, side: int, share: float, rng) -> torch.Tensor:
    """Light that falls off across some of the pictures: (n, side, side), 1 at its brightest."""
    along = _along(count, side, rng)
    draw = torch.rand(2, count, generator=rng, device=rng.device)
    falls = torch.where(draw[0] < share, FAINTEST * draw[1], 0.0)[:, None, None]
    return 10 ** (-falls * ((along + 1) / 2).clamp(0, 1))


def _along(count: int, side: int, rng) -> torch.Tensor:
    """From about -1 to 1 along a direction at random: (n, side, side)."""
    angle = 2 * math.pi * torch.rand(count, 1, 1, generator=rng, device=rng.device)
    at = torch.linspace(-1, 1, side, device=rng.device)
    return angle.cos() * at + angle.sin() * at[:, None]
