"""Pictures of motion: a line in each cell over the picture, and profiles along its rows and columns."""

import numpy as np
from matplotlib.figure import Figure

from isoplan.applications.flow.fit import FlowMap
from isoplan.report import plots, style

WIDTH_PX = 620
FAINT = 0.3  # opacity where parts of a window moved differently
LINES = 40  # along the longer side, at most
DARKEST, BRIGHTEST = 1, 99  # percentiles of the picture's grey levels


def _scaled(exposure_ms: float | None) -> tuple[float, str]:
    """Factor and unit of displacements in um."""
    return (1.0, "µm") if exposure_ms is None else (1000 / exposure_ms, "µm/s")


def arrows(found: FlowMap, small: np.ndarray, exposure_ms: float | None) -> Figure:
    """Lines along the motion in valid cells, as long as the displacement or a cell, coloured by speed, over the picture (h, w)."""
    height, width = found.layout.shape_px
    figure = plots.blank(WIDTH_PX, WIDTH_PX * float(np.clip(height / width, 0.35, 2.2)) + 62)
    axes = figure.subplots()
    known = small[np.isfinite(small)]
    low, high = np.percentile(known, (DARKEST, BRIGHTEST)) if known.size else (0, 1)
    axes.imshow(small, cmap="gray", vmin=low, vmax=high, extent=(0, width, height, 0))
    axes.set(xticks=[], yticks=[])
    scale, unit = _scaled(exposure_ms)
    step = max(1, -(-max(found.layout.cells) // LINES))
    some = (slice(None, None, step),) * 2
    y, x = np.meshgrid(*(found.layout.centres_px(axis) for axis in (0, 1)), indexing="ij")
    shown = found.valid[some]
    speed = found["displacement"] * scale
    top = float(np.quantile(speed[found.valid], 0.98)) if found.valid.any() else 1.0
    # The longest line is as long as the space between two.
    length = np.minimum(speed / max(top, 1e-12), 1) * 0.9 * step * found.layout.stride_px
    angle = found["direction"]
    drawn = axes.quiver(
        *(x[some][shown], y[some][shown]),
        *((np.cos(angle) * length)[some][shown], (np.sin(angle) * length)[some][shown]),
        speed[some][shown],
        cmap=style.DEFAULT_MAP,
        clim=(0, top),
        alpha=np.where(found.apart, FAINT, 1.0)[some][shown],
        angles="xy",
        scale_units="xy",
        scale=1,
        pivot="middle",
        headlength=0,
        headaxislength=0,
        headwidth=0,
        width=0.005,
    )
    bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", aspect=32, pad=0.03)
    bar.outline.set_visible(False)
    name = "Displacement" if exposure_ms is None else "Speed"
    bar.set_label(
        f"{name} ({unit}); lines follow the motion, in either direction;\nfaint where the parts of a window moved differently"
    )
    return figure


def profile(found: FlowMap, exposure_ms: float | None) -> Figure:
    """Medians of each row and of each column, with the half of the cells about them, over cells whose interval does not reach 0."""
    figure = plots.blank(WIDTH_PX, 300)
    scale, unit = _scaled(exposure_ms)
    kinds = {"displacement": "in the picture", "axial": "along the axis, where known"}
    for axis, (axes, name) in enumerate(
        zip(figure.subplots(1, 2, sharey=True), ("y", "x"), strict=True)
    ):
        place = found.layout.centres_px(axis) * found.pixel_size_um
        for channel, label in kinds.items():
            # What lies within its own interval of 0 is what was looked for, rather than what was found.
            told = found.valid & (found[channel] > found[f"{channel}_uncertainty"])
            if channel == "axial":
                # A speed that changes within a window blurs as a path along the axis does.
                told &= ~found.apart
            values = np.where(told, found[channel], np.nan) * scale
            lines = [
                np.quantile(row[np.isfinite(row)], (0.25, 0.5, 0.75))
                if np.isfinite(row).any()
                else np.full(3, np.nan)
                for row in (values if axis == 0 else values.T)
            ]
            low, middle, high = np.array(lines).T
            (line,) = axes.plot(place, middle, label=label)
            axes.fill_between(place, low, high, alpha=0.2, color=line.get_color(), lw=0)
        axes.set_xlabel(f"{name} (µm)")
        axes.set_ylim(bottom=0)
        if axis == 0:
            axes.set_ylabel(f"{'Displacement' if exposure_ms is None else 'Speed'} ({unit})")
            axes.legend(frameon=False)
    return figure
