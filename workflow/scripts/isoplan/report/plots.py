"""Drawings of mosaics and networks: arrays in, a matplotlib figure out. Nothing but `page_of` reads a file."""

import io
import logging
from pathlib import Path

import matplotlib.image
import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.colors import CenteredNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from isoplan.metrics import frc
from isoplan.report import style

# Without these fonts, matplotlib uses others; a warning for every label would flood the log.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": list(style.FONTS),
    "font.size": 9,
    "axes.edgecolor": style.QUIET,
    "axes.labelcolor": style.INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": style.QUIET,
    "ytick.color": style.QUIET,
    "xtick.labelcolor": style.INK,
    "ytick.labelcolor": style.INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "isoplan",
    "axes.unicode_minus": True,
}
DOTS_PER_INCH = 200  # twice the 100 px per inch of the page


def render(draw, kind: str = "png") -> bytes:
    """The bytes of the figure that `draw()` returns, as "png", "svg" or "jpg"."""
    return render_all(draw, [kind])[kind]


def render_all(draw, kinds: list[str]) -> dict[str, bytes]:
    """The bytes of the figure that `draw()` returns, by kind ("png", "svg", "jpg"); they are reproducible."""
    settings = {
        "png": {"metadata": {"Software": "isoplan"}},
        "svg": {"metadata": {"Date": None}},
        "jpg": {"pil_kwargs": {"quality": 85}},
    }
    found = {}
    with rc_context(SETTINGS):
        figure = draw()
        for kind in kinds:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, **settings[kind])
            found[kind] = buffer.getvalue()
            figure.set_layout_engine("none")  # all kinds keep the layout of the first
    return found


def blank(width_px: float, height_px: float) -> Figure:
    """An empty figure of a size in the page."""
    return Figure(figsize=(width_px / 100, height_px / 100), layout="constrained")


def scale_bar(axes, width_units: float, unit: str, colour: str = "white") -> None:
    """Draw a scale bar at the bottom left of axes that are `width_units` wide, in `unit`."""
    length = style.bar_length(width_units)
    share = length / width_units
    box = {"transform": axes.transAxes, "clip_on": False}
    axes.plot(
        [0.04, 0.04 + share], [0.05, 0.05], color=colour, lw=2.5, solid_capstyle="butt", **box
    )
    axes.text(
        *(0.04 + share / 2, 0.075, style.bar_label(length, unit)),
        **{"color": colour, "ha": "center", "va": "bottom", "fontsize": 8, **box},
    )


def heat_map(
    values: np.ndarray,
    *,
    label: str,
    colours: str,
    limits: tuple[float, float] | None,
    flags: dict[str, np.ndarray] | None = None,
    width_um: float | None = None,
    width_px: int = 330,
) -> Figure:
    """Draw a map in colours, with its colour bar below.

    Parameters
    ----------
    values
        (y, x).
    label
        Label of the colour bar.
    colours
        Name of the colour map.
    limits
        Range of the colours; None centres a diverging map on 0.
    flags
        Masks (y, x) by kind of cell (style.CELL_FLAGS). Such cells are hatched over white, so that they are not taken
        for measurements, and a legend explains them.
    width_um
        Width of the map, for a scale bar.
    width_px
        Width in the page.
    """
    height, width = values.shape
    ratio = float(np.clip(height / width, 0.35, 2.2))
    flags = {kind: mask for kind, mask in (flags or {}).items() if mask.any()}
    figure = blank(width_px, width_px * ratio + 62 + 20 * len(flags))
    axes = figure.subplots()
    untrusted = np.any(list(flags.values()), axis=0) if flags else np.zeros(values.shape, bool)
    trusted = values[~untrusted]
    kind = {"norm": CenteredNorm(0, _half_range(trusted))} if limits is None else {}
    if limits is not None:
        kind = {"vmin": limits[0], "vmax": limits[1]}
    drawn = axes.imshow(values, cmap=colours, interpolation="nearest", aspect="auto", **kind)
    for kind, mask in flags.items():
        _hatch(axes, mask, *style.CELL_FLAGS[kind][:2])
    _frame(axes)
    if width_um:
        _ruler(axes, width_um, height / width)
    bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", aspect=32, pad=0.03)
    bar.outline.set_visible(False)
    bar.set_label(label)
    if flags:
        # The line width of hatches is read when the figure is saved, and is the same for all.
        handles = [_flag_patch(*style.CELL_FLAGS[kind]) for kind in flags]
        figure.legend(handles=handles, loc="outside lower left", fontsize=8)
    return figure


