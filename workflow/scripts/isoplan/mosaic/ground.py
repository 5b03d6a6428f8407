"""Ground of a fused mosaic: zeros where no tile was, as ashlar, MIST and Fiji write them, and as chunks of a
store read that were never written. They count as pixels that no tile covers: NaN.

Ground is what squares of 8 px that hold zeros alone cover, and what zeros join to them within 8 px. A camera makes such
squares too, where the dark is clipped at 0 or cut off by a threshold. Then single zeros lie about the rim, by noise,
or the light fades into the dark, or the rim is as crooked as what is in the picture. Beside ground the picture
begins at once, along straight lines. Where in doubt nothing is touched.
"""

import numpy as np
from scipy import ndimage

from isoplan.mosaic.window import Picture

SIDE = 8
REACH = 2 * SIDE  # how far a pixel's neighbours decide whether it is ground
LEAST_PX = 256
LOOSE = 0.02  # zeros that are no ground, as a share of the pixels beside ground
FADING = 0.5  # the least share of the light 5 px off the ground that is there beside it
_AWAY_PX = 5
STRAIGHT = 0.8  # the least share of the rim that is straight
_BENT = 0.03  # share of a square on the rim that may be missing from its half that is ground


def ground_of(block: np.ndarray) -> np.ndarray:
    """Which pixels (h, w) are ground; what lies beyond the block counts as zeros.

    A pixel's answer is that of the whole picture where REACH px around it are in the block, or end with
    the picture.
    """
    zero = np.pad(block == 0, REACH, constant_values=True)
    if not zero[REACH:-REACH, REACH:-REACH].any():
        return np.zeros(block.shape, bool)
    least = ndimage.minimum_filter(zero, SIDE, mode="nearest")
    # The maximum's window is mirrored, so that both together are an opening.
    squares = ndimage.maximum_filter(least, SIDE, mode="nearest", origin=-1)
    grown = ndimage.binary_dilation(squares & zero, np.ones((3, 3)), iterations=SIDE, mask=zero)
    return grown[REACH:-REACH, REACH:-REACH]


def share_of_ground(mosaic: Picture, block_px: int = 1024) -> float:
    """Share of a picture that is ground; 0 where its zeros are the camera's. One pass over it."""
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
    if loose > LOOSE * count[0] or straight < STRAIGHT * count[0]:
        return 0.0
    beside, away = light / count
    return area / (mosaic.shape[0] * mosaic.shape[1]) if beside >= FADING * away > 0 else 0.0


def _straight(rim: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Which pixels of a rim lie on a line: along rows or columns for REACH px, or where ground is half of the square
    of REACH px around them."""
    side = 2 * REACH + 1
    half = ndimage.uniform_filter(ground.astype(np.float32), side, mode="nearest") - REACH / side
    lines = (ndimage.binary_opening(rim, np.ones(shape)) for shape in ((1, REACH), (REACH, 1)))
    return rim & np.logical_or.reduce([np.abs(half) < _BENT, *lines])


def without_ground(mosaic: Picture) -> Picture:
    """The picture itself, or where it has ground the same with nothing there, which its notes tell."""
    share = 0.0 if mosaic.gaps else share_of_ground(mosaic)
    if not share:
        return mosaic
    found = Grounded(mosaic)
    found.notes.append(
        f"{100 * share:.2g} % of the picture is ground, zeros where no tile was: it counts as not covered"
    )
    return found


class Grounded(Picture):
    """A picture whose ground is covered by nothing: read as NaN."""

    gaps = True

    def __init__(self, picture: Picture):
        self.picture = picture
        for name in ("path", "shape", "dtype", "luminance", "slice", "chunk_px", "optics"):
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
