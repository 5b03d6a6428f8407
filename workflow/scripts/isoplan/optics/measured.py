"""PSFs without parameters: a measured one, from the picture of a bead, and a single pixel."""

from pathlib import Path

import numpy as np
import torch

from isoplan.base.errors import UserError
from isoplan.optics.model import PsfModel


class Measured(PsfModel):
    """A measured PSF from `spec["file"]`: a TIFF or .npy of one bead (y, x) at the mosaic's pixel size.

    The median of the border is subtracted as background, and negative values are set to 0. The crop is
    centred on the pixel nearest to the centroid; it is never resampled.
    """

    parameters = ()

    def __init__(self, spec: dict):
        super().__init__(spec)
        if not spec["file"]:
            raise UserError(f"psfs {spec['name']}: the model measured needs the key file")
        crop, self.lost = centred_psf(read_bead(spec["file"]), self.size_px, spec["file"])
        self.crop = torch.from_numpy(crop)

    def _crop(self, params, cutoff) -> tuple[torch.Tensor, torch.Tensor]:
        crop = self.crop.to(params.device).expand(len(params), -1, -1)
        return crop, torch.full((len(params),), self.lost, device=params.device)


class Pixel(PsfModel):
    """A single pixel, which does not blur; restoration with it only removes noise."""

    parameters = ()

    def _crop(self, params, cutoff) -> tuple[torch.Tensor, torch.Tensor]:
        crop = params.new_zeros(len(params), self.size_px, self.size_px)
        crop[:, self.size_px // 2, self.size_px // 2] = 1
        return crop, params.new_zeros(len(params))


def read_bead(path: str | Path) -> np.ndarray:
    """Read the picture (y, x) float32 of a bead. Raises UserError if the file has none."""
    import tifffile

    try:
        bead = np.load(path) if Path(path).suffix == ".npy" else tifffile.imread(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; `file` names the picture of a bead") from error
    except Exception as error:
        raise UserError(f"{path}: cannot be read as TIFF or .npy ({error})") from error
    bead = np.squeeze(bead)
    if bead.ndim != 2 or min(bead.shape) < 3:
        raise UserError(f"{path}: shape {bead.shape}; a measured PSF is one grey plane (y, x)")
    if bead.dtype.kind not in "buif":
        raise UserError(f"{path}: pixels of type {bead.dtype}; save integers or floats")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite
        bead = bead.astype(np.float32)
    if not np.isfinite(bead).all():
        raise UserError(f"{path}: has NaN or infinite pixels; correct them")
    return bead


def centred_psf(bead: np.ndarray, size_px: int, path="bead") -> tuple[np.ndarray, float]:
    """Crop (size_px, size_px) around a bead's centroid, and the share of its energy outside the crop."""
    border = np.concatenate([bead[0], bead[-1], bead[1:-1, 0], bead[1:-1, -1]])
    light = np.clip(bead - np.median(border), 0, None)
    total = float(light.sum())
    if total <= 0:
        raise UserError(
            f"{path}: nothing is brighter than its border; is this the picture of a bead?"
        )
    # Noise far from the bead would shift the centroid, so only pixels above half of the peak count.
    core = np.where(light >= light.max() / 2, light, 0)
    y, x = (round(float((core * index).sum() / core.sum())) for index in np.indices(light.shape))
    half = size_px // 2
    around = np.pad(light, half)[y : y + size_px, x : x + size_px]
    return around, max(0.0, 1 - float(around.sum()) / total)
