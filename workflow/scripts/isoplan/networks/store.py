"""Networks by name, and their files: weights as safetensors with a card beside them as metadata."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from isoplan.base.errors import UserError
from isoplan.networks.onepass import OnePass
from isoplan.optics.psf import PsfModel, make_psf_model

# Keys of a PSF's entry that its model reads, beside those that every model does.
READ_BY = {
    "gaussian": ("width_px",),
    "zernike": ("cutoff", "excitation_cutoff", "focus_waves", "cylinder_waves"),
    "measured": ("file",),
}


def build(spec: dict, window_px: int, outputs: int) -> torch.nn.Module:
    """Network of a config entry (`architecture`, `width`) with `outputs` channels.

    outputs: the PSF model's targets plus one validity logit.
    """
    if spec["architecture"] == "isoplan":
        return OnePass(window_px, outputs, spec["width"])
    from isoplan.networks.windowed import Windowed  # timm takes a second to import

    return Windowed(window_px, outputs, spec["architecture"])


def save(path: str | Path, network: torch.nn.Module, card: dict) -> None:
    """Writes weights and card (architecture, PSF model, window, how it was trained) atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    part = path.with_name(f".{path.name}.part")
    save_file(weights, part, metadata={"card": json.dumps(card)})
    part.replace(path)


def load(path: str | Path, device="cpu") -> tuple[torch.nn.Module, PsfModel, dict]:
    """Network in evaluation mode, its PSF model and its card.

    Raises UserError where the file is missing, no safetensors, without a card, or of another shape
    than its card says.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            card = json.loads((file.metadata() or {})["card"])
            psf, spec, window = card["psf"], card["network"], card["window_px"]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such network; train it first or correct its path") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path}: carries no isoplan card; only networks saved by isoplan serve"
        ) from None
    model = make_psf_model(psf)
    network = build(spec, window, model.n_targets + 1)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path}: the weights do not fit the card in it: {error}") from None
    return network.to(device).eval(), model, card


def check_fits(path, card: dict, psf: dict, window_px: int) -> None:
    """Refuses a network whose PSF model or window is not the one that the study asks for.

    Keys that the model does not read, such as a Gaussian's cutoff, may differ.
    """
    for key in ("model", "form", "size_px", *READ_BY[psf["model"].split("-")[0]]):
        if card["psf"].get(key) != psf[key]:
            raise UserError(
                f"{path}: trained for PSF {key} {card['psf'].get(key)}, the study asks for "
                f"{psf[key]}; name a fitting network or train one (weights: null)"
            )
    if card["window_px"] != window_px:
        raise UserError(
            f"{path}: trained with window_px {card['window_px']}, the study asks for {window_px}"
        )
