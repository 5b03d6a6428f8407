"""Sums over the modes of a blur's cells: products with OTFs, and masked inverse transforms.

A processor takes them in compiled loops, which read each array once. Other devices take whole arrays.
"""

import numpy as np
import torch

from isoplan.base.compiled import compiled


def inverse(spectrum: torch.Tensor, width: int) -> torch.Tensor:
    """irfft2 without its division, in two steps, which are faster than one on a CPU."""
    return torch.fft.irfft(
        torch.fft.ifft(spectrum, dim=-2, norm="forward"), n=width, norm="forward"
    )


def sum_of_products(
    spectra: torch.Tensor, otfs: torch.Tensor, total: torch.Tensor | None = None
) -> torch.Tensor:
    """Sum over the modes of spectra times OTFs, which is added to `total`.

    Parameters
    ----------
    spectra
        (cells, modes, y, x) complex.
    otfs
        (cells, modes, y, x) complex, or real on a processor.
    total
        (cells, y, x) complex, which is changed; None is 0.

    Examples
    --------
    >>> spectra, otfs = torch.ones(1, 3, 4, 3, dtype=torch.complex64), torch.full((1, 3, 4, 3), 2.0)
    >>> complex(sum_of_products(spectra, otfs)[0, 0, 0])
    (6+0j)
    """
    if spectra.device.type != "cpu":
        found = (spectra * otfs).sum(1)
        return found if total is None else total.add_(found)
    first = total is None
    total = torch.empty_like(spectra[:, 0]) if first else total
    _add_products(spectra.numpy(), otfs.numpy(), total.numpy(), first)
    return total


def sum_of_correlations(
    seen: torch.Tensor,
    otfs: torch.Tensor,
    masks: torch.Tensor,
    first: tuple[int, int],
    width: int,
    total: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum over the modes of masks times the inverse transforms of spectra times OTFs, which is added to `total`.

    Parameters
    ----------
    seen
        (cells, y, x) complex, a half of the spectra of real pictures.
    otfs
        (cells, modes, y, x) complex, or real on a processor.
    masks
        (cells, modes, height, width of a cell).
    first
        Row and column of the transforms where cells begin.
    width
        Number of columns of the transforms.
    total
        (cells, height, width of a cell), which is changed; None is 0.

    Notes
    -----
    On a processor, each transform takes two modes, as the real and the imaginary part of its result. That takes about as long
    as one real transform in two steps.

    Examples
    --------
    >>> picture = torch.rand(1, 4, 6)
    >>> seen, otfs = torch.fft.rfft2(picture), torch.full((1, 3, 4, 4), 1 / 24)
    >>> found = sum_of_correlations(seen, otfs, torch.ones(1, 3, 2, 2), (1, 3), 6)
    >>> bool(torch.allclose(found, 3 * picture[:, 1:3, 3:5]))
    True
    """
    total = torch.zeros_like(masks[:, 0]) if total is None else total
    paired = len(otfs[0]) // 2 * 2 if seen.device.type == "cpu" else 0
    if paired:
        pairs = seen.new_empty(len(otfs), paired // 2, otfs.shape[2], width)
        _pair_products(seen.numpy(), otfs.numpy(), pairs.numpy())
        pairs = torch.fft.ifft2(pairs, norm="forward")
        _add_masked_pairs(pairs.numpy(), masks.numpy(), total.numpy(), *first)
    return _add_correlations(seen, otfs[:, paired:], masks[:, paired:], first, width, total)


def _add_correlations(seen, otfs, masks, first, width, total):
    """`sum_of_correlations`, mode by mode."""
    y, x = (slice(start, start + n) for start, n in zip(first, masks.shape[2:], strict=True))
    for otf, mask in zip(otfs.unbind(1), masks.unbind(1), strict=True):
        total.addcmul_(inverse(seen * otf, width)[..., y, x], mask)
    return total


@compiled
def _add_products(spectra, otfs, total, first):
    for cell, y, mode in np.ndindex(otfs.shape[0], otfs.shape[2], otfs.shape[1]):
        sums, seen, otf = total[cell, y], spectra[cell, mode, y], otfs[cell, mode, y]
        if first and mode == 0:
            for x in range(len(sums)):
                sums[x] = seen[x] * otf[x]
        else:
            for x in range(len(sums)):
                sums[x] += seen[x] * otf[x]


@compiled
def _pair_products(spectra, otfs, pairs):
    """Whole spectra of f + i g from the halves of the real pictures f and g, which are spectra times OTFs."""
    height, half = otfs.shape[2:]
    width = pairs.shape[3]
    for cell, pair, y in np.ndindex(pairs.shape[:3]):
        seen, here = spectra[cell, y], pairs[cell, pair, y]
        first, second = otfs[cell, 2 * pair, y], otfs[cell, 2 * pair + 1, y]
        for x in range(half):
            f, g = seen[x] * first[x], seen[x] * second[x]
            here[x] = complex(f.real - g.imag, f.imag + g.real)
        # Spectra of real pictures are mirrored and conjugate.
        mirrored = pairs[cell, pair, (height - y) % height]
        for x in range(1, width - half + 1):
            f, g = seen[x] * first[x], seen[x] * second[x]
            mirrored[width - x] = complex(f.real + g.imag, g.real - f.imag)


@compiled
def _add_masked_pairs(pairs, masks, total, top, left):
    for cell, pair, y in np.ndindex(pairs.shape[0], pairs.shape[1], masks.shape[2]):
        line, sums = pairs[cell, pair, top + y], total[cell, y]
        first, second = masks[cell, 2 * pair, y], masks[cell, 2 * pair + 1, y]
        for x in range(len(sums)):
            value = line[left + x]
            sums[x] += first[x] * value.real + second[x] * value.imag
