"""The PSFs that a mosaic is restored with, for any of its windows."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from isoplan.base.errors import UserError
from isoplan.mosaic import ngff, tiles
from isoplan.optics.plain import PlainPsf
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.fill import summarise_map, width_uncertainty
from isoplan.psf_map.layout import FILLED, OTHER_BLUR, MapLayout, channels

MOSTLY = 0.5  # the blur counts as another than the model's if a larger share of the map says so


@dataclass(frozen=True)
class LocalPsfs:
    """PSFs of a mosaic: from a map, a constant PSF, or known PSFs.

    Attributes
    ----------
    model
        The PSF model.
    layout
        Layout of the map.
    cells
        (P, ny, nx) or (channels, ny, nx) array of filled parameters, which may be a zarr array; it is read by
        window. None for a constant PSF.
    constant
        (P,) parameters of a constant PSF; None if the map knows none.
    factor
        Factor on the sizes of the PSFs (`PsfModel.narrowed`). With 0, the PSF is a single pixel, which does
        not blur.
    known
        Known PSFs (ny, nx, s, s) and their centres along y and x in px of the mosaic, which are not
        narrowed.
    mean_of
        Summary (`psf_map.fill.summarise_map`) of the map whose mean `constant` is.
    """

    model: object = None
    layout: MapLayout | None = None
    cells: object = None
    constant: tuple | None = None
    factor: float = 1.0
    known: tuple | None = None
    mean_of: dict | None = None

    @property
    def size_px(self) -> int:
        """Side of the PSFs."""
        return self.known[0].shape[-1] if self.known else self.model.size_px

    def by(self, which: float | PlainPsf) -> "LocalPsfs":
        """The same with PSFs narrower by a factor, or with a PSF of another kind.

        Raises UserError if that PSF is larger than the square of the PSFs.
        """
        if isinstance(which, PlainPsf):
            if not which.fits(self.size_px):
                raise UserError(
                    f"psf_shape: a {which.words} is larger than the PSFs' square of {self.size_px} px, the size_px of "
                    "the network's PSF model"
                )
            psf = which.psf(self.size_px)[None, None]
            return replace(self, known=(psf, torch.zeros(1), torch.zeros(1)))
        return replace(self, factor=which)

    def chosen(self, settings: dict) -> "LocalPsfs":
        """The PSFs to restore with, by the config's `restoration` or what was chosen for it.

        PSFs that are known are not changed.
        """
        shape = settings.get("psf_shape", "map")
        if shape in ("auto", "map") or not self.estimated:
            return self.by(settings.get("psf_scale", 1.0))
        return self.by(PlainPsf.read(shape))

    def doubt(self, y0: int, y1: int, x0: int, x1: int) -> float | None:
        """Relative standard deviation of the PSF's width in the median cell of a window, by the map's intervals.

        None if the PSFs are known.
        """
        if not self.estimated:
            return None
        if self.mean_of:
            return self.mean_of["doubt"]
        rows, columns = self._nodes(0, y0, y1), self._nodes(1, x0, x1)
        # The intervals of a true map have no width, so it is not in doubt.
        return (
            width_uncertainty(np.asarray(self.cells[:, rows, columns], np.float32), self.model)
            or None
        )

    @property
    def estimated(self) -> bool:
        """Whether the PSFs come from a map that gives their uncertainty."""
        known = self.known is not None or self.model is None
        if known or self.mean_of:
            return not known
        return self.cells is not None and self.cells.shape[0] == len(channels(self.model))

    @cached_property
    def sums(self) -> dict | None:
        """Summary of the map (`psf_map.fill.summarise_map`); None if the PSFs are not estimated."""
        if not self.estimated:
            return None
        return self.mean_of or summarise_map(np.asarray(self.cells, np.float32), self.model)

    @property
    def other_blur(self) -> float:
        """Share of the valid cells that say that the blur does not belong to the PSF model; 0 if unknown."""
        sums = self.sums
        return (
            sums["other_blur_cells"] / sums["valid_cells"] if sums and sums["valid_cells"] else 0.0
        )

    def contradicted(self, settings: dict) -> bool:
        """Whether most of the map says that the blur is not of its PSF model, but PSFs of that kind are used.

        settings: as for `chosen`.
        """
        shape = settings.get("psf_shape", "map")
        if not settings.get("psf_scale", 1.0) or self.other_blur <= MOSTLY:
            return False
        return shape in ("auto", "map") or PlainPsf.read(shape).kind in self.model.plain_kinds

    def around(self, y0: int, y1: int, x0: int, x1: int):
        """The PSFs around a window.

        Parameters
        ----------
        y0, y1, x0, x1
            The window in px of the mosaic.

        Returns
        -------
        tuple or None
            PSFs (ny, nx, s, s), and their centres along y and x in px of the window. None if no PSF is known.

        Raises
        ------
        UserError
            If only some cells of the map have values; a filled map has them in all of its cells or in none.
        """
        if self.known:
            psfs, y, x = self.known
            return psfs, y - y0, x - x0
        if not self.factor:
            pixel = torch.zeros(1, 1, 3, 3)
            pixel[..., 1, 1] = 1
            return pixel, torch.zeros(1), torch.zeros(1)
        if self.cells is None:
            if self.constant is None:
                return None
            psf = self._psfs(torch.tensor([self.constant], dtype=torch.float32))
            return psf[None], torch.zeros(1), torch.zeros(1)
        rows, columns = self._nodes(0, y0, y1), self._nodes(1, x0, x1)
        count = len(self.model.parameters)
        params = np.asarray(self.cells[:count, rows, columns], np.float32)
        missing = np.isnan(params).any(axis=0)
        if missing.all():
            return None
        if missing.any():
            raise UserError(
                f"the PSF map has no value in {missing.sum()} of {missing.size} cells around rows {y0} to "
                f"{y1}, columns {x0} to {x1} of the picture: it was not filled, or it is damaged; remove "
                "it and run again"
            )
        flat = torch.from_numpy(np.moveaxis(params, 0, -1).reshape(-1, count).copy())
        psfs = self._psfs(flat)
        return (
            psfs.reshape(*params.shape[1:], *psfs.shape[1:]),
            torch.from_numpy(self.layout.centres_px(0)[rows] - y0 - 0.5),
            torch.from_numpy(self.layout.centres_px(1)[columns] - x0 - 0.5),
        )

    def doubts(self, core, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Doubts of the map at the cells of a core.

        Parameters
        ----------
        core
            (rows, columns) slices.
        size
            Side of the cells in px.

        Returns
        -------
        uncertainty, filled, other_blur
            (ny, nx) each; NaN if the PSFs are not estimated from a map. The uncertainty is the width of the 90 %
            interval as a share of the parameter's range, of the parameter for which it is largest.
        """
        grid = [tiles.cell_grid(part.stop - part.start, size) for part in core]
        if not self.estimated or self.cells is None:
            return (np.full(grid, np.nan),) * 3
        count = len(self.model.parameters)
        places = [
            np.minimum(
                (part.start + size * np.arange(n) + size // 2) // self.layout.stride_px, last
            )
            for part, n, last in zip(core, grid, np.subtract(self.layout.cells, 1), strict=True)
        ]
        window = tuple(slice(int(at[0]), int(at[-1]) + 1) for at in places)
        near = np.asarray(self.cells[(slice(None), *window)], np.float32)
        near = near[:, places[0] - places[0][0]][:, :, places[1] - places[1][0]]
        spans = np.array([p.period or p.high - p.low for p in self.model.parameters])
        uncertainty = (2 * near[count : 2 * count] / spans[:, None, None]).max(axis=0)
        return uncertainty, near[FILLED], near[OTHER_BLUR]

    def _psfs(self, params: torch.Tensor) -> torch.Tensor:
        """PSFs (n, s, s) of parameters (n, P), narrowed."""
        return self.model.psf(self.model.narrowed(params, self.factor))[0]

    def _nodes(self, axis: int, start: int, stop: int) -> slice:
        """The cells whose hats overlap with [start, stop), widened by the PSF."""
        stride, reach = self.layout.stride_px, self.model.size_px // 2 + self.layout.stride_px
        last = self.layout.cells[axis] - 1
        low, high = (start - reach) // stride, (stop + reach) // stride
        return slice(min(max(low, 0), last), min(max(high, 0), last) + 1)


def local_psfs(choice: dict, shape_px: tuple[int, int]) -> LocalPsfs:
    """Open the PSFs of a mosaic.

    Parameters
    ----------
    choice
        {"store": path} for the PSFs of a map. With {"mean_of": file of the map's summary} as well, the mean PSF
        is used everywhere. {"fixed": entry of `psfs`} is for a PSF model without parameters.
    shape_px
        Shape of the mosaic.
    """
    if "fixed" in choice:
        return LocalPsfs(make_psf_model(choice["fixed"]), constant=())
    made = ngff.read_attributes(choice["store"])
    model = make_psf_model(made["psf"])
    if "mean_of" in choice:
        sums = json.loads(Path(choice["mean_of"]).read_text())
        mean = sums["mean"] and tuple(sums["mean"][p.name] for p in model.parameters)
        return LocalPsfs(model, constant=mean, mean_of=sums)
    layout = MapLayout(tuple(shape_px), made["window_px"], made["stride_px"], made["edges"])
    return LocalPsfs(model, layout=layout, cells=ngff.open_array(choice["store"]))
