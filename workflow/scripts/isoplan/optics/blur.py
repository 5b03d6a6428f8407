"""Space-variant blur and its exact adjoint.

Two orders of masking and blurring (thesis, eq. 4.1 and Fig. 2.4; Denis et al. 2015 for the names):

- mask-blur, y = sum_m h_m * (phi_m x): every source keeps its own PSF; fluorescence. Keeps flux.
- blur-mask, y = sum_m phi_m (h_m * x): every pixel collects with its own PSF; bright field. A1 = 1.

phi_m are bilinear hats between the centres of the PSFs. Both orders are built from one pair of
transposed operations: `_scatter` masks and blurs, `_gather` correlates and masks.

Neighbouring PSFs are similar. The masked side is cut into cells along lines of centres. Within a cell, the
PSFs are represented by their mean and a few modes, h_m = b_0 + sum_k c_mk b_k, from a singular-value
decomposition. With the masks C_k = sum_m c_mk phi_m and C_0 = 1, a cell of K modes (including the mean)
costs K + 1 transforms in each direction:

    sum_m h_m * (phi_m x) = sum_k b_k * (C_k x)

One cell with a few modes is enough if only the focus varies. A cell between four centres with four modes is
exact for any PSFs. `blur_cells.choose` estimates the cost of many partitions and takes the cheapest.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from threading import get_ident

import torch

from isoplan.base.device import halving, in_threads, keep_freed_memory
from isoplan.optics.blur_cells import Axis, Modes, Plan, axis_of, choose, points_of
from isoplan.optics.blur_sums import inverse, sum_of_correlations, sum_of_products

ORDERS = ("mask-blur", "blur-mask")

# Largest error |h - h'| / |h| of a PSF made from modes, |h|^2 being the sum of squares. A restoration changes
# by less than half of that, relative to its range.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}

# Size of one batch's work arrays on a CPU. Larger ones leave its cache, smaller ones take more calls.
WORK_BYTES = 16 * 2**20

# The modes of a cell that fills the work arrays are shared out among as many threads at most. Sums depend on it, so
# it does not depend on the machine.
SHARES = 4


class SpaceVariantBlur:
    """Blur by PSFs that vary over the picture, with its exact adjoint (thesis, eq. 4.1).

    The object extends beyond the picture by `margin` = s // 2 px on every side, and the picture is the
    part of the blur that is complete. Nothing wraps around, and no border is invented. Hats are taken at
    object positions.

    Parameters
    ----------
    psfs
        (ny, nx, s, s) float32 or float64, s odd, on the device that computes. The centre of a PSF is its
        element (s // 2, s // 2).
    centres_y, centres_x
        (ny,) and (nx,) positions of the PSFs, ascending, in px of the picture; the centre of its first
        pixel is 0. They may lie outside the picture.
    shape
        (H, W) of the picture.
    order
        "mask-blur" (fluorescence) or "blur-mask" (bright field).
    tolerance
        Largest |h - h'| / |h| of a PSF h' made from modes, |h|^2 being the sum of squares. None takes
        TOLERANCE, 1e-4 in single precision. The adjoint is exactly that of the approximated blur, and
        PSFs that all have sum 1 keep it.
    parts
        Numbers of cells along y and x, as closely as the centres allow. None takes the cheapest
        partition.

    Attributes
    ----------
    margin
        s // 2.
    object_shape
        (H + 2 margin, W + 2 margin).
    parts
        Numbers of cells along y and x.
    truncation
        The largest |h - h'| / |h| of all PSFs.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the order is unknown.

    Notes
    -----
    Only PSFs whose hats reach the picture are used. Masks and OTFs are computed once. A cell of K modes
    and transforms of N x N px stores K masks and K N^2 / 2 numbers, real ones on a processor, if its PSFs are
    symmetric about their centre; else K N^2 complex ones. All together stay below `blur_cells.TABLE_BYTES` if some partition
    allows it. Work arrays of each thread are limited to about WORK_BYTES, or to what one transform needs. On a GPU the limit
    is a quarter of the free memory, and batches are halved if memory runs out.

    Examples
    --------
    Two Gaussian PSFs, 16 px apart, of a picture of 32 x 32 px:

    >>> from isoplan.optics.gaussian import gaussian_psfs
    >>> psfs = gaussian_psfs(torch.tensor([[2.0, 2.0], [4.0, 4.0]]), 15)
    >>> blur = SpaceVariantBlur(psfs[None], [15.5], [7.5, 23.5], (32, 32))
    >>> blur.object_shape
    (46, 46)
    >>> x, y = torch.ones(46, 46), torch.rand(32, 32)
    >>> picture = blur.forward(x)
    >>> bool(torch.isclose((picture * y).sum(), (x * blur.adjoint(y)).sum()))
    True
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
            axis_of(centres, length, self.margin, self._masks_object)
            for centres, length in zip((centres_y, centres_x), shape, strict=True)
        )
        psfs = psfs[rows.used, columns.used]
        tolerance = TOLERANCE[self.dtype] if tolerance is None else tolerance
        # PSFs that are symmetric about their centre have real OTFs, which are their own conjugates.
        unlike = (psfs - psfs.flip(-2, -1)).abs().amax()
        symmetric = bool(unlike <= 1e-2 * max(tolerance, 1e-12) * psfs.abs().amax())
        points = points_of(psfs.flatten(0, 1).flatten(1), tolerance / 30, symmetric)
        points = points.reshape(*psfs.shape[:2], -1)
        real = symmetric and self.device.type == "cpu"
        otf_bytes = psfs.element_size() * (1 if real else 2)
        plan = choose(rows, columns, points, tolerance, otf_bytes, parts)
        self._rows, self._columns = plan.rows, plan.columns
        self.parts = plan.rows.cells, plan.columns.cells
        self.truncation = max(modes.error for modes in plan.modes)
        self._groups = _groups(plan, psfs, symmetric, real)
        self._zeros: dict[tuple[int, ...], torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The picture (H, W) of an object of `object_shape`. Raises ValueError if the shape is wrong."""
        _check_picture("object", x, self.object_shape)
        return self._in_batches(self._scatter if self._masks_object else self._gather, x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """The exact transpose of `forward`: an array of `object_shape` from a picture (H, W).

        Raises ValueError if the shape is wrong.
        """
        _check_picture("picture", y, self.shape)
        return self._in_batches(self._gather if self._masks_object else self._scatter, y)

    def _in_batches(self, work: Callable, picture: torch.Tensor) -> torch.Tensor:
        """work(picture); while memory runs out, it is repeated with batches of half the size."""

        def one(work_bytes: int) -> torch.Tensor:
            if work_bytes != self._work_bytes:
                self._work_bytes = work_bytes
                self._zeros.clear()
            return work(picture)

        least = self._rows.transform * self._columns.transform * picture.element_size()
        return halving(one, self._work_bytes, least)

    def _batches(self) -> Iterator[tuple["_Group", slice, list[list[slice]]]]:
        """Batches that fit the work arrays: a group, a slice of its cells, and shares of their modes in slices."""
        bytes_each = 3 * self._rows.transform * self._columns.transform * self.dtype.itemsize
        room = max(1, self._work_bytes // bytes_each)
        for group in self._groups:
            count, modes = group.masks.shape[:2]
            # Two modes at least, as the adjoint transforms pairs.
            cells, step = max(1, room // modes), min(modes, max(2, room))
            slices = [slice(k, min(k + step, modes)) for k in range(0, modes, step)]
            each = -(-len(slices) // SHARES)
            shares = [slices[k : k + each] for k in range(0, len(slices), each)]
            for start in range(0, count, cells):
                yield group, slice(start, min(start + cells, count)), shares

    def _scatter(self, masked: torch.Tensor) -> torch.Tensor:
        """Mask, blur and sum."""
        wide = masked.new_zeros(self._rows.other, self._columns.other)
        # A cell shorter than the longest reads into the next one, where its masks are 0.
        padded = _padded(masked, self._rows.room, self._columns.room)
        inside = self._rows.inside, self._columns.inside
        sizes = self._rows.transform, self._columns.transform

        def units():
            for group, cells, shares in self._batches():
                for share in shares:
                    yield group, cells, share, share is shares[-1], len(shares) == 1

        def transformed(unit):
            group, cells, share, last, whole = unit
            x = [padded[self._cell(place)] for place in group.places[cells]]
            x = torch.stack(x) if len(x) > 1 else x[0][None]
            total = None
            for modes in share:
                masks = group.masks[cells, modes]
                work = self._empty(*masks.shape[:2], *sizes)
                torch.mul(x[:, None], masks, out=work[..., inside[0], inside[1]])
                total = sum_of_products(torch.fft.rfft2(work), group.otfs[cells, modes], total)
            return group.places[cells], inverse(total, sizes[1]) if whole else total, last, whole

        total = None
        # Patches overlap. They are always added in the same order.
        for places, found, last, whole in in_threads(transformed, units(), self.device):
            if not whole:
                total = found if total is None else total.add_(found)
                if not last:
                    continue
                found, total = inverse(total, sizes[1]), None
            for place, patch in zip(places, found, strict=True):
                source, target = self._windows(place)
                wide[target] += patch[source]
        return wide

    def _gather(self, wide: torch.Tensor) -> torch.Tensor:
        """The transpose of `_scatter`: correlate, mask and sum."""
        masked = wide.new_zeros(self._rows.length, self._columns.length)
        first, width = (self._rows.lead, self._columns.lead), self._columns.transform

        def units():
            for group, cells, shares in self._batches():
                # What several shares need is computed once.
                seen = self._spectra(wide, group.places[cells]) if len(shares) > 1 else None
                for share in shares:
                    yield group, cells, share, seen

        def correlated(unit):
            group, cells, share, seen = unit
            seen = self._spectra(wide, group.places[cells]) if seen is None else seen
            total = None
            for modes in share:
                masks, otfs = group.masks[cells, modes], group.adjoint_otfs[cells, modes]
                total = sum_of_correlations(seen, otfs, masks, first, width, total)
            return group.places[cells], total

        for places, patches in in_threads(correlated, units(), self.device):
            for (i, j), patch in zip(places, patches, strict=True):
                y, x = self._rows.pixels(i), self._columns.pixels(j)
                masked[y, x] += patch[: y.stop - y.start, : x.stop - x.start]
        return masked

    def _spectra(self, wide: torch.Tensor, places: list[tuple[int, int]]) -> torch.Tensor:
        """Transforms (n, size y, size x // 2 + 1) of what cells blur into."""
        window = wide.new_zeros(len(places), self._rows.transform, self._columns.transform)
        for place, patch in zip(places, window, strict=True):
            source, target = self._windows(place)
            patch[source] = wide[target]
        return torch.fft.rfft2(window)

    def _cell(self, place: tuple[int, int]) -> tuple[slice, slice]:
        starts = self._rows.edges[place[0]], self._columns.edges[place[1]]
        longest = self._rows.longest, self._columns.longest
        return tuple(slice(start, start + n) for start, n in zip(starts, longest, strict=True))

    def _windows(self, place: tuple[int, int]):
        """The pixels that a cell blurs into, as slices of its transform and of the other side."""
        (y, y_other), (x, x_other) = self._rows.window(place[0]), self._columns.window(place[1])
        return (y, x), (y_other, x_other)

    def _empty(self, *shape: int) -> torch.Tensor:
        """An array that is 0 outside of the cells' insides, which the caller overwrites; each thread reuses its own."""
        key = get_ident(), *shape
        if key not in self._zeros:
            self._zeros[key] = torch.zeros(shape, dtype=self.dtype, device=self.device)
        return self._zeros[key]


def _padded(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    missing = height - picture.shape[0], width - picture.shape[1]
    return (
        torch.nn.functional.pad(picture, (0, missing[1], 0, missing[0]))
        if any(missing)
        else picture
    )


@dataclass
class _Group:
    """Cells with the same number of modes, which are computed together."""

    places: list[tuple[int, int]]  # cell numbers along y and x
    masks: torch.Tensor  # (cells, modes, longest y, longest x), 0 beyond the cell
    # (cells, modes, transform y, transform x // 2 + 1), real if the PSFs are symmetric and a processor computes
    otfs: torch.Tensor
    adjoint_otfs: torch.Tensor  # their conjugates; the same tensor if the PSFs are symmetric


def _groups(plan: Plan, psfs: torch.Tensor, symmetric: bool, real: bool) -> list[_Group]:
    """Masks and OTFs of all cells. psfs: (ny, nx, s, s), those that the axes use. real: whether OTFs are kept as real numbers."""
    rows, columns = plan.rows, plan.columns
    cells = list(product(range(rows.cells), range(columns.cells)))
    alike = defaultdict(list)
    for place, modes in zip(cells, plan.modes, strict=True):
        alike[modes.count].append((place, modes))
    groups = []
    for count, members in sorted(alike.items()):
        places = [place for place, _ in members]
        masks = psfs.new_zeros(len(places), count, rows.longest, columns.longest)
        spectrum = rows.transform, columns.transform // 2 + 1
        number = psfs.dtype if real else torch.promote_types(psfs.dtype, torch.complex32)
        otfs = torch.empty(len(places), count, *spectrum, dtype=number, device=psfs.device)

        def fill(cell, masks=masks, otfs=otfs):
            at, (place, modes) = cell
            _fill(masks[at], otfs[at], modes, psfs, rows, columns, place)

        for _ in in_threads(fill, enumerate(members), psfs.device):
            pass
        if symmetric and not real:
            otfs.imag.zero_()
        groups.append(_Group(places, masks, otfs, otfs if symmetric else otfs.conj_physical()))
    return groups


def _fill(mask, otf, modes: Modes, psfs, rows: Axis, columns: Axis, place) -> None:
    """Compute masks and OTFs of one cell in place."""
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
    # The centre of a PSF moves to pixel 0, and the OTFs include the division of the inverse transforms.
    size, middle = (rows.transform, columns.transform), kernels.shape[-1] // 2
    fields = psfs.new_zeros(*kernels.shape[:2], size[1])
    fields[..., : middle + 1] = kernels[..., middle:]
    fields[..., size[1] - middle :] = kernels[..., :middle]
    lines = torch.fft.rfft(fields / (size[0] * size[1]))
    padded = lines.new_zeros(size[0], lines.shape[-1])
    for line, target in zip(lines, otf, strict=True):
        padded[: middle + 1] = line[middle:]
        padded[size[0] - middle :] = line[:middle]
        spectrum = torch.fft.fft(padded, dim=0)
        target.copy_(spectrum if target.is_complex() else spectrum.real)


def _check(psfs, centres_y, centres_x, order) -> None:
    if order not in ORDERS:
        raise ValueError(f"order: {order!r} is not one of {', '.join(ORDERS)}")
    if psfs.ndim != 4 or psfs.shape[2] != psfs.shape[3] or psfs.shape[2] % 2 == 0:
        raise ValueError(f"psfs: shape {tuple(psfs.shape)} is not (ny, nx, s, s) with s odd")
    for name, centres, count in (("y", centres_y, psfs.shape[0]), ("x", centres_x, psfs.shape[1])):
        centres = torch.as_tensor(centres, dtype=torch.float64)
        if centres.shape != (count,) or not (centres.diff() > 0).all():
            raise ValueError(f"centres_{name}: {count} rising numbers are needed")


def _check_picture(name: str, picture: torch.Tensor, shape: tuple[int, int]) -> None:
    if tuple(picture.shape) != shape:
        raise ValueError(f"{name}: shape {tuple(picture.shape)} is not {shape}")
