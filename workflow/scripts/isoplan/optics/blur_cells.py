"""How `optics.blur` cuts a picture into cells, and how many modes the PSFs of each cell need.

The masked side is cut along lines of centres. `choose` estimates the cost of many partitions and takes the
cheapest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch

# Limit of one blur's masks and OTFs. A partition that needs more is taken only if there is no other.
TABLE_BYTES = 384 * 2**20

# Numbers of cells along an axis that are tried. The time per pixel of a transform, including masks and sums,
# grows with this power of its size (2 ns at 200^2 px, 3 ns at 1152^2 px on one core). Apart from its
# transforms, a cell costs as much as CELL_PX pixels.
PARTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
SIZE_POWER = 1 / 8
CELL_PX = 20_000


def good_size(length: int) -> int:
    """The smallest even number >= length with no prime factor above 5, where FFTs are fast."""
    size = length + length % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


# Where cells lie -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """One axis of the masked side, cut into cells; in px from the first pixel of that side.

    Attributes
    ----------
    hats
        (centres, length) hats of the centres that are used.
    used
        The centres that are used, of all.
    lines
        First pixels at or behind a centre, where the axis may be cut.
    edges
        Edges of the cells, from 0 to the length.
    seen
        First pixel and end of the other side.
    margin
        Half-width of the PSFs.
    """

    hats: np.ndarray
    used: slice
    lines: tuple[int, ...]
    edges: tuple[int, ...]
    seen: tuple[int, int]
    margin: int

    @property
    def length(self) -> int:
        return self.edges[-1]

    @property
    def other(self) -> int:
        """Length of the other side."""
        return self.seen[1] - self.seen[0]

    @property
    def cells(self) -> int:
        return len(self.edges) - 1

    def pixels(self, k: int) -> slice:
        return slice(self.edges[k], self.edges[k + 1])

    @cached_property
    def longest(self) -> int:
        return max(high - low for low, high in pairwise(self.edges))

    @property
    def room(self) -> int:
        """The length into which every cell fits, even if it were as long as the longest."""
        return self.edges[-2] + self.longest

    @cached_property
    def reached(self) -> list[tuple[int, int]]:
        """For each cell, first pixel and end of what it blurs into, from the cell's first pixel."""
        found = []
        for start, stop in pairwise(self.edges):
            low = max(-self.margin, self.seen[0] - start)
            found.append((low, max(low, min(stop - start + self.margin, self.seen[1] - start))))
        return found

    @cached_property
    def lead(self) -> int:
        """Where a cell begins in its transform; what it blurs into lies before it."""
        return max(0, -min(low for low, _ in self.reached))

    @property
    def inside(self) -> slice:
        return slice(self.lead, self.lead + self.longest)

    @cached_property
    def transform(self) -> int:
        """Length of the transforms: what wraps around does not reach the other side."""
        need = self.lead + self.longest
        for low, high in self.reached:
            need = max(need, self.longest + self.margin - low, high + self.margin, self.lead + high)
        return good_size(need)

    def window(self, k: int) -> tuple[slice, slice]:
        """The pixels that cell k blurs into, as slices of its transform and of the other side."""
        low, high = self.reached[k]
        start = self.edges[k] - self.seen[0]
        return slice(self.lead + low, self.lead + high), slice(start + low, start + high)

    @cached_property
    def nodes(self) -> list[slice]:
        """For each cell, the centres whose hats reach into it."""
        found = []
        for low, high in pairwise(self.edges):
            reaching = np.flatnonzero(self.hats[:, low:high].any(1))
            found.append(slice(int(reaching[0]), int(reaching[-1]) + 1))
        return found

    def cut(self, parts: int) -> "Axis":
        """The axis in about `parts` cells of similar lengths, each from centre to centre."""
        inner = set()
        if self.lines:
            lines = np.array(self.lines)
            ideal = [self.length * k / parts for k in range(1, parts)]
            inner = {int(lines[np.abs(lines - at).argmin()]) for at in ideal}
        return replace(self, edges=(0, *sorted(inner), self.length))


def axis_of(centres: Sequence[float], length: int, margin: int, masks_object: bool) -> Axis:
    """One axis of the masked side as a single cell.

    Parameters
    ----------
    centres
        Positions of the PSFs in px of the picture, ascending.
    length
        Length of the picture in px.
    margin
        Half-width of the PSFs in px.
    masks_object
        Whether the masked side is the object (mask-blur) or the picture (blur-mask).
    """
    first = -margin if masks_object else 0
    masked = length - 2 * first
    seen = (margin, margin + length) if masks_object else (-margin, length + margin)
    centres = np.asarray(centres, np.float64)
    points = np.arange(masked) + float(first)
    hats = np.stack([np.interp(points, centres, row) for row in np.eye(len(centres))])
    reaching = np.flatnonzero(hats.any(1))
    used = slice(int(reaching[0]), int(reaching[-1]) + 1)
    lines = {int(line) for line in np.searchsorted(points, centres) if 0 < line < masked}
    return Axis(hats[used], used, tuple(sorted(lines)), (0, masked), seen, margin)


