"""Networks as models of bioimage.io (specification 0.5): weights as a state dict, which every reader of that format takes.

The format knows no safetensors, and no pictures of any size whose output has a cell per window: a model here sees one
window. `isoplan.map_psf` maps whole pictures.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
import yaml

from isoplan import __version__
from isoplan.networks import store
from isoplan.networks.outputs import to_estimate
from isoplan.optics.psf import make_psf_model

FORMAT = "0.5.12"
FLAGS = ("validity", "alarm", "other_blur")


def flags_of(model) -> tuple[str, ...]:
    """Names of the probabilities that a network gives for a PSF model."""
    return ("mirror", *FLAGS) if model.mirrors else FLAGS


LICENSE = "BSD-3-Clause"
SOURCE = "isoplan.networks.bioimageio"  # where a reader of the model finds its architecture
CITED = (
    "Shajkofci, Liebling: Spatially-variant CNN-based point spread function estimation for blind deconvolution and "
    "depth estimation in optical microscopy. IEEE Trans. Image Process. 29, 2020.",
    "10.1109/TIP.2020.2986880",
)


class OneWindow(torch.nn.Module):
    """A network that gives decoded estimates for single windows.

    Parameters
    ----------
    card : dict
        The network's card: PSF model, architecture, window.

    Examples
    --------
    >>> from isoplan.config.entries import released
    >>> card, _ = store.read(released("gaussian-1"))
    >>> OneWindow(card)(torch.rand(2, 1, 128, 128)).shape
    torch.Size([2, 5])
    """

    def __init__(self, card: dict):
        super().__init__()
        self.network, self.model = store.build_from_card(card), make_psf_model(card["psf"])

    def forward(self, window: torch.Tensor, cutoff: torch.Tensor | None = None) -> torch.Tensor:
        """(n, 1, window, window) counts, and of a pupil's PSFs (n, 1) cut-offs in cycles/px, to (n, channels): parameters,
        half-widths of 90 % intervals, `flags_of`."""
        given = None if cutoff is None else cutoff[:, 0]
        found = to_estimate(self.network(window, cutoff=given).flatten(1), self.model)
        flags = (getattr(found, name)[:, None] for name in flags_of(self.model))
        return torch.cat([found.params, found.half_width, *flags], dim=1)


def export(file: str | Path, folder: str | Path, *, card_page: str) -> None:
    """Write a network as a model of bioimage.io into a folder that exists.

    Parameters
    ----------
    file
        The network's safetensors file.
    folder
        Takes bioimageio.yaml, weights, documentation and a tested example.
    card_page
        The card as Markdown, which becomes the documentation.

    Raises
    ------
    UserError
        As `store.load` does.
    """
    folder, name = Path(folder), Path(file).stem
    network, model, card = store.load(file)
    card = {key: card[key] for key in ("psf", "network", "window_px")}
    whole = OneWindow(card).eval()
    whole.network.load_state_dict(network.state_dict())
    torch.save(whole.state_dict(), folder / "weights.pt")
    side = card["window_px"]
    # A picture of blobs that a Gaussian of some px blurs, in counts.
    waves = np.random.default_rng(1).normal(size=(side, side)) * _low_pass(side)
    window = 1000 + 200 * np.fft.ifft2(waves * side).real
    seen = torch.from_numpy(np.random.default_rng(2).poisson(window.clip(1)).astype(np.float32))
    given = {"window": seen[None, None]}
    if model.knows_cutoff:
        given["cutoff"] = torch.full((1, 1), float(np.mean(model.cutoff_range)))
    with torch.no_grad():
        found = whole(*given.values())
    for tensor, values in (given | {"estimate": found}).items():
        np.save(folder / f"{tensor}.npy", values.numpy())
    (folder / "README.md").write_text(card_page)
    parameters = [p.name for p in model.parameters]
    channels = [*parameters, *(f"{p}_half_width" for p in parameters), *flags_of(model)]
    units = [p.unit for p in model.parameters]
    told = {
        "type": "model",
        "format_version": FORMAT,
        "name": f"isoplan {name}",
        "description": f"Local point-spread function of one window of {side} px of a raw microscope picture: "
        f"{', '.join(f'{p} ({u})' for p, u in zip(parameters, units, strict=True))}, half-widths of 90 % intervals, "
        "validity, alarm, other blur.",
        "authors": [{"name": "isoplan developers"}],
        "cite": [{"text": CITED[0], "doi": CITED[1]}],
        "license": LICENSE,
        "documentation": {"source": "README.md", "sha256": _sha256(folder / "README.md")},
        "tags": ["pytorch", "point-spread-function", "fluorescence-light-microscopy", "2d"],
        "version": __version__,
        "inputs": [
            {
                "id": "window",
                "description": "Counts, as they came from the camera.",
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": ["counts"]},
                    {"type": "space", "id": "y", "size": side},
                    {"type": "space", "id": "x", "size": side},
                ],
                "data": {"type": "float32"},
                "test_tensor": _tensor(folder / "window.npy"),
            }
        ],
        "outputs": [
            {
                "id": "estimate",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": channels}],
                "data": {"type": "float32"},
                "test_tensor": _tensor(folder / "estimate.npy"),
            }
        ],
        "weights": {
            "pytorch_state_dict": {
                "source": "weights.pt",
                "sha256": _sha256(folder / "weights.pt"),
                "pytorch_version": torch.__version__.split("+")[0],
                "architecture": {
                    "import_from": SOURCE,
                    "callable": OneWindow.__name__,
                    "kwargs": {"card": card},
                },
            }
        },
    }
    if model.knows_cutoff:
        told["inputs"].append(
            {
                "id": "cutoff",
                "description": "NA * pixel size / wavelength, in cycles/px.",
                "axes": [{"type": "batch"}, {"type": "index", "size": 1}],
                "data": {"type": "float32"},
                "test_tensor": _tensor(folder / "cutoff.npy"),
            }
        )
    (folder / "bioimageio.yaml").write_text(yaml.safe_dump(told, sort_keys=False, width=120))


def _low_pass(side: int) -> np.ndarray:
    frequency = np.fft.fftfreq(side)
    return np.exp(-2 * (np.pi * 3) ** 2 * (frequency[:, None] ** 2 + frequency**2))


def _tensor(file: Path) -> dict:
    return {"source": file.name, "sha256": _sha256(file)}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
