"""The registry of PSF models."""

from isoplan.base.errors import UserError
from isoplan.optics.gaussian import Gaussian
from isoplan.optics.measured import Measured, Pixel
from isoplan.optics.model import Parameter, PsfModel
from isoplan.optics.zernike import Zernike

__all__ = ["MODELS", "Parameter", "PsfModel", "make_psf_model"]

MODELS = {
    "gaussian-1": Gaussian,
    "gaussian-2": Gaussian,
    "zernike-1": Zernike,
    "zernike-2": Zernike,
    "zernike-3": Zernike,
    "measured": Measured,
    "pixel": Pixel,
}


def make_psf_model(spec: dict) -> PsfModel:
    """PSF model of one entry of the config's `psfs` (all keys present, defaults filled).

    Raises UserError where the model is unknown or its settings are impossible.
    """
    if spec["model"] not in MODELS:
        raise UserError(
            f"psfs {spec['name']}: unknown model {spec['model']}; known are {', '.join(MODELS)}"
        )
    return MODELS[spec["model"]](spec)
