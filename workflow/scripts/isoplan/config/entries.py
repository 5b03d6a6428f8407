"""What a checked study file says: its entries by name, and what they stand for."""

import os
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.config.schema import ROOT

MODELS = ROOT / "resources" / "models"
PARAMETERS = {
    "gaussian-1": ("width",),
    "gaussian-2": ("width_y", "width_x"),
    "zernike-1": ("focus",),
    "zernike-2": ("cylinder", "axis"),
    "zernike-3": ("focus", "cylinder", "axis"),
    "measured": (),
}
# The PSF that blurs nothing, as an entry of `psfs`; the method `denoised` restores with it.
ONE_PIXEL = {"name": "pixel", "model": "pixel", "size_px": 3, "form": "isoplan"}
# Of a restoration, what can be chosen for each mosaic and method.
CHOSEN = ("iterations", "tv_weight", "psf_scale", "psf_shape", "resolution_px")


def entry(config: dict, section: str, name: str, key: str = "name") -> dict:
    """The entry of that name in one of a checked config's lists."""
    return next(item for item in config[section] if item[key] == name)


def released(psf_model: str) -> Path:
    """Where the released network of a PSF model lies. Raises UserError where none is released."""
    file = MODELS / f"{psf_model}.safetensors"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in MODELS.glob("*.safetensors")))
        raise UserError(
            f"no network is released for {psf_model}; released: {known or 'none at all'}"
        )
    return file


def weights_file(config: dict, network: dict) -> str | None:
    """File of a network's weights, from the working directory; None where it is to be trained."""
    if network["weights"] != "released":
        return network["weights"]
    return os.path.relpath(released(entry(config, "psfs", network["psf"])["model"]))


def left_open(restoration: dict) -> list[str]:
    """What of CHOSEN is to be chosen from the data (`isoplan.restoration.choosing`)."""
    given = restoration["psf_scale"] != "auto"  # PSFs of another kind come with it alone
    return [k for k in CHOSEN if restoration[k] == "auto" and not (k == "psf_shape" and given)]


def recipe_of(config: dict, item: dict) -> dict:
    """What the samples of an entry of `networks` or `test_sets` are made of."""
    return {
        "psf": entry(config, "psfs", item["psf"]),
        "objects": entry(config, "objects", item["objects"]),
        "camera": entry(config, "cameras", item["camera"]),
        "window_px": config["map"]["window_px"],
        "black_share": item.get("black_share", 0.0),
        "processed_share": item.get("processed_share", 0.0),
        "other_blur_share": item.get("other_blur_share", 0.0),
    }
