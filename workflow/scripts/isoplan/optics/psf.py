"""Makes PSF models by name; workflow/schemas/psfs/ lists them with the places of their code."""

from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.config.schema import choices
from isoplan.optics.model import PsfModel


def make_psf_model(spec: dict) -> PsfModel:
    """Make a PSF model.

    Parameters
    ----------
    spec
        An entry of the config's `psfs`, with all keys that the model reads.

    Returns
    -------
    PsfModel
        The model.

    Raises
    ------
    UserError
        If the model is unknown, or its settings are impossible.

    Examples
    --------
    >>> import torch
    >>> model = make_psf_model({
    ...     "name": "mine", "model": "gaussian-2", "form": "isoplan", "size_px": 31, "width_px": [0, 10],
    ... })
    >>> [parameter.span for parameter in model.parameters]
    ['0 to 10 px', '0 to 10 px']
    >>> psfs, lost = model.psf(torch.tensor([[3.0, 5.0]]))
    >>> psfs.shape, round(float(psfs.sum()), 3)
    (torch.Size([1, 31, 31]), 1.0)
    """
    known = choices("psfs")
    if spec["model"] not in known:
        raise UserError(
            f"psfs {spec['name']}: unknown model {spec['model']}; known are {', '.join(known)}"
        )
    return load_named(known[spec["model"]]["code"])(spec)
