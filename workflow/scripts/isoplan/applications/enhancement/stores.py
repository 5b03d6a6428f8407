"""An enhanced picture on disk: the picture, and beside it where counts speak against it, and where networks differ."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from isoplan.applications.enhancement.pictures import Known
from isoplan.applications.enhancement.whole import CORE_PX, DOUBTED
from isoplan.mosaic import ngff
from isoplan.mosaic.tiles import shards

SHOWN_PX = 256  # side of the crop that is looked at first
SUFFIX = ".ome.zarr"
DOUBTS, APART = "doubts", "apart"  # layers


class Shown(NamedTuple):
    """How a layer is told and shown: words, unit, and the values between which viewers show it at first."""

    title: str
    unit: str
    window: tuple[float, float]


SHOWN = {
    DOUBTS: Shown("what counts speak against", "standard deviations of the noise", (-10.0, 10.0)),
    APART: Shown("where networks differ", "standard deviations of a pixel's noise", (0.0, 1.0)),
}


class EnhancedStore:
    """The stores of one picture; a unit is a core of CORE_PX.

    Parameters
    ----------
    picture : Path
        OME-Zarr of the picture.
    layers : tuple of str
        What lies beside it: DOUBTS of `whole.doubts`, where the picture's camera is known; APART, of several networks.
    """

    def __init__(self, picture: Path, layers: tuple[str, ...], mode: str = "r"):
        self.layers = layers
        self.places = [picture, *(beside(picture, layer) for layer in layers)]
        self.arrays = [ngff.open_array(place, "0", mode) for place in self.places]
        self.cores = shards(self.arrays[0].shape, CORE_PX)

    @classmethod
    def create(cls, picture: Path, layers: tuple[str, ...], known: Known, attributes: dict) -> Self:
        """Empty stores, with all their metadata."""
        level, camera = known.level, known.camera and vars(known.camera)
        window = (level.mean - 2 * level.spread, level.mean + 6 * level.spread)
        told = {"": Shown("", "counts of the input", window)} | SHOWN
        for layer in ("", *layers):
            ngff.create_image(
                beside(picture, layer) if layer else picture,
                known.shape,
                dtype="float32",
                pixel_size_um=known.pixel_size_um,
                shard_px=CORE_PX,
                window=told[layer].window,
                attributes=attributes | {"unit": told[layer].unit, "camera": camera},
            )
        return cls(picture, layers, "r+")

    def write(self, unit: int, block: np.ndarray) -> None:
        """block: (1 + layers, h, w) float32, as `whole.core_of` has it."""
        for array, one in zip(self.arrays, block, strict=True):
            ngff.write_shards(array, self.cores[unit], one)

    def read(self, unit: int) -> np.ndarray:
        """What `write` wrote."""
        return np.stack([array[self.cores[unit]] for array in self.arrays])

    def finish(self) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Make the pyramids. Returns `doubted`, the share of measured pixels in doubt, and `apart`, the root mean
        square of APART, as far as they are known; and crops of the middle, by layer; "" is the picture."""
        for place in self.places:
            ngff.build_pyramid(place)
        named = dict(zip(("", *self.layers), self.arrays, strict=True))
        facts = {}
        if DOUBTS in named:
            facts["doubted"] = self._mean(named[DOUBTS], lambda one: np.abs(one) >= DOUBTED)
        if APART in named:
            facts["apart"] = self._mean(named[APART], np.square) ** 0.5
        crops = {name: np.asarray(one[middle(one.shape)]) for name, one in named.items()}
        return facts, crops

    def _mean(self, array, of: Callable[[np.ndarray], np.ndarray]) -> float:
        """Over measured pixels."""
        total = count = 0.0
        for core in self.cores:
            block = array[core]
            seen = block[np.isfinite(block)].astype(np.float64)
            total += float(of(seen).sum())
            count += seen.size
        return total / max(count, 1)


def layers_of(known: Known, networks: int) -> tuple[str, ...]:
    """What lies beside a picture of which so much is known, and that so many networks enhance."""
    return (DOUBTS,) * (known.camera is not None) + (APART,) * (networks > 1)


def beside(picture: Path, layer: str) -> Path:
    """Where a layer of a picture lies.

    Examples
    --------
    >>> beside(Path("new.ome.zarr"), "doubts").name
    'new-doubts.ome.zarr'
    """
    return picture.with_name(f"{picture.name.removesuffix(SUFFIX)}-{layer}{SUFFIX}")


def middle(shape: tuple[int, int], side: int = SHOWN_PX) -> tuple[slice, slice]:
    """The middle of a picture.

    Examples
    --------
    >>> middle((100, 1000), 200)
    (slice(0, 100, None), slice(400, 600, None))
    """
    begins = [max((n - side) // 2, 0) for n in shape]
    y, x = (slice(k, min(k + side, n)) for k, n in zip(begins, shape, strict=True))
    return y, x


def stored_units(path: str | Path) -> tuple[Callable[[int], np.ndarray], int]:
    """A function that reads a unit of an enhanced picture back, and the number of units.

    Raises UserError if a store is damaged.
    """
    picture = Path(path)
    layers = tuple(layer for layer in SHOWN if beside(picture, layer).exists())
    store = EnhancedStore(picture, layers)
    return store.read, len(store.cores)
