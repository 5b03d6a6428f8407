"""The card in a network's file, which says what the network is of and how it was made."""

import json
from pathlib import Path

LARGEST_HEADER = 100_000_000  # bytes, as safetensors has it


def read_card(path: str | Path) -> dict:
    """The card as it stands in a .safetensors file: nothing is checked and no weight is read.

    Read while Snakemake parses, hence without the library of that name. Raises OSError, ValueError, KeyError or
    TypeError where there is none.
    """
    with open(path, "rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        if size > LARGEST_HEADER:
            raise ValueError(f"{path}: no safetensors file")
        header = json.loads(handle.read(size))
    return json.loads(header["__metadata__"]["card"])
