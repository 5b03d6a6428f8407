"""Reads weights that users have from other projects."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from isoplan.base.errors import UserError


def read_weights(path: str | Path, key: str) -> dict[str, torch.Tensor]:
    """Tensors by name from a file of weights.

    Parameters
    ----------
    path
        .safetensors, .pth, or Keras's .h5, whose kernels come as torch orders them, (out, in, h, w).
    key
        Of the config, which names the file.

    Raises
    ------
    UserError
        If the file is missing or cannot be read.
    """
    if not Path(path).is_file():
        raise UserError(
            f"{path}: no such file; `{key}` names weights that you have (.pth, .safetensors or .h5), as nothing is "
            "downloaded"
        )
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        if Path(path).suffix == ".h5":
            return _of_keras(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        return dict(found.get("state_dict", found))
    except UserError:
        raise
    except Exception as error:  # the readers share no error class
        reason = str(error).partition("\n")[0][:200]
        raise UserError(f"{path}: cannot be read as {Path(path).suffix} ({reason})") from None


def _of_keras(path: str | Path) -> dict[str, torch.Tensor]:
    try:
        import h5py  # of use here alone
    except ImportError:
        raise UserError(
            f"{path}: needs h5py, which is not installed; install it, .venv/bin/uv pip install -r "
            "envs/requirements-readers.txt"
        ) from None
    found: dict[str, torch.Tensor] = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            tensor = torch.from_numpy(item[()])
            found[name] = tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor

    with h5py.File(path) as file:
        file.visititems(visit)
    return found
