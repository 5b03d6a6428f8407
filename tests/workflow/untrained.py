"""A network that was never trained, for tests where it matters only that it gives numbers."""

from pathlib import Path

import torch
from isoplan.config.validation import validate
from isoplan.networks import store
from isoplan.optics.psf import make_psf_model

NOTHING = {"simulations": [], "tests": [], "mosaics": None}


def write_network(path: Path, *, width_px=(1.5, 5)) -> None:
    """Writes it as a file, for PSFs of two widths in that range."""
    psf = {"model": "gaussian-2", "size_px": 15, "width_px": list(width_px), "name": "gaussian-2"}
    study = validate(
        {"psfs": [psf], "networks": [{"name": "ready", "width": 8, "fit": "none"}]} | NOTHING
    )
    network = study["networks"][0]
    torch.manual_seed(0)
    card = {"psf": study["psfs"][0], "network": network, "window_px": 96, "fingerprint": "ready"}
    made = store.build(network, 96, make_psf_model(study["psfs"][0])).eval()
    with torch.no_grad():
        made.head[-1].bias[-3:] = -3  # neither invalid nor an alarm nor another blur
    store.save(path, made, card)
