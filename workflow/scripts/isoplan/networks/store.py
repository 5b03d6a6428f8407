"""Networks by name, and their files: weights as safetensors with a card beside them as metadata."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from isoplan.base.errors import UserError
from isoplan.networks import outputs
from isoplan.networks.onepass import OnePass
from isoplan.networks.spectrum_fit import SpectrumFit
from isoplan.optics.psf import PsfModel, make_psf_model

UNTOLD = (
    "isoplan"  # the schema's default architecture, which says nothing where weights are taken over
)
# Keys of a PSF's entry in which a study and a network must agree, and the ranges that the models read,
# in which the study's must lie within the network's. A network finds the PSF whatever its window's size.
SAME = ("model", "form", "excitation_cutoff")
RANGES = {
    "gaussian-1": ("width_px",),
    "gaussian-2": ("width_px",),
    "zernike-1": ("cutoff_range", "focus_waves"),
    "zernike-2": ("cutoff_range", "cylinder_waves"),
    "zernike-3": ("cutoff_range", "focus_waves", "cylinder_waves"),
}


def build(spec: dict, window_px: int, model: PsfModel) -> torch.nn.Module:
    """Network of a config entry (`architecture`, `width`, `pretrained`) for a PSF model, without any
    file read; its channels: outputs.py.
    """
    if spec["architecture"] == "isoplan":
        return OnePass(window_px, model, spec["width"], fit=spec["fit"] == "spectrum")
    if spec["architecture"] == "spectrum-fit":
        return SpectrumFit(window_px, model)
    from isoplan.networks.windowed import Windowed

    return Windowed(
        window_px,
        outputs.count(model),
        spec["architecture"],
        pretrained=bool(spec.get("pretrained")),
        cutoff_range=model.cutoff_range,
    )


def save(path: str | Path, network: torch.nn.Module, card: dict) -> None:
    """Writes weights and card (architecture, PSF model, window, how it was trained) atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    part = path.with_name(f".{path.name}.part")
    # In one entry of the metadata, as safetensors writes several in any order.
    text = json.dumps(card | {"sha256": _digest(weights, card)})
    save_file(weights, part, metadata={"card": text})
    part.replace(path)


def _digest(weights: dict[str, torch.Tensor], card: dict) -> str:
    """SHA-256 of the card and of all weights by name."""
    found = hashlib.sha256(json.dumps(card).encode())
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


# No network of use is larger: a card that asks for more would take memory and time before it fails.
_LARGEST = {"window_px": 4096, "width": 4096, "size_px": 2049}


def _check_sizes(card: dict) -> None:
    asked = {"window_px": card["window_px"], "width": card["network"].get("width")}
    for key, value in (asked | {"size_px": card["psf"].get("size_px")}).items():
        if value is not None and not 0 < value <= _LARGEST[key]:
            raise ValueError(f"{key} {value:.4g}, from 1 to {_LARGEST[key]} there may be")


def load(path: str | Path, device="cpu") -> tuple[torch.nn.Module, PsfModel, dict]:
    """Network in evaluation mode, its PSF model and its card.

    Raises UserError where the file is missing, no safetensors, without a card, altered since it was
    written, of another shape than its card says or of one that no network has, and where a weight is
    not finite.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            card = json.loads((file.metadata() or {})["card"])
            told = card.pop("sha256", None)  # older files have none
            psf, spec, window = card["psf"], card["network"], card["window_px"]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such network; train it first or correct its path") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise UserError(
            f"{path}: carries no isoplan card; only networks saved by isoplan serve"
        ) from None
    if told and told != _digest(weights, card):
        raise UserError(
            f"{path}: is not what was written, a byte of it at least was altered; copy it again"
        )
    if bad := [name for name, values in weights.items() if not values.isfinite().all()]:
        raise UserError(f"{path}: holds weights that are not finite ({bad[0]}); train it again")
    try:
        _check_sizes(card)
        model = make_psf_model(psf)
        network = build(spec, window, model)
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise UserError(
            f"{path}: its card is none of this version of isoplan ({type(error).__name__}: {error})"
        ) from None
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{path}: the weights do not fit the card in it; the file was altered, or made by another "
            f"version of isoplan ({' '.join(str(error).split())[:200]})"
        ) from None
    return network.to(device).eval(), model, card


def card_of(path: str | Path) -> dict:
    """The card in a network's file, as it stands there: nothing is checked and no weight is read."""
    with safe_open(path, framework="pt", device="cpu") as file:
        return json.loads((file.metadata() or {})["card"])


def check_fits(path, card: dict, psf: dict, window_px: int, architecture: str = UNTOLD) -> None:
    """Refuses a network that does not serve the PSF (an entry of `psfs`) or the window of a study, or that is of
    another architecture than a study gives.

    Keys that the model does not read, such as a Gaussian's cutoff, may differ.
    """
    has = card["network"]["architecture"]
    if architecture not in (UNTOLD, has):
        raise UserError(
            f"{path}: is a network of the architecture {has}, the study asks for {architecture}; leave architecture out "
            "or name another file"
        )
    theirs = card["psf"]
    wrong = [key for key in SAME if theirs.get(key) != psf[key]]
    if not wrong and psf["form"] != "published":  # which has ranges of its own
        for key in RANGES[psf["model"]]:
            (low, high), (least, most) = _range(psf, key), _range(theirs, key)
            if low < least or high > most:
                wrong.append(key)
    if wrong:
        key = wrong[0]
        read = _range if key == "cutoff_range" else dict.get
        raise UserError(
            f"{path}: trained for PSF {key} {read(theirs, key)}, the study asks for {read(psf, key)}; "
            "name a fitting network or train one (weights: null)"
        )
    if card["window_px"] != window_px:
        raise UserError(
            f"{path}: trained with window_px {card['window_px']}, the study asks for {window_px}"
        )


def _range(psf: dict, key: str) -> list[float]:
    """Range of an entry of `psfs`; where cut-offs do not vary, that of the only one."""
    return psf.get(key) or [psf["cutoff"]] * 2
