"""Psi and its like in single precision, by the bands that they are: the cost grows as the area of the picture.

A camera pixel sees emitters near by alone, so the matrices of a `Formation` are 0 far from their diagonal.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from isoplan.applications.fluctuation.formation import Formation

BLOCK = 96  # rows or columns, the more numerous, that are multiplied at once


class Block(NamedTuple):
    """Rows of a matrix, where they are not 0."""

    inputs: slice
    values: np.ndarray


@dataclass(frozen=True)
class Banded:
    """The same as a `Formation`, faster for large pictures, in single precision.

    Examples
    --------
    >>> from isoplan.applications.fluctuation.formation import Psf
    >>> psi = Formation.of((50, 40), Psf(2.5), factor=4, border=3)
    >>> x = np.random.default_rng(0).random(psi.fine_shape, np.float32)
    >>> bool(np.allclose(Banded.of(psi).forward(x), psi.forward(x), rtol=1e-4))
    True
    """

    rows: list[list[Block]]
    columns: list[list[Block]]
    rows_back: list[list[Block]]
    columns_back: list[list[Block]]

    @classmethod
    def of(cls, psi: Formation) -> Self:
        """Of any sum of products: rows and columns (terms, n, m)."""
        sides = (psi.rows, psi.columns, psi.rows.mT, psi.columns.mT)
        return cls(*([_blocks(matrix) for matrix in side] for side in sides))

    def forward(self, x: np.ndarray) -> np.ndarray:
        """sum_r rows_r x columns_r': (..., m, m) to (..., n, n) float32."""
        return _product(self.rows, self.columns, x)

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """sum_r rows_r' y columns_r: (..., n, n) to (..., m, m) float32."""
        return _product(self.rows_back, self.columns_back, y)


def _blocks(matrix: np.ndarray) -> list[Block]:
    made = []
    step = max(1, BLOCK * len(matrix) // max(matrix.shape))
    for start in range(0, len(matrix), step):
        part = matrix[start : start + step].astype(np.float32)
        used = np.flatnonzero(part.any(axis=0))
        inputs = slice(used[0], used[-1] + 1) if used.size else slice(0, 1)
        made.append(Block(inputs, np.ascontiguousarray(part[:, inputs])))
    return made


def _product(rows, columns, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float32)
    total = 0
    for left, right in zip(rows, columns, strict=True):
        half = np.concatenate([each.values @ x[..., each.inputs, :] for each in left], axis=-2)
        full = [half[..., each.inputs] @ each.values.T for each in right]
        total = total + np.concatenate(full, axis=-1)
    return total
