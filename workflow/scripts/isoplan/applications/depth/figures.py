"""Pictures of a surface: its heights as a map, and seen from one side."""

import numpy as np
from matplotlib.figure import Figure

from isoplan.applications.depth.heights import HeightMap
from isoplan.report import plots, style

MAP_PX, SURFACE_PX = 520, 640
LABEL = "Height (µm)"
FLATNESS = 0.5  # the drawn surface is lower than its side by this factor
DRAWN = 80  # rows and columns of the surface at most


def limits_of(found: HeightMap) -> tuple[float, float]:
    """Range of the colours: that of the valid heights."""
    valid = found.valid & np.isfinite(found.height_um)
    shown = found.height_um[valid] if valid.any() else np.zeros(1)
    low, high = (float(v) for v in np.quantile(shown, (0.005, 0.995)))
    return (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)


def height_figure(found: HeightMap, cell_um: float) -> Figure:
    """The map of heights, hatched where it is not valid; cell_um: side of a cell."""
    return plots.heat_map(
        found.height_um,
        label=LABEL,
        colours=style.DEFAULT_MAP,
        limits=limits_of(found),
        flags={"untrusted": ~found.valid},
        width_um=found.height_um.shape[1] * cell_um,
        width_px=MAP_PX,
    )


def surface_figure(found: HeightMap, cell_um: float) -> Figure:
    """The surface seen from one side, where it is valid."""
    figure = plots.blank(SURFACE_PX, 0.75 * SURFACE_PX)
    axes = figure.add_subplot(projection="3d")
    height = np.where(found.valid, found.height_um, np.nan)
    low, high = limits_of(found)
    y, x = (np.arange(n) * cell_um for n in height.shape)
    grid = np.meshgrid(x, y)
    axes.plot_surface(
        *grid, height, cmap=style.DEFAULT_MAP, vmin=low, vmax=high, lw=0, rcount=DRAWN, ccount=DRAWN
    )
    side = max(float(np.ptp(x)), cell_um)
    axes.set_box_aspect((side, max(float(np.ptp(y)), cell_um), FLATNESS * side))
    axes.invert_yaxis()  # y grows downwards in the picture
    axes.set(xlabel="x (µm)", ylabel="y (µm)", zlabel=LABEL)
    return figure
