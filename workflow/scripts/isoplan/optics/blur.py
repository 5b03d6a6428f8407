"""Space-variant blur and its exact adjoint.

Two orders of masking and blurring (thesis, eq. 4.1 and Fig. 2.4; Denis et al. 2015 for the names):

- mask-blur, y = sum_m h_m * (phi_m x): every source keeps its own PSF; fluorescence. Keeps flux.
- blur-mask, y = sum_m phi_m (h_m * x): every pixel collects with its own PSF; bright field. A1 = 1.

phi_m are bilinear hats between the centres of the PSFs. Both orders are built of one pair of
transposed operations: `scatter` masks and blurs, `gather` correlates and masks.

Neighbouring PSFs are much alike. The masked side is cut into cells along lines of centres, and in a
cell the PSFs are their mean and a few modes, h_m = b_0 + sum_k c_mk b_k, from a singular-value
decomposition. With the masks C_k = sum_m c_mk phi_m, C_0 = 1, a cell of K modes, the mean among
them, costs K + 1 transforms each way:

    sum_m h_m * (phi_m x) = sum_k b_k * (C_k x)

One cell with some modes serves where the focus alone varies; a cell between four centres, with four
modes, is exact whatever the PSFs are. `_choose` counts what many partitions transform and takes the
one with least.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch

from isoplan.base.device import halving, keep_freed_memory

ORDERS = ("mask-blur", "blur-mask")

# How far a PSF put together from modes may be from the true one, |h - h'| / |h| with |h|^2 the sum
# of squares. A restoration changes by less than half of that, of its range.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}

# Work arrays of one batch on a CPU, where small ones stay in the cache.
WORK_BYTES = 8 * 2**20
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


class SpaceVariantBlur:
    """Blur by PSFs that vary over the picture, with its exact adjoint.

    psfs: (ny, nx, s, s), s odd, float32 or float64, on the device that is to work; the centre of a
    PSF is its element (s // 2, s // 2). centres_y (ny,), centres_x (nx,): rising positions of the
    PSFs in px of the picture (pixel 0 has its centre at 0), also outside the picture.
    shape: (H, W) of the picture. order: "mask-blur" (fluorescence) or "blur-mask" (bright field).
    tolerance: bound on |h - h'| / |h| of every PSF, |h|^2 the sum of squares; None takes TOLERANCE
    (1e-4 in single precision). What it came to is `truncation`. The adjoint is exactly that of
    the truncated blur, and PSFs that all sum to one still do. parts: numbers of cells along y and
    x, as near as the centres allow, in place of the choice by cost; what was taken is `parts`.

    The object goes on beyond the picture by `margin` = s // 2 pixels on every side, object_shape =
    (H + 2 margin, W + 2 margin), and the picture is the part of the blur that is whole: nothing
    wraps around and no border is made up. Hats are taken at object positions.

    Only PSFs whose hats reach the block are used. Masks and OTFs are made once: a cell of K modes
    and transforms of N x N px keeps K N^2 complex halves (twice that for PSFs without symmetry
    about their centre) and K masks, under TABLE_BYTES in all where any partition allows it. Work
    arrays stay under about WORK_BYTES or what one transform needs; on a GPU under a quarter of the
    free memory, and where that runs out the batches are halved.

    Raises ValueError where shapes do not fit together.
    """

    def __init__(
        self,
        psfs: torch.Tensor,
        centres_y: Sequence[float],
        centres_x: Sequence[float],
        shape: tuple[int, int],
        *,
        order: str = "mask-blur",
        tolerance: float | None = None,
        parts: tuple[int, int] | None = None,
    ):
        _check(psfs, centres_y, centres_x, order)
        self.order = order
        self.shape = tuple(shape)
        self.margin = psfs.shape[-1] // 2
        self.object_shape = tuple(n + 2 * self.margin for n in shape)
        self.dtype, self.device = psfs.dtype, psfs.device
        self._masks_object = order == "mask-blur"
        if self.device.type == "cuda":
            self._work_bytes = torch.cuda.mem_get_info(self.device)[0] // 4
        else:
            self._work_bytes = WORK_BYTES
            keep_freed_memory()
        if not self._masks_object:
            psfs = psfs.flip(-2, -1)
        rows, columns = (
            _axis(centres, length, self.margin, self._masks_object)
            for centres, length in zip((centres_y, centres_x), shape, strict=True)
        )
        psfs = psfs[rows.used, columns.used]
        tolerance = TOLERANCE[self.dtype] if tolerance is None else tolerance
        # PSFs that are symmetric about their centre have real OTFs, which are their own conjugates.
        unlike = (psfs - psfs.flip(-2, -1)).abs().amax()
        symmetric = bool(unlike <= 1e-2 * max(tolerance, 1e-12) * psfs.abs().amax())
        points = _points(psfs.flatten(0, 1).flatten(1), tolerance / 30, symmetric)
        points = points.reshape(*psfs.shape[:2], -1)
        plan = _choose(rows, columns, points, tolerance, 2 * psfs.element_size(), parts)
        self._rows, self._columns = plan.rows, plan.columns
        self.parts = plan.rows.cells, plan.columns.cells
        self.truncation = max(modes.error for modes in plan.modes)
        self._groups = _groups(plan, psfs, symmetric)
        self._zeros: dict[tuple[int, ...], torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Picture (H, W) of an object (object_shape)."""
        _check_picture("object", x, self.object_shape)
        return self._in_batches(self._scatter if self._masks_object else self._gather, x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Object (object_shape) from a picture (H, W): the exact transpose of `forward`."""
        _check_picture("picture", y, self.shape)
        return self._in_batches(self._gather if self._masks_object else self._scatter, y)

    def _in_batches(self, work: Callable, picture: torch.Tensor) -> torch.Tensor:
        """work(picture), in batches of half the size as long as memory runs out."""

        def one(work_bytes: int) -> torch.Tensor:
            if work_bytes != self._work_bytes:
                self._work_bytes = work_bytes
                self._zeros.clear()
            return work(picture)

        least = self._rows.transform * self._columns.transform * picture.element_size()
        return halving(one, self._work_bytes, least)

    def _batches(self):
        """Groups with a slice of their cells, and slices of the modes, that fit WORK_BYTES."""
        bytes_each = 3 * self._rows.transform * self._columns.transform * self.dtype.itemsize
        room = max(1, self._work_bytes // bytes_each)
        for group in self._groups:
            count, modes = group.masks.shape[:2]
            cells = max(1, room // modes)
            for start in range(0, count, cells):
                yield group, slice(start, min(start + cells, count)), min(modes, room)

    def _scatter(self, masked: torch.Tensor) -> torch.Tensor:
        """Masks, blurs and sums."""
        wide = masked.new_zeros(self._rows.other, self._columns.other)
        # A cell shorter than the longest reads on into the next one, where its masks are 0.
        padded = _padded(masked, self._rows.room, self._columns.room)
        inside = self._rows.inside, self._columns.inside
        sizes = self._rows.transform, self._columns.transform
        for group, cells, step in self._batches():
            x = torch.stack([padded[self._cell(place)] for place in group.places[cells]])
            masks, otfs = group.masks[cells], group.otfs[cells]
            total = torch.zeros_like(otfs[:, 0])
            for k in range(0, masks.shape[1], step):
                part = masks[:, k : k + step]
                work = self._empty(len(x), part.shape[1], *sizes)
                torch.mul(x[:, None], part, out=work[..., inside[0], inside[1]])
                for mode, spectrum in enumerate(torch.fft.rfft2(work).unbind(1), k):
                    total.addcmul_(spectrum, otfs[:, mode])
            for place, patch in zip(group.places[cells], _inverse(total, sizes[1]), strict=True):
                source, target = self._windows(place)
                wide[target] += patch[source]
        return wide

    def _gather(self, wide: torch.Tensor) -> torch.Tensor:
        """The transpose of `_scatter`: correlates, masks and sums."""
        masked = wide.new_empty(self._rows.length, self._columns.length)
        sizes = self._rows.transform, self._columns.transform
        for group, cells, step in self._batches():
            window = wide.new_zeros(len(group.places[cells]), *sizes)
            for place, patch in zip(group.places[cells], window, strict=True):
                source, target = self._windows(place)
                patch[source] = wide[target]
            spectrum = torch.fft.rfft2(window)[:, None]
            masks, otfs = group.masks[cells], group.adjoint_otfs[cells]
            total = masks.new_zeros(masks[:, 0].shape)
            for k in range(0, masks.shape[1], step):
                parts = _inverse(spectrum * otfs[:, k : k + step], sizes[1])
                parts = parts[..., self._rows.inside, self._columns.inside]
                for mode, part in enumerate(parts.unbind(1), k):
                    total.addcmul_(part, masks[:, mode])
            for (i, j), patch in zip(group.places[cells], total, strict=True):
                y, x = self._rows.pixels(i), self._columns.pixels(j)
                masked[y, x] = patch[: y.stop - y.start, : x.stop - x.start]
        return masked

    def _cell(self, place: tuple[int, int]) -> tuple[slice, slice]:
        starts = self._rows.edges[place[0]], self._columns.edges[place[1]]
        longest = self._rows.longest, self._columns.longest
        return tuple(slice(start, start + n) for start, n in zip(starts, longest, strict=True))

    def _windows(self, place: tuple[int, int]):
        """What a cell blurs into: in its transform, and on the other side."""
        (y, y_other), (x, x_other) = self._rows.window(place[0]), self._columns.window(place[1])
        return (y, x), (y_other, x_other)

    def _empty(self, *shape: int) -> torch.Tensor:
        """An array that is 0 but for what was written inside of cells, kept for the next time."""
        if shape not in self._zeros:
            self._zeros[shape] = torch.zeros(shape, dtype=self.dtype, device=self.device)
        return self._zeros[shape]


# Where cells lie -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
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

    def cut(self, parts: int) -> "_Axis":
        """The axis in about `parts` cells of about one length, each from centre to centre."""
        inner = set()
        if self.lines:
            lines = np.array(self.lines)
            ideal = [self.length * k / parts for k in range(1, parts)]
            inner = {int(lines[np.abs(lines - at).argmin()]) for at in ideal}
        return replace(self, edges=(0, *sorted(inner), self.length))


def _axis(centres: Sequence[float], length: int, margin: int, masks_object: bool) -> _Axis:
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
    return _Axis(hats[used], used, tuple(sorted(lines)), (0, masked), seen, margin)


def _padded(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    missing = height - picture.shape[0], width - picture.shape[1]
    return (
        torch.nn.functional.pad(picture, (0, missing[1], 0, missing[0]))
        if any(missing)
        else picture
    )


def _inverse(spectrum: torch.Tensor, width: int) -> torch.Tensor:
    """irfft2 without its division, in two steps, which on a CPU is faster than the one."""
    return torch.fft.irfft(
        torch.fft.ifft(spectrum, dim=-2, norm="forward"), n=width, norm="forward"
    )


# What cells are made of ----------------------------------------------------------------------------


class _Modes(NamedTuple):
    """PSFs of one cell's n centres as h_m = mean + sum_k shares[m, k] mode_k."""

    shares: torch.Tensor  # (n, K - 1)
    makers: torch.Tensor  # (K - 1, n): mode_k = sum_m makers[k, m] (h_m - mean)
    error: float  # largest |h - h'| / |h|
    count: int  # K


class _Plan(NamedTuple):
    rows: _Axis
    columns: _Axis
    modes: list[_Modes]  # of the cells, row by row
    mean_count: float  # of modes
    cost: float


def _points(psfs: torch.Tensor, tolerance: float, symmetric: bool) -> torch.Tensor:
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


def _decompose(points: torch.Tensor, tolerance: float) -> _Modes:
    """The fewest modes that give each of the points (n, r) within tolerance of its norm."""
    norms = points.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    left, values, _ = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    shares = left * values
    # missing[m, k]: the share of PSF m that the modes from k on hold.
    missing = shares.square().flip(1).cumsum(1).flip(1).sqrt() / norms[:, None]
    worst = torch.cat([missing.amax(0), missing.new_zeros(1)])
    kept = int((worst > max(tolerance, 1e-12)).sum())
    makers = (left[:, :kept] / values[:kept]).T
    return _Modes(shares[:, :kept], makers, float(worst[kept]), kept + 1)


def _choose(rows, columns, points, tolerance, complex_bytes, parts) -> _Plan:
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
        plan = _Plan(y, x, modes, count / cells, _cost(cells, count, size, complex_bytes))
        plans.append(plan)
        if best is None or plan.cost < best.cost:
            best = plan
    return best


def _cost(cells: int, modes: float, size: int, complex_bytes: int) -> float:
    """Time of one direction, up to a factor; far larger where OTFs pass TABLE_BYTES."""
    excess = max(1.0, modes * size * complex_bytes / 2 / TABLE_BYTES)
    return ((modes + cells) * size + cells * CELL_PX) * size**SIZE_POWER * excess**4


@dataclass
class _Group:
    """Cells with one number of modes, which are worked on together."""

    places: list[tuple[int, int]]  # cell numbers along y and x
    masks: torch.Tensor  # (cells, modes, longest y, longest x), 0 beyond the cell
    otfs: torch.Tensor  # (cells, modes, transform y, transform x // 2 + 1)
    adjoint_otfs: torch.Tensor  # their conjugates; the same tensor where PSFs are symmetric


def _groups(plan: _Plan, psfs: torch.Tensor, symmetric: bool) -> list[_Group]:
    """Masks and OTFs of all cells; psfs: (ny, nx, s, s), those that the axes use."""
    rows, columns = plan.rows, plan.columns
    cells = list(product(range(rows.cells), range(columns.cells)))
    alike = defaultdict(list)
    for place, modes in zip(cells, plan.modes, strict=True):
        alike[modes.count].append((place, modes))
    groups = []
    for count, members in sorted(alike.items()):
        places = [place for place, _ in members]
        masks = psfs.new_zeros(len(places), count, rows.longest, columns.longest)
        otfs = torch.zeros(
            len(places), count, rows.transform, columns.transform // 2 + 1,
            dtype=torch.promote_types(psfs.dtype, torch.complex32), device=psfs.device,
        )  # fmt: skip
        for (place, modes), mask, otf in zip(members, masks, otfs, strict=True):
            _fill(mask, otf, modes, psfs, rows, columns, place)
        if symmetric:
            otfs.imag.zero_()
        groups.append(_Group(places, masks, otfs, otfs if symmetric else otfs.conj_physical()))
    return groups


def _fill(mask, otf, modes: _Modes, psfs, rows: _Axis, columns: _Axis, place) -> None:
    """Masks and OTFs of one cell, in place."""
    j, i = rows.nodes[place[0]], columns.nodes[place[1]]
    y, x = rows.pixels(place[0]), columns.pixels(place[1])
    hats_y, hats_x = (torch.from_numpy(h) for h in (rows.hats[j, y], columns.hats[i, x]))
    inside = mask[:, : y.stop - y.start, : x.stop - x.start]
    inside[0] = 1
    for k, share in enumerate(modes.shares.T, 1):
        inside[k] = hats_y.T @ share.reshape(len(hats_y), len(hats_x)) @ hats_x
    near = psfs[j, i].flatten(0, 1).double()
    mean = near.mean(0)
    makers = modes.makers.to(psfs.device)
    kernels = torch.cat([mean[None], torch.tensordot(makers, near - mean, 1)])
    # The centre of a PSF goes to pixel 0, and the inverse transforms' division into the OTFs.
    size, middle = (rows.transform, columns.transform), kernels.shape[-1] // 2
    fields = psfs.new_zeros(*kernels.shape[:2], size[1])
    fields[..., : middle + 1] = kernels[..., middle:]
    fields[..., size[1] - middle :] = kernels[..., :middle]
    lines = torch.fft.rfft(fields / (size[0] * size[1]))
    for line, target in zip(lines, otf, strict=True):
        target[: middle + 1] = line[middle:]
        target[size[0] - middle :] = line[:middle]
        target.copy_(torch.fft.fft(target, dim=0))


def _check(psfs, centres_y, centres_x, order) -> None:
    if order not in ORDERS:
        raise ValueError(f"order: {order!r} is none of {', '.join(ORDERS)}")
    if psfs.ndim != 4 or psfs.shape[2] != psfs.shape[3] or psfs.shape[2] % 2 == 0:
        raise ValueError(f"psfs: shape {tuple(psfs.shape)} is not (ny, nx, s, s) with s odd")
    for name, centres, count in (("y", centres_y, psfs.shape[0]), ("x", centres_x, psfs.shape[1])):
        centres = torch.as_tensor(centres, dtype=torch.float64)
        if centres.shape != (count,) or not (centres.diff() > 0).all():
            raise ValueError(f"centres_{name}: {count} rising numbers are needed")


def _check_picture(name: str, picture: torch.Tensor, shape: tuple[int, int]) -> None:
    if tuple(picture.shape) != shape:
        raise ValueError(f"{name}: shape {tuple(picture.shape)} is not {shape}")
