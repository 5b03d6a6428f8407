"""Blurs of many small pictures at once, each by PSFs of its own, through which gradients pass."""

from copy import copy

import torch

from isoplan.optics.blur_cells import good_size


class Blurs:
    """As many blurs as pictures, of the order "mask-blur" of `optics.blur.SpaceVariantBlur`.

    Parameters
    ----------
    psfs : (n, k, s, s) tensor
        k PSFs of each picture, s odd.
    masks : (n, k, h + s - 1, w + s - 1) tensor or None
        How much of each object pixel each PSF blurs, together 1 at every pixel. None for a single PSF.
    shape : (h, w)
        Of a picture, in pixels of the object.
    factor : int
        Side of a camera's pixel in pixels of the object, whose light it sums up. It divides h and w.

    Attributes
    ----------
    margin
        s // 2, by which an object extends beyond its picture.

    Examples
    --------
    >>> blurs = Blurs(torch.full((2, 1, 3, 3), 1 / 9), None, (8, 8))
    >>> x, y = torch.rand(2, 10, 10), torch.rand(2, 8, 8)
    >>> bool(torch.isclose((blurs.forward(x) * y).sum(), (x * blurs.adjoint(y)).sum()))
    True
    """

    def __init__(
        self,
        psfs: torch.Tensor,
        masks: torch.Tensor | None,
        shape: tuple[int, int],
        factor: int = 1,
    ):
        self.factor = factor
        self.shape, self.masks, self.margin = tuple(shape), masks, psfs.shape[-1] // 2
        self.object_shape = tuple(n + 2 * self.margin for n in shape)
        self.size = tuple(map(good_size, self.object_shape))
        self.otfs = torch.fft.rfft2(psfs, s=self.size)

    def only(self, which) -> "Blurs":
        """Those of some of the pictures. which: an index of the first axis that keeps it."""
        made = copy(self)
        made.otfs = self.otfs[which]
        made.masks = None if self.masks is None else self.masks[which]
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (n, h / factor, w / factor) of objects (n, h + s - 1, w + s - 1)."""
        parts = x[:, None] if self.masks is None else x[:, None] * self.masks
        seen = (torch.fft.rfft2(parts, s=self.size) * self.otfs).sum(1)
        first, (h, w) = 2 * self.margin, self.object_shape
        return binned(torch.fft.irfft2(seen, s=self.size)[..., first:h, first:w], self.factor)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """The exact transpose of `forward`."""
        y = spread(y, self.factor)
        first, (h, w) = 2 * self.margin, self.object_shape
        rest = self.size[1] - w, self.size[0] - h
        wide = torch.nn.functional.pad(y, (first, rest[0], first, rest[1]))
        spectrum = torch.fft.rfft2(wide)[:, None] * self.otfs.conj()
        if self.masks is None:
            return torch.fft.irfft2(spectrum[:, 0], s=self.size)[..., :h, :w]
        return (torch.fft.irfft2(spectrum, s=self.size)[..., :h, :w] * self.masks).sum(1)


def binned(pictures: torch.Tensor, factor: int) -> torch.Tensor:
    """Sums over squares of factor x factor pixels of (n, h, w)."""
    if factor == 1:
        return pictures
    return factor**2 * torch.nn.functional.avg_pool2d(pictures, factor)


def spread(pictures: torch.Tensor, factor: int) -> torch.Tensor:
    """The transpose of `binned`: every pixel factor x factor times."""
    if factor == 1:
        return pictures
    return pictures.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
