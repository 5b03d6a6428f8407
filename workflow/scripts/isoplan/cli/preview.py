"""The PNG beside a restored picture: a crop before and after, and the estimated PSFs of the whole."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter

from isoplan.report import pictures, plots, style
from isoplan.report.map_stores import PsfMap
from isoplan.report.maps import GLYPHS_PER_SIDE, glyph_cells
from isoplan.report.psfs import cell_psfs, visible_radius

CROP_PX = 384
SIDE, GAP, TOP = 4.6, 0.14, 0.42  # inches


def overview(mosaic, limit_px: int = pictures.OVERVIEW_PX) -> np.ndarray | None:
    """A picture reduced by block means; None if it is too large to read as a whole."""
    return pictures.SourcePicture(mosaic).overview(limit_px)


def choose_crop(small: np.ndarray | None, shape_px: tuple[int, int]) -> tuple[slice, slice]:
    """The square with the most detail in the overview; without an overview the middle of the picture."""
    side = min(CROP_PX, *shape_px)
    start = [(length - side) // 2 for length in shape_px]
    if small is not None and min(small.shape) > 1:  # a gradient needs two pixels
        scale = max(shape_px) / max(small.shape)
        slopes = np.nan_to_num(np.hypot(*np.gradient(small.astype(np.float64))))
        # One bright edge must not outweigh fine detail.
        slopes = np.minimum(slopes, np.quantile(slopes, 0.95))
        detail = uniform_filter(slopes, max(1, round(side / scale)), mode="constant")
        middle = np.unravel_index(np.argmax(detail), detail.shape)
        start = [round(place * scale - side / 2) for place in middle]
    start = [
        min(max(0, first), length - side) for first, length in zip(start, shape_px, strict=True)
    ]
    return tuple(slice(first, first + side) for first in start)


def draw(
    before: np.ndarray,
    after: np.ndarray,
    piece: tuple[slice, slice],
    small: np.ndarray | None,
    shape_px: tuple[int, int],
    psf_map: PsfMap,
    pixel_size_um: float | None,
) -> Figure:
    """Draw three squares: the crop before and after on the same grey scale, and the PSFs.

    Parameters
    ----------
    before, after
        The crop (h, w) of the observed and the restored picture.
    piece
        Rows and columns of the crop in the picture.
    small
        The picture, reduced by `overview`.
    shape_px
        (H, W) of the picture.
    psf_map
        The PSFs to draw over the whole picture.
    pixel_size_um
        Side of a pixel in micrometres; None gives scale bars in px.
    """
    figure = Figure(figsize=(3 * SIDE + 2 * GAP, SIDE + TOP), facecolor="white")
    levels = pictures.levels_of(np.stack([before, after]))
    panels = [_panel(figure, number) for number in range(3)]
    size, unit = (pixel_size_um, "µm") if pixel_size_um else (1, "px")
    pieces = zip(panels, (before, after), ("As observed", "Restored"), strict=False)
    for axes, shown, title in pieces:
        grey = pictures.to_grey(shown, *levels)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
        _label(axes, title)
    plots.scale_bar(panels[0], before.shape[1] * size, unit)
    _draw_map(panels[2], psf_map, small, shape_px, piece)
    plots.scale_bar(panels[2], shape_px[1] * size, unit)
    title = "PSFs estimated from the picture alone"
    if psf_map.untrusted.all():
        title = "Doubtful PSFs: no cell is valid" if psf_map.has_values else "No PSF could be found"
    _label(panels[2], title)
    return figure


def _panel(figure: Figure, number: int):
    """Square axes without a frame."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((number * (SIDE + GAP) / width, 0, SIDE / width, SIDE / height))
    axes.set_axis_off()
    axes.set_anchor("NW")
    return axes


def _label(axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=15, color=style.INK, pad=8)


def _draw_map(axes, psf_map: PsfMap, small, shape_px, piece) -> None:
    """Draw PSFs over the dimmed picture, and a frame around the crop."""
    height, width = shape_px
    grey = np.zeros((2, 2), np.uint8)
    if small is not None:
        grey = pictures.to_grey(small, *pictures.levels_of(small))
    axes.imshow(grey, cmap="gray", vmin=0, vmax=600, extent=(0, width, height, 0))
    cells = glyph_cells(psf_map) if psf_map.has_values else []
    if cells:
        psfs = cell_psfs(psf_map, cells)
        middle, radius = psfs.shape[-1] // 2, visible_radius(psfs)
        window = slice(middle - radius, middle + radius + 1)
        half = 0.46 * max(height, width) / GLYPHS_PER_SIDE
        for psf, (row, column) in zip(psfs[:, window, window], cells, strict=True):
            y, x = (row + 0.5) * psf_map.stride_px, (column + 0.5) * psf_map.stride_px
            level = psf / psf.max()
            colour = colormaps[style.PSF_MAP](level)
            colour[..., 3] = np.clip(5 * level, 0, 1)
            box = (x - half, x + half, y + half, y - half)
            axes.imshow(colour, extent=box, interpolation="bilinear", zorder=2)
    rows, columns = piece
    place = (columns.start, rows.start), columns.stop - columns.start, rows.stop - rows.start
    axes.add_patch(Rectangle(*place, fill=False, edgecolor="white", linewidth=1.6, zorder=3))
    axes.set(xlim=(0, width), ylim=(height, 0))
