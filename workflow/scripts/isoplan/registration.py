"""A better picture of the same field, brought onto a mosaic: by a shift and one brightness scale.

An in-focus frame beside an out-of-focus one, a long exposure beside a short one: what a restoration of
the poorer frame can be judged by where nobody knows the truth. The two are compared in a few squares of
bounded size; whatever is read later is read by window.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

import numpy as np
import tifffile
from scipy import ndimage

from isoplan.base.errors import UserError, of_the_disk
from isoplan.base.ledger import write_atomically
from isoplan.mosaic.ground import Grounded, without_ground
from isoplan.mosaic.reader import open_mosaic
from isoplan.mosaic.window import Picture

SQUARE_PX = 512  # at most, and at most half the picture
SQUARES = 3  # along each axis
COARSE_PX = 2048  # the middle, where a large shift is looked for
COARSE_STEP = 4
# How alike two frames are is asked between these sizes: noise and unlike sharpness must not decide, nor
# that both are bright somewhere in the middle.
SMOOTH_PX, WIDE_PX = 2.0, 16.0
LEVEL_PX = 8.0  # far wider than what one frame is blurred more than the other
LEAST_CORRELATION = 0.5
LEAST_SHARE = 0.5  # of the squares that are to be alike
APART_PX = 2.0
# Beyond these a reference is told to be wrong. Of good pairs, real ones and made ones, a line leaves at most 1.2 times what a
# parabola leaves, and 1.33 where the picture is blurred by a Gaussian of 6 px; with a gamma of 0.7 it leaves 1.5 times as
# much or more, and 0.4 % of the contrast.
MOST_SATURATED, MOST_BENT, CURVE = 0.01, 0.002, 1.45
# Two exposures differ by their noise at least: what differs by less than this share of the picture's contrast is a copy.
COPY = 1e-3
SPLINE_PX = 12  # a cubic spline's memory: 0.27^12 is below single precision


@dataclass(frozen=True)
class Registration:
    """Pixel (y, x) of the mosaic shows what the reference shows at (y + shift[0], x + shift[1]).

    gain, offset: the reference's values times gain plus offset are the mosaic's, where both are smooth.
    correlation: of the two smoothed frames, median over the squares that agree. apart_px: how far the
    squares' own shifts lie from the common one, at most. squares: how many agree, of how many. saturated: share of
    the reference's pixels in them that are as bright as its brightest. bent: share of the picture's smoothed contrast
    that a curve explains and a line does not, 0 where the line does nearly as well.
    """

    shift: tuple[float, float]
    gain: float
    offset: float
    correlation: float
    apart_px: float
    squares: tuple[int, int]
    saturated: float = 0.0  # files of before have neither
    bent: float = 0.0

    @property
    def notes(self) -> list[str]:
        notes = []
        if self.apart_px > APART_PX:
            notes.append(
                f"the reference is turned, scaled or warped against the picture: shifts differ by up to "
                f"{self.apart_px:.1f} px over the field"
            )
        if self.saturated > MOST_SATURATED:
            notes.append(
                f"CAUTION: {100 * self.saturated:.2g} % of the reference is as bright as its brightest pixel: it is "
                "saturated or cut off there, and what it measures is wrong; take a shorter exposure"
            )
        if self.bent > MOST_BENT:
            notes.append(
                "CAUTION: the reference's brightness is no multiple of the picture's, as after a gamma or a cut: what it "
                "measures is wrong; take it as the camera gave it"
            )
        return notes


def register(picture: Picture, reference: Picture) -> Registration:
    """Finds shift and brightness of `reference` against `picture`, both of one pixel size.

    The shift is that of the highest cross-correlation (to 1/20 px), first of the middle, then of SQUARES
    x SQUARES squares of SQUARE_PX, of which the median counts. Frames of unlike sharpness correlate best
    unwhitened, so their phases are not equalised. Shifts of up to about a quarter of the smaller
    picture, at most 512 px, are found.

    Raises UserError where less than half of the squares are alike: another field, or contrast reversed; and
    where all of them show the picture itself.
    """
    shape = tuple(map(min, picture.shape, reference.shape))
    side = min(SQUARE_PX, min(shape) // 2)
    middle = _square(shape, tuple(length / 2 for length in shape), COARSE_PX)
    pair = [_coarse(_read(source, middle)) for source in (picture, reference)]
    first = tuple(round(COARSE_STEP * float(s)) for s in _shift(*pair, upsampled=1))
    found = []
    for j in range(SQUARES):
        for i in range(SQUARES):
            centre = [length * (k + 0.5) / SQUARES for length, k in zip(shape, (j, i), strict=True)]
            square = _square(shape, centre, side)
            own = _read(picture, square)
            near = _read(reference, _moved(square, first))
            rest = _shift(own, near, upsampled=20)
            total = tuple(a + float(b) for a, b in zip(first, rest, strict=True))
            matched = shifted(reference, square, total)
            found.append((total, _correlation(own, matched), own, matched, near))
    alike = [square for square in found if square[1] >= LEAST_CORRELATION]
    if len(alike) < LEAST_SHARE * len(found):
        raise UserError(
            f"the reference does not show the same field, or with its contrast turned over ({len(alike)} of "
            f"{len(found)} squares correlate by {LEAST_CORRELATION} or more): name another or leave it out"
        )
    shifts = np.array([square[0] for square in alike])
    shift = np.median(shifts, axis=0)
    pairs = [(own, matched) for _, _, own, matched, _ in alike]
    gain, offset, bent = _brightness(pairs)
    if not gain > 0:
        raise UserError(
            "the reference is dark where the picture is bright: its contrast is reversed"
        )
    if _same(pairs, gain, offset):
        raise UserError(
            "the reference is a copy of the picture, pixel by pixel: name another picture of the same field"
        )
    return Registration(
        (float(shift[0]), float(shift[1])),
        gain,
        offset,
        float(np.median([square[1] for square in alike])),
        float(np.abs(shifts - shift).max()),
        (len(alike), len(found)),
        _share_of_brightest([near for *_, near in alike]),
        bent,
    )


class Registered:
    """The reference as the mosaic would show it: its shape, its counts; NaN where there is nothing."""

    def __init__(self, reference: Picture, found: Registration, shape: tuple[int, int]):
        self.reference, self.found, self.shape = reference, found, tuple(shape)

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """The window [y0, y1) x [x0, x1): float32 (y1 - y0, x1 - x0)."""
        block = shifted(self.reference, (slice(y0, y1), slice(x0, x1)), self.found.shift)
        return block * np.float32(self.found.gain) + np.float32(self.found.offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.reference.close()


def open_reference(facts: dict, slice_index: int | str | None) -> Picture:
    """What a mosaic's line of the table names beside it; of channels the mosaic's own, of a stack the
    slice given, or the sharpest, which reads all of it."""
    chosen = {"slice": slice_index}
    with open_mosaic(facts["reference"], slice=0) as look:
        channels = look.channels
    if channels and facts.get("channel") is not None:
        chosen["channel"] = facts["channel"]
    return open_mosaic(facts["reference"], **chosen)


def write(path: str | Path, facts: dict) -> dict:
    """Registers a mosaic's reference and writes what was found as JSON, or under `refused` why not."""
    try:
        with (
            facts.open() as picture,
            open_reference(facts, facts.get("reference_slice")) as reference,
        ):
            if not reference.by_window:
                raise UserError(
                    f"{facts['reference']}: it cannot be read by window; make an OME-Zarr of it first "
                    "(`isoplan convert`)"
                )
            if any(map(is_restoration, reference.files)):
                raise UserError(
                    f"{facts['reference']}: is a restoration by isoplan, no independent picture; name one that was taken"
                )
            shown = without_ground(reference)
            found = register(picture, shown)
        result = asdict(found) | {"slice": reference.slice, "notes": found.notes}
        result["ground"] = isinstance(shown, Grounded)
    except UserError as error:
        if of_the_disk(error.__cause__):
            raise  # the file system: another attempt may read it
        result = {"refused": str(error), "notes": [f"no reference: {error}"]}
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    return result


