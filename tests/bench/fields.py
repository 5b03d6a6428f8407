"""PSFs of 127 px on a grid of 15 x 15 over a picture, whose optics change in one way or another."""

from pathlib import Path

import numpy as np
import torch
from isoplan.config.validation import load, validate
from isoplan.optics.psf import make_psf_model

PSF_PX = 127
FIELDS = ("tilted focus", "focus bowl", "turning astigmatism")


def psfs(field: str, grid: int = 15) -> torch.Tensor:
    """(grid, grid, 127, 127). Focus from .1 to .7 waves along x, or from the middle outwards; or an
    astigmatism that grows outwards and whose axis turns around the middle."""
    v, u = np.meshgrid(*(np.linspace(-1, 1, grid),) * 2, indexing="ij")
    if field == "turning astigmatism":
        values = [0.2 + 0 * u, 0.25 * np.hypot(u, v) / 2**0.5, np.arctan2(v, u) % np.pi]
    else:
        along = (u + 1) / 2 if field == "tilted focus" else (u**2 + v**2) / 2
        values = [0.1 + 0.6 * along]
    default = validate({})["psfs"]
    entry = {"name": "field", "model": f"zernike-{len(values)}", "size_px": PSF_PX}
    entry |= {"focus_waves": [0, 0.8], "cylinder_waves": [0, 0.3]}
    model = make_psf_model(validate({"psfs": [*default, entry]})["psfs"][-1])
    params = torch.tensor(np.stack(values, -1).reshape(-1, len(values)), dtype=torch.float32)
    found, _ = model.psf(params)
    return found.reshape(grid, grid, PSF_PX, PSF_PX)


def transforms(picture: torch.Tensor, size: int):
    """Four transforms of the padded picture, two there and two back: what blur and adjoint need."""
    spectrum = torch.fft.rfft2(picture, s=(size, size))
    for _ in range(2):
        torch.fft.rfft2(picture, s=(size, size))
        torch.fft.irfft2(spectrum, s=(size, size))


def demo() -> dict:
    """The demo's study, whose mosaic benchmarks take."""
    return load(Path(__file__).resolve().parents[2] / "config" / "studies" / "demo.yaml")
