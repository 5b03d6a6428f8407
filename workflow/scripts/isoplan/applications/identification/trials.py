"""A test of `identification_tests`: pictures blurred by known kernels, and how near every method comes to them."""

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from isoplan.applications.identification.acquisition import take
from isoplan.applications.identification.scores import VALUES, score
from isoplan.base.errors import UserError
from isoplan.base.seeds import torch_rng
from isoplan.networks import store
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.psf import make_psf_model
from isoplan.training.samples import blur_patches

BLOCK = 8  # pictures of a unit
MEAN_DRAWS = 256  # PSFs that the trivial predictor averages
LEAST_WAVES = 0.02  # of the largest amplitude, where that is drawn for each picture
FIT, CENTRAL = "fit", "fit-central"
MEAN, MEAN_FIXED, IDEAL = "mean", "mean-fixed", "diffraction"
TRIVIAL = (MEAN, MEAN_FIXED, IDEAL)
GIVEN, CUTOFF, FIXED, FITTED = "given", "cutoff", "fixed", "fitted"
COLUMNS = ["test", "noise", "known", "picture", "method", "cutoff", "most_waves", *VALUES]


@dataclass
class Sample:
    """BLOCK pictures: what they show, their kernels and what is known of these."""

    scene: torch.Tensor
    picture: torch.Tensor
    kernel: torch.Tensor
    theta: torch.Tensor
    cutoff: torch.Tensor
    most_waves: torch.Tensor