def is_restoration(file: str | Path) -> bool:
    """Whether isoplan restored what a file or a store holds, by what it wrote into it. What it simulated or split says
    nothing of that kind."""
    try:
        if Path(file).is_dir():
            told = json.loads(Path(file, "zarr.json").read_text())["attributes"]["isoplan"]
        else:
            with tifffile.TiffFile(file) as tiff:
                told = json.loads(_description(tiff))
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,  # also tifffile's
        SyntaxError,  # of XML
    ):  # none of ours
        return False
    return isinstance(told, dict) and {"restoration", "psf"} <= told.keys()


def _description(tiff: tifffile.TiffFile) -> str:
    """What a TIFF says of itself; before OME-TIFF, ours said it in the tag."""
    if tiff.is_ome:
        return ElementTree.fromstring(tiff.ome_metadata).findtext(".//{*}Image/{*}Description", "")
    return tiff.pages.first.description


def open_registered(path: str | Path, facts: dict) -> Registered | None:
    """The reference of a mosaic as `write` registered it; None where that refused it."""
    result = json.loads(Path(path).read_text())
    if "refused" in result:
        return None
    del result["notes"]
    reference = open_reference(facts, result.pop("slice"))
    for name in ("shift", "squares"):
        result[name] = tuple(result[name])
    if result.pop("ground"):
        reference = Grounded(reference)
    shape = facts["height_px"], facts["width_px"]
    return Registered(reference, Registration(**result), shape)


def shifted(reference: Picture, window: tuple[slice, slice], shift) -> np.ndarray:
    """The reference at window + shift by a cubic spline, float32; NaN outside it and beside NaN."""
    whole = [int(np.floor(s)) for s in shift]
    rest = [s - w for s, w in zip(shift, whole, strict=True)]
    wide = tuple(
        slice(part.start + w - SPLINE_PX, part.stop + w + 1 + SPLINE_PX)
        for part, w in zip(window, whole, strict=True)
    )
    block = _read(reference, wide)
    if any(rest):
        known = np.isfinite(block)
        filled = np.where(known, block, np.median(block[known]) if known.any() else 0)
        moved = ndimage.shift(filled, [-r for r in rest], order=3, mode="nearest")
        lost = ndimage.shift((~known).astype(np.float32), [-r for r in rest], order=1) > 0
        block = np.where(lost, np.float32(np.nan), moved.astype(np.float32))
    return block[SPLINE_PX : -SPLINE_PX - 1, SPLINE_PX : -SPLINE_PX - 1]


