"""Small pictures from large mosaics: overviews from the pyramid, crops by window, data URIs."""

import base64
import io
import warnings
from pathlib import Path

import numpy as np
import zarr
from matplotlib import colormaps
from PIL import Image

from isoplan.mosaic.ngff import stored_scale
from isoplan.report.style import PSF_MAP

OVERVIEW_PX = 1024
# Larger mosaics without a pyramid are not read as a whole, so they have no overview.
WHOLE_LIMIT_PX = 64_000_000
# A file's tiles are decoded once for each band that they reach into.
BAND_PX = 4_000_000


class StorePicture:
    """A multiscale OME-Zarr picture; of leading axes (channel, slice), index 0 is used."""

    offset = 0.0

    def __init__(self, path: Path):
        self.group = zarr.open_group(path, mode="r")
        attributes = dict(self.group.attrs)
        scales = attributes.get("ome", attributes).get("multiscales")
        names = [level["path"] for level in scales[0]["datasets"]] if scales else ["0"]
        self.levels = [self.group[name] for name in names]
        self.shape = tuple(self.levels[0].shape[-2:])

    def crop(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """A window (h, w) at full resolution."""
        return _window(self.levels[0], slice(y0, y1), slice(x0, x1))

    def overview(self, limit_px: int = OVERVIEW_PX) -> np.ndarray | None:
        """The finest level of at most `limit_px`, or every n-th pixel of the coarsest; None if that is too large."""
        for level in self.levels:
            if max(level.shape[-2:]) <= limit_px:
                return _window(level, slice(None), slice(None))
        coarsest = self.levels[-1]
        if coarsest.shape[-2] * coarsest.shape[-1] > WHOLE_LIMIT_PX:
            return None
        step = -(-max(coarsest.shape[-2:]) // limit_px)
        return _window(coarsest, slice(None, None, step), slice(None, None, step))


class SourcePicture:
    """The user's own file (an open mosaic), read by window."""

    offset = 0.0

    def __init__(self, mosaic):
        self.mosaic = mosaic
        self.shape = tuple(mosaic.shape)

    def crop(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """A window (h, w)."""
        return np.asarray(self.mosaic.read(y0, y1, x0, x1), np.float32)

    def overview(self, limit_px: int = OVERVIEW_PX) -> np.ndarray | None:
        """Means of blocks, with a band of at most BAND_PX pixels in memory; None if the mosaic is too large."""
        height, width = self.shape
        if height * width > WHOLE_LIMIT_PX:
            return None
        step = max(1, -(-max(height, width) // limit_px))
        rows, columns = max(1, height // step), max(1, width // step)
        side = min(step, height), min(step, width)
        band = max(1, BAND_PX // (step * width))
        found = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a block that no tile covers stays NaN
            for first in range(0, rows, band):
                last = min(first + band, rows)
                pixels = self.crop(
                    first * step, first * step + (last - first) * side[0], 0, columns * side[1]
                )
                blocks = pixels.reshape(last - first, side[0], columns, side[1])
                found.append(np.nanmean(blocks, axis=(1, 3)))
        return np.concatenate(found)


def _window(level, rows: slice, columns: slice) -> np.ndarray:
    leading = (0,) * (level.ndim - 2)
    values = np.asarray(level[(*leading, rows, columns)], np.float32)
    return values * np.float32(stored_scale(level.attrs))


def open_pictures(folder: Path, mosaic: str, facts: dict, methods: list[str] | None = None) -> dict:
    """Open the pictures of a mosaic.

    Parameters
    ----------
    folder
        The study's folder.
    mosaic
        Name of the mosaic.
    facts
        Its facts.
    methods
        The study's methods; None takes all that are in the folder.

    Returns
    -------
    dict
        Pictures by method; "none" is the original. Pictures of the camera have its `offset` in counts; restored ones
        have none.
    """
    pictures = {}
    for path in sorted((folder / "restored" / mosaic).glob("*.ome.zarr")):
        method = path.name.removesuffix(".ome.zarr")
        if methods is None or method in methods:
            pictures[method] = StorePicture(path)
    simulated, source = folder / "simulated" / mosaic, str(facts.get("path") or "")
    if (simulated / "truth.ome.zarr").exists():
        pictures["truth"] = StorePicture(simulated / "truth.ome.zarr")
    if (simulated / "observed.ome.zarr").exists():
        pictures["none"] = StorePicture(simulated / "observed.ome.zarr")
    elif "none" not in pictures and (
        source.startswith("scikit-image:") or (source and Path(source).exists())
    ):
        from isoplan.mosaic.facts import Facts
        from isoplan.registration import open_registered

        pictures["none"] = SourcePicture(Facts(facts).open())
        registered = folder / "references" / f"{mosaic}.json"
        # A reference that the table no longer names may still be there.
        named = facts.get("reference") and registered.exists()
        reference = open_registered(registered, facts) if named else None
        if reference is not None:
            pictures["reference"] = SourcePicture(reference)
    else:
        return pictures
    offset = facts.get("offset")
    for name in ("none", "reference"):
        if name in pictures:
            pictures[name].offset = float(offset) if isinstance(offset, int | float) else 0.0
    return pictures


def levels_of(reference: np.ndarray) -> tuple[float, float]:
    """Black and white point: the 0.5th and the 99.7th percentile of the finite pixels."""
    finite = reference[np.isfinite(reference)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, [0.5, 99.7])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def to_grey(picture: np.ndarray, low: float, high: float) -> np.ndarray:
    """Convert to uint8, black at `low` and white at `high`; pixels that are not numbers are black."""
    scaled = (np.nan_to_num(picture, nan=low, posinf=high, neginf=low) - low) / (high - low)
    return (255 * scaled.clip(0, 1) + 0.5).astype(np.uint8)


def shrink(picture: np.ndarray, limit_px: int) -> np.ndarray:
    """Reduce a picture to at most `limit_px` a side, by means."""
    image = Image.fromarray(picture)
    image.thumbnail((limit_px, limit_px), Image.Resampling.BOX)
    return np.asarray(image)


def psf_colours(psf: np.ndarray) -> np.ndarray:
    """A PSF (h, w) as (h, w, 3) uint8 in magma, from 0 to its own peak."""
    peak = float(np.nanmax(psf)) or 1.0
    return (255 * colormaps[PSF_MAP](np.clip(psf / peak, 0, 1))[..., :3]).astype(np.uint8)


def encode(picture: np.ndarray, kind: str = "JPEG", quality: int = 88) -> bytes:
    """The bytes of a picture's file."""
    buffer = io.BytesIO()
    settings = {"quality": quality} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(picture).save(buffer, kind, **settings)
    return buffer.getvalue()


def data_uri(content: bytes, media_type: str) -> str:
    """A data URI with this content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