@dataclass(frozen=True)
class Trial:
    """A test.

    Parameters
    ----------
    test
        An entry of `identification_tests`.
    recipe
        Its `objects` and `psf`, entries of the config.
    seed
        The study's seed.
    network
        File of the network whose fit is tested.
    """

    test: dict
    recipe: dict
    seed: int
    network: str

    @cached_property
    def model(self):
        return make_psf_model(self.recipe["psf"])

    @cached_property
    def loaded(self) -> tuple[torch.nn.Module, dict]:
        network, model, card = store.load(self.network)
        if not hasattr(network, "identify") or model.noll != self.model.noll:
            raise UserError(
                f"identification test {self.test['name']}: {self.network} is no fit of {self.model.spec['model']}; "
                "name a network of the architecture whittle-fit for that model"
            )
        return network, card

    @property
    def mark(self) -> str:
        """What tells that the network is another."""
        return self.loaded[1].get("fingerprint", "")

    @property
    def units(self) -> list[tuple[float, int]]:
        """The noise and the number of each block of pictures."""
        blocks = -(-self.test["samples"] // BLOCK)
        return [(noise, block) for noise in self.test["noise"] for block in range(blocks)]

    @property
    def ways(self) -> list[tuple[str, str]]:
        """What is known of the optics, and the method, of each of a unit's rows."""
        return [
            (known, method) for known in self.test["known"] for method in (FIT, CENTRAL, *TRIVIAL)
        ]

    def sample(self, noise: float, block: int) -> Sample:
        """The pictures of a unit; they show the same objects and kernels with every noise."""
        test, model = self.test, self.model
        stream = f"identification-tests/{test['name']}"
        size = test["size_px"] + model.size_px - 1
        scene = draw_scenes(
            self.recipe["objects"], BLOCK, size,
            seed=self.seed, stream=f"{stream}/scenes", first=block * BLOCK, split="test",
        )  # fmt: skip
        rng = torch_rng(self.seed, f"{stream}/kernels", block)
        low, high = model.cutoff_range
        cutoff = low + (high - low) * torch.rand(BLOCK, generator=rng)
        most = torch.full((BLOCK,), model.most_waves)
        if test["amplitude_drawn"]:
            most = (most * torch.rand(BLOCK, generator=rng)).clamp_min(LEAST_WAVES)
        theta = model.sample(BLOCK, rng) * (most / model.most_waves)[:, None]
        kernel, _ = model.psf(theta, cutoff)
        clean = blur_patches(scene, kernel).clamp_min(0)
        rng = torch_rng(self.seed, f"{stream}/noise", block)
        picture = take(clean, test | {"noise": noise}, rng)
        return Sample(scene, picture, kernel, theta, cutoff, most)

    def told(self, sample: Sample, known: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The cut-offs and largest amplitudes that methods are told: the true ones, or the means over all.

        A cut-off that is to be fitted is not told; what looks at no picture takes the mean. Of the amplitude, where the
        cut-off alone is told, a fit knows no more than what its network was made for.
        """
        if known in (GIVEN, CUTOFF):
            return sample.cutoff, sample.most_waves
        low, high = self.model.cutoff_range
        cutoff = torch.full_like(sample.cutoff, (low + high) / 2)
        if known == FITTED:
            return cutoff, sample.most_waves
        share = 0.5 if self.test["amplitude_drawn"] else 1.0
        return cutoff, torch.full_like(sample.most_waves, share * self.model.most_waves)

    def kernels(self, sample: Sample, known: str) -> dict[str, tuple[torch.Tensor, float]]:
        """The kernel of every method, and its seconds for a picture."""
        network, _ = self.loaded
        cutoff, most = self.told(sample, known)
        begun = time.perf_counter()
        found = network.identify(
            sample.picture,
            None if known == FITTED else cutoff,
            None if known == CUTOFF else most,
            smaller=known == CUTOFF,
        )
        mean = network.mean_psfs(found, self.model.size_px)
        seconds = (time.perf_counter() - begun) / BLOCK
        central = self._psfs(found.theta, found.found.cutoff)
        zero = torch.zeros_like(found.theta)
        middle = self.told(sample, FIXED)
        return {
            FIT: (mean, seconds),
            CENTRAL: (central, seconds),
            MEAN: (self._mean(cutoff, most), 0.0),
            MEAN_FIXED: (self._mean(*middle), 0.0),
            IDEAL: (self._psfs(zero, cutoff), 0.0),
        }

    def _psfs(self, theta, cutoff) -> torch.Tensor:
        return self.model.psf(theta, cutoff)[0]

    def _mean(self, cutoff, most) -> torch.Tensor:
        """The conditional mean: the kernel of least error for whoever does not look at the picture."""
        rng = torch.Generator().manual_seed(0)
        unit = 2 * torch.rand(MEAN_DRAWS, len(self.model.noll), generator=rng) - 1
        rows = [
            self._psfs(unit * float(m), cutoff.new_full((MEAN_DRAWS,), float(c))).mean(0)
            for c, m in zip(cutoff, most, strict=True)
        ]
        return torch.stack(rows)

    def unit(self, number: int) -> np.ndarray:
        """(BLOCK, ways, 2 + VALUES) of a unit: cut-off, largest amplitude, VALUES."""
        sample = self.sample(*self.units[number])
        table = np.full((BLOCK, len(self.ways), 2 + len(VALUES)), np.nan)
        made = {known: self.kernels(sample, known) for known in self.test["known"]}
        for place, (known, method) in enumerate(self.ways):
            kernel, seconds = made[known][method]
            found = score(kernel, sample.kernel, sample.scene)
            found["seconds"] = torch.full((BLOCK,), seconds)
            columns = [sample.cutoff, sample.most_waves, *(found[name] for name in VALUES)]
            table[:, place] = torch.stack(columns, 1).numpy()
        return table

    def pictures(self) -> dict[str, np.ndarray]:
        """Of the first pictures: picture, true kernel, and the kernels of methods, with the least noise."""
        sample = self.sample(min(self.test["noise"]), 0)
        known = self.test["known"][0]
        made = self.kernels(sample, known)
        shown = {name: made[name][0].numpy() for name in (FIT, CENTRAL, MEAN)}
        return {"picture": sample.picture.numpy(), "true": sample.kernel.numpy(), **shown}


def table(trials: list[Trial], units: list[np.ndarray]) -> pd.DataFrame:
    """COLUMNS of every picture and method. units: of each trial, those of all units together.

    Raises UserError if a test has no pictures.
    """
    rows = []
    for trial, blocks in zip(trials, units, strict=True):
        name, samples = trial.test["name"], trial.test["samples"]
        if not len(blocks):
            raise UserError(f"identification test {name}: has no pictures")
        each = blocks.reshape(len(trial.test["noise"]), -1, *blocks.shape[1:])[:, :samples]
        for noise, found in zip(trial.test["noise"], each, strict=True):
            for place, (known, method) in enumerate(trial.ways):
                rows += [
                    (name, noise, known, picture, method, *values)
                    for picture, values in enumerate(found[:, place])
                ]
    return pd.DataFrame(rows, columns=COLUMNS)
