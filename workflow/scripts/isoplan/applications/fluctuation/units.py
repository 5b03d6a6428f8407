"""Evidence and blocks as one array each, as unit files hold them: a record whose fields are their arrays."""

from typing import Any

import numpy as np

from isoplan.applications.fluctuation.information import Evidence
from isoplan.applications.fluctuation.superresolution import Block

PICTURES = ("emission", "deconvolved", "mean", "background")
HALVES = "halves"


def pack(fields: dict[str, Any]) -> np.ndarray:
    """Arrays and numbers of any kinds as an array of one record.

    Examples
    --------
    >>> packed = pack({"a": np.zeros((2, 3), np.float32), "b": 1.5})
    >>> packed.shape, packed["a"].shape, float(packed["b"][0])
    ((1,), (1, 2, 3), 1.5)
    """
    arrays = {name: np.asarray(value) for name, value in fields.items()}
    kinds = [(name, array.dtype, array.shape) for name, array in arrays.items()]
    packed = np.zeros(1, kinds)
    for name, array in arrays.items():
        packed[name][0] = array
    return packed


def of_evidence(found: Evidence) -> np.ndarray:
    return pack(vars(found))


def to_evidence(packed: np.ndarray) -> Evidence:
    lags, sums, totals, chart = (packed[name][0] for name in ("lags", "sums", "totals", "map"))
    return Evidence(tuple((int(y), int(x)) for y, x in lags), sums, totals, chart)


def of_block(made: Block) -> np.ndarray:
    arrays = {name: getattr(made, name) for name in (*PICTURES, HALVES)}
    return pack({name: array for name, array in arrays.items() if array is not None} | made.facts)


def to_block(packed: np.ndarray) -> Block:
    names = packed.dtype.names
    facts = {name: packed[name][0].tolist() for name in names if name not in (*PICTURES, HALVES)}
    if "bands" in facts:
        facts["bands"] = [tuple(band) for band in facts["bands"]]
    halves = packed[HALVES][0] if HALVES in names else None
    return Block(*(packed[name][0] for name in PICTURES), facts, halves)