# What cells are made of ----------------------------------------------------------------------------


class Modes(NamedTuple):
    """PSFs of one cell's n centres as h_m = mean + sum_k shares[m, k] mode_k."""

    shares: torch.Tensor  # (n, K - 1)
    makers: torch.Tensor  # (K - 1, n): mode_k = sum_m makers[k, m] (h_m - mean)
    error: float  # largest |h - h'| / |h|
    count: int  # K


class Plan(NamedTuple):
    """A partition into cells with their modes."""

    rows: Axis
    columns: Axis
    modes: list[Modes]  # of the cells, row by row
    mean_count: float  # mean number of modes per cell
    cost: float


def points_of(psfs: torch.Tensor, tolerance: float, symmetric: bool) -> torch.Tensor:
    """PSFs (n, pixels) as points (n, r) with the same distances, within `tolerance` of their norms.

    The points are a pivoted Cholesky factor of the PSFs' scalar products. r is small if the PSFs are
    similar, which makes later decompositions fast. symmetric: whether all PSFs are symmetric about their
    centre.
    """
    if symmetric:  # one half is enough
        middle = psfs.shape[1] // 2
        half = psfs[:, : middle + 1].double()
        products = 2 * half @ half.T - half[:, middle:] @ half[:, middle:].T
    else:
        products = psfs.double() @ psfs.double().T
    products = products.cpu().numpy()
    left = products.diagonal().copy()
    bound = left * max(tolerance, 1e-9) ** 2
    factor = np.zeros((len(products), 0))
    while (left > bound).any():
        pivot = int(np.argmax(left / np.maximum(bound, np.finfo(np.float64).tiny)))
        column = (products[:, pivot] - factor @ factor[pivot]) / np.sqrt(left[pivot])
        factor = np.column_stack([factor, column])
        left = left - column**2
        left[pivot] = 0
    return torch.from_numpy(factor)


def _decompose(points: torch.Tensor, tolerance: float) -> Modes:
    """The fewest modes that represent each of the points (n, r) within `tolerance` of its norm."""
    norms = points.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    left, values, _ = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    shares = left * values
    # missing[m, k]: the share of PSF m that the modes from k on contain.
    missing = shares.square().flip(1).cumsum(1).flip(1).sqrt() / norms[:, None]
    worst = torch.cat([missing.amax(0), missing.new_zeros(1)])
    kept = int((worst > max(tolerance, 1e-12)).sum())
    makers = (left[:, :kept] / values[:kept]).T
    return Modes(shares[:, :kept], makers, float(worst[kept]), kept + 1)


def choose(rows, columns, points, tolerance, complex_bytes, parts) -> Plan:
    """The cheapest partition of a blur into cells. A single cell is tried first, then fine partitions.

    Parameters
    ----------
    rows, columns
        Both axes, from `axis_of`.
    points
        (ny, nx, r) PSFs as points, from `points_of`.
    tolerance
        Largest error of a PSF relative to its norm.
    complex_bytes
        Bytes of a complex number.
    parts
        Numbers of cells along y and x, which are taken without a comparison; None compares.
    """
    if parts is not None:
        tried = [parts]
    else:
        most = [len(axis.lines) + 1 for axis in (rows, columns)]
        tried = {
            (min(a, most[0]), min(b, most[1]))
            for a, b in product(PARTS, PARTS)
            if a == b or 1 in (a, b)
        }
        tried = sorted(tried, key=lambda pair: -pair[0] * pair[1])
        if points.shape[-1] < 32:  # few modes are enough for all PSFs, and are found quickly
            tried = [(1, 1), *tried[:-1]]
    best, plans = None, []
    for pair in tried:
        y, x = rows.cut(pair[0]), columns.cut(pair[1])
        cells, size = y.cells * x.cells, y.transform * x.transform
        # A larger cell has at least as many modes as a smaller one, so most plans need no decomposition.
        finer = [p for p in plans if p.rows.cells >= y.cells and p.columns.cells >= x.cells]
        least = max((p.mean_count for p in finer), default=1)
        if best is not None and _cost(cells, cells * least, size, complex_bytes) >= best.cost:
            continue
        modes = [
            _decompose(points[j, i].flatten(0, 1), tolerance) for j, i in product(y.nodes, x.nodes)
        ]
        count = sum(m.count for m in modes)
        plan = Plan(y, x, modes, count / cells, _cost(cells, count, size, complex_bytes))
        plans.append(plan)
        if best is None or plan.cost < best.cost:
            best = plan
    return best


def _cost(cells: int, modes: float, size: int, complex_bytes: int) -> float:
    """Time of one direction, up to a factor; far larger if the OTFs exceed TABLE_BYTES."""
    excess = max(1.0, modes * size * complex_bytes / 2 / TABLE_BYTES)
    return ((modes + cells) * size + cells * CELL_PX) * size**SIZE_POWER * excess**4
