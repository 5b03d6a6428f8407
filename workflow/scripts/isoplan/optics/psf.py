"""PSF models by name: workflow/schemas/psfs/ says which there are, and where their code lies."""

from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.config.schema import choices
from isoplan.optics.model import PsfModel


def make_psf_model(spec: dict) -> PsfModel:
    """PSF model of one entry of the config's `psfs` (all keys present that the model reads).

    Raises UserError where the model is unknown or its settings are impossible.
    """
    known = choices("psfs")
    if spec["model"] not in known:
        raise UserError(
            f"psfs {spec['name']}: unknown model {spec['model']}; known are {', '.join(known)}"
        )
    return load_named(known[spec["model"]]["code"])(spec)
