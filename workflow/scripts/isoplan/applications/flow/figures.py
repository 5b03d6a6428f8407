"""Pictures of motion: a line in each cell over the picture, and profiles along its rows and columns."""

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from isoplan.applications.flow.fit import FlowMap
from isoplan.applications.flow.sequence import FlowSequence
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
    figure = plots.blank(WIDTH_PX, _height_px(found) + 62)
    axes = figure.subplots()
    _lines(figure, axes, found, small, exposure_ms, found["direction"], heads=False)
    return figure


def sequence_figure(found: FlowSequence, tracks: pd.DataFrame, small: np.ndarray) -> Figure:
    """Arrows in cells of the first picture whose heading is known, and tracks coloured by distance from focus, over that picture (h, w)."""
    first = found.frames[0]
    figure = plots.blank(WIDTH_PX, 2 * (_height_px(first) + 62))
    above, below = figure.subplots(2, 1)
    _lines(figure, above, first, small, found.exposure_ms, found["heading"][0], heads=True)
    _background(below, first, small)
    farthest = tracks["middle_um"].max()
    norm = Normalize(0, farthest if np.isfinite(farthest) else 1.0)
    drawn = LineCollection([], cmap=style.DEFAULT_MAP, norm=norm, lw=1.5)
    pieces, colours = [], []
    for rows in _apart(tracks, first.layout.stride_px):
        place = rows[["x_px", "y_px"]].to_numpy()
        below.plot(*place[0], "o", color="white", markersize=2.5)
        pieces.extend(np.stack([place[:-1], place[1:]], 1))
        colours.extend(rows["middle_um"].iloc[:-1])
    drawn.set_segments(pieces)
    drawn.set_array(np.array(colours, float))
    below.add_collection(drawn)
    _bar(
        *(figure, below, drawn),
        "Distance from focus (µm), on either side, along tracks;\ndots: where they were in the first picture",
    )
    return figure


def _apart(tracks: pd.DataFrame, stride_px: int) -> list[pd.DataFrame]:
    """Of tracks those that begin about as far apart as they are long, so that they can be told apart."""
    each = [rows for _, rows in tracks.groupby("track")]
    ends = np.array([rows[["y_px", "x_px"]].iloc[[0, -1]].to_numpy() for rows in each])
    if not len(each):
        return []
    far = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    step = max(1, round(float(np.quantile(far, 0.9)) / stride_px))
    number = np.round(ends[:, 0] / stride_px - 0.5).astype(int)
    # From row to row they are shifted, so that they fill the picture.
    shown = (number[:, 1] + number[:, 0]) % step == 0
    return [rows for rows, some in zip(each, shown, strict=True) if some]


def _height_px(found: FlowMap) -> float:
    height, width = found.layout.shape_px
    return WIDTH_PX * float(np.clip(height / width, 0.35, 2.2))


def _background(axes, found: FlowMap, small: np.ndarray) -> None:
    height, width = found.layout.shape_px
    known = small[np.isfinite(small)]
    low, high = np.percentile(known, (DARKEST, BRIGHTEST)) if known.size else (0, 1)
    axes.imshow(small, cmap="gray", vmin=low, vmax=high, extent=(0, width, height, 0))
    axes.set(xticks=[], yticks=[])


def _bar(figure: Figure, axes, drawn, label: str) -> None:
    bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", aspect=32, pad=0.03)
    bar.outline.set_visible(False)
    bar.set_label(label)


def _lines(
    figure: Figure,
    axes,
    found: FlowMap,
    small: np.ndarray,
    exposure_ms: float | None,
    angle: np.ndarray,
    *,
    heads: bool,
) -> None:
    """Lines, or arrows where angles (ny, nx) are known, over the picture (h, w)."""
    _background(axes, found, small)
    scale, unit = _scaled(exposure_ms)
    step = max(1, -(-max(found.layout.cells) // LINES))
    some = (slice(None, None, step),) * 2
    y, x = np.meshgrid(*(found.layout.centres_px(axis) for axis in (0, 1)), indexing="ij")
    shown = (found.valid & np.isfinite(angle))[some]
    speed = found["displacement"] * scale
    top = float(np.quantile(speed[found.valid], 0.98)) if found.valid.any() else 1.0
    # The longest line is as long as the space between two.
    length = np.minimum(speed / max(top, 1e-12), 1) * 0.9 * step * found.layout.stride_px
    without = {} if heads else dict.fromkeys(("headlength", "headaxislength", "headwidth"), 0)
    drawn = axes.quiver(
        *(x[some][shown], y[some][shown]),
        *((np.cos(angle) * length)[some][shown], (np.sin(angle) * length)[some][shown]),
        speed[some][shown],
        cmap=style.DEFAULT_MAP,
        clim=(0, top),
        # An empty array is refused.
        alpha=np.where(found.apart, FAINT, 1.0)[some][shown] if shown.any() else None,
        angles="xy",
        scale_units="xy",
        scale=1,
        pivot="middle",
        width=0.005,
        **without,
    )
    name = "Displacement" if exposure_ms is None else "Speed"
    which = "of the first picture" if heads else "lines follow the motion, in either direction"
    _bar(
        *(figure, axes, drawn),
        f"{name} ({unit}); {which};\nfaint where the parts of a window moved differently",
    )


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
            # Of a sequence, cells of all pictures count.
            values = np.moveaxis(values, axis - 2, 0).reshape(values.shape[axis - 2], -1)
            lines = [
                np.quantile(row[np.isfinite(row)], (0.25, 0.5, 0.75))
                if np.isfinite(row).any()
                else np.full(3, np.nan)
                for row in values
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
