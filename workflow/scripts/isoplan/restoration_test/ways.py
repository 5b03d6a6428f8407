"""The ways to restore the pictures of a restoration test:

    true-noise-free  the true field of PSFs, on the picture without noise
    true             the true field of PSFs
    true-grid        the true parameters at the centres of the network's windows, interpolated like its map
    best-of-model    the same, with the PSFs of the network's model that are nearest to the true ones
    estimated        the parameters from the network; cells that are not valid are filled from their neighbours, if
                     any is valid
    estimated-all    the parameters from the network, unchanged
    constant         a single PSF, the mean of those from the network
    blind, deepinv-blind, wiener, unsharp   methods of others (`rivals`)

Each is a method of `Ways`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from isoplan.base.seeds import seed_of
from isoplan.optics.exposure import Exposure
from isoplan.optics.model import PsfModel
from isoplan.psf_map.estimate import estimate_cells
from isoplan.psf_map.fill import fill_invalid, mean_parameters
from isoplan.psf_map.layout import FILLED
from isoplan.restoration_test import rivals
from isoplan.restoration_test.fields import between, in_cells, nearest_parameters

STREAM = "restoration-test"


@dataclass
class Restored:
    """A restored picture.

    Attributes
    ----------
    picture
        (h, w) in counts above the offset.
    psfs
        (n, n, s, s) PSFs at the centres of the cells; None if there are none.
    filled
        (n, n) which cells were filled in; None if this does not apply.
    """

    picture: np.ndarray
    psfs: torch.Tensor | None = None
    filled: np.ndarray | None = None


class Ways:
    """The ways to restore one picture. They share intermediate results.

    Parameters
    ----------
    test
        A `known.RestorationTest`.
    case, index
        Its picture, and the index of that.
    network
        The network.
    detects
        The PSF model of its estimates, from `fields.detection_model`.
    """

    def __init__(self, test, case, index: int, network, detects: PsfModel):
        self.test, self.case, self.index = test, case, index
        self.network, self.detects = network, detects
        self.done: dict[bytes, np.ndarray] = {}

    def restore(self, method: str) -> Restored:
        """Restore by a method, which is named as in the config."""
        return getattr(self, method.replace("-", "_"))()

    def true_noise_free(self) -> Restored:
        return Restored(self.test.restore(self.case.clean, self.true_field, Exposure()))

    def true(self) -> Restored:
        return self._by(self.case.psfs, self.true_field)

    def true_grid(self) -> Restored:
        model = self.test.model
        return self._at_nodes(self._psfs(model, self.test.at_nodes(self.case.params, model)))

    def best_of_model(self) -> Restored:
        params = self.case.params
        if self.detects.spec != self.test.model.spec:
            params = nearest_parameters(self.detects, self.case.psfs.flatten(0, 1))
            params = params.reshape(*self.case.params.shape[:2], -1)
        return self._at_nodes(self._psfs(self.detects, self.test.at_nodes(params, self.detects)))

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
        filled = self._at_cells(cells[FILLED])
        psfs = self._psfs_of(cells)
        if psfs is None:  # the picture is not changed
            return Restored(self.case.observed, filled=filled)
        found = self._at_nodes(psfs)
        found.filled = filled
        return found

    def _at_nodes(self, psfs: torch.Tensor) -> Restored:
        """Restore with PSFs (nodes, nodes, s, s) at the map's nodes."""
        return self._by(self._at_cells(psfs), self._field(psfs))

    def _by_one(self, psf: torch.Tensor) -> Restored:
        n = self.test.cells
        return self._by(psf.expand(n, n, *psf.shape), between(psf[None, None], np.zeros(1)))

    def _by(self, psfs: torch.Tensor, field) -> Restored:
        key = b"".join(np.ascontiguousarray(part).tobytes() for part in field)
        if key not in self.done:
            self.done[key] = self.test.restore(self.case.observed, field, self.case.exposure)
        return Restored(self.done[key], psfs)

    @property
    def true_field(self):
        """The true field: PSFs and their centres."""
        if self.test.test["layout"] == "hard":
            return in_cells(self.case.psfs, self.test.cell_px)
        return between(self.case.psfs, self.test.centres_px)

    @property
    def estimated_field(self):
        """The filled field from the network; None if all cells raise the alarm."""
        psfs = self._psfs_of(self._filled)
        return None if psfs is None else self._field(psfs)

    def _field(self, psfs: torch.Tensor):
        """The field of PSFs at the map's nodes, bilinear or in hard cells, depending on the test."""
        if self.test.test["masks"] == "bilinear":
            return between(psfs, self.test.nodes_px)
        return in_cells(psfs, self.test.cell_px)

    def _psfs_of(self, cells: np.ndarray) -> torch.Tensor | None:
        """PSFs (nodes, nodes, s, s) of a map's cells; None if all raise the alarm."""
        count = len(self.detects.parameters)
        params = torch.from_numpy(np.moveaxis(cells[:count], 0, -1).copy())
        return None if params.isnan().any() else self._psfs(self.detects, params)

    @staticmethod
    def _psfs(model: PsfModel, params: torch.Tensor) -> torch.Tensor:
        psfs, _ = model.psf(params.flatten(0, 1))
        return psfs.reshape(*params.shape[:2], *psfs.shape[1:])

    def _at_cells(self, values):
        """The values (nodes, nodes, ...) at the nodes that are nearest to the cells' centres."""
        nodes, centres = self.test.nodes_px, self.test.centres_px
        nearest = np.abs(nodes[:, None] - centres).argmin(0)
        return values[nearest][:, nearest]
