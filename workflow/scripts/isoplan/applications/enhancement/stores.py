"""An enhanced picture on disk: the picture, and beside it where its own counts speak against it."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np

from isoplan.applications.enhancement.pictures import Known
from isoplan.applications.enhancement.whole import CORE_PX, DOUBTED
from isoplan.mosaic import ngff
from isoplan.mosaic.tiles import shards

SHOWN_PX = 256  # side of the crop that is looked at first
SUFFIX = ".ome.zarr"
SHOWN_DOUBTS = (-10.0, 10.0)  # standard deviations that viewers show at first


class EnhancedStore:
    """The stores of one picture; a unit is a core of CORE_PX.

    Parameters
    ----------
    picture : Path
        OME-Zarr of the picture.
    doubts : Path or None
        Of `whole.doubts`; None where the picture's camera is not known.
    """

    def __init__(self, picture: Path, doubts: Path | None, mode: str = "r"):
        self.places = [picture] if doubts is None else [picture, doubts]
        self.arrays = [ngff.open_array(place, "0", mode) for place in self.places]
        self.cores = shards(self.arrays[0].shape, CORE_PX)

    @classmethod
    def create(cls, places: tuple[Path, Path | None], known: Known, attributes: dict) -> Self:
        """Empty stores, with all their metadata. places: of the picture and of its doubts, which want the camera."""
        level, camera = known.level, known.camera and vars(known.camera)
        shown = (level.mean - 2 * level.spread, level.mean + 6 * level.spread)
        told = (("counts of the input", shown), ("standard deviations of the noise", SHOWN_DOUBTS))
        for place, (unit, window) in zip(places if camera else places[:1], told, strict=False):
            ngff.create_image(
                place,
                known.shape,
                dtype="float32",
                pixel_size_um=known.pixel_size_um,
                shard_px=CORE_PX,
                window=window,
                attributes=attributes | {"unit": unit, "camera": camera},
            )
        return cls(places[0], places[1] if camera else None, "r+")

    def write(self, unit: int, block: np.ndarray) -> None:
        """block: (1 or 2, h, w) float32, the picture and its doubts."""
        for array, one in zip(self.arrays, block, strict=False):
            ngff.write_shards(array, self.cores[unit], one)

    def read(self, unit: int) -> np.ndarray:
        """What `write` wrote."""
        return np.stack([array[self.cores[unit]] for array in self.arrays])

    def finish(self) -> tuple[float | None, list[np.ndarray]]:
        """Make the pyramids. Returns the share of measured pixels in doubt, None where that is not known, and crops of the
        middle: the picture and its doubts."""
        for place in self.places:
            ngff.build_pyramid(place)
        crops = [np.asarray(array[middle(array.shape)]) for array in self.arrays]
        if len(self.arrays) == 1:
            return None, crops
        doubted = measured = 0
        for core in self.cores:
            doubt = self.arrays[1][core]
            doubted += int((np.abs(doubt) >= DOUBTED).sum())
            measured += int(np.isfinite(doubt).sum())
        return doubted / max(measured, 1), crops


def beside(picture: Path) -> Path:
    """Where the doubts of a picture lie.

    Examples
    --------
    >>> beside(Path("new.ome.zarr")).name
    'new-doubts.ome.zarr'
    """
    return picture.with_name(f"{picture.name.removesuffix(SUFFIX)}-doubts{SUFFIX}")


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
    doubts = beside(Path(path))
    store = EnhancedStore(Path(path), doubts if doubts.exists() else None)
    return store.read, len(store.cores)
