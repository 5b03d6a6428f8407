"""Makes PSF models by name; workflow/schemas/psfs/ lists them with the places of their code."""

from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.config.schema import choices
from isoplan.optics.model import PsfModel


def make_psf_model(spec: dict) -> PsfModel:
    """Make the PSF model of an entry of the config's `psfs`, with all keys that the model reads.

    Raises UserError if the model is unknown or its settings are impossible.
    """
    known = choices("psfs")
    if spec["model"] not in known:
        raise UserError(
            f"psfs {spec['name']}: unknown model {spec['model']}; known are {', '.join(known)}"
        )
    return load_named(known[spec["model"]]["code"])(spec)
