"""Fields of PSFs for restoration tests: in cells, interpolated between nodes, and nearest to those of a model."""

from itertools import product

import numpy as np
import torch
from scipy.optimize import minimize

from isoplan.base.errors import UserError
from isoplan.optics.model import PsfModel
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.layout import at_cutoff

# Points along each parameter, by the number of parameters, of the table that `nearest_parameters` starts from.
FIT_POINTS = {1: 65, 2: 17, 3: 9}


def between(psfs: torch.Tensor, centres_px: np.ndarray):
    """PSFs that are interpolated linearly between centres.

    Parameters
    ----------
    psfs
        (n, n, s, s).
    centres_px
        (n,) centres in px from the edge.

    Returns
    -------
    psfs, centres_y, centres_x
        As for `SpaceVariantBlur`.
    """
    places = torch.from_numpy(np.asarray(centres_px, np.float64) - 0.5)
    return psfs.contiguous(), places, places


def in_cells(psfs: torch.Tensor, cell_px: int):
    """PSFs (n, n, s, s) with one in each cell of cell_px, without transitions; returns the same as `between`."""
    n = len(psfs)
    first = np.arange(n) * cell_px
    places = torch.from_numpy(np.stack([first, first + cell_px - 1], 1).ravel().astype(np.float64))
    own = torch.arange(n).repeat_interleave(2)
    return psfs[own][:, own].contiguous(), places, places


def psf_distance(psfs: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Relative distance |h - true h| / |true h|, |h|^2 being the sum of squares.

    psfs: (..., s, s). true: (..., t, t). Returns (...).
    """
    side = max(psfs.shape[-1], true.shape[-1])
    psfs, true = _widened(psfs, side), _widened(true, side)
    return (psfs - true).square().sum((-2, -1)).sqrt() / true.square().sum((-2, -1)).sqrt()


def _widened(psfs: torch.Tensor, side: int) -> torch.Tensor:
    return torch.nn.functional.pad(psfs, ((side - psfs.shape[-1]) // 2,) * 4)


def nearest_parameters(model: PsfModel, psfs: torch.Tensor) -> torch.Tensor:
    """Parameters (m, P) within the model's ranges whose PSFs are nearest to given ones, by least squares.

    The search starts from the nearest PSF of a table over the ranges, and continues by the Nelder-Mead method.
    psfs: (m, s, s).
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
    """The PSF model of a network's estimates, at the cut-off and the size of an entry of the config's `psfs`.

    Raises UserError if the network needs binned pixels for this cut-off.
    """
    cutoff = None if network_model.published else psf.get("cutoff")
    model, binning = at_cutoff(network_model, cutoff)
    if binning > 1:
        raise UserError(
            f"psfs {psf['name']}: at a cut-off of {psf['cutoff']:g} cycles/px the network needs {binning} x "
            f"{binning} binned pixels, which restoration tests do not support; raise the cutoff to "
            f"{network_model.cutoff_range[0]:g} or more"
        )
    return make_psf_model(model.spec | {"size_px": psf["size_px"]})
