"""Restoration tests: pictures with known PSFs are restored in many ways, and the gains are compared.

Small pictures are blurred cell by cell, each cell by its own PSF, exposed, and restored in many ways (`ways`). The
difference between two ways is the cost of one step from the truth to the estimate.

Picture i of a study depends only on the study's seed and i. Its scene, PSFs and noise are drawn separately. So tests
with different networks have identical pictures, and tests with different PSFs of the same size have the same scenes.
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

CROP_PX = 16  # width of the border that is left out, as no method knows what lies beyond
HOW = ("iterations", "tv_weight", "tv_step", "acceleration")  # a test's own keys of `restoration`
# Hard cells have seams, which do not occur in microscopes and which only the exact PSFs can restore. So pixels further
# from them than this share of a cell are also judged separately.
SEAM_SHARE = 0.25
# Values that are kept of each picture, method and cell: the sums of the metrics; |h - true h| / |true h|, NaN without a
# PSF; 1 if the PSF was filled in; the sum "error" away from the seams of hard cells, NaN for cells without seams.
KEPT = (*SUMS, "psf_error", "filled", "inside_error")


@dataclass
class Case:
    """One degraded picture.

    Attributes
    ----------
    sharp, clean, observed
        (h, w) float32 counts above the offset: the sharp picture, the blurred one without noise, and that of the
        camera.
    unit
        Counts of a brightness of 1.
    params, psfs
        (n, n, P) parameters and (n, n, s, s) PSFs of the cells.
    exposure
        The true exposure.
    """

    sharp: np.ndarray
    clean: np.ndarray
    observed: np.ndarray
    unit: float
    params: torch.Tensor
    psfs: torch.Tensor
    exposure: Exposure


class RestorationTest:
    """A restoration test, from an entry of the config's `restoration_tests`.

    Parameters
    ----------
    spec
        - test: the entry,
        - objects, psf, camera: the entries that it names,
        - detected: the entry of `psfs` of its network,
        - order: that of `restoration`,
        - window_px, neighbours, validity_threshold, alarm_threshold: those of `map`.
    seed
        The study's seed.
    device
        Device that computes.
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
        """Make the degraded picture of an index."""
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
        """A number that pictures from the same real picture share; drawn pictures have their own."""
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
        """The picture of every method, "none" first. detects: from `detection_model`."""
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
        """Parameters (nodes, nodes, P) at the map's nodes, of a field with given parameters (n, n, P) of the cells.

        A node on the border of hard cells has the mean of both. Means are taken over the targets.
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
        """Restore a picture (h, w) in counts above the offset.

        field: PSFs and their centres, from `in_cells` or `between`.
        """
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
        """KEPT of every method and cell, (methods, len(KEPT), n, n) float64."""
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
        """Which blocks of CROP_PX of each cell lie away from other cells: (cells, blocks), 0 or 1."""
        each = self.cell_px // CROP_PX
        seam = math.ceil(SEAM_SHARE * each)
        away = np.ones((self.cells, each))
        away[1:, :seam] = 0
        away[:-1, each - seam :] = 0
        return away

    def unit(self, unit: int, network, detects: PsfModel) -> np.ndarray:
        """Compute one unit of work: (pictures, methods, len(KEPT), n, n)."""
        parts = []
        for index in pictures_of(self.test, unit):
            case = self.case(index)
            parts.append(self.measure(case, self.restored(case, index, network, detects)))
        return np.stack(parts)


def open_test(spec: dict, seed: int, network_file, device):
    """Open a restoration test.

    Parameters
    ----------
    spec, seed, device
        As for `RestorationTest`.
    network_file
        File of the network, stored by `networks.store`.

    Returns
    -------
    test, network, model, card
        The test, its network, the PSF model of the network's estimates, and the network's card.

    Raises
    ------
    UserError
        If the camera or the PSFs are impossible, or the network cannot be used for them.
    """
    check_camera(spec["camera"])
    network, model, card = store.load(network_file, device)
    test = RestorationTest(spec, seed, device)
    test.model.check()
    return test, network, detection_model(model, spec["detected"]), card


def start_and_scale(counts: np.ndarray) -> dict[str, float]:
    """start and scale of a small picture, like `mosaic.facts.Facts.brightness` of a mosaic."""
    scale = max(float(np.quantile(counts, 0.999)), 1e-6)
    return {"start": max(float(counts.mean()), 1e-6 * scale), "scale": scale}


def shown(case: Case, restored: dict[str, Restored]) -> dict[str, np.ndarray]:
    """Pictures (h, w) float32 with a brightness of about 1: sharp, degraded, and those of the methods."""
    found = {"sharp": case.sharp, "degraded": case.observed}
    found |= {name: one.picture for name, one in restored.items() if name != "none"}
    return {name: (picture / case.unit).astype(np.float32) for name, picture in found.items()}
