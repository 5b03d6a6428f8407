"""A test of `identification_tests`: pictures blurred by known kernels, and how near every method comes to them."""

import time
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from isoplan.applications.identification.acquisition import take
from isoplan.applications.identification.drawn import Sample, draw, mean_kernels
from isoplan.applications.identification.kernel_network import KernelNetwork
from isoplan.applications.identification.scores import VALUES, score
from isoplan.base.errors import UserError
from isoplan.base.seeds import torch_rng
from isoplan.networks import store
from isoplan.optics.psf import make_psf_model

BLOCK = 8  # pictures of a unit
FIT, CENTRAL = "fit", "fit-central"
MEAN, MEAN_FIXED, IDEAL = "mean", "mean-fixed", "diffraction"
TRIVIAL = (MEAN, MEAN_FIXED, IDEAL)
GIVEN, CUTOFF, FIXED, FITTED = "given", "cutoff", "fixed", "fitted"
COLUMNS = ["test", "noise", "known", "picture", "method", "cutoff", "most_waves", *VALUES]


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
    kernel_networks
        Files of those that make kernels, by name.
    """

    test: dict
    recipe: dict
    seed: int
    network: str
    kernel_networks: dict[str, str] = field(default_factory=dict)

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

    @cached_property
    def others(self) -> dict[str, tuple[KernelNetwork, dict]]:
        """The networks that make kernels, with their cards."""
        found = {name: KernelNetwork.load(file) for name, file in self.kernel_networks.items()}
        for name, (network, _) in found.items():
            if network.size_px != self.model.size_px:
                raise UserError(
                    f"identification test {self.test['name']}: {name} makes kernels of {network.size_px} px, but "
                    f"{self.recipe['psf']['name']} has {self.model.size_px}"
                )
        return found

    @property
    def mark(self) -> list[str]:
        """What tells that a network is another."""
        cards = [self.loaded[1], *(card for _, card in self.others.values())]
        return [card.get("fingerprint", "") for card in cards]

    @property
    def units(self) -> list[tuple[float, int]]:
        """The noise and the number of each block of pictures."""
        blocks = -(-self.test["samples"] // BLOCK)
        return [(noise, block) for noise in self.test["noise"] for block in range(blocks)]

    @property
    def ways(self) -> list[tuple[str, str]]:
        """What is known of the optics, and the method, of each of a unit's rows."""
        methods = (FIT, CENTRAL, *self.test.get("kernel_networks", ()), *TRIVIAL)
        return [(known, method) for known in self.test["known"] for method in methods]

    def sample(self, noise: float, block: int) -> Sample:
        """The pictures of a unit; they show the same objects and kernels with every noise."""
        test = self.test
        stream = f"identification-tests/{test['name']}"
        sample = draw(
            self.recipe["objects"],
            self.model,
            BLOCK,
            test["size_px"],
            seed=self.seed,
            stream=stream,
            number=block,
            split="test",
            amplitude_drawn=test["amplitude_drawn"],
        )
        rng = torch_rng(self.seed, f"{stream}/noise", block)
        sample.picture = take(sample.picture, test | {"noise": noise}, rng)
        return sample

    def told(self, sample: Sample, known: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The cut-offs and largest amplitudes that methods are told: the true ones, or the means over all.

        A cut-off that is to be fitted is not told; what looks at no picture takes the mean. Where the cut-off alone is
        told, the largest amplitude is the one that the network of the fit was made for.
        """
        if known == GIVEN:
            return sample.cutoff, sample.most_waves
        if known == CUTOFF:
            most = self.loaded[0].model.most_waves
            return sample.cutoff, torch.full_like(sample.most_waves, most)
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
            most,
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
            **{name: self._by(name, sample.picture, cutoff, most) for name in self.others},
            MEAN: (mean_kernels(self.model, cutoff, most), 0.0),
            MEAN_FIXED: (mean_kernels(self.model, *middle), 0.0),
            IDEAL: (self._psfs(zero, cutoff), 0.0),
        }

    @torch.no_grad()
    def _by(self, name: str, pictures, cutoff, most) -> tuple[torch.Tensor, float]:
        """Kernels of another network, and its seconds for a picture."""
        begun = time.perf_counter()
        kernels = self.others[name][0](pictures, cutoff, most)
        return kernels, (time.perf_counter() - begun) / len(pictures)

    def _psfs(self, theta, cutoff) -> torch.Tensor:
        return self.model.psf(theta, cutoff)[0]

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
        shown = {name: made[name][0].numpy() for name in (FIT, CENTRAL, *self.others, MEAN)}
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
