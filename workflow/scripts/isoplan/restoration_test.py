"""Restoration tests: how much of what a known PSF restores is restored without knowing it (thesis, 4.3).

Small pictures are blurred cell by cell, each cell by a PSF of its own, exposed, and restored in many
ways; whatever differs between two ways is what one step between the truth and the estimate costs:

    true-noise-free  the field that degraded, on the picture before the camera
    true             the field that degraded
    true-grid        the true parameters where the network's windows stand, interpolated as its map is
    best-of-model    likewise, of the PSFs of the network's model that are nearest to the true ones
    estimated        the network's parameters, cells that it does not trust filled by their neighbours
    estimated-all    the network's parameters as they come
    constant         one PSF, the mean of the network's
    blind, deepinv-blind, wiener, unsharp   other people's (`isoplan.rivals`)

Picture i of a study is a pure function of its seed and i, its scene, PSFs and noise each by themselves:
tests that differ in the network see the very same pictures, tests that differ in the PSF the same
scenes (where their PSFs are of one size).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize

from isoplan import rivals
from isoplan.base.errors import UserError
from isoplan.base.seeds import seed_of, torch_rng
from isoplan.metrics.image import SUMS, cell_sums, metrics_of
from isoplan.metrics.regression import Resampling, interval
from isoplan.objects.scenes import draw_scenes, source_of
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.camera import draw_camera, expose, mean_counts
from isoplan.optics.psf import PsfModel, make_psf_model
from isoplan.psf_map import FILLED, estimate_cells, fill_invalid, mean_parameters, served
from isoplan.restoration import restore_block

STREAM = "restoration-test"
UNIT_PICTURES = 4
CROP_PX = 16  # left out at the picture's border, where no method knows what lies beyond
WORSE_DB = -0.01  # a cell that lost more than this came out worse
RESAMPLES = 2000
# Points along each parameter of the table that the nearest PSF of a model is looked up in.
FIT_POINTS = {1: 65, 2: 17, 3: 9}
# What is kept of a picture and method, cell by cell: the metrics' sums; |h - true h| / |true h|, NaN
# where there is no PSF; 1 where the PSF was filled in.
KEPT = (*SUMS, "psf_error", "filled")
SETTINGS = ("layout", "masks", "objects", "camera", "order", "stride_px")
HOW = ("iterations", "tv_weight", "tv_step", "acceleration")
WHAT = ("test", "degradation", "detection", "network", *SETTINGS, *HOW)
# Columns of the summary: differences to a method, and shares of a method's gain.
COMPARED = {"minus_estimated": "estimated", "minus_true": "true"}
SHARES = {"known_share": "true", "grid_share": "true-grid"}
BUDGET = ("test", "step", "start", "end", "loss_db", "low", "high", "n")
MEASURED = (
    *("mean", "low", "high", "sd", "n"),
    *(f"{name}{end}" for name in (*COMPARED, *SHARES) for end in ("", "_low", "_high")),
    *("worse_cells_share", "psf_error", "filled_share"),
)


@dataclass
class Case:
    """One degraded picture. sharp, clean, observed: (h, w) float32 counts above the offset.

    unit: counts that stand for a brightness of 1. params: (n, n, P) of the cells, psfs: (n, n, s, s).
    """

    sharp: np.ndarray
    clean: np.ndarray
    observed: np.ndarray
    unit: float
    params: torch.Tensor
    psfs: torch.Tensor


@dataclass
class Restored:
    """One way's picture (h, w) in counts; its PSFs at the cells' centres (n, n, s, s) or None; which
    cells (n, n) were filled in."""

    picture: np.ndarray
    psfs: torch.Tensor | None = None
    filled: np.ndarray | None = None


class RestorationTest:
    """One entry of the config's `restoration_tests`.

    spec: {"test": the entry, "objects", "psf", "camera": the entries that it names, "detected": the
    entry of `psfs` of its network, "order": of `restoration`; "window_px", "neighbours",
    "validity_threshold", "alarm_threshold": of `map`}.
    """

    def __init__(self, spec: dict, seed: int, device="cpu"):
        self.spec, self.test, self.seed = spec, spec["test"], seed
        self.device = torch.device(device)
        self.model = make_psf_model(spec["psf"])
        self.size_px, self.cell_px = self.test["size_px"], self.test["cell_px"]
        self.cells = self.size_px // self.cell_px
        self.settings = {"order": spec["order"]} | {key: self.test[key] for key in HOW}

    # The degraded picture ------------------------------------------------------------------------

    def case(self, index: int) -> Case:
        """Picture `index`."""
        params = self.model.sample(self.cells**2, self._rng("psf", index))
        psfs, _ = self.model.psf(params)
        psfs = psfs.reshape(self.cells, self.cells, *psfs.shape[1:])
        hard = self.test["layout"] == "hard"
        field = in_cells(psfs, self.cell_px) if hard else between(psfs, self.centres_px)
        blur = SpaceVariantBlur(*field, (self.size_px, self.size_px), order=self.spec["order"])
        side = self.size_px + 2 * blur.margin
        scene = draw_scenes(
            self.spec["objects"], 1, side,
            seed=self.seed, stream=f"{STREAM}/scenes", first=index, split="test",
        )[0]  # fmt: skip
        inner = slice(blur.margin, blur.margin + self.size_px)
        blurred = blur.forward(scene).clamp_min(0)
        settings = draw_camera(self.spec["camera"], 1, self._rng("camera", index))
        offset = float(settings["offset"])
        unit = settings["gain"] * settings["photons"] * settings["quantum_efficiency"]
        even = settings | {"vignetting": torch.zeros(1)}

        def above(counts: torch.Tensor) -> np.ndarray:
            return (counts[0] - offset).numpy().astype(np.float32)

        return Case(
            sharp=above(mean_counts(scene[None, inner, inner], even)),
            clean=above(mean_counts(blurred[None], settings)),
            observed=above(expose(blurred[None], settings, self._rng("noise", index))),
            unit=float(unit * settings["illumination"]),
            params=params.reshape(self.cells, self.cells, -1),
            psfs=psfs,
        )

    def source(self, index: int) -> int:
        """Number that pictures cut from one real picture share; those that were drawn have their own."""
        found = source_of(
            self.spec["objects"], index, seed=self.seed, stream=f"{STREAM}/scenes", split="test"
        )
        return -1 - found if found >= 0 else index

    def _rng(self, what: str, index: int) -> torch.Generator:
        return torch_rng(self.seed, f"{STREAM}/{what}", index)

    @property
    def centres_px(self) -> np.ndarray:
        """Centres of the cells, in px from the edge."""
        return (np.arange(self.cells) + 0.5) * self.cell_px

    # Ways to restore it --------------------------------------------------------------------------

    def restored(self, case: Case, index: int, network, detects: PsfModel) -> dict[str, Restored]:
        """Every method's picture, "none" first. detects: of `detection_model`."""
        found = {"none": Restored(case.observed)}
        ways = _Ways(self, case, index, network, detects)
        for method in self.test["methods"]:
            found[method] = ways.restore(method)
        return found

    @cached_property
    def nodes_px(self) -> np.ndarray:
        """Centres of the map's windows, in px from the edge."""
        window, stride = self.spec["window_px"], self.test["stride_px"]
        return np.arange(0, self.size_px - window + 1, stride) + window / 2

    def at_nodes(self, params: torch.Tensor, model: PsfModel) -> torch.Tensor:
        """Parameters (nodes, nodes, P) of a field whose cells have params (n, n, P).

        A node on the border of hard cells takes the mean of both; means are taken of the targets.
        """
        at, centres = self.nodes_px, self.centres_px
        if self.test["layout"] == "hard":
            sides = [np.clip((at + d) // self.cell_px, 0, self.cells - 1) for d in (-0.5, 0.5)]
            shares = sum(np.arange(self.cells) == side[:, None] for side in sides) / 2
        else:
            shares = np.stack([np.interp(at, centres, row) for row in np.eye(self.cells)], 1)
        weights = torch.from_numpy(shares).float()
        targets = model.encode(params.flatten(0, 1)).reshape(*params.shape[:2], -1)
        mean = torch.einsum("ai,bj,ijt->abt", weights, weights, targets)
        return model.decode(mean.flatten(0, 1)).reshape(*mean.shape[:2], -1)

    def restore(self, counts: np.ndarray, field) -> np.ndarray:
        """field: PSFs and their centres, as `in_cells` and `between` give them."""
        scale = max(float(np.quantile(counts, 0.999)), 1e-6)
        start = max(float(counts.mean()), 1e-6 * scale)
        return restore_block(
            counts, field, self.settings, start=start, scale=scale, device=self.device
        )

    # What it gained ------------------------------------------------------------------------------

    def measure(self, case: Case, restored: dict[str, Restored]) -> np.ndarray:
        """KEPT of every method and cell: (methods, len(KEPT), n, n) float64."""
        return np.stack([self._measured(case, found) for found in restored.values()])

    def _measured(self, case: Case, found: Restored) -> np.ndarray:
        small = cell_sums(
            found.picture / case.unit, case.sharp / case.unit, data_range=1.0, cell_px=CROP_PX
        )
        inside = np.zeros_like(small)
        inside[:, 1:-1, 1:-1] = small[:, 1:-1, 1:-1]
        n, each = self.cells, self.cell_px // CROP_PX
        sums = inside.reshape(len(SUMS), n, each, n, each).sum((2, 4))
        error = np.full((n, n), np.nan)
        if found.psfs is not None:
            error = psf_distance(found.psfs, case.psfs).numpy()
        filled = np.full((n, n), np.nan) if found.filled is None else found.filled
        return np.concatenate([sums, error[None], filled[None]])

    def unit(self, unit: int, network, detects: PsfModel) -> np.ndarray:
        """One unit of work, UNIT_PICTURES of the pictures: (pictures, methods, len(KEPT), n, n)."""
        first = unit * UNIT_PICTURES
        parts = []
        for index in range(first, min(first + UNIT_PICTURES, self.test["samples"])):
            case = self.case(index)
            parts.append(self.measure(case, self.restored(case, index, network, detects)))
        return np.stack(parts)

    @property
    def units(self) -> int:
        return -(-self.test["samples"] // UNIT_PICTURES)


class _Ways:
    """The methods on one picture, which share what two of them need."""

    def __init__(self, test: RestorationTest, case: Case, index: int, network, detects: PsfModel):
        self.test, self.case, self.index = test, case, index
        self.network, self.detects = network, detects
        self.done: dict[bytes, np.ndarray] = {}

    def restore(self, method: str) -> Restored:
        return getattr(self, method.replace("-", "_"))()

    def true_noise_free(self) -> Restored:
        return Restored(self.test.restore(self.case.clean, self._field(self.case.psfs, "true")))

    def true(self) -> Restored:
        return self._by(self.case.psfs, self._field(self.case.psfs, "true"))

    def true_grid(self) -> Restored:
        return self._on_grid(self.test.model, self.test.at_nodes(self.case.params, self.test.model))

    def best_of_model(self) -> Restored:
        params = self.case.params
        if self.detects.spec != self.test.model.spec:
            params = nearest_parameters(self.detects, self.case.psfs.flatten(0, 1))
            params = params.reshape(*self.case.params.shape[:2], -1)
        return self._on_grid(self.detects, self.test.at_nodes(params, self.detects))

    def estimated(self) -> Restored:
        return self._estimated(self._filled)

    def estimated_all(self) -> Restored:
        return self._estimated(self._map(threshold=0.0, alarm_threshold=1.0))

    def constant(self) -> Restored:
        psf = self._mean_psf
        return Restored(self.case.observed) if psf is None else self._by_one(psf)

    def blind(self) -> Restored:
        return self._by_one(rivals.blind_psf(self._observed)[0])

    def deepinv_blind(self) -> Restored:
        return self._by_one(rivals.deepinv_psf(self._observed))

    def wiener(self) -> Restored:
        if self._mean_psf is None:
            return Restored(self.case.observed)
        seed = seed_of(self.test.seed, f"{STREAM}/wiener", self.index) % 2**32
        picture = self.case.observed / self.case.unit
        restored = rivals.wiener(picture, self._mean_psf.numpy(), seed=seed)
        return Restored((restored * self.case.unit).astype(np.float32))

    def unsharp(self) -> Restored:
        sharper = rivals.unsharp(self.case.observed / self.case.unit)
        return Restored((sharper * self.case.unit).astype(np.float32))

    @property
    def _observed(self) -> torch.Tensor:
        return torch.from_numpy(self.case.observed)

    @cached_property
    def _raw(self) -> np.ndarray:
        return estimate_cells(
            *(self.network, self.detects, self.case.observed),
            *(self.test.test["stride_px"], self.test.device),
        )

    @cached_property
    def _filled(self) -> np.ndarray:
        spec = self.test.spec
        return self._map(spec["validity_threshold"], spec["alarm_threshold"])

    def _map(self, threshold: float, alarm_threshold: float) -> np.ndarray:
        return fill_invalid(
            self._raw,
            self.detects,
            threshold=threshold,
            neighbours=self.test.spec["neighbours"],
            alarm_threshold=alarm_threshold,
        )

    @cached_property
    def _mean_psf(self) -> torch.Tensor | None:
        mean = mean_parameters(self._filled, self.detects)
        return None if mean is None else self.detects.psf(torch.tensor([mean]))[0][0]

    def _estimated(self, cells: np.ndarray) -> Restored:
        count = len(self.detects.parameters)
        filled = self._at_cells(cells[FILLED])
        params = torch.from_numpy(np.moveaxis(cells[:count], 0, -1).copy())
        if params.isnan().any():  # no cell that could be trusted: the picture stays as it is
            return Restored(self.case.observed, filled=filled)
        found = self._on_grid(self.detects, params)
        found.filled = filled
        return found

    def _on_grid(self, model: PsfModel, params: torch.Tensor) -> Restored:
        """By the PSFs of parameters (nodes, nodes, P)."""
        psfs, _ = model.psf(params.flatten(0, 1))
        psfs = psfs.reshape(*params.shape[:2], *psfs.shape[1:])
        return self._by(self._at_cells(psfs), self._field(psfs, self.test.test["masks"]))

    def _by_one(self, psf: torch.Tensor) -> Restored:
        n = self.test.cells
        return self._by(psf.expand(n, n, *psf.shape), between(psf[None, None], np.zeros(1)))

    def _by(self, psfs: torch.Tensor, field) -> Restored:
        key = b"".join(np.ascontiguousarray(part).tobytes() for part in field)
        if key not in self.done:
            self.done[key] = self.test.restore(self.case.observed, field)
        return Restored(self.done[key], psfs)

    def _field(self, psfs: torch.Tensor, masks: str):
        """masks: hard cells, bilinear between the map's nodes, or true: as the picture was degraded."""
        if masks == "bilinear":
            return between(psfs, self.test.nodes_px)
        if masks == "hard" or self.test.test["layout"] == "hard":
            return in_cells(psfs, self.test.cell_px)
        return between(psfs, self.test.centres_px)

    def _at_cells(self, values):
        """Of values at the map's nodes (nodes, nodes, ...) those nearest to the cells' centres."""
        nodes, centres = self.test.nodes_px, self.test.centres_px
        nearest = np.abs(nodes[:, None] - centres).argmin(0)
        return values[nearest][:, nearest]


# PSFs on the picture ------------------------------------------------------------------------------


def between(psfs: torch.Tensor, centres_px: np.ndarray):
    """PSFs (n, n, s, s) at centres (n,) in px from the edge, bilinear between them: what a blur takes."""
    places = torch.from_numpy(np.asarray(centres_px, np.float64) - 0.5)
    return psfs.contiguous(), places, places


def in_cells(psfs: torch.Tensor, cell_px: int):
    """PSFs (n, n, s, s), each alone in its cell: hats from the cell's first pixel to its last."""
    n = len(psfs)
    first = np.arange(n) * cell_px
    places = torch.from_numpy(np.stack([first, first + cell_px - 1], 1).ravel().astype(np.float64))
    own = torch.arange(n).repeat_interleave(2)
    return psfs[own][:, own].contiguous(), places, places


def psf_distance(psfs: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """|h - true h| / |true h|, |h|^2 the sum of squares: (..., s, s), (..., t, t) -> (...)."""
    side = max(psfs.shape[-1], true.shape[-1])
    psfs, true = _widened(psfs, side), _widened(true, side)
    return (psfs - true).square().sum((-2, -1)).sqrt() / true.square().sum((-2, -1)).sqrt()


def _widened(psfs: torch.Tensor, side: int) -> torch.Tensor:
    return torch.nn.functional.pad(psfs, ((side - psfs.shape[-1]) // 2,) * 4)


def nearest_parameters(model: PsfModel, psfs: torch.Tensor) -> torch.Tensor:
    """Parameters (m, P) within the model's ranges whose PSFs are nearest to psfs (m, s, s).

    By least squares over the pixels: from the nearest of a table over the ranges on, by Nelder and Mead.
    """
    bounds = [(p.low, p.high) for p in model.parameters]
    axes = [np.linspace(low, high, FIT_POINTS[len(bounds)]) for low, high in bounds]
    table = torch.tensor(list(product(*axes)), dtype=torch.float32)
    side = max(model.size_px, psfs.shape[-1])
    wanted = _widened(psfs, side).flatten(1)
    made = _widened(model.psf(table)[0], side).flatten(1)
    begin = table[torch.cdist(wanted, made).argmin(1)]

    def found(start: torch.Tensor, target: torch.Tensor) -> np.ndarray:
        def distance(params: np.ndarray) -> float:
            psf, _ = model.psf(torch.tensor(params, dtype=torch.float32)[None])
            return float((_widened(psf, side).flatten() - target).norm())

        return minimize(
            distance, start.numpy(), method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-4}
        ).x

    pairs = zip(begin, wanted, strict=True)
    return torch.tensor(np.stack([found(*pair) for pair in pairs]), dtype=torch.float32)


def detection_model(network_model: PsfModel, psf: dict) -> PsfModel:
    """The PSFs of a network's estimates: its model at the cut-off and the size of an entry of `psfs`.

    Raises UserError where the network cannot serve that cut-off with pixels as they are.
    """
    cutoff = None if network_model.published else psf["cutoff"]
    model, together = served(network_model, cutoff)
    if together > 1:
        raise UserError(
            f"psfs {psf['name']}: at a cut-off of {psf['cutoff']:g} cycles/px the network wants {together} x "
            f"{together} pixels taken together, which restoration tests do not do; raise the cutoff to "
            f"{network_model.cutoff_range[0]:g} or more"
        )
    return make_psf_model(model.spec | {"size_px": psf["size_px"]})


# Units on the disk --------------------------------------------------------------------------------


def unit_file(folder: str | Path, unit: int) -> Path:
    return Path(folder) / f"{unit}.npy"


def save_unit(folder: str | Path, unit: int, block: np.ndarray) -> None:
    """Writes a unit whole or not at all."""
    path = unit_file(folder, unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as handle:
        np.save(handle, block)
    part.replace(path)


def load_units(folder: str | Path, count: int) -> np.ndarray:
    """All pictures of a test, (pictures, methods, len(KEPT), n, n).

    Raises UserError where a unit is missing or damaged.
    """
    parts = []
    for path in (unit_file(folder, unit) for unit in range(count)):
        try:
            parts.append(np.load(path))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}); `make resume` makes it again"
            ) from None
    return np.concatenate(parts)


# Tables -------------------------------------------------------------------------------------------


def rows_of(test: RestorationTest, kept: np.ndarray) -> pd.DataFrame:
    """Tidy rows of one test from `load_units`: what it was, method, picture, source, cell, metric, value.

    cell: "all" or its row and column, "0,1". Metrics: SNR and SSIM of the degraded picture (method
    none), SNR_gain (dB) and SSIM_gain over it, for cells SNR_gain, psf_error and filled (KEPT).
    """
    methods = ["none", *test.test["methods"]]
    rows = []

    def add(picture: int, method: str, cell: str, metric: str, value: float) -> None:
        if np.isfinite(value):
            rows.append((method, picture, sources[picture], cell, metric, value))

    sources = [test.source(index) for index in range(len(kept))]
    sums, place = kept[:, :, : len(SUMS)], SUMS.index("error")
    for picture in range(len(kept)):
        whole = [metrics_of(values, 1.0) for values in sums[picture]]
        for metric in ("SNR", "SSIM"):
            add(picture, "none", "all", metric, whole[0][metric])
        for k, method in enumerate(methods[1:], 1):
            for metric in ("SNR", "SSIM"):
                add(picture, method, "all", f"{metric}_gain", whole[k][metric] - whole[0][metric])
            for j, i in product(range(test.cells), repeat=2):
                errors = sums[picture, [0, k], place, j, i]
                gain = 10 * np.log10(errors[0] / errors[1]) if errors.all() else np.nan
                add(picture, method, f"{j},{i}", "SNR_gain", gain)
                for metric in ("psf_error", "filled"):
                    value = kept[picture, k, KEPT.index(metric), j, i]
                    add(picture, method, f"{j},{i}", metric, value)
    columns = ["method", "picture", "source", "cell", "metric", "value"]
    table = pd.DataFrame(rows, columns=columns)
    for at, (name, value) in enumerate(described(test).items()):
        table.insert(at, name, value)
    return table


def described(test: RestorationTest) -> dict:
    """The columns that say what a test was."""
    entry, spec = test.test, test.spec
    settings = {key: entry.get(key, spec.get(key)) for key in SETTINGS}
    return {
        "test": entry["name"],
        "degradation": spec["psf"]["model"],
        "detection": spec["detected"]["model"],
        "network": entry["network"],
        **settings,
        **{key: entry[key] for key in HOW},
    }


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per test, method and metric (SNR_gain, SSIM_gain; of none SNR, SSIM) of `rows_of`.

    mean, low, high, sd, n over pictures. minus_estimated, minus_true: mean paired difference to those
    methods; known_share: the mean as a share of that of true, grid_share of that of true-grid (the
    published "known PSFs"), where that is a gain for certain; each with _low and _high. Intervals are of
    95 %, by bootstrap over pictures, those cut from one real picture drawn together.
    worse_cells_share: cells more than 0.01 dB worse than before; psf_error: median over cells.
    """
    tables = [
        _summary(dict(zip(WHAT, key, strict=True)), part)
        for key, part in rows.groupby(list(WHAT), sort=False, dropna=False)
    ]
    columns = [*WHAT, "method", "metric", *MEASURED]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True).reindex(columns=columns)


def _summary(what: dict, rows: pd.DataFrame) -> pd.DataFrame:
    whole = rows[rows["cell"] == "all"]
    sources = whole.drop_duplicates("picture").set_index("picture")["source"].sort_index()
    grid = whole.pivot(index="picture", columns=["metric", "method"], values="value").sort_index()
    draws = Resampling(sources.to_numpy(), len(sources), RESAMPLES)
    cells = _of_cells(rows[rows["cell"] != "all"])

    def named(name: str, drawn: np.ndarray) -> dict:
        limits = interval(drawn)
        return {name: float(drawn[0]), f"{name}_low": limits["low"], f"{name}_high": limits["high"]}

    found = []
    methods = list(dict.fromkeys(whole["method"]))
    for metric, method in product(dict.fromkeys(whole["metric"]), methods):
        if (metric, method) not in grid:
            continue
        values = grid[metric, method].to_numpy()
        mean = _mean_of(draws, values)
        row = what | {"method": method, "metric": metric, "mean": float(mean[0])}
        row |= interval(mean) | {
            "sd": float(np.nanstd(values, ddof=1)) if len(values) > 1 else np.nan
        }
        row["n"] = int(np.isfinite(values).sum())
        for name, other in COMPARED.items():
            if (metric, other) in grid and other != method:
                row |= named(name, _mean_of(draws, values - grid[metric, other].to_numpy()))
        for name, other in SHARES.items():
            if (metric, other) in grid:
                all_of_it = _mean_of(draws, grid[metric, other])
                if (all_of_it > 0).all():
                    row |= named(name, mean / all_of_it)
        if metric == "SNR_gain":
            row |= cells.get(method, {})
        found.append(row)
    return pd.DataFrame(found)


def _mean_of(draws: Resampling, values: np.ndarray) -> np.ndarray:
    """Mean of the values (n,) that are finite, in each draw."""
    values = np.asarray(values)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.divide(*draws.sums(np.where(known, values, 0), known.astype(float)))


def _of_cells(rows: pd.DataFrame) -> dict[str, dict]:
    def share(method: str, metric: str, of: Callable) -> float:
        values = rows["value"][(rows["method"] == method) & (rows["metric"] == metric)]
        return float(of(values)) if len(values) else np.nan

    return {
        method: {
            "worse_cells_share": share(method, "SNR_gain", lambda gain: (gain < WORSE_DB).mean()),
            "psf_error": share(method, "psf_error", np.median),
            "filled_share": share(method, "filled", np.mean),
        }
        for method in rows["method"].unique()
    }


def budget(rows: pd.DataFrame) -> pd.DataFrame:
    """What each step from the truth to an estimate costs in SNR gain, of `rows_of`.

    Columns: test, step, start and end (methods), loss_db with low and high (95 %, by bootstrap as in
    `summarise`), n. Only steps between methods that the test ran.
    """
    found = []
    whole = rows[(rows["cell"] == "all") & (rows["metric"] == "SNR_gain")]
    for name, part in whole.groupby("test", sort=False):
        grid = part.pivot(index="picture", columns="method", values="value").sort_index()
        sources = part.drop_duplicates("picture").set_index("picture")["source"].sort_index()
        draws = Resampling(sources.to_numpy(), len(sources), RESAMPLES)
        for step, start, end in steps(
            list(grid.columns), *part[["degradation", "detection"]].iloc[0]
        ):
            loss = grid[start].to_numpy() - grid[end].to_numpy()
            mean = _mean_of(draws, loss)
            known = {"loss_db": float(mean[0]), **interval(mean), "n": int(np.isfinite(loss).sum())}
            found.append({"test": name, "step": step, "start": start, "end": end, **known})
    return pd.DataFrame(found, columns=list(BUDGET))


def steps(methods: list[str], degradation: str, detection: str) -> list[tuple[str, str, str]]:
    """(step, start, end) from each method that was run to the next one in the chain."""
    own = ("PSF estimate", "estimated-all"), ("abstention", "estimated")
    chain = [
        *(("", "true-noise-free"), ("camera noise", "true"), ("the map's grid", "true-grid")),
        *([("wrong PSF model", "best-of-model")] if degradation != detection else []),
        *(own if "estimated-all" in methods else [("PSF estimate", "estimated")]),
        ("one PSF", "constant"),
    ]
    chain = [(step, method) for step, method in chain if method in methods]
    return [(step, start, end) for (_, start), (step, end) in pairwise(chain)]


# A case to look at --------------------------------------------------------------------------------


def median_picture(rows: pd.DataFrame, method: str = "estimated") -> int:
    """The picture whose SNR gain by `method` (or the first method there is) is the median one."""
    gains = rows[(rows["metric"] == "SNR_gain") & (rows["cell"] == "all")]
    own = gains[gains["method"] == method]
    own = own if len(own) else gains[gains["method"] == gains["method"].iloc[0]]
    return int(own.sort_values(["value", "picture"])["picture"].iloc[(len(own) - 1) // 2])


def pictures_of(case: Case, restored: dict[str, Restored]) -> dict[str, np.ndarray]:
    """Pictures of brightness about 1, float32: sharp, degraded, then the methods'."""
    found = {"sharp": case.sharp, "degraded": case.observed}
    found |= {name: one.picture for name, one in restored.items() if name != "none"}
    return {name: (picture / case.unit).astype(np.float32) for name, picture in found.items()}
