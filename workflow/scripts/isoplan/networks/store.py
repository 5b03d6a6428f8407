"""Builds networks, and saves and loads them as safetensors files with a card as metadata.

A card names the network's task and says how to build it. `load` is for networks of PSF regression;
`read` and `build_with_weights` work for any task.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from isoplan.base.errors import MissingPackage, UserError
from isoplan.base.imports import load_named
from isoplan.config.schema import choices, families
from isoplan.optics.model import PsfModel
from isoplan.optics.psf import make_psf_model

PSF_REGRESSION = "psf-regression"  # the task, of cards that name none too
DEFAULT_ARCHITECTURE = (
    "isoplan"  # the schema's default architecture, which says nothing where weights are taken over
)


def build(spec: dict, window_px: int, model: PsfModel) -> torch.nn.Module:
    """Build a network with random weights.

    Parameters
    ----------
    spec
        An entry of the config's `networks`: `architecture` and the keys that it reads.
    window_px
        Side of a window in px.
    model
        The PSF model, which determines the outputs (`outputs`).
    """
    return load_named(choices("networks")[spec["architecture"]]["code"]).of(spec, window_px, model)


def save(path: str | Path, network: torch.nn.Module, card: dict) -> None:
    """Write weights and card (task, how to build the network, how it was trained) atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    part = path.with_name(f".{path.name}.part")
    # All in one entry of the metadata, since safetensors writes several in arbitrary order.
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


# No useful network is larger. A card with larger sizes would take memory and time before it fails.
_LARGEST = {"window_px": 4096, "width": 4096, "size_px": 2049}


def _check_sizes(card: dict) -> None:
    asked = {"window_px": card["window_px"], "width": card["network"].get("width")}
    for key, value in (asked | {"size_px": card["psf"].get("size_px")}).items():
        if value is not None and not 0 < value <= _LARGEST[key]:
            raise ValueError(f"{key} {value:.4g} must be from 1 to {_LARGEST[key]}")


def read(path: str | Path, task: str | None = None) -> tuple[dict, dict[str, torch.Tensor]]:
    """Read the card and the weights of a network's file.

    Parameters
    ----------
    path
        The safetensors file.
    task
        The task that the network must be for, None for any.

    Returns
    -------
    card
        The card, as a dict.
    weights
        Tensors by name.

    Raises
    ------
    UserError
        If the file is missing, not safetensors, has no card, is for another task or was altered since
        it was written, or if a weight is not finite.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            card = json.loads((file.metadata() or {})["card"])
            told = card.pop("sha256", None)  # older files have no checksum
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
            f"{path}: has no isoplan card; only networks saved by isoplan can be used"
        ) from None
    if told and told != _digest(weights, card):
        raise UserError(
            f"{path}: was altered since it was written, by a byte at least; copy it again"
        )
    if task not in (None, given):
        raise UserError(f"{path}: is a network for {given}, not for {task}")
    if bad := [name for name, values in weights.items() if not values.isfinite().all()]:
        raise UserError(f"{path}: has weights that are not finite ({bad[0]}); train it again")
    return card, weights


def build_with_weights(
    path: str | Path,
    card: dict,
    weights: dict[str, torch.Tensor],
    build: Callable[[dict], torch.nn.Module],
) -> torch.nn.Module:
    """Build a network from its card, load its weights and set it to evaluation mode.

    Parameters
    ----------
    path
        The file, for messages.
    card, weights
        From `read`.
    build
        Function of the card that builds the network.

    Raises
    ------
    UserError
        If the card does not describe a network that can be built, or the weights do not fit it.
    MissingPackage
        If the network is built by a package that is not installed.
    """
    try:
        network = build(card)
    except MissingPackage as error:  # the card is right
        raise MissingPackage(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise UserError(
            f"{path}: its card does not fit this version of isoplan ({type(error).__name__}: {error})"
        ) from None
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{path}: its weights do not fit its card; the file was altered, or made by another "
            f"version of isoplan ({' '.join(str(error).split())[:200]})"
        ) from None
    return network.eval()


def load(path: str | Path, device="cpu") -> tuple[torch.nn.Module, PsfModel, dict]:
    """Load a network for PSF regression: the network in evaluation mode, its PSF model and its card.

    Raises UserError as `read` and `build_with_weights` do.
    """
    card, weights = read(path, PSF_REGRESSION)
    network = build_with_weights(path, card, weights, build_from_card)
    return network.to(device), make_psf_model(card["psf"]), card


def build_from_card(card: dict) -> torch.nn.Module:
    """Build a network for PSF regression from its card, without weights. Raises ValueError for sizes that cannot be."""
    _check_sizes(card)
    return build(card["network"], card["window_px"], make_psf_model(card["psf"]))


def check_fits(
    path, card: dict, psf: dict, window_px: int, architecture: str = DEFAULT_ARCHITECTURE
) -> None:
    """Refuse a network that does not fit a study.

    Keys that the PSF model does not read, such as a Gaussian's cutoff, may differ.

    Parameters
    ----------
    path
        The file, for messages.
    card
        The network's card.
    psf
        The study's entry of `psfs`.
    window_px
        The study's window.
    architecture
        The study's architecture; the schema's default fits any.

    Raises
    ------
    UserError
        If the PSF, the window or the architecture differ.
    """
    has = card["network"]["architecture"]
    if architecture not in (DEFAULT_ARCHITECTURE, has):
        raise UserError(
            f"{path}: has the architecture {has}, but the study wants {architecture}; leave architecture out or name "
            "another file"
        )
    theirs = card["psf"]
    if wrong := _mismatch(psf, theirs):
        read = _range if wrong == "cutoff_range" else dict.get
        raise UserError(
            f"{path}: was trained for PSF {wrong} {read(theirs, wrong)}, but the study wants {read(psf, wrong)}; "
            "name a network that fits or train one (weights: null)"
        )
    if card["window_px"] != window_px:
        raise UserError(
            f"{path}: was trained with window_px {card['window_px']}, but the study wants {window_px}"
        )


def _mismatch(psf: dict, theirs: dict) -> str | None:
    """The first key of a PSF (an entry of `psfs`) that does not fit a network's, or None.

    Ranges must lie within the network's, except for the published form, which has fixed ones. All other
    keys that the model reads must be equal. The size of the PSF's window does not matter.
    """
    if differs := [key for key in ("model", "form") if theirs.get(key) != psf[key]]:
        return differs[0]
    known = families("psfs")
    read = choices("psfs")[psf["model"]]["reads"]
    rules = {
        k: v for family in known.values() for k, v in family["properties"].items() if k in read
    }
    for key, rule in rules.items():
        if key == "cutoff":  # checked by its range
            continue
        if not rule.get("range"):
            if theirs.get(key) != psf[key]:
                return key
        elif psf["form"] != "published":
            absent = {key: rule["absent"]} if "absent" in rule else {}
            (low, high), (least, most) = (_range(absent | one, key) for one in (psf, theirs))
            if low < least or high > most:
                return key
    return None


def _range(psf: dict, key: str) -> list[float]:
    """Range of a key of an entry of `psfs`; a fixed cut-off is a range of one value."""
    return psf.get(key) or [psf["cutoff"]] * 2
