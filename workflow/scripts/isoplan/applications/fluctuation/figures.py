"""Drawings of a super-resolved sequence: arrays in, a matplotlib figure out."""

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter

from isoplan.applications.fluctuation.information import Information
from isoplan.applications.fluctuation.superresolution import SuperResolved
from isoplan.report import plots, style

CROP_PX = 32  # camera pixels of the part that is shown large


def overview(made: SuperResolved, pixel_um: float, factor: int) -> Figure:
    """The mean, a part of it in three forms, where fluctuations inform, and how they fall with distance."""
    figure = plots.blank(1200, 800)
    axes = figure.subplots(2, 3)
    rows, columns = brightest(made.mean)
    fine = tuple(slice(side.start * factor, side.stop * factor) for side in (rows, columns))
    width_um = (columns.stop - columns.start) * pixel_um
    name = "super-resolved" if made.information.enough else "NOT super-resolved: deconvolved mean"
    shown = (
        (axes[0, 0], "mean, all", made.mean, made.mean.shape[1] * pixel_um),
        (axes[0, 1], "mean, a part", made.mean[rows, columns], width_um),
        (axes[0, 2], "deconvolved mean", made.deconvolved[fine], width_um),
        (axes[1, 2], name, made.picture[fine], width_um),
    )
    for place, title, picture, width in shown:
        low, high = np.quantile(picture, (0.01, 0.997))
        place.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
        _bare(place, title)
        plots.scale_bar(place, width, "µm")
    _box(axes[0, 0], rows, columns)
    image = axes[1, 0].imshow(made.information.map, cmap="viridis", vmin=0)
    _bare(axes[1, 0], "information of the fluctuations")
    figure.colorbar(image, ax=axes[1, 0], label="standard errors", shrink=0.8)
    lags(axes[1, 1], made.information)
    return figure


def lags(axes, found: Information) -> None:
    """Covariance against distance, beside what the PSF makes expect."""
    axes.axhline(0, color=style.QUIET, lw=0.7)
    axes.errorbar(
        found.lags_px,
        found.covariance,
        1.645 * found.covariance_error,
        fmt="o",
        color=style.INK,
        label="measured (90 % interval)",
    )
    scale = (found.covariance @ found.expected) / max(found.expected @ found.expected, 1e-30)
    shape = scale * found.expected
    axes.plot(found.lags_px, shape, "--", color=style.QUIET, label="the PSF's shape, fitted")
    axes.set_xlabel("distance of two pixels (px)")
    axes.set_ylabel("covariance (electrons²)")
    axes.set_title("how pixels fluctuate together", fontsize=9)
    axes.legend(fontsize=8)


def brightest(mean: np.ndarray, size: int = CROP_PX) -> tuple[slice, slice]:
    """The square of the mean with the most contrast."""
    size = min(size, *mean.shape)
    spread = (
        uniform_filter(mean.astype(float) ** 2, size)
        - uniform_filter(mean.astype(float), size) ** 2
    )
    half = size // 2
    inside = spread[half : mean.shape[0] - size + half + 1, half : mean.shape[1] - size + half + 1]
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    return slice(y, y + size), slice(x, x + size)


def _bare(axes, title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _box(axes, rows: slice, columns: slice) -> None:
    y, x = (rows.start - 0.5, rows.stop - 0.5), (columns.start - 0.5, columns.stop - 0.5)
    axes.plot([x[0], x[1], x[1], x[0], x[0]], [y[0], y[0], y[1], y[1], y[0]], color="white", lw=1)
