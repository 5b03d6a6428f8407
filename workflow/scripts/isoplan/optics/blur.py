"""Space-variant blur and its exact adjoint.

Two orders of masking and blurring (thesis, eq. 4.1 and Fig. 2.4; Denis et al. 2015 for the names):

- mask-blur, y = sum_m h_m * (phi_m x): every source keeps its own PSF; fluorescence. Keeps flux.
- blur-mask, y = sum_m phi_m (h_m * x): every pixel collects with its own PSF; bright field. A1 = 1.

phi_m are bilinear hats between the centres of the PSFs. Both orders are built of one pair of
transposed operations: `scatter` masks and blurs, `gather` correlates and masks.

The masked side is cut into cells along the lines of centres. In one cell at most two hats per axis
are not zero, so that a cell takes at most four forward transforms and one inverse of a size near
(stride + PSF), where a patch per hat would take two of a size near (2 stride + PSF).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch

ORDERS = ("mask-blur", "blur-mask")

# Work arrays of one batch of cells stay under this; small batches also stay in the cache.
WORK_BYTES = 16 * 2**20


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


@dataclass
class _Cells:
    """Cells of one axis that share a number of hats (1 or 2) and a transform size."""

    starts: list[int]  # first pixel of each cell
    lengths: list[int]  # pixels of each cell
    nodes: torch.Tensor  # (cells, hats) node numbers
    weights: torch.Tensor  # (cells, hats, length) hats, zero beyond the cell
    transform: int

    @property
    def length(self) -> int:
        return self.weights.shape[-1]


def _plan_axis(centres: Sequence[float], first: float, length: int, reach: int) -> list[_Cells]:
    """Cuts the pixels first, first + 1, ... of an axis into cells; reach = PSF size - 1.

    Returns at most two groups: cells outside the outermost centres, where one hat is 1, and cells
    between two centres, where two hats share.
    """
    centres = torch.as_tensor(centres, dtype=torch.float64)
    points = torch.arange(length, dtype=torch.float64) + first
    passed, counts = torch.searchsorted(centres, points, right=True).unique_consecutive(
        return_counts=True
    )
    outer, between = [], []
    start = 0
    for node, count in zip(passed.tolist(), counts.tolist(), strict=True):
        pixels = slice(start, start + count)
        if 0 < node < len(centres):
            low, high = centres[node - 1], centres[node]
            share = (points[pixels] - low) / (high - low)
            between.append((start, (node - 1, node), torch.stack([1 - share, share])))
        else:
            nearest = min(node, len(centres) - 1)
            outer.append((start, (nearest,), torch.ones(1, count, dtype=torch.float64)))
        start += count
    return [_cut(runs, reach) for runs in (outer, between) if runs]


def _cut(runs: list, reach: int) -> _Cells:
    """Cuts runs of pixels (start, nodes, hats) into cells of about the length that costs least."""
    counts = [hats.shape[1] for _, _, hats in runs]

    def pieces(target: int) -> list[int]:
        return [-(-count // target) for count in counts]

    def cost(target: int) -> int:
        return sum(pieces(target)) * good_size(target + reach)

    targets = {-(-max(counts) // number) for number in range(1, max(counts) + 1)}
    target = min(sorted(targets), key=cost)
    starts, lengths, nodes, weights = [], [], [], []
    for (start, pair, hats), number in zip(runs, pieces(target), strict=True):
        edges = [hats.shape[1] * k // number for k in range(number + 1)]
        for low, high in pairwise(edges):
            starts.append(start + low)
            lengths.append(high - low)
            nodes.append(pair)
            weights.append(hats[:, low:high])
    length = max(lengths)
    table = torch.stack([torch.nn.functional.pad(w, (0, length - w.shape[1])) for w in weights])
    return _Cells(starts, lengths, torch.tensor(nodes), table, good_size(length + reach))


class SpaceVariantBlur:
    """Blur by PSFs that vary over the picture, with its exact adjoint.

    psfs: (ny, nx, s, s), s odd, float32 or float64, on the device that is to work; the centre of a
    PSF is its element (s // 2, s // 2). centres_y (ny,), centres_x (nx,): rising positions of the
    PSFs in px of the picture (pixel 0 has its centre at 0), also outside the picture.
    shape: (H, W) of the picture. order: "mask-blur" (fluorescence) or "blur-mask" (bright field).

    The object goes on beyond the picture by `margin` = s // 2 pixels on every side, object_shape =
    (H + 2 margin, W + 2 margin), and the picture is the part of the blur that is whole: nothing
    wraps around and no border is made up. Hats are taken at object positions.

    Only PSFs whose hats reach the block are kept. OTFs are computed once: about ny nx N^2 / 2
    complex numbers, N the transform size. Work arrays beyond OTFs and pictures stay under
    about WORK_BYTES (16 MiB), or what one cell needs.

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
    ):
        _check(psfs, centres_y, centres_x, order)
        self.order = order
        self.shape = tuple(shape)
        self.margin = psfs.shape[-1] // 2
        self.object_shape = tuple(n + 2 * self.margin for n in shape)
        self.dtype, self.device = psfs.dtype, psfs.device
        self._masks_object = order == "mask-blur"
        if not self._masks_object:
            psfs = psfs.flip(-2, -1)
        reach = 2 * self.margin
        first = -self.margin if self._masks_object else 0
        self._masked_shape = self.object_shape if self._masks_object else self.shape
        height, width = self._masked_shape
        rows = _plan_axis(centres_y, first, height, reach)
        columns = _plan_axis(centres_x, first, width, reach)
        self._blocks = [self._block(psfs, r, c) for r, c in product(rows, columns)]
        # Room for the last cells' windows, which may be longer than the cells themselves.
        longest_y = max(r.length for r in rows)
        longest_x = max(c.length for c in columns)
        self._wide_shape = (height + reach + longest_y, width + reach + longest_x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Picture (H, W) of an object (object_shape)."""
        _check_picture("object", x, self.object_shape)
        if not self._masks_object:
            return self._gather(self._widen(x, 0))
        skip = 2 * self.margin
        height, width = self.shape
        return self._scatter(x)[skip : skip + height, skip : skip + width].contiguous()

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Object (object_shape) from a picture (H, W): the exact transpose of `forward`."""
        _check_picture("picture", y, self.shape)
        if self._masks_object:
            return self._gather(self._widen(y, 2 * self.margin))
        height, width = self.object_shape
        return self._scatter(y)[:height, :width].contiguous()

    def _block(self, psfs, rows: _Cells, columns: _Cells):
        """Cells that share their numbers of hats, with the OTFs that they use."""
        used_y, node_y = rows.nodes.unique(return_inverse=True)
        used_x, node_x = columns.nodes.unique(return_inverse=True)
        kept = psfs[used_y.to(psfs.device)][:, used_x.to(psfs.device)]
        otfs = torch.fft.rfft2(kept, s=(rows.transform, columns.transform))
        cell_bytes = 3 * rows.nodes.shape[1] * columns.nodes.shape[1] * otfs[0, 0].nbytes
        batch = max(1, WORK_BYTES // cell_bytes)
        wy = rows.weights.to(self.device, self.dtype)[..., None]
        wx = columns.weights.to(self.device, self.dtype).transpose(0, 1)[:, :, None]
        return rows, columns, node_y.tolist(), node_x.T.tolist(), otfs, wy, wx, batch

    def _widen(self, picture: torch.Tensor, offset: int) -> torch.Tensor:
        wide = picture.new_zeros(self._wide_shape)
        height, width = picture.shape
        wide[offset : offset + height, offset : offset + width] = picture
        return wide

    def _batches(self):
        """Batches of neighbouring cells of one row: all that scatter and gather need of them."""
        for rows, columns, node_y, node_x, otfs, wy, wx, batch in self._blocks:
            sizes = (rows.transform, columns.transform)
            for i, (y0, height) in enumerate(zip(rows.starts, rows.lengths, strict=True)):
                for j in range(0, len(columns.starts), batch):
                    part = slice(j, j + batch)
                    cells = list(zip(columns.starts[part], columns.lengths[part], strict=True))
                    otf = [[_pick(otfs[n], nodes[part]) for nodes in node_x] for n in node_y[i]]
                    weights = (wy[i], wx[:, part])
                    yield (y0, height, rows.length), (cells, columns.length), sizes, otf, weights

    def _scatter(self, masked: torch.Tensor) -> torch.Tensor:
        """Masks, blurs and sums; output element (i, j) is position (i - margin, j - margin)."""
        reach = 2 * self.margin
        wide = masked.new_zeros(self._wide_shape)
        padded = self._widen(masked, 0)
        for (y0, _, long_y), (cells, long_x), sizes, otf, (wy, wx) in self._batches():
            strip = padded[y0 : y0 + long_y]
            cell = torch.stack([strip[:, x0 : x0 + long_x] for x0, _ in cells])
            # Hats along x come in before the transform along x, hats along y after it, so that
            # one transform along x serves two hats along y. Axes: (hats x, cells, y, x).
            spectrum = torch.fft.rfft(cell * wx, n=sizes[1])
            masked_part = torch.zeros_like(otf[0][0])  # rows beyond the cell stay 0
            total = torch.zeros_like(masked_part)
            for otf_row, hat_y in zip(otf, wy, strict=True):
                for part, transfer in zip(spectrum, otf_row, strict=True):
                    torch.mul(part, hat_y, out=masked_part[:, :long_y])
                    total.addcmul_(torch.fft.fft(masked_part, dim=-2), transfer)
            blurred = torch.fft.irfft2(total, s=sizes)
            for (x0, width), patch in zip(cells, blurred, strict=True):
                end = width + reach
                wide[y0 : y0 + long_y + reach, x0 : x0 + end] += patch[: long_y + reach, :end]
        return wide

    def _gather(self, wide: torch.Tensor) -> torch.Tensor:
        """The transpose of `_scatter`: correlates, masks and sums."""
        reach = 2 * self.margin
        masked = wide.new_empty(self._masked_shape)
        for (y0, height, long_y), (cells, long_x), sizes, otf, (wy, wx) in self._batches():
            strip = wide[y0 : y0 + long_y + reach]
            window = torch.stack([strip[:, x0 : x0 + long_x + reach] for x0, _ in cells])
            # Correlation is conj(OTF) times the spectrum. The spectrum is conjugated in place of
            # the OTFs, and a forward transform then stands in for the inverse one along y.
            spectrum = torch.fft.rfft2(window, s=sizes).conj_physical_()
            total = [0] * len(wx)
            for otf_row, hat_y in zip(otf, wy, strict=True):
                for k, transfer in enumerate(otf_row):
                    part = torch.fft.fft(spectrum * transfer, dim=-2, norm="forward")
                    total[k] = total[k] + part[:, :long_y] * hat_y
            cell = 0
            for part, hat_x in zip(total, wx, strict=True):
                cell = (
                    cell + torch.fft.irfft(part.conj_physical_(), n=sizes[1])[..., :long_x] * hat_x
                )
            for (x0, width), patch in zip(cells, cell, strict=True):
                masked[y0 : y0 + height, x0 : x0 + width] = patch[:height, :width]
        return masked


def _pick(otfs: torch.Tensor, nodes: list[int]) -> torch.Tensor:
    """OTFs of some nodes; neighbours in a row, the usual case, without a copy."""
    if nodes[-1] - nodes[0] == len(nodes) - 1:
        return otfs[nodes[0] : nodes[-1] + 1]
    return otfs[nodes]


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