def _flag_patch(hatch: str, colour: str, label: str) -> Patch:
    return Patch(facecolor="white", edgecolor=colour, hatch=hatch, lw=0, label=label)


def _half_range(values: np.ndarray) -> float:
    """Colour range of a diverging map: the 99th percentile, so that outliers do not determine it."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.percentile(finite, 99)) or 1.0 if finite.size else 1.0


def _hatch(axes, mask: np.ndarray, hatch: str, colour: str) -> None:
    veil = np.zeros((*mask.shape, 4))
    veil[mask] = (1, 1, 1, 0.82)
    axes.imshow(veil, interpolation="nearest", aspect="auto")
    # Quarter-cell steps, so that the hatched area ends where the cells end.
    fine = np.pad(np.kron(mask.astype(float), np.ones((4, 4))), 1)
    y, x = ((np.arange(length) - 0.5) / 4 - 0.5 for length in fine.shape)
    with rc_context({"hatch.linewidth": 0.6, "hatch.color": colour}):
        axes.contourf(x, y, fine, levels=[0.5, 2], colors="none", hatches=[hatch])
    axes.set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))


def _frame(axes) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _ruler(axes, width_um: float, ratio: float) -> None:
    """Draw a scale bar just below the map, where its colours cannot hide it."""
    bar = style.bar_length(width_um)
    share, below = bar / width_um, -0.03 / float(np.clip(ratio, 0.35, 2.2))
    box = {"transform": axes.transAxes, "clip_on": False}
    axes.plot([0, share], [below, below], color=style.INK, lw=2, solid_capstyle="butt", **box)
    axes.text(share + 0.02, below, style.bar_label(bar, "µm"), fontsize=8, va="center", **box)
    # An empty label reserves the space of the bar.
    axes.set_xlabel(" ", fontsize=8)


def psf_field(
    overview: np.ndarray | None,
    shape_px: tuple[float, float],
    psfs: np.ndarray,
    middles_px: list[tuple[float, float]],
    side_px: float,
    *,
    width_um: float | None,
) -> Figure:
    """Draw PSFs in magma at their positions on a mosaic, each relative to its own peak.

    Parameters
    ----------
    overview
        The mosaic, uint8 of any resolution; None draws a dark ground.
    shape_px
        Shape of the mosaic.
    psfs
        (n, s, s).
    middles_px
        Their positions (y, x) in the mosaic.
    side_px
        Side of a PSF in the drawing, in px of the mosaic.
    width_um
        Width of the mosaic, for a scale bar; None draws none.
    """
    height, width = shape_px
    figure = Figure(figsize=(5.4, 5.4 * float(np.clip(height / width, 0.3, 2.5))))
    axes = figure.add_axes((0, 0, 1, 1))
    extent = (0, width, height, 0)
    if overview is None:
        overview = np.zeros((2, 2), np.uint8)
    # The mosaic is dimmed, so that the PSFs are the brightest.
    axes.imshow(overview, cmap="gray", vmin=0, vmax=255 / 0.42, extent=extent, aspect="auto")
    for psf, (y, x) in zip(psfs, middles_px, strict=True):
        level = np.clip(psf / psf.max(), 0, 1)
        colour = colormaps[style.PSF_MAP](level)
        colour[..., 3] = np.clip(level * 5, 0, 1)
        half = side_px / 2
        box = (x - half, x + half, y + half, y - half)
        axes.imshow(colour, extent=box, aspect="auto", interpolation="bilinear", zorder=2)
    axes.set(xlim=(0, width), ylim=(height, 0))
    _frame(axes)
    if width_um:
        scale_bar(axes, width_um, "µm")
    return figure


def gain_bars(gains: dict[str, dict[str, float]]) -> Figure:
    """Draw the SNR gain in dB of every method and mosaic. gains: dB by mosaic and method."""
    methods = style.sort_methods({method for row in gains.values() for method in row} - {"none"})
    figure = blank(720, 70 + 24 * len(gains) * (len(methods) + 0.8))
    axes = figure.subplots()
    for index, row in enumerate(gains.values()):
        for place, method in enumerate(methods):
            if method in row:
                y = index * (len(methods) + 0.8) + place
                axes.barh(y, row[method], height=0.78, color=style.method_colour(method))
                text = f" {style.signed(row[method])} "
                side = "left" if row[method] >= 0 else "right"
                axes.text(row[method], y, text, va="center", ha=side, fontsize=8)
    middles = [i * (len(methods) + 0.8) + (len(methods) - 1) / 2 for i in range(len(gains))]
    axes.set_yticks(middles, list(gains))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.axvline(0, color=style.INK, lw=0.8)
    axes.margins(x=0.12)
    axes.set_xlabel("SNR gain over doing nothing (dB)")
    handles = [
        axes.barh(0, 0, color=style.method_colour(m), label=style.method_label(m)) for m in methods
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(methods), fontsize=8)
    return figure


def gain_histogram(values: dict[str, np.ndarray]) -> Figure:
    """Draw histograms of the cells' gains, one line per method. values: gains in dB by method."""
    figure = blank(460, 330)
    axes = figure.subplots()
    finite = {m: v[np.isfinite(v)] for m, v in values.items()}
    everything = np.concatenate(list(finite.values()))
    low, high = np.percentile(everything, [0.5, 99.5]) if everything.size else (-1, 1)
    edges = np.linspace(min(low, -0.2), max(high, 0.2), 41)
    axes.axvspan(edges[0], 0, color="#F4F0EE", zorder=0, lw=0)
    for method, gains in finite.items():
        colour = style.method_colour(method)
        share = np.histogram(gains.clip(edges[0], edges[-1]), edges)[0] / max(gains.size, 1) * 100
        if method == "estimated":
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.18)
        look = {"lw": 1.6, "ls": style.method_line(method), "label": style.method_label(method)}
        axes.stairs(share, edges, color=colour, **look)
    axes.axvline(0, color=style.INK, lw=0.8)
    axes.text(
        0,
        1.01,
        "worse  ",
        ha="right",
        va="bottom",
        color=style.QUIET,
        fontsize=8,
        transform=axes.get_xaxis_transform(),
    )
    axes.text(
        0,
        1.01,
        "  better",
        ha="left",
        va="bottom",
        color=style.QUIET,
        fontsize=8,
        transform=axes.get_xaxis_transform(),
    )
    axes.set(xlabel="SNR gain of the cell (dB)", ylabel="share of cells (%)", xlim=edges[[0, -1]])
    figure.legend(loc="outside upper left", ncols=3, fontsize=8)
    return figure


