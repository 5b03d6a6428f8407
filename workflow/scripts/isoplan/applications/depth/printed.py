"""Depth as published, from the maps of networks (thesis, eq. 3.1), and from the widths of Gaussians.

    z = a1 (4 a3 / pi - 1)

a1 is focus, and a3 the angle between astigmatism and that of the far side, from 0 to pi/2. The thesis prints 2 a3 / pi - 1 with a3
in (0, pi), which is 0 on one side of focus, as axes that differ by 90 degrees are the two sides.
"""

import math
from pathlib import Path

import numpy as np
import torch

from isoplan.networks import store
from isoplan.optics.defocus import Defocus
from isoplan.psf_map.estimate import estimate_cells
from isoplan.psf_map.layout import VALIDITY, at_cutoff

STRIDE_PX = 64
SURE = 0.5  # validity of a network from which a cell counts


def raw_depth(file: str | Path, counts: np.ndarray, optics: Defocus):
    """Depth of every window in units of its own.

    Parameters
    ----------
    file
        A network for zernike-3 or gaussian-2.
    counts
        (h, w).
    optics
        Their cut-off, and the axis on the near side.

    Returns
    -------
    raw, valid
        (ny, nx).
    rows, columns
        (ny,) and (nx,): the windows' centres in px.
    """
    network, model, _ = store.load(file)
    model, binning = at_cutoff(model, optics.cutoff)
    cells = estimate_cells(network, model, counts, STRIDE_PX, torch.device("cpu"), binning=binning)
    found = dict(zip((p.name for p in model.parameters), cells, strict=False))
    if "focus" in found:
        raw = printed(found["focus"], found["axis"], optics.axis_rad)
    else:
        raw = found["width_x"] - found["width_y"]
        raw = raw * math.copysign(1, math.cos(2 * optics.axis_rad))
    middle = (network.window_px * binning - 1) / 2
    rows, columns = (np.arange(n) * STRIDE_PX + middle for n in raw.shape)
    return raw, (cells[VALIDITY] >= SURE) & np.isfinite(raw), rows, columns


def printed(focus: np.ndarray, axis: np.ndarray, axis_rad: float) -> np.ndarray:
    """Eq. 3.1 with both sides of focus.

    axis_rad: axis of the astigmatism on the near side.

    Examples
    --------
    >>> printed(np.array([0.5, 0.5]), np.array([0.4, 0.4 + math.pi / 2]), 0.4).round(3).tolist()
    [0.5, -0.5]
    """
    apart = np.abs((axis - axis_rad + math.pi / 2) % math.pi - math.pi / 2)
    return focus * (1 - 4 * apart / math.pi)
