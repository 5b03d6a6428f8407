"""How `optics.blur` cuts a picture into cells, and how many modes the PSFs of each cell need.

The masked side is cut along lines of centres. `choose` counts what many partitions transform and takes the one with
least.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch

# Masks and OTFs of one blur: a partition that needs more is passed over while there is another.
TABLE_BYTES = 384 * 2**20

# Numbers of cells along an axis that are tried. The time per pixel of a transform grows with its
# size by this power (2 ns at 200^2 px, 3 ns at 1152^2 px, masks and sums with it, on one core), and
# a cell costs as much as this many pixels beside its transforms.
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
    """One axis of the masked side, cut into cells, in pixels from that side's first one."""

    hats: np.ndarray  # (centres, length): the hats of the centres that are used
    used: slice  # of all centres
    lines: tuple[int, ...]  # first pixels at or behind a centre: where it may be cut
    edges: tuple[int, ...]  # of the cells, from 0 to the length
    seen: tuple[int, int]  # first and end of the other side
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
        """Length that every cell fits into as if it were the longest."""
        return self.edges[-2] + self.longest

    @cached_property
    def reached(self) -> list[tuple[int, int]]:
        """For each cell, the other side's pixels that it blurs into, from the cell's first one."""
        found = []
        for start, stop in pairwise(self.edges):
            low = max(-self.margin, self.seen[0] - start)
            found.append((low, max(low, min(stop - start + self.margin, self.seen[1] - start))))
        return found

    @cached_property
    def lead(self) -> int:
        """Where a cell begins in its transform: before it there is room for what it blurs into."""
        return max(0, -min(low for low, _ in self.reached))

    @property
    def inside(self) -> slice:
        return slice(self.lead, self.lead + self.longest)

    @cached_property
    def transform(self) -> int:
        """Long enough that what comes round in it meets nothing that the other side sees."""
        need = self.lead + self.longest
        for low, high in self.reached:
            need = max(need, self.longest + self.margin - low, high + self.margin, self.lead + high)
        return good_size(need)

    def window(self, k: int) -> tuple[slice, slice]:
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
        """The axis in about `parts` cells of about one length, each from centre to centre."""
        inner = set()
        if self.lines:
            lines = np.array(self.lines)
            ideal = [self.length * k / parts for k in range(1, parts)]
            inner = {int(lines[np.abs(lines - at).argmin()]) for at in ideal}
        return replace(self, edges=(0, *sorted(inner), self.length))


def axis_of(centres: Sequence[float], length: int, margin: int, masks_object: bool) -> Axis:
    """The masked side, the object or the picture, of one axis as one cell."""
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
    rows: Axis
    columns: Axis
    modes: list[Modes]  # of the cells, row by row
    mean_count: float  # of modes
    cost: float


def points_of(psfs: torch.Tensor, tolerance: float, symmetric: bool) -> torch.Tensor:
    """PSFs (n, pixels) as points (n, r) with their distances, each within tolerance of its norm.

    A pivoted Cholesky factor of their products: r is small where PSFs are alike, and whatever is
    decomposed later is that small.
    """
    if symmetric:  # one half says it all
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
    """The fewest modes that give each of the points (n, r) within tolerance of its norm."""
    norms = points.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    left, values, _ = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    shares = left * values
    # missing[m, k]: the share of PSF m that the modes from k on hold.
    missing = shares.square().flip(1).cumsum(1).flip(1).sqrt() / norms[:, None]
    worst = torch.cat([missing.amax(0), missing.new_zeros(1)])
    kept = int((worst > max(tolerance, 1e-12)).sum())
    makers = (left[:, :kept] / values[:kept]).T
    return Modes(shares[:, :kept], makers, float(worst[kept]), kept + 1)


def choose(rows, columns, points, tolerance, complex_bytes, parts) -> Plan:
    """The partition that costs least: one cell is looked at first, then fine ones before coarse."""
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
        if points.shape[-1] < 32:  # few modes for all, and quickly found
            tried = [(1, 1), *tried[:-1]]
    best, plans = None, []
    for pair in tried:
        y, x = rows.cut(pair[0]), columns.cut(pair[1])
        cells, size = y.cells * x.cells, y.transform * x.transform
        # A larger cell has at least the modes of a smaller one: most plans need no decomposition.
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
    """Time of one direction, up to a factor; far larger where OTFs pass TABLE_BYTES."""
    excess = max(1.0, modes * size * complex_bytes / 2 / TABLE_BYTES)
    return ((modes + cells) * size + cells * CELL_PX) * size**SIZE_POWER * excess**4
