"""PSFs of a map's cells, to draw them and to find the most blurred place."""

import numpy as np
import torch

from isoplan.base.errors import UserError
from isoplan.optics.psf import make_psf_model
from isoplan.report.results import PsfMap

BLOCK_PSFS = 1024


def cell_psfs(psf_map: PsfMap, cells: list[tuple[int, int]]) -> np.ndarray:
    """PSFs (n, s, s) of sum 1 at given cells (row, column), whose values must be finite."""
    model = make_psf_model(psf_map.spec)
    rows, columns = np.array(cells, dtype=int).reshape(-1, 2).T
    params = torch.from_numpy(np.float32(psf_map.values[:, rows, columns].T).copy())
    return model.psf(params)[0].numpy()


def values_like(psf_map: PsfMap, truth: PsfMap | None) -> np.ndarray:
    """Values (P, y, x) of a map, of several that mean the same PSF those nearest to the truth."""
    if truth is None or truth.names != psf_map.names or truth.values.shape != psf_map.values.shape:
        return psf_map.values
    own, true = (
        torch.from_numpy(np.float32(found.values.reshape(len(found.names), -1).T).copy())
        for found in (psf_map, truth)
    )
    nearest = make_psf_model(psf_map.spec).nearest(own, true, mirror=False)
    return nearest.numpy().T.reshape(psf_map.values.shape)


def model_parameters(spec: dict) -> dict:
    """The parameters of a PSF model by name; empty if the model cannot be made from its entry."""
    try:
        return {parameter.name: parameter for parameter in make_psf_model(spec).parameters}
    except (KeyError, UserError):
        return {}


def blur_areas(psf_map: PsfMap) -> np.ndarray:
    """Area (y, x) of each cell's PSF in px^2, 1 / sum(psf^2); NaN for untrusted cells.

    Of large maps, only about a thousand PSFs are computed.
    """
    areas = np.full(psf_map.untrusted.shape, np.nan)
    usable = ~psf_map.untrusted & np.isfinite(psf_map.values).all(axis=0)
    cells = np.argwhere(usable)
    cells = cells[:: max(1, -(-len(cells) // BLOCK_PSFS))]
    if len(cells):
        psfs = cell_psfs(psf_map, [tuple(cell) for cell in cells])
        areas[tuple(cells.T)] = 1 / (psfs.astype(np.float64) ** 2).sum(axis=(1, 2))
    return areas


def same_size(groups: list[np.ndarray]) -> list[np.ndarray]:
    """Pad groups of PSFs (n, s, s) to the largest s, as two maps may have different PSF models."""
    largest = max(psfs.shape[-1] for psfs in groups)
    margins = [(largest - psfs.shape[-1]) // 2 for psfs in groups]
    return [
        np.pad(psfs, [(0, 0), (margin, margin), (margin, margin)])
        for psfs, margin in zip(groups, margins, strict=True)
    ]


def visible_radius(psfs: np.ndarray, share: float = 0.99) -> int:
    """Half the side of the smallest central square with at least `share` of every PSF's energy."""
    middle = psfs.shape[-1] // 2
    for radius in range(1, middle):
        window = slice(middle - radius, middle + radius + 1)
        if (psfs[:, window, window].sum(axis=(1, 2)) >= share).all():
            return radius
    return middle
