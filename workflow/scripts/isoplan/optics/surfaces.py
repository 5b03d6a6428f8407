"""Surfaces of known height."""

import math

import numpy as np
import torch

from isoplan.base.seeds import numpy_rng

ROUGH_SHARE = 0.25  # of the field: the shortest waves of a rough surface


def surface(
    spec: dict,
    side: int,
    pixel_size_um: float,
    rng: np.random.Generator,
    towards_deg: float | None = None,
) -> torch.Tensor:
    """Heights (side, side) in um, whose highest and lowest are as far from 0.

    Parameters
    ----------
    spec
        `surface`, and `tilt_deg` of a plane or `height_um` of others.
    side, pixel_size_um
        Of the picture.
    rng
        Draws directions and waves.
    towards_deg
        Direction of a plane or step, from x towards growing y; drawn if not given.

    Examples
    --------
    >>> spec = {"surface": "plane", "tilt_deg": 45.0}
    >>> heights = surface(spec, 64, 0.5, np.random.default_rng(0))
    >>> bool(heights.max() == -heights.min()), bool(31 < heights.max() - heights.min() < 46)
    (True, True)
    """
    place = torch.arange(side) - (side - 1) / 2
    y, x = place[:, None] * pixel_size_um, place[None] * pixel_size_um
    turn = rng.uniform(0, 2 * math.pi) if towards_deg is None else math.radians(towards_deg)
    along = math.cos(turn) * x + math.sin(turn) * y
    if spec["surface"] == "plane":
        return _centred(along * math.tan(math.radians(spec["tilt_deg"])))
    half = side * pixel_size_um / 2
    if spec["surface"] == "sphere":
        middle = rng.uniform(-0.3, 0.3, 2) * half
        found = -((y - middle[0]) ** 2 + (x - middle[1]) ** 2)
    elif spec["surface"] == "step":
        found = (along > rng.uniform(-0.3, 0.3) * half).float()
    else:
        waves = torch.from_numpy(rng.standard_normal((side, side)).astype(np.float32))
        fy, fx = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
        low = torch.exp(-(fy**2 + fx**2) * (ROUGH_SHARE * side) ** 2)
        found = torch.fft.irfft2(torch.fft.rfft2(waves) * low, s=(side, side))
    found = _centred(found)
    return found * (spec["height_um"] / float(found.max() - found.min()))


def drawn(spec: dict, side: int, pixel_size_um: float, seed: int, stream: str, number: int):
    """The surface of a numbered picture of a stream."""
    return surface(spec, side, pixel_size_um, numpy_rng(seed, f"{stream}/surface", number))


def _centred(heights: torch.Tensor) -> torch.Tensor:
    return heights - (heights.max() + heights.min()) / 2
