"""Networks by name, and their files: weights as safetensors with a card beside them as metadata.

A card names the task that its network is for and tells how to build it. `load` is for those of PSF regression, `read`
and `fill` for any.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.config.schema import choices, families
from isoplan.optics.model import PsfModel
from isoplan.optics.psf import make_psf_model

PSF_REGRESSION = "psf-regression"  # the task, of cards that name none too
UNTOLD = (
    "isoplan"  # the schema's default architecture, which says nothing where weights are taken over
)


def build(spec: dict, window_px: int, model: PsfModel) -> torch.nn.Module:
    """Network of a config entry (`architecture` and the keys that it reads) for a PSF model, without any file read;
    its channels: outputs.py.
    """
    return load_named(choices("networks")[spec["architecture"]]["code"]).of(spec, window_px, model)


def save(path: str | Path, network: torch.nn.Module, card: dict) -> None:
    """Writes weights and card (task, how to build the network, how it was trained) atomically."""
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


def read(path: str | Path, task: str | None = None) -> tuple[dict, dict[str, torch.Tensor]]:
    """Card and weights of a network's file.

    task: the one that the network has to be for; any where it is None. Raises UserError where the file is missing, no
    safetensors, without a card, of another task or altered since it was written, and where a weight is not finite.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            card = json.loads((file.metadata() or {})["card"])
            told = card.pop("sha256", None)  # older files have none
            given = card.get("task", PSF_REGRESSION if "psf" in card else None)
            if not given or "network" not in card:
                raise KeyError("task")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such network; train it first or correct its path") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise UserError(
            f"{path}: carries no isoplan card; only networks saved by isoplan can be used"
        ) from None
    if told and told != _digest(weights, card):
        raise UserError(
            f"{path}: is not what was written, a byte of it at least was altered; copy it again"
        )
    if task not in (None, given):
        raise UserError(f"{path}: is a network for {given}, and not one for {task}")
    if bad := [name for name, values in weights.items() if not values.isfinite().all()]:
        raise UserError(f"{path}: holds weights that are not finite ({bad[0]}); train it again")
    return card, weights


def fill(
    path: str | Path,
    card: dict,
    weights: dict[str, torch.Tensor],
    build: Callable[[dict], torch.nn.Module],
) -> torch.nn.Module:
    """Network in evaluation mode, made by `build` of the card and filled with the weights.

    Raises UserError, which names the path, where the card does not tell of a network that can be built, or the weights
    do not fit it.
    """
    try:
        network = build(card)
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise UserError(
            f"{path}: its card is not of this version of isoplan ({type(error).__name__}: {error})"
        ) from None
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{path}: the weights do not fit the card in it; the file was altered, or made by another "
            f"version of isoplan ({' '.join(str(error).split())[:200]})"
        ) from None
    return network.eval()


def load(path: str | Path, device="cpu") -> tuple[torch.nn.Module, PsfModel, dict]:
    """Network for PSF regression in evaluation mode, its PSF model and its card.

    Raises UserError as `read` and `fill` do.
    """
    card, weights = read(path, PSF_REGRESSION)
    network = fill(path, card, weights, _built)
    return network.to(device), make_psf_model(card["psf"]), card


def _built(card: dict) -> torch.nn.Module:
    _check_sizes(card)
    return build(card["network"], card["window_px"], make_psf_model(card["psf"]))


def check_fits(path, card: dict, psf: dict, window_px: int, architecture: str = UNTOLD) -> None:
    """Refuses a network that does not fit the PSF (an entry of `psfs`) or the window of a study, or that is of
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
    if wrong := _differs(psf, theirs):
        read = _range if wrong == "cutoff_range" else dict.get
        raise UserError(
            f"{path}: trained for PSF {wrong} {read(theirs, wrong)}, the study asks for {read(psf, wrong)}; "
            "name a fitting network or train one (weights: null)"
        )
    if card["window_px"] != window_px:
        raise UserError(
            f"{path}: trained with window_px {card['window_px']}, the study asks for {window_px}"
        )


def _differs(psf: dict, theirs: dict) -> str | None:
    """A key of the PSF (an entry of `psfs`) in which a network does not fit it, or None.

    Ranges must lie within the network's, but for the published form, which has its own; what else the model reads
    must be the same. A network finds the PSF whatever its window's size.
    """
    if differs := [key for key in ("model", "form") if theirs.get(key) != psf[key]]:
        return differs[0]
    known = families("psfs")
    read = choices("psfs")[psf["model"]]["reads"]
    rules = {
        k: v for family in known.values() for k, v in family["properties"].items() if k in read
    }
    for key, rule in rules.items():
        if key == "cutoff":  # goes with its range
            continue
        if not rule.get("range"):
            if theirs.get(key) != psf[key]:
                return key
        elif psf["form"] != "published":
            (low, high), (least, most) = _range(psf, key), _range(theirs, key)
            if low < least or high > most:
                return key
    return None


def _range(psf: dict, key: str) -> list[float]:
    """Range of an entry of `psfs`; where cut-offs do not vary, that of the only one."""
    return psf.get(key) or [psf["cutoff"]] * 2