def ring_curves(lines: dict) -> Figure:
    """Draw Fourier ring correlations. lines: tables with cycles_per_px and correlation, by method."""
    figure = blank(460, 330)
    axes = figure.subplots()
    axes.axhline(frc.THRESHOLD, color=style.QUIET, lw=0.8, ls=(0, (4, 3)))
    axes.text(0.5, frc.THRESHOLD, "1/7", ha="right", va="bottom", fontsize=8, color=style.QUIET)
    for method, rows in lines.items():
        axes.plot(
            rows["cycles_per_px"], rows["correlation"], lw=1.6, ls=style.method_line(method),
            color=style.method_colour(method), label=style.method_label(method),
        )  # fmt: skip
    axes.set(
        xlabel="frequency (cycles per px)",
        ylabel="Fourier ring correlation",
        xlim=(0, 0.5),
        ylim=(-0.1, 1.02),
    )
    figure.legend(loc="outside upper left", ncols=2, fontsize=8)
    return figure


def scatter(
    true, estimated, valid, half_width=None, *, label: str, unit: str, r2: float | None
) -> Figure:
    """Draw estimated against true values of one parameter.

    Parameters
    ----------
    true, estimated
        (n,) values.
    valid
        (n,) bool; samples without usable texture are grey.
    half_width
        (n,) of the 90 % interval, in the same unit, shown as colour.
    label, unit
        Those of the parameter.
    r2
        Written into the figure, if given.
    """
    known = half_width is not None and np.isfinite(half_width[valid]).any()
    figure = blank(330, 340 + 58 * known)
    axes = figure.subplots()
    low, high = float(np.nanmin(true)), float(np.nanmax(true))
    pad = 0.04 * (high - low or 1)
    axes.plot([low, high], [low, high], color=style.INK, lw=0.8, zorder=1)
    marks = {"s": 9, "linewidths": 0, "zorder": 2}
    axes.scatter(true[~valid], estimated[~valid], color="#A9AFB7", alpha=0.6, **marks)
    if known:
        # The certain ones are drawn last, so that they are visible on the line.
        order = np.argsort(-half_width[valid])
        shown = (each[valid][order] for each in (true, estimated, half_width))
        x, y, colour = shown
        top = float(np.nanpercentile(half_width[valid], 99)) or 1.0
        cmap = colormaps[style.UNCERTAINTY_MAP]
        # Without its lightest end, which would not be visible on white.
        cmap = ListedColormap(cmap(np.linspace(0, 0.88, 256)))
        drawn = axes.scatter(x, y, c=colour, cmap=cmap, vmin=0, vmax=top, alpha=0.75, **marks)
        bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", aspect=32, pad=0.03)
        bar.outline.set_visible(False)
        bar.set_label(style.with_unit("90 % half-width", unit))
    else:
        axes.scatter(
            *(true[valid], estimated[valid]),
            **{"color": style.method_colour("estimated"), "alpha": 0.4, **marks},
        )
    text = "" if r2 is None else f"R² = {style.fixed(r2, 3)}"
    axes.text(0.04, 0.97, text, transform=axes.transAxes, va="top", fontsize=11, weight="bold")
    axes.set(
        xlabel=style.with_unit(f"true {label}", unit),
        ylabel=style.with_unit("estimated", unit),
        xlim=(low - pad, high + pad),
        ylim=(low - pad, high + pad),
        aspect="equal",
    )
    return figure


