"""Finds the ground of a fused mosaic: zeros where no tile was.

ashlar, MIST and Fiji write such zeros, and chunks of a store that were never written read as zeros.
They are treated as pixels that no tile covers: NaN.

Ground is the union of all 8 x 8 px squares of zeros, grown by 8 px along connected zeros. A camera
makes such squares too, if its dark level is clipped at 0 or cut off by a threshold. Three signs tell
the two apart. At the rim of clipped darkness, noise scatters single zeros, the light fades gradually,
and the outline is as irregular as the specimen. Beside ground the picture begins at once, along
straight lines. In doubt, the zeros are left alone.
"""

import numpy as np
from scipy import ndimage

from isoplan.mosaic.window import Picture

SIDE = 8
REACH = 2 * SIDE  # distance (px) up to which neighbours decide whether a pixel is ground
LEAST_PX = 256
MOST_LOOSE_ZEROS = 0.02  # zeros outside the ground, as a share of the pixels beside ground
LEAST_LIGHT_BESIDE = 0.5  # mean light beside the ground, as a share of that 5 px away
_AWAY_PX = 5
LEAST_STRAIGHT = 0.8  # straight share of the rim
_BENT = 0.03  # tolerance on the ground's half of a square centred on a straight rim


def ground_of(block: np.ndarray) -> np.ndarray:
    """Mask (h, w) of the ground in a block; outside the block, zeros are assumed.

    A pixel at least REACH px from an inner edge of the block gets the same answer as in the whole
    picture.
    """
    zero = np.pad(block == 0, REACH, constant_values=True)
    if not zero[REACH:-REACH, REACH:-REACH].any():
        return np.zeros(block.shape, bool)
    least = ndimage.minimum_filter(zero, SIDE, mode="nearest")
    # The maximum filter's window is mirrored, so that both filters together are an opening.
    squares = ndimage.maximum_filter(least, SIDE, mode="nearest", origin=-1)
    grown = ndimage.binary_dilation(squares & zero, np.ones((3, 3)), iterations=SIDE, mask=zero)
    return grown[REACH:-REACH, REACH:-REACH]


def share_of_ground(mosaic: Picture, block_px: int = 1024) -> float:
    """Share of a picture that is ground; 0 if its zeros come from the camera. Reads it once."""
    area = loose = straight = 0
    light, count = np.zeros(2), np.zeros(2)
    for y0, y1, x0, x1 in mosaic.windows(block_px):
        (top, bottom), (left, right) = (
            (max(start - REACH, 0), min(stop + REACH, length))
            for start, stop, length in ((y0, y1, mosaic.shape[0]), (x0, x1, mosaic.shape[1]))
        )
        block = mosaic.read(top, bottom, left, right)
        if np.nanmin(block, initial=0) < 0:
            return 0.0
        ground = ground_of(block)
        inner = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        area += int(ground[inner].sum())
        loose += int(((block == 0) & ~ground)[inner].sum())
        if not ground.any():
            continue
        near = [
            ndimage.maximum_filter(ground, 2 * away + 1) for away in (1, _AWAY_PX - 1, _AWAY_PX)
        ]
        rims = near[0] & ~ground, near[2] & ~near[1]
        straight += int(_straight(rims[0], ground)[inner].sum())
        for k, rim in enumerate(rims):
            values = block[inner][rim[inner] & np.isfinite(block[inner])]
            light[k] += values.sum(dtype=np.float64)
            count[k] += values.size
    if area < LEAST_PX or not count.all():
        return 0.0
    if loose > MOST_LOOSE_ZEROS * count[0] or straight < LEAST_STRAIGHT * count[0]:
        return 0.0
    beside, away = light / count
    return (
        area / (mosaic.shape[0] * mosaic.shape[1])
        if beside >= LEAST_LIGHT_BESIDE * away > 0
        else 0.0
    )


def _straight(rim: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Which pixels of a rim lie on a straight line.

    Such a pixel is part of a run of REACH px along a row or column, or ground fills half of the
    square that reaches REACH px around it.
    """
    side = 2 * REACH + 1
    half = ndimage.uniform_filter(ground.astype(np.float32), side, mode="nearest") - REACH / side
    lines = (ndimage.binary_opening(rim, np.ones(shape)) for shape in ((1, REACH), (REACH, 1)))
    return rim & np.logical_or.reduce([np.abs(half) < _BENT, *lines])


def without_ground(mosaic: Picture) -> Picture:
    """The picture, with its ground (if it has any) read as NaN and a note that says so."""
    share = 0.0 if mosaic.gaps else share_of_ground(mosaic)
    if not share:
        return mosaic
    found = Grounded(mosaic)
    found.notes.append(
        f"{100 * share:.2g} % of the picture is ground, zeros where no tile was: it is treated as not covered"
    )
    return found


class Grounded(Picture):
    """A picture whose ground no tile covers: it reads as NaN."""

    gaps = True

    def __init__(self, picture: Picture):
        self.picture = picture
        for name in (
            *("path", "shape", "dtype", "luminance", "slice", "slices", "stack"),
            *("chunk_px", "optics"),
        ):
            setattr(self, name, getattr(picture, name))
        self.files, self.channels, self.notes = picture.files, picture.channels, [*picture.notes]

    def _read(self, y0: int, y1: int, x0: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """A window and its ground."""
        self.check_window(y0, y1, x0, x1)
        top, left = max(y0 - REACH, 0), max(x0 - REACH, 0)
        bottom, right = min(y1 + REACH, self.shape[0]), min(x1 + REACH, self.shape[1])
        block = self.picture.read(top, bottom, left, right)
        inner = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        return block[inner], ground_of(block)[inner]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        block, ground = self._read(y0, y1, x0, x1)
        return np.where(ground, np.float32(np.nan), block)

    def covered(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray | None:
        _, ground = self._read(y0, y1, x0, x1)
        return ~ground if ground.any() else None

    def windows(self, block_px: int = 1024):
        return self.picture.windows(block_px)

    def close(self) -> None:
        self.picture.close()
