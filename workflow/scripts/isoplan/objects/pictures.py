"""Real pictures as sharp objects: those in scikit-image's wheel, and those in a user's folder."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from isoplan.base.errors import UserError

# A picture always belongs to the same split: demo pictures never train a network. Drawings and blurred
# photographs (clock_motion.png) are left out.
SPLITS = {
    "demo": (
        "ihc.png",
        "cell.png",
        "retina.jpg",
        "hubble_deep_field.jpg",
        "coins.png",
        "moon.png",
    ),
    "test": ("camera.png", "gravel.png", "rocket.jpg", "page.png"),
    "validation": ("coffee.png", "text.png"),
    "train": (
        "astronaut.png",
        "brick.png",
        "grass.png",
        "chelsea.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
    ),
}
VERBS = {"test": "test", "validation": "validate", "train": "train"}
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
LUMINANCE = np.array([0.2125, 0.7154, 0.0721], np.float32)  # Rec. 709


def load_picture(name: str) -> np.ndarray:
    """A picture of scikit-image's wheel by its file name, as grey (h, w) float32 in [0, 1].

    Raises UserError if the installed scikit-image does not have it.
    """
    import skimage

    path = Path(skimage.__file__).parent / "data" / name
    if not path.is_file():
        raise UserError(
            f"scikit-image:{name}: the installed scikit-image has no such picture; "
            f"known are {', '.join(n for names in SPLITS.values() for n in names)}"
        )
    return read_grey(path)


def read_grey(path: str | Path) -> np.ndarray:
    """Luminance (h, w) float32 of a picture file.

    Integers are scaled by their type's maximum, floats to a peak of 1. Raises UserError if the file
    cannot be read as a picture.
    """
    from skimage.io import imread

    try:
        raw = np.asarray(imread(str(path)))
    except Exception as error:
        raise UserError(f"{path}: cannot be read as a picture ({error}); remove it") from error
    if raw.ndim == 3 and raw.shape[2] in (3, 4):
        raw, colour = raw[..., :3], True
    else:
        colour = False
    if raw.size == 0 or raw.ndim != (3 if colour else 2):
        raise UserError(f"{path}: shape {raw.shape} is not a picture (y, x) or (y, x, colour)")
    if raw.dtype.kind not in "buif":
        raise UserError(f"{path}: pixels of type {raw.dtype}; save integers or floats")
    if np.issubdtype(raw.dtype, np.integer):
        grey = raw.astype(np.float32) / np.iinfo(raw.dtype).max
    else:
        grey = raw.astype(np.float32)
        if not np.isfinite(grey).all():
            raise UserError(f"{path}: has NaN or infinite pixels; correct or remove it")
        grey = grey / max(float(grey.max()), 1e-12)
    return np.clip(grey @ LUMINANCE if colour else grey, 0, 1)


def reduce_by_area(picture: np.ndarray, factor: int) -> np.ndarray:
    """Means over factor x factor pixels, (h // factor, w // factor), which are sharper and less noisy.

    Examples
    --------
    >>> reduce_by_area(np.arange(16.0).reshape(4, 4), 2).tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    height, width = (n // factor * factor for n in picture.shape)
    blocks = picture[:height, :width].reshape(height // factor, factor, width // factor, factor)
    return blocks.mean((1, 3))


def split_of(name: str) -> str:
    """Split of a user's file, by the hash of its name: 80 % train, 10 % validation, 10 % test."""
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 10
    return {8: "validation", 9: "test"}.get(share, "train")


def bundled_names(spec: dict, split: str) -> tuple[str, ...]:
    """Names of scikit-image's pictures that an entry of `objects` takes from a split.

    Those that the entry names; of the demo, whose pictures train nothing, too if they are to be tested on. Raises
    UserError if none of them is of that split.

    Examples
    --------
    >>> bundled_names({"name": "histology", "pictures": ["ihc.png"]}, "test")
    ('ihc.png',)
    """
    named = spec.get("pictures")
    if named is None:
        return SPLITS[split]
    allowed = SPLITS[split] + (SPLITS["demo"] if split == "test" else ())
    chosen = tuple(name for name in named if name in allowed)
    if not chosen:
        raise UserError(
            f"objects {spec['name']}: none of its pictures ({', '.join(named)}) may be used to {VERBS[split]}; "
            f"these may: {', '.join(allowed)}"
        )
    return chosen


@lru_cache(maxsize=64)
def bundled(names: tuple[str, ...], reduce: int) -> tuple[np.ndarray, ...]:
    """scikit-image's pictures of these names, each reduced by area and scaled to a peak of about 1."""
    return tuple(_prepare(load_picture(name), reduce) for name in names)


@lru_cache(maxsize=64)
def folder_files(folder: str, split: str) -> tuple[str, ...]:
    """Sorted paths of the pictures of one split in a folder and its subfolders.

    Raises UserError if there are none.
    """
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder; objects of kind folder need one with pictures")
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(
            f"{folder}: has no pictures ({', '.join(sorted(SUFFIXES))}); add some, or leave out "
            "the kind folder"
        )
    chosen = tuple(str(p) for p in paths if split_of(p.name) == split)
    if not chosen:
        raise UserError(
            f"{folder}: none of its {len(paths)} pictures belongs to the {split} split "
            "(80/10/10 by the hash of the file name); add more"
        )
    return chosen


@lru_cache(maxsize=32)
def folder_picture(path: str, reduce: int) -> np.ndarray:
    """A user's picture, reduced by area and scaled to a peak of about 1."""
    return _prepare(read_grey(path), reduce)


def _prepare(picture: np.ndarray, reduce: int) -> np.ndarray:
    small = reduce_by_area(picture, reduce)
    return np.clip(small / max(float(np.quantile(small, 0.999)), 1e-6), 0, 1.2)


def cut(picture: np.ndarray, size: int, zoom: float, rng: np.random.Generator) -> np.ndarray:
    """A random window (size, size) of a picture, shrunk by `zoom` <= 1, in a random orientation.

    The picture is never enlarged, and it is shrunk no further than its size allows. A picture smaller
    than the window is extended by reflection. There are eight orientations, by rotation and mirroring.
    """
    shrink = min(1.0, max(zoom, size / min(picture.shape)))
    wide = round(size / shrink)
    padding = [(0, max(0, wide - n)) for n in picture.shape]
    if any(after for _, after in padding):
        picture = np.pad(picture, padding, mode="symmetric")
    y, x = (rng.integers(0, n - wide + 1) for n in picture.shape)
    window = _shrink(picture[y : y + wide, x : x + wide], size)
    window = np.rot90(window, rng.integers(4))
    return np.ascontiguousarray(window[:, ::-1] if rng.random() < 0.5 else window)


def _shrink(window: np.ndarray, size: int) -> np.ndarray:
    if len(window) == size:
        return window
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(window))[None, None]
    small = torch.nn.functional.interpolate(tensor, (size, size), mode="bilinear", antialias=True)
    return small[0, 0].numpy()