def _read(source: Picture, window: tuple[slice, slice]) -> np.ndarray:
    """A window that may reach beyond the picture, where it is NaN."""
    out = np.full([part.stop - part.start for part in window], np.nan, np.float32)
    inner = [
        slice(max(part.start, 0), min(part.stop, length))
        for part, length in zip(window, source.shape, strict=True)
    ]
    if all(part.stop > part.start for part in inner):
        target = tuple(
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(inner, window, strict=True)
        )
        out[target] = source.read(inner[0].start, inner[0].stop, inner[1].start, inner[1].stop)
    return out


def _square(shape, centre, side: int) -> tuple[slice, slice]:
    """A square around a centre, moved and cut so that it lies within the shape."""
    starts = [
        int(np.clip(c - side / 2, 0, max(length - side, 0)))
        for c, length in zip(centre, shape, strict=True)
    ]
    return tuple(
        slice(start, min(start + side, length)) for start, length in zip(starts, shape, strict=True)
    )


def _moved(window, shift: tuple[int, int]):
    return tuple(slice(p.start + s, p.stop + s) for p, s in zip(window, shift, strict=True))


def _coarse(block: np.ndarray) -> np.ndarray:
    """Means of COARSE_STEP x COARSE_STEP px."""
    step = COARSE_STEP
    height, width = (max(length // step, 1) * step for length in block.shape)
    if min(block.shape) < step:
        return block
    return block[:height, :width].reshape(height // step, step, width // step, step).mean((1, 3))


def _shift(picture: np.ndarray, reference: np.ndarray, *, upsampled: int) -> np.ndarray:
    """(y, x) such that picture[p] shows what reference[p + shift] shows."""
    from skimage.registration import phase_cross_correlation  # heavy, and of use here alone

    pair = [_windowed(block) for block in (picture, reference)]
    if not all(block.any() for block in pair):
        return np.zeros(2)  # one is flat
    shift, _, _ = phase_cross_correlation(*pair, upsample_factor=upsampled, normalization=None)
    return -shift


def _windowed(block: np.ndarray) -> np.ndarray:
    """Without its mean, and fading towards its borders, which would correlate with themselves."""
    known = np.isfinite(block)
    level = block[known].mean() if known.any() else 0.0
    fading = np.sqrt(np.outer(*(np.hanning(length + 2)[1:-1] for length in block.shape)))
    return np.where(known, block - level, 0) * fading


def _correlation(picture: np.ndarray, reference: np.ndarray) -> float:
    """Pearson's, of what lies between SMOOTH_PX and WIDE_PX, where both are known; 0 where one is flat or
    little is known."""
    known = np.isfinite(picture) & np.isfinite(reference)
    if known.sum() < known.size / 4:
        return 0.0
    a, b = (
        (_smooth(block, known, SMOOTH_PX) - _smooth(block, known, WIDE_PX))[known]
        for block in (picture, reference)
    )
    if not (a.std() > 0 and b.std() > 0):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _smooth(block: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over the pixels that are known."""
    weight = ndimage.gaussian_filter(known.astype(np.float64), sigma)
    values = ndimage.gaussian_filter(np.where(known, block, 0).astype(np.float64), sigma)
    return values / np.maximum(weight, 1e-12)


def _same(pairs, gain: float, offset: float) -> bool:
    """Whether all squares show the picture itself, be it in other units."""
    for picture, reference in pairs:
        rest = picture - (gain * reference + offset)
        if not np.nanstd(rest) < COPY * np.nanstd(picture):
            return False
    return True


def _brightness(pairs) -> tuple[float, float, float]:
    """gain, offset of picture = gain reference + offset, least squares over smoothed squares; and `bent`."""
    ours, theirs = [], []
    for picture, reference in pairs:
        known = np.isfinite(picture) & np.isfinite(reference)
        ours.append(_smooth(picture, known, LEVEL_PX)[known])
        theirs.append(_smooth(reference, known, LEVEL_PX)[known])
    ours, theirs = np.concatenate(ours), np.concatenate(theirs)
    gain, offset = np.polyfit(theirs, ours, 1)
    scaled = (theirs - theirs.mean()) / (theirs.std() or 1)
    line, curve = (
        np.square(ours - np.polyval(np.polyfit(scaled, ours, degree), scaled)).mean()
        for degree in (1, 2)
    )
    bent = (line - curve) / ours.var() if line > CURVE * curve else 0.0
    return float(gain), float(offset), float(bent)


def _share_of_brightest(blocks: list[np.ndarray]) -> float:
    """Share of the known pixels that hold the greatest number among them."""
    known = np.concatenate([block[np.isfinite(block)] for block in blocks])
    return float((known == known.max()).mean())
