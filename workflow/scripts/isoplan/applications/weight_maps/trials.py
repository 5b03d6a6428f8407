"""A test of `weight_tests`: the same pictures restored with weights by every method, and how near each comes to the truth."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from isoplan.applications.weight_maps.direct import DirectNetwork
from isoplan.applications.weight_maps.lessons import decibels
from isoplan.applications.weight_maps.likelihood import most_likely
from isoplan.applications.weight_maps.oracle import best_map
from isoplan.applications.weight_maps.samples import Sample, Samples
from isoplan.applications.weight_maps.schemes import inner, restored
from isoplan.base.errors import UserError
from isoplan.base.progress import silent
from isoplan.base.seeds import torch_rng
from isoplan.config.entries import LEARNT
from isoplan.metrics.image import ssim_map
from isoplan.networks import store, weight_maps
from isoplan.networks.unet import gaussian_profiles, smoothed
from isoplan.networks.weight_maps import PER_PHOTON, TASK, WeightNetwork
from isoplan.optics.exposure import Exposure
from isoplan.restoration.algorithm import algorithm_of
from isoplan.restoration.choosing import choose
from isoplan.restoration.learnt_weights import of_object
from isoplan.restoration.pieces import Piece

BLOCK = 8  # pictures of a unit, which are restored together
# Weights to choose the best one from, over the photons: of the brightest pixels, and (fewer of them) of the local ones.
GRID = PER_PHOTON * np.exp(np.linspace(-4.0, 4.0, 17))
LOCAL_GRID = GRID[::2]
LOCAL_PX = 6.0  # standard deviation of the Gaussian that tells the local light
RAW, ONE, BEST, LOCAL, CHOSEN, LIKELY, ORACLE = (
    *("raw", "one", "best", "local-light"),
    *("chosen", "likelihood", "oracle"),
)
MEAN = " (its mean)"  # of a network: its map's geometric mean instead of the map
STOPPED = " (stopped)"  # of a network: after as many iterations as held-out photons say
VALUES = ("psnr", "ssim", "weight", "seconds")
FOLLOWS = ("light", "edges", "texture", "psf_width")  # what a map is correlated with
COLUMNS = ["test", "photons", "picture", "method", *VALUES]
FOLLOWED = ["test", "photons", "picture", "method", *FOLLOWS]


@dataclass(frozen=True)
class Trial:
    """A test.

    Parameters
    ----------
    test : dict
        An entry of `weight_tests`.
    recipe : dict
        `objects`, and `psfs`, a list of one entry of `psfs`.
    seed : int
        Of the study.
    networks : tuple of str
        Files of the networks that the entry names, in their order.
    """

    test: dict
    recipe: dict
    seed: int
    networks: tuple[str, ...] = ()

    @property
    def units(self) -> list[tuple[float, int]]:
        """Photons and block of pictures of every unit."""
        blocks = range(-(-self.test["samples"] // BLOCK))
        return [(light, block) for light in self.test["photons"] for block in blocks]

    @cached_property
    def trained(self) -> list[tuple[str, WeightNetwork, dict]]:
        """Name, network and card of each network."""
        found = []
        for name, file in zip(self.test["networks"], self.networks, strict=True):
            card, weights = store.read(file, TASK)
            kind = DirectNetwork if card["network"]["learns"] == "direct" else WeightNetwork
            network = store.build_with_weights(
                file, card, weights, lambda told, kind=kind: kind.of(told["network"])
            )
            found.append((name, network, card))
        return found

    @property
    def marks(self) -> list[str]:
        """What tells that a network is another."""
        return [card.get("fingerprint", "") for _, _, card in self.trained]

    @property
    def ways(self) -> list[str]:
        """Columns of a unit: with each weight of the grid, as one number and by the local light, and by all other methods."""
        ways = [RAW, *(f"{ONE}@{k}" for k in range(len(GRID)))]
        if LOCAL in self.test["methods"]:
            ways += [f"{LOCAL}@{k}" for k in range(len(LOCAL_GRID))]
        ways += [name for name in self.test["methods"] if name in (CHOSEN, LIKELY, ORACLE)]
        for name, _, card in self.trained:
            ways.append(name)
            if card["network"]["learns"] != "direct":
                ways += [name + MEAN, *([name + STOPPED] if self.chooses else [])]
        return ways

    @property
    def chooses(self) -> bool:
        """Whether held-out photons choose: the product does so of its own scheme."""
        return CHOSEN in self.test["methods"]

    # Pictures ------------------------------------------------------------------------------------

    def sample(self, photons: float, block: int) -> Sample:
        """The pictures of a unit. They show the same objects and PSFs with every number of photons."""
        test = self.test
        spec = {
            **{key: test[key] for key in ("noise", "factor")},
            "psf_error": [test["psf_error"]] * 2,
            "patch_px": test["size_px"],
            "photons": [photons, photons],
            "read_noise_e": [test["read_noise_e"]] * 2,
            "uneven_light_share": float(test["light"] == "uneven"),
            "varying_blur_share": float(test["blur"] == "varying"),
            "brighter_mosaic_share": 0.0,
        }
        made = Samples(self.recipe, spec, self.seed, f"weight-tests/{test['name']}", "test", "cpu")
        return made.draw(block, block, BLOCK)

    def unit(self, number: int) -> np.ndarray:
        """(BLOCK, ways, VALUES + FOLLOWS) of a unit; FOLLOWS of networks' maps alone."""
        light, block = self.units[number]
        sample = self.sample(light, block)
        made = self._made(sample, number)
        table = np.full((BLOCK, len(self.ways), len(VALUES) + len(FOLLOWS)), np.nan)
        for place, way in enumerate(self.ways):
            pictures, weights, seconds = made[way]
            table[:, place, 0] = decibels(pictures, sample).numpy()
            table[:, place, 1] = _similarity(pictures, sample)
            if weights is not None:
                table[:, place, 2] = weights.log().mean((1, 2)).exp().numpy()
                if way in self.test["networks"]:
                    table[:, place, 4:] = follows(weights, sample)
            table[:, place, 3] = seconds / BLOCK
        return table

    def _made(self, sample: Sample, number: int) -> dict[str, tuple]:
        """Of every way the pictures, the weights (n, h, w) or None, and the seconds for all."""
        rng = torch_rng(self.seed, f"weight-tests/{self.test['name']}/chance", number)
        bright = sample.peak + sample.floor / sample.blurs.factor**2
        flat, local = torch.ones_like(sample.widths), local_light(sample)
        made = {RAW: (sample.seen[0], None, 0.0)}
        with torch.inference_mode():
            for k, c in enumerate(GRID):
                one = lambda c=c: c * flat / bright.view(-1, 1, 1)  # noqa: E731
                made[f"{ONE}@{k}"] = self._timed(sample, one)
            for k, c in enumerate(LOCAL_GRID if LOCAL in self.test["methods"] else ()):
                made[f"{LOCAL}@{k}"] = self._timed(sample, lambda c=c: c / local)
            if self.chooses:
                made[CHOSEN] = self._chosen(sample, number)
            if LIKELY in self.test["methods"]:
                told = lambda: most_likely(sample, rng).view(-1, 1, 1) * flat  # noqa: E731
                made[LIKELY] = self._timed(sample, told)
        if ORACLE in self.test["methods"]:
            psnr = torch.stack([decibels(made[f"{ONE}@{k}"][0], sample) for k in range(len(GRID))])
            best = torch.tensor(GRID, dtype=torch.float32)[psnr.argmax(0)] / bright
            made[ORACLE] = self._timed(
                sample, lambda: best_map(sample, best, self.test, self.test["iterations"])
            )
        with torch.inference_mode():
            for place, (name, network, card) in enumerate(self.trained):
                made |= self._by_network(sample, name, network, card)
                if name + STOPPED in self.ways:
                    file = self.networks[place]
                    made[name + STOPPED] = self._chosen(sample, number, file)
        return made

    def _timed(self, sample: Sample, weights: Callable[[], torch.Tensor], **maps) -> tuple:
        begun = time.perf_counter()
        told = weights()
        with torch.inference_mode():
            made = restored(sample, told, self.test, self.test["iterations"], **maps)
        return made, told, time.perf_counter() - begun

    def _by_network(self, sample: Sample, name: str, network, card: dict) -> dict[str, tuple]:
        begun = time.perf_counter()
        if card["network"]["learns"] == "direct":
            made = network(*sample.seen)
            return {name: (made, None, time.perf_counter() - begun)}
        maps = network.maps(*sample.seen)
        told, more = time.perf_counter() - begun, {"lines": maps.lines, "noise": maps.noise}
        made, weights, seconds = self._timed(sample, maps.logs.exp, **more)
        mean = maps.logs.mean((1, 2), keepdim=True).expand_as(maps.logs)
        return {
            name: (made, weights, told + seconds),
            name + MEAN: self._timed(sample, mean.exp, **more),
        }

    def _chosen(self, sample: Sample, number: int, file: str | None = None) -> tuple:
        """By held-out photons, as `iterations: auto` and `tv_weight` auto or learnt choose them (`restoration.choosing`).

        file: of the network that tells learnt weights.
        """
        settings = {
            "algorithm": "richardson-lucy",
            "tv_step": "proximal",
            "acceleration": "momentum",
            "iterations": "auto",
            "tv_weight": LEARNT if file else "auto",
            "psf_scale": 1.0,
            "psf_shape": "map",
            "resolution_px": 0.0,
        }
        settings |= {"weight_network": file} if file else {}
        begun, pictures, weights = time.perf_counter(), [], []
        for k in range(BLOCK):
            own = sample.only(slice(k, k + 1))
            blur, counts = OneBlur(own.blurs), own.photons[0]
            known = {"start": float(own.level), "scale": float(own.peak)}
            exposure = Exposure(gain=1.0, floor=float(own.floor))
            piece = Piece(
                counts.numpy(),
                lambda which, blur=blur: blur,
                tuple(slice(0, length) for length in counts.shape),
                lambda which: 1.0,
                float(own.doubt),
                widths_at=lambda which, widths=own.widths[0].numpy(): widths,
            )
            stream = f"weight-tests/{self.test['name']}/held-out/{number}/{k}"
            with silent():
                choice = choose(
                    *([piece], settings), exposure=exposure, seed=self.seed, stream=stream, **known
                )
            if choice["tv_weight"] == LEARNT:
                weight = weight_maps.load(file)[0](*own.seen)[0].exp()
            else:
                weight = torch.full_like(own.widths[0], choice["tv_weight"])
            made = algorithm_of(settings).restore(
                *(counts, blur),
                iterations=choice["iterations"],
                tv_weight=of_object(weight, blur.margin),
                shift=exposure.shift,
                **known,
            )
            pictures.append(inner(made, blur.margin))
            weights.append(weight)
        seconds = time.perf_counter() - begun
        return torch.stack(pictures), torch.stack(weights), seconds

    # To look at ----------------------------------------------------------------------------------

    def pictures(self) -> dict[str, np.ndarray]:
        """Of the first pictures the one with most edges, with the middle number of photons: the truth, and by each method picture
        and map."""
        lights = sorted(self.test["photons"])
        light = lights[len(lights) // 2]
        number = self.units.index((light, 0))
        sample = self.sample(light, 0)
        made = self._made(sample, number)
        truth = inner(sample.truth, sample.blurs.margin) / sample.bright.view(-1, 1, 1)
        one = int(truth.diff(dim=-1).abs().mean((1, 2)).argmax())
        psnr = [float(decibels(made[f"{ONE}@{k}"][0], sample)[one]) for k in range(len(GRID))]
        shown = {RAW: RAW, BEST: f"{ONE}@{int(np.argmax(psnr))}"}
        hidden = ("@", MEAN, STOPPED)
        shown |= {way: way for way in self.ways if not any(part in way for part in hidden)}
        unit = float(sample.bright[one])
        found = {"truth": truth[one].numpy()}
        for name, way in shown.items():
            pictures, weights, _ = made[way]
            found[f"picture/{name}"] = (pictures[one] / unit).numpy()
            if weights is not None:
                found[f"map/{name}"] = weights[one].numpy()
        return found


class OneBlur:
    """The blur of a single picture of `Blurs`, as a restoration takes it."""

    def __init__(self, blurs):
        self.blurs, self.margin = blurs, blurs.margin
        self.shape, self.object_shape = blurs.shape, blurs.object_shape
        self.device = blurs.otfs.device

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blurs.forward(x[None])[0]

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.blurs.adjoint(y[None])[0]


def local_light(sample: Sample) -> torch.Tensor:
    """Photons (n, h, w) around every pixel, and what counts like them; at least a hundredth of the peak."""
    photons, _, peak, floor, _ = sample.seen
    around = smoothed(photons[:, None], gaussian_profiles((LOCAL_PX,), 4.0))[:, 0]
    floor, peak = floor.view(-1, 1, 1), peak.view(-1, 1, 1)
    return torch.maximum(around + floor, 0.01 * (peak + floor))


def follows(weights: torch.Tensor, sample: Sample) -> np.ndarray:
    """(n, FOLLOWS): correlation over a picture's pixels of a map's logarithm with what it may follow, NaN where that is even.

    light and edges: logarithms of the true object and of its gradient's length, both smoothed by 2 px. texture: the logarithm of
    the object's standard deviation within 6 px over its mean. psf_width: the logarithm of the PSF's width.
    """
    truth = inner(sample.truth, sample.blurs.margin)[:, None].clamp(min=0)
    least = 1e-3 * sample.bright.view(-1, 1, 1, 1)
    narrow, wide = (gaussian_profiles((width,), 4.0) for width in (2.0, 6.0))
    rows, columns = torch.zeros_like(truth), torch.zeros_like(truth)
    rows[..., :-1, :], columns[..., :-1] = truth.diff(dim=-2), truth.diff(dim=-1)
    mean = smoothed(truth, wide) + least
    spread = (smoothed(truth.square(), wide) - smoothed(truth, wide).square()).clamp(min=0).sqrt()
    shown = {
        "light": (smoothed(truth, narrow) + least).log()[:, 0],
        "edges": (smoothed((rows.square() + columns.square()).sqrt(), narrow) + least).log()[:, 0],
        "texture": (spread / mean + 1e-3).log()[:, 0],
        "psf_width": sample.widths.log(),
    }
    logs = weights.log()
    return np.stack([_correlation(logs, shown[name]) for name in FOLLOWS], 1)


def _correlation(one: torch.Tensor, other: torch.Tensor) -> np.ndarray:
    one, other = (v - v.mean((1, 2), keepdim=True) for v in (one, other))
    norms = (one.square().mean((1, 2)) * other.square().mean((1, 2))).sqrt()
    told = (one * other).mean((1, 2)) / norms
    return torch.where(norms > 1e-9, told, torch.nan).numpy()


def _similarity(pictures: torch.Tensor, sample: Sample) -> np.ndarray:
    truth = inner(sample.truth, sample.blurs.margin).numpy()
    both = zip(pictures.numpy(), truth, sample.bright.tolist(), strict=True)
    return np.array([ssim_map(picture, true, bright).mean() for picture, true, bright in both])


# Tables ----------------------------------------------------------------------------------------


def tables(trials: list[Trial], units: list[np.ndarray]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """COLUMNS of every picture and method, and FOLLOWED of networks' maps. units: of each trial, those of all units together.

    The weight of `one` is the best of all pictures of a test with as many photons, that of `best` the best of each picture, and
    c of `local-light` the best c of all of them: by PSNR to the truth, as no method could know it.

    Raises
    ------
    UserError
        If a test has no pictures.
    """
    rows, followed = [], []
    for trial, blocks in zip(trials, units, strict=True):
        ways, samples = trial.ways, trial.test["samples"]
        if not len(blocks):
            raise UserError(f"weight test {trial.test['name']}: has no pictures")
        each = blocks.reshape(len(trial.test["photons"]), -1, *blocks.shape[1:])[:, :samples]
        for light, found in zip(trial.test["photons"], each, strict=True):
            for name, values in _by_method(trial, found).items():
                for picture, row in enumerate(values):
                    place = (trial.test["name"], light, picture, name)
                    rows.append((*place, *row[: len(VALUES)]))
                    if name in trial.test["networks"] and name + MEAN in ways:
                        followed.append((*place, *row[len(VALUES) :]))
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(followed, columns=FOLLOWED)


def _by_method(trial: Trial, found: np.ndarray) -> dict[str, np.ndarray]:
    """Of each method what `found` (pictures, ways, values) tells: (pictures, values)."""
    ways = trial.ways
    made = {RAW: found[:, 0]}
    for kind, count in ((ONE, len(GRID)), (LOCAL, len(LOCAL_GRID))):
        if f"{kind}@0" not in ways:
            continue
        first = ways.index(f"{kind}@0")
        grid = found[:, first : first + count]
        if kind in trial.test["methods"]:
            made[kind] = grid[:, grid[:, :, 0].mean(0).argmax()]
        if kind == ONE and BEST in trial.test["methods"]:
            made[BEST] = grid[np.arange(len(grid)), grid[:, :, 0].argmax(1)]
    return made | {way: found[:, k] for k, way in enumerate(ways) if "@" not in way and k}
