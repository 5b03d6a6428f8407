"""Pictures to learn weights from that are patches of a study's own mosaics, with a better picture of the same field or without."""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from isoplan.applications.weight_maps.blurs import Blurs
from isoplan.applications.weight_maps.samples import BRIGHT, Sample
from isoplan.base.errors import UserError
from isoplan.base.seeds import numpy_rng
from isoplan.mosaic import tiles
from isoplan.mosaic.facts import Facts
from isoplan.optics.exposure import exposure_of, replace_lone_pixels, sort_pixels
from isoplan.optics.model import equivalent_width_px
from isoplan.registration import open_registered
from isoplan.restoration.psfs import local_psfs

SQUARE = 3  # side of the squares that patches are drawn from, in patches
HELD_BACK = 10  # one square of so many is to validate on
TRIES = 20  # patches that are drawn for one without ground, gaps or saturated pixels


class Source:
    """One mosaic, read by window, and its PSFs.

    Parameters
    ----------
    told : dict
        `facts`, the file of its facts, `psf`, the choice of its PSFs (`restoration.psfs.local_psfs`), and `reference`, the file of its
        registered reference (`registration`), or None.
    side : int
        Of a patch in px.
    """

    def __init__(self, told: dict, side: int):
        self.facts = Facts.read(told["facts"])
        self.exposure = exposure_of(self.facts)
        self.local = local_psfs(told["psf"], self.facts.shape)
        self.opened, self.side = ExitStack(), side
        self.picture = self.opened.enter_context(self.facts.open())
        self.doubt = self.local.sums["doubt"] or 0.0
        named = told["reference"]
        self.reference = open_registered(named, self.facts) if named else None
        if self.reference:
            self.opened.enter_context(self.reference)
        self.squares = [
            square
            for square in tiles.shards(self.facts.shape, SQUARE * side)
            if all(part.stop - part.start >= side for part in square)
        ]

    def patch(self, square: tiles.Window, rng) -> tuple[np.ndarray, np.ndarray, int, int] | None:
        """Photons (side, side) of a patch of a square, those of the reference, NaN without one, and its place.

        None if not all of its pixels are good.
        """
        y, x = (int(rng.integers(part.start, part.stop - self.side + 1)) for part in square)
        window = y, y + self.side, x, x + self.side
        counts = self.picture.read(*window) - np.float32(self.facts["offset"])
        pixels = sort_pixels(counts, self.exposure)
        if not (pixels.usable | pixels.lone).all() or pixels.saturated.any():
            return None
        better = np.full_like(counts, np.nan)
        if self.reference:
            better = self.reference.read(*window) - np.float32(self.facts["offset"])
            if not np.isfinite(better).all():
                return None
        gain = np.float32(self.exposure.gain)
        return replace_lone_pixels(counts, pixels.lone) / gain, better / gain, y, x

    def psf(self, y: int, x: int) -> torch.Tensor:
        """PSF (s, s) in the middle of a patch whose first pixel is y, x."""
        y, x = (at + self.side // 2 for at in (y, x))
        psfs, *centres = self.local.around(y, y + 1, x, x + 1)
        for at in centres:
            where = np.asarray(at, np.float64)
            share = [np.interp(0.0, where, one) for one in np.eye(len(where))]
            psfs = torch.tensordot(torch.tensor(share, dtype=psfs.dtype), psfs, ([0], [0]))
        return psfs


class OwnSamples:
    """As `samples.Samples`, of the mosaics that the recipe names.

    Parameters
    ----------
    recipe : dict
        `mosaics`, a list of what `Source` is told.
    spec : dict
        An entry of `weight_networks`. If it does not learn from held-out photons, only mosaics with a reference are taken.
    seed, stream, split, device
        As of `samples.Samples`.

    Raises
    ------
    UserError
        If no mosaic has a known gain, PSFs, and room for a patch.
    """

    def __init__(self, recipe: dict, spec: dict, seed: int, stream: str, split: str, device):
        self.seed, self.stream, self.device = seed, stream, device
        self.side = spec["patch_px"]
        self.sources = [Source(told, self.side) for told in recipe["mosaics"]]
        blind = spec["learns"] == "held-out"
        able = [
            one
            for one in self.sources
            if one.exposure.gain and one.local.sums["valid_cells"] and (blind or one.reference)
        ]
        self.places = [(one, square) for one in able for square in one.squares]
        if not self.places:
            raise UserError(
                f"pictures: no mosaic has a known gain, a valid PSF{'' if blind else ', a reference'} and room for a patch; give what is "
                "missing, or learn from simulated pictures"
            )
        order = numpy_rng(seed, "weight-maps/own-squares").permutation(len(self.places))
        back = set(order[::HELD_BACK].tolist()) if len(order) > 1 else set()
        kept = [k for k in range(len(order)) if (k in back) == (split == "validation")]
        self.places = [self.places[k] for k in kept] or self.places
        self.size = max(one.local.size_px for one, _ in self.places)

    def draw(self, epoch: int, step: int, count: int) -> Sample:
        """The `count` patches of a step: a pure function of (seed, step)."""
        rng = numpy_rng(self.seed, f"{self.stream}/batch", step)
        found = [self._one(rng) for _ in range(count)]
        sources, photons, better, psfs = zip(*found, strict=True)
        photons, better = (
            torch.from_numpy(np.stack(one).astype(np.float32)).to(self.device)
            for one in (photons, better)
        )
        psfs = torch.stack(psfs).to(self.device)
        blurs = Blurs(psfs[:, None], None, (self.side,) * 2)
        bright = torch.quantile(photons.flatten(1), BRIGHT, dim=1).clamp(min=1)

        def each(tell) -> torch.Tensor:
            return torch.tensor([float(tell(one)) for one in sources], device=self.device)

        def electrons(key: str) -> torch.Tensor:
            return each(lambda one: one.facts.brightness[key] / one.exposure.gain)

        return Sample(
            photons=photons,
            truth=torch.nn.functional.pad(better, (blurs.margin,) * 4, value=torch.nan),
            true_blurs=blurs,
            blurs=blurs,
            widths=equivalent_width_px(psfs).view(-1, 1, 1).expand_as(photons),
            bright=bright,
            peak=electrons("scale").clamp(min=1),
            level=electrons("start"),
            floor=each(lambda one: one.exposure.floor / one.exposure.gain**2),
            doubt=each(lambda one: one.doubt),
        )

    def _one(self, rng) -> tuple[Source, np.ndarray, np.ndarray, torch.Tensor]:
        for _ in range(TRIES * len(self.places)):
            source, square = self.places[int(rng.integers(len(self.places)))]
            if (patch := source.patch(square, rng)) is None:
                continue
            photons, better, y, x = patch
            psf = source.psf(y, x)
            rim = (self.size - psf.shape[-1]) // 2
            return source, photons, better, torch.nn.functional.pad(psf, (rim,) * 4)
        raise UserError("pictures: the mosaics have no patch without gaps or saturated pixels")

    def close(self) -> None:
        """Close the mosaics."""
        for source in self.sources:
            source.opened.close()


def marks(recipe: dict) -> list:
    """What tells that mosaics, their maps or their references are others."""
    files = ("facts", "sums", "reference")
    return [
        [json.loads(Path(told[key]).read_text()) for key in files if told[key]]
        for told in recipe["mosaics"]
    ]
