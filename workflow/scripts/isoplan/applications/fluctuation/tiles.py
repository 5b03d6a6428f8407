"""Covariances of a picture's tiles, and those that emitters of a fine grid make."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from isoplan.applications.fluctuation.formation import Formation, Psf

TILE_PX, STEP_PX = 16, 10  # of tiles within which covariances count
BORDER_PX = 4  # by which the fine grid is larger than the picture, on every side
ROUNDED = 1e-5  # of a variance: in single precision, a matrix that is nearly singular may else have no Cholesky factor
TOGETHER = 16  # tiles that are worked on at a time: 16 covariances take 4 MB


@dataclass(frozen=True)
class View:
    """Covariances of one band of frequencies in one part of a sequence.

    Parameters
    ----------
    covariances : ndarray
        (tiles, px, px) float32, electrons^2 per coefficient; px = TILE_PX^2, row by row.
    samples : int
        Coefficients that they are the mean of.
    band : tuple of float
        Cycles per frame, from and to.
    shift_px : tuple of float
        Displacement of the picture in this part, (y, x) in camera pixels.
    """

    covariances: np.ndarray
    samples: int
    band: tuple[float, float]
    shift_px: tuple[float, float] = (0.0, 0.0)


def tile_starts(n: int, size: int = TILE_PX, step: int = STEP_PX) -> list[int]:
    """First pixels of tiles that cover n pixels; the last ends with them.

    Examples
    --------
    >>> tile_starts(32)
    [0, 10, 16]
    """
    if n < size:
        raise ValueError(f"{n} px are fewer than a tile's {size}")
    return [*range(0, n - size, step), n - size]


def covariances(coefficients: np.ndarray) -> np.ndarray:
    """(tiles, px, px) float32 of (n, height, width)."""
    n, height, width = coefficients.shape
    made = []
    for y in tile_starts(height):
        for x in tile_starts(width):
            flat = coefficients[:, y : y + TILE_PX, x : x + TILE_PX].reshape(n, -1)
            made.append(flat.T @ flat / n)
    return np.asarray(made, np.float32)


@dataclass(frozen=True)
class Tiles:
    """Covariances of a picture's tiles, against those of emitters.

    A tile sees the emitters of a window of the fine grid by the same Psi as every other. With the products of two
    rows of Psi, K[(i, i'), k] = A[i, k] A[i', k], all sums over pairs of pixels are products of small matrices:
    Sigma = reshape(K X K'), diag(Psi' P Psi) = K' reshape(P) K.
    """

    views: tuple[View, ...]
    noise: torch.Tensor  # (tiles, px)
    weight: torch.Tensor  # (tiles,) share of its pixels' likelihood that is a tile's own
    places: tuple[tuple[int, int], ...]  # first fine pixel of each tile's window
    fine: int  # side of a window
    fine_shape: tuple[int, int]
    pairs: dict  # by shift: (products, TILE_PX^2, fine) of rows, and of columns
    device: str

    @classmethod
    def of(
        cls, views: tuple[View, ...], noise: np.ndarray, psf: Psf, factor: int, device: str
    ) -> "Tiles":
        shape = noise.shape
        ys, xs = (tile_starts(n) for n in shape)
        cover = np.zeros(shape)
        for y in ys:
            for x in xs:
                cover[y : y + TILE_PX, x : x + TILE_PX] += 1
        cut = [(slice(y, y + TILE_PX), slice(x, x + TILE_PX)) for y in ys for x in xs]
        pairs = {}
        for view in views:
            if view.shift_px not in pairs:
                psi = Formation.of(
                    (TILE_PX,) * 2, psf, factor=factor, border=BORDER_PX, shift_px=view.shift_px
                )
                pairs[view.shift_px] = tuple(
                    torch.tensor(_pairs(side), dtype=torch.float32, device=device)
                    for side in (psi.rows, psi.columns)
                )
        return cls(
            views,
            torch.tensor(np.array([noise[c].ravel() for c in cut]), dtype=torch.float32).to(device),
            torch.tensor([1 / cover[c].mean() for c in cut], dtype=torch.float32).to(device),
            tuple((y * factor, x * factor) for y in ys for x in xs),
            (TILE_PX + 2 * BORDER_PX) * factor,
            tuple((n + 2 * BORDER_PX) * factor for n in shape),
            pairs,
            device,
        )

    def first_kappa(self, x: np.ndarray) -> np.ndarray:
        """From the variances: what lies above the noise, against what x of kappa 1 would add."""
        found = []
        for view in self.views:
            variance = np.diagonal(view.covariances, axis1=1, axis2=2)
            above = (variance - self.noise.cpu().numpy()).sum()
            added = sum(
                torch.diagonal(self.spread(view, self.windows(x, chunk)), dim1=1, dim2=2).sum()
                for chunk in self.chunks
            )
            found.append(max(above, 0.02 * variance.sum()) / float(added))
        return np.array(found)

    def gradient(self, x: np.ndarray, kappa: np.ndarray):
        """Parts of the gradient (fine height, fine width), factors of kappa (views,), and the objective."""
        numerator, denominator = np.zeros(self.fine_shape), np.zeros(self.fine_shape)
        scatter, objective = np.ones(len(self.views)), 0.0
        for number, view in enumerate(self.views):
            ours = np.zeros(2)
            for chunk in self.chunks:
                windows = self.windows(x, chunk)
                sigma = kappa[number] * self.spread(view, windows)
                level = sigma.diagonal(dim1=1, dim2=2)
                level.add_(self.noise[chunk]).mul_(1 + ROUNDED)
                lower = torch.linalg.cholesky(sigma)
                inverse = torch.cholesky_inverse(lower)
                seen = torch.from_numpy(view.covariances[chunk]).to(self.device)
                product = inverse @ seen
                weight = self.weight[chunk] * view.samples
                logs = 2 * torch.diagonal(lower, dim1=1, dim2=2).log().sum(1)
                traces = torch.diagonal(product, dim1=1, dim2=2).sum(1)
                objective += float((weight * (logs + traces)).sum())
                scale = (weight * float(kappa[number]))[:, None, None]
                up = scale * self.energy(view, product @ inverse)
                down = scale * self.energy(view, inverse)
                ours += [float((windows * up).sum()), float((windows * down).sum())]
                self._add(numerator, up, chunk)
                self._add(denominator, down, chunk)
            scatter[number] = ours[0] / max(ours[1], 1e-30)
        return numerator, denominator, scatter, objective

    @cached_property
    def chunks(self) -> list[slice]:
        return [slice(k, k + TOGETHER) for k in range(0, len(self.places), TOGETHER)]

    def windows(self, x: np.ndarray, chunk: slice) -> torch.Tensor:
        n = self.fine
        cut = np.array([x[y : y + n, c : c + n] for y, c in self.places[chunk]], np.float32)
        return torch.from_numpy(cut).to(self.device)

    def _add(self, whole: np.ndarray, windows: torch.Tensor, chunk: slice) -> None:
        n = self.fine
        for (y, x), window in zip(self.places[chunk], windows.cpu().numpy(), strict=True):
            whole[y : y + n, x : x + n] += window

    def spread(self, view: View, windows: torch.Tensor) -> torch.Tensor:
        """Psi diag(x) Psi' of each window: (tiles, px, px)."""
        n = TILE_PX
        rows, columns = self.pairs[view.shift_px]
        made = sum(a @ windows @ b.T for a, b in zip(rows, columns, strict=True))
        return made.view(-1, n, n, n, n).transpose(2, 3).reshape(-1, n * n, n * n)

    def energy(self, view: View, matrices: torch.Tensor) -> torch.Tensor:
        """diag(Psi' P Psi) of symmetric P: (tiles, fine, fine)."""
        n = TILE_PX
        rows, columns = self.pairs[view.shift_px]
        paired = matrices.view(-1, n, n, n, n).transpose(2, 3).reshape(-1, n * n, n * n)
        return sum(a.T @ paired @ b for a, b in zip(rows, columns, strict=True))


def _pairs(side: np.ndarray) -> np.ndarray:
    """(terms^2, n^2, fine) of (terms, n, fine): products of every two rows, of every two terms."""
    products = np.einsum("rik,sjk->rsijk", side, side)
    return products.reshape(len(side) ** 2, -1, side.shape[2])
