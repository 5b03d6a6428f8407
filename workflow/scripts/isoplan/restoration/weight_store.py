"""What is known of learnt TV weights without their network, and the map of them in a restored picture's store.

Planning uses it too, so this must not import torch.
"""

import os
from pathlib import Path

import numpy as np

from isoplan.base.cards import read_card
from isoplan.base.errors import UserError
from isoplan.config.entries import weight_network_file
from isoplan.mosaic import ngff, tiles

GROUP = "tv_weight"  # of the map in a restored picture's store
CELL_PX = 8  # side of its cells, which hold geometric means
CHANNELS = [{"name": "tv_weight", "unit": "", "low": 0, "high": 0.1}]


def told_by(settings: dict) -> dict:
    """Where learnt weights come from: weights_file and weights_sha256.

    Also halo_px and step_px: how far around a pixel the picture counts for its weight, and windows agree where they begin at
    multiples of the latter. settings: the config's `restoration`. Raises UserError if the file is no such network's.
    """
    file = weight_network_file(settings)
    try:
        card = read_card(file)
        found = {key: int(card[key]) for key in ("halo_px", "step_px")}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is no network of weights; train one (weight_networks)") from None
    told = {"weights_file": os.path.relpath(file), "weights_sha256": card.get("sha256")}
    return told | found


def cells_of(weights: np.ndarray) -> np.ndarray:
    """Geometric means (1, ny, nx) of a core's weights (h, w) in cells of CELL_PX; the last ones may be incomplete.

    Examples
    --------
    >>> cells_of(np.full((16, 20), 0.25, np.float32)).tolist()
    [[[0.25, 0.25, 0.25], [0.25, 0.25, 0.25]]]
    """
    logs = np.log(weights)
    for axis in (0, 1):
        starts = np.arange(0, logs.shape[axis], CELL_PX)
        counts = np.diff([*starts, logs.shape[axis]])
        sums = np.add.reduceat(logs, starts, axis=axis)
        logs = sums / (counts[:, None] if axis == 0 else counts)
    return np.exp(logs)[None].astype(np.float32)


def create_weights(path: str | Path, settings: dict, facts: dict, attributes: dict) -> None:
    """Create the empty map of weights in the store of a restored picture; parameters as of `trust.create_trust`."""
    shape = facts["height_px"], facts["width_px"]
    ngff.create_map(
        Path(path) / GROUP,
        CHANNELS,
        [tiles.cell_grid(length, CELL_PX) for length in shape],
        stride_px=CELL_PX,
        pixel_size_um=facts["pixel_size_um"],
        shard_cells=settings["core_px"] // CELL_PX,
        names=["0"],
        attributes=attributes,
    )