def curves(x: np.ndarray, lines: dict, *, y_label: str, log: bool, best: float | None) -> Figure:
    """Draw training curves.

    Parameters
    ----------
    x
        Numbers of training samples.
    lines
        (values, colour) by label.
    y_label
        Label of the y axis.
    log
        Whether the y axis is logarithmic.
    best
        Number of samples of the weights that were kept, which is marked.
    """
    figure = blank(460, 300)
    axes = figure.subplots()
    for label, (values, colour) in lines.items():
        axes.plot(x, values, color=colour, lw=1.6, label=label, marker="o", ms=2.5)
    if best is not None:
        axes.axvline(best, color=style.QUIET, lw=0.8, ls=(0, (4, 3)))
        axes.text(
            best,
            1.01,
            "weights kept",
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
            color=style.QUIET,
        )
    axes.set(xlabel="training samples seen", ylabel=y_label)
    axes.xaxis.set_major_locator(MaxNLocator(5))  # more labels would overlap
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if len(lines) > 1:
        axes.legend(fontsize=8)
    return figure


def page_of(file: Path, width_px: int) -> Figure:
    """A picture file as a figure."""
    image = matplotlib.image.imread(file)
    figure = blank(width_px, width_px * image.shape[0] / image.shape[1])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.asarray(image), aspect="auto")
    axes.set_axis_off()
    return figure
