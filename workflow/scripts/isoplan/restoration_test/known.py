"""Restoration tests: pictures with known PSFs, restored in many ways, and what each way gained.

Small pictures are blurred cell by cell, each cell by a PSF of its own, exposed, and restored in many ways (`ways`).
Whatever differs between two ways is what one step between the truth and the estimate costs.

Picture i of a study is a pure function of its seed and i, its scene, PSFs and noise each by themselves:
tests that differ in the network see the very same pictures, tests that differ in the PSF the same
scenes (where their PSFs are of one size).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from isoplan.base.seeds import torch_rng
from isoplan.metrics.image import SUMS, cell_sums
from isoplan.networks import store
from isoplan.objects.scenes import draw_scenes, source_picture
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.camera import check_camera, draw_camera, expose, mean_counts
from isoplan.optics.exposure import Exposure, noise_of
from isoplan.optics.model import PsfModel
from isoplan.optics.psf import make_psf_model
from isoplan.restoration.cores import restore_block
from isoplan.restoration_test.fields import (
    between,
    detection_model,
    in_cells,
    psf_distance,
)
from isoplan.restoration_test.units import pictures_of
from isoplan.restoration_test.ways import STREAM, Restored, Ways

CROP_PX = 16  # left out at the picture's border, where no method knows what lies beyond
HOW = ("iterations", "tv_weight", "tv_step", "acceleration")  # of `restoration`, a test's own
# Between hard cells lies a seam that no microscope shows, and that only the very PSFs undo: what is further
# from it than this share of a cell is judged by itself as well.
SEAM_SHARE = 0.25
# What is kept of a picture and method, cell by cell: the metrics' sums; |h - true h| / |true h|, NaN
# where there is no PSF; 1 where the PSF was filled in; the sum "error" away from the seams of hard cells,
# NaN where cells pass over into one another.
KEPT = (*SUMS, "psf_error", "filled", "inside_error")


@dataclass
class Case:
    """One degraded picture. sharp, clean, observed: (h, w) float32 counts above the offset.

    unit: counts that stand for a brightness of 1. params: (n, n, P) of the cells, psfs: (n, n, s, s).
    exposure: the camera's, which is known.
    """

    sharp: np.ndarray
    clean: np.ndarray
    observed: np.ndarray
    unit: float
    params: torch.Tensor
    psfs: torch.Tensor
    exposure: Exposure


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
        camera = {key: float(settings[key]) for key in ("gain", "read_noise_e")}
        camera["dtype"] = "uint16" if settings["bits"] > 0 else "float32"

        def above(counts: torch.Tensor) -> np.ndarray:
            return (counts[0] - offset).numpy().astype(np.float32)

        return Case(
            sharp=above(mean_counts(scene[None, inner, inner], even)),
            clean=above(mean_counts(blurred[None], settings)),
            observed=above(expose(blurred[None], settings, self._rng("noise", index))),
            unit=float(unit * settings["illumination"]),
            params=params.reshape(self.cells, self.cells, -1),
            psfs=psfs,
            exposure=Exposure(0.0, *noise_of(camera)),
        )

    def source(self, index: int) -> int:
        """Number that pictures cut from one real picture share; those that were drawn have their own."""
        found = source_picture(
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
        ways = Ways(self, case, index, network, detects)
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

    def restore(self, counts: np.ndarray, field, exposure: Exposure) -> np.ndarray:
        """field: PSFs and their centres, as `in_cells` and `between` give them."""
        return restore_block(
            counts,
            field,
            self.settings,
            **start_and_scale(counts),
            device=self.device,
            exposure=exposure,
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
        blocks = inside.reshape(len(SUMS), n, each, n, each)
        sums = blocks.sum((2, 4))
        away = np.full((n, n), np.nan)
        if self.test["layout"] == "hard":
            away = np.einsum("jaib,ja,ib->ji", blocks[SUMS.index("error")], *[self._away] * 2)
        error = np.full((n, n), np.nan)
        if found.psfs is not None:
            error = psf_distance(found.psfs, case.psfs).numpy()
        filled = np.full((n, n), np.nan) if found.filled is None else found.filled
        return np.concatenate([sums, error[None], filled[None], away[None]])

    @property
    def _away(self) -> np.ndarray:
        """Which blocks of CROP_PX lie away from the cell's borders with others: (cells, blocks), 0 or 1."""
        each = self.cell_px // CROP_PX
        seam = math.ceil(SEAM_SHARE * each)
        away = np.ones((self.cells, each))
        away[1:, :seam] = 0
        away[:-1, each - seam :] = 0
        return away

    def unit(self, unit: int, network, detects: PsfModel) -> np.ndarray:
        """One unit of work: (pictures, methods, len(KEPT), n, n)."""
        parts = []
        for index in pictures_of(self.test, unit):
            case = self.case(index)
            parts.append(self.measure(case, self.restored(case, index, network, detects)))
        return np.stack(parts)


def open_test(spec: dict, seed: int, network_file, device):
    """The test of a spec, its network, the PSFs of the network's estimates, and the network's card.

    network_file: stored by `networks.store`. Raises UserError where they do not go together.
    """
    check_camera(spec["camera"])
    network, model, card = store.load(network_file, device)
    test = RestorationTest(spec, seed, device)
    test.model.check()
    return test, network, detection_model(model, spec["detected"]), card


def start_and_scale(counts: np.ndarray) -> dict[str, float]:
    """start and scale of a small picture, as `mosaic.facts.Facts.brightness` of a mosaic."""
    scale = max(float(np.quantile(counts, 0.999)), 1e-6)
    return {"start": max(float(counts.mean()), 1e-6 * scale), "scale": scale}


def shown(case: Case, restored: dict[str, Restored]) -> dict[str, np.ndarray]:
    """Pictures of brightness about 1, float32: sharp, degraded, then the methods'."""
    found = {"sharp": case.sharp, "degraded": case.observed}
    found |= {name: one.picture for name, one in restored.items() if name != "none"}
    return {name: (picture / case.unit).astype(np.float32) for name, picture in found.items()}
