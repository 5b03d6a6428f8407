"""Drawings of the networks' results: numbers in, a matplotlib figure out. Nothing here reads a file."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from isoplan.report import style
from isoplan.report.plots import blank

R2_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
R2_LOWEST, R2_HIGHEST = -0.15, 0.9995  # values beyond are drawn at the edge
R2_SPAN = 0.7  # shortest stretched axis, like that from 0.9 to 0.98
PUBLISHED_GREY = "#B9BEC6"


@dataclass
class Mark:
    """One value with its interval (NaN: none). A `published` value is drawn as wide as its rounding, +- 0.005."""

    label: str
    value: float
    low: float = np.nan
    high: float = np.nan
    colour: str = style.INK
    published: bool = False

    @classmethod
    def of(cls, row: dict, colour: str) -> "Mark":
        """The mark of a row with a label, a value and its interval."""
        return cls(row["label"], row["value"], row["low"], row["high"], colour)


@dataclass
class Line:
    """One curve with its interval (NaN: none); `dashed` distinguishes a second kind of the same colour."""

    label: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dashed: bool = False


def stretch(r2):
    """-log10(1 - R2), for which 0.9, 0.99 and 0.999 are equidistant; clipped to the range that is drawn."""
    return -np.log10(1 - np.clip(r2, R2_LOWEST, R2_HIGHEST))


def _r2_axis(axis, low: float, high: float, room: float) -> None:
    """Set ticks of R2 on a stretched axis from `low` to `high`, with `room` at both ends."""
    # At least R2_SPAN, as small random differences would look large otherwise.
    first, last = min(stretch(low), stretch(high) - R2_SPAN) - room, stretch(high) + room
    wanted = [tick for tick in R2_TICKS if first <= stretch(tick) <= last]
    # From the right, where most values are; labels must not overlap.
    kept: list[float] = []
    for tick in reversed(wanted):
        if not kept or stretch(kept[-1]) - stretch(tick) > 0.09 * (last - first):
            kept.append(tick)
    axis.set_major_locator(FixedLocator([float(stretch(tick)) for tick in kept]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{1 - 10**-x:.3f}".rstrip("0").rstrip("."))
    )
    axis.axes.set(**{f"{axis.axis_name}lim": (first, last)})


def dots(panels: list[tuple[str, dict[str, list[Mark]]]], *, width_px: int) -> Figure:
    """Draw R2 of several networks: a panel for each title, a row for each name, a dot for each network.

    Published values are grey bars as wide as their rounding. Values beyond the axis are drawn at its end.

    Parameters
    ----------
    panels
        Title, and marks by name, of each panel.
    width_px
        Width in the page.
    """
    names = list(dict.fromkeys(name for _, rows in panels for name in rows))
    marks = [m for _, rows in panels for row in rows.values() for m in row]
    labels = list(dict.fromkeys(m.label for m in marks if not m.published))
    step = max(24, 11 * len(labels) + 10)
    legend_rows = -(-(len(labels) + 1) // (3 if width_px > 500 else 1))
    figure = blank(width_px, 76 + step * len(names) + 17 * legend_rows)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    ends = np.array([x for m in marks for x in (m.value, m.low, m.high) if np.isfinite(x)])
    low, high = (ends.min(), ends.max()) if ends.size else (0, 1)
    for panel, (title, rows) in zip(axes, panels, strict=True):
        for y, name in enumerate(names):
            if y % 2:
                panel.axhspan(y - 0.5, y + 0.5, color="#F6F7F8", lw=0, zorder=0)
            for mark in rows.get(name, []):
                _draw_mark(panel, mark, y, labels)
        panel.set_title(title, fontsize=9, color=style.INK)
        _r2_axis(panel.xaxis, low, high, 0.08)
        panel.set_xlabel("R²")
        panel.tick_params(axis="y", length=0)
        panel.tick_params(axis="x", labelsize=8)
        panel.grid(axis="x", color=style.RULE, lw=0.6)
        panel.set_axisbelow(True)
        panel.spines["left"].set_visible(False)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    handles = [
        Line2D([], [], marker="o", ls="", color=m.colour, label=m.label)
        for m in {m.label: m for m in marks if not m.published}.values()
    ]
    if any(m.published for m in marks):
        bar = {"color": PUBLISHED_GREY, "lw": 7, "solid_capstyle": "butt"}
        handles.append(Line2D([], [], label="published, each as wide as its rounding", **bar))
    columns = 3 if width_px > 500 else 1
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, fontsize=8)
    return figure


def _draw_mark(panel, mark: Mark, y: float, labels: list[str]) -> None:
    if mark.published:
        ends = stretch(np.array([mark.value - 0.005, mark.value + 0.005]))
        style_ = {"color": PUBLISHED_GREY, "alpha": 0.75, "lw": 0, "zorder": 1}
        panel.fill_between(ends, y - 0.36, y + 0.36, **style_)
        return
    place = y + 0.62 * ((labels.index(mark.label) + 0.5) / len(labels) - 0.5)
    if np.isfinite(mark.low) and np.isfinite(mark.high):
        ends = stretch(np.array([mark.low, mark.high]))
        panel.plot(ends, [place, place], color=mark.colour, lw=1.4, zorder=3)
    beyond = mark.value < R2_LOWEST
    panel.plot(
        *([stretch(mark.value)], [place]),
        marker="<" if beyond else "o",
        ms=5,
        color=mark.colour,
        zorder=4,
    )


def curves_of_r2(
    lines: list[Line],
    *,
    x_label: str,
    published: list[tuple[float, float, bool]] = (),
    log_x: bool = False,
) -> Figure:
    """Draw curves of R2 with intervals as bands.

    Parameters
    ----------
    lines
        The curves.
    x_label
        Label of the x axis.
    published
        (x, R2, whether it is an upper bound) of published values.
    log_x
        Whether the x axis is logarithmic.
    """
    figure = blank(460, 330 + _legend_px([line.label for line in lines]))
    axes = figure.subplots()
    for line in lines:
        settings = {"color": line.colour, "lw": 1.6, "ms": 3.5, "marker": "o"}
        ls = (0, (3, 2)) if line.dashed else "-"
        axes.plot(line.x, stretch(line.y), ls=ls, label=line.label, **settings)
        if line.low is not None and np.isfinite(line.low).any():
            band = {"color": line.colour, "alpha": 0.15, "lw": 0}
            axes.fill_between(line.x, stretch(line.low), stretch(line.high), **band)
    ends = [np.concatenate([line.y for line in lines]), np.array([r2 for _, r2, _ in published])]
    values = np.concatenate(ends)
    values = values[np.isfinite(values)]
    for x, r2, below in published:
        place, text = (x, stretch(r2)), f"{'below ' if below else ''}{r2:.2f}"
        axes.plot(*place, marker="v" if below else "D", ms=6, color=style.INK, zorder=5)
        settings = {"textcoords": "offset points", "fontsize": 8}
        axes.annotate(text, place, xytext=(7, 4), **settings)
    if values.size:
        _r2_axis(axes.yaxis, float(values.min()), float(values.max()), 0.06)
    handles, words = axes.get_legend_handles_labels()
    if published:
        handles.append(Line2D([], [], marker="D", ls="", color=style.INK, ms=6))
        words.append("published, trained with noise")
    axes.set(xlabel=x_label, ylabel="R²")
    axes.grid(axis="y", color=style.RULE, lw=0.6)
    _finish(figure, axes, handles, words, log_x)
    return figure


def error_curves(
    lines: list[Line],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    mark_x: float | None = None,
) -> Figure:
    """Draw curves of a quantity that cannot be negative.

    Parameters
    ----------
    lines
        The curves. Those without a label are drawn thin, with their median on top.
    x_label, y_label
        Labels of the axes.
    log_x
        Whether the x axis is logarithmic.
    mark_x
        Position of a thin vertical line.
    """
    named = [line.label for line in lines if line.label]
    figure = blank(460, 330 + _legend_px(named))
    axes = figure.subplots()
    for line in lines:
        look = {"lw": 1.6, "ms": 3, "marker": "o" if log_x else None}
        if not line.label:
            look = {"lw": 0.7, "alpha": 0.4}
        ls = (0, (3, 2)) if line.dashed else "-"
        axes.plot(line.x, line.y, ls=ls, color=line.colour, label=line.label or None, **look)
        if line.low is not None and np.isfinite(line.low).any():
            axes.fill_between(line.x, line.low, line.high, color=line.colour, alpha=0.15, lw=0)
    if len(named) < len(lines):
        middle = np.nanmedian([line.y for line in lines], axis=0)
        axes.plot(lines[0].x, middle, lw=2.4, color=style.INK, label=f"median of {len(lines)}")
    if mark_x is not None:
        axes.axvline(mark_x, color=style.QUIET, lw=0.8, ls=(0, (4, 3)))
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=style.RULE, lw=0.6)
    handles, words = axes.get_legend_handles_labels()
    _finish(figure, axes, handles, words, log_x, least=1 if len(named) < len(lines) else 2)
    return figure


def _finish(figure, axes, handles, words, log_x: bool, least: int = 2) -> None:
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.large(value)))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_axisbelow(True)
    if len(handles) >= least:
        columns = _legend_columns(words)
        figure.legend(handles, words, loc="outside upper left", ncols=columns, fontsize=8)


def _legend_columns(words: list[str]) -> int:
    """Number of columns of a legend in a figure of 460 px."""
    return 2 if max(map(len, words), default=0) <= 32 else 1


def _legend_px(words: list[str]) -> int:
    return 17 * -(-len(words) // _legend_columns(words))


def coverage(
    levels: list[str], lines: list[tuple[str, np.ndarray, str]], counts: list[str], *, x_label: str
) -> Figure:
    """Draw how often 90 % intervals contain the truth; a band shows what counts as calibrated.

    Parameters
    ----------
    levels
        Names of the groups.
    lines
        (label, share for each level, colour). Those without a label are drawn as dots, with their median as a
        line.
    counts
        Numbers of samples in words, which stand below the levels.
    x_label
        Label of the x axis.
    """
    named = [label for label, _, _ in lines if label]
    crowd, legend = len(named) < len(lines), len(named) > 1
    figure = blank(330, 300 + 17 * (len(named) * legend + crowd))
    axes = figure.subplots()
    band = [100 * share for share in style.CALIBRATED]
    axes.axhspan(*band, color="#E4EFE9", lw=0, zorder=0)
    axes.axhline(90, color="#12805F", lw=0.9, zorder=1)
    x, values = np.arange(len(levels)), 100 * np.array([shares for _, shares, _ in lines])
    for place, (label, _, colour) in enumerate(lines):
        look = {"lw": 1.5, "ms": 4.5, "zorder": 3}
        aside = 0.0
        if not label:
            look = {"ls": "", "ms": 2.4, "alpha": 0.45, "zorder": 2}
            aside = 0.5 * ((place + 0.5) / len(lines) - 0.5)  # so that dots do not overlap
        axes.plot(x + aside, values[place], color=colour, marker="o", label=label or None, **look)
    if crowd:
        middle = np.nanmedian(values, axis=0)
        text = f"median of {len(lines)} networks, test sets and parameters"
        axes.plot(x, middle, color=style.INK, lw=1.6, marker="o", ms=4.5, zorder=4, label=text)
    lowest = np.nanmin(values) if np.isfinite(values).any() else band[0]
    axes.set_ylim(max(0, min(72, 5 * (lowest // 5) - 3)), 101.5)
    axes.set_xlim(-0.5, len(levels) - 0.5)
    many = len(levels) > 6
    if many:  # the numbers would overlap otherwise; without labels they are only in the table
        counts = ["" if crowd else count.replace(" ", "\n", 1) for count in counts]
    ticks = [f"{level}\n{count}".strip() for level, count in zip(levels, counts, strict=True)]
    axes.set_xticks(x, ticks, fontsize=7 if many else 8)
    axes.set(xlabel=x_label, ylabel="intervals that contain the truth (%)")
    if legend or crowd:
        figure.legend(loc="outside upper left", ncols=1, fontsize=8)
    return figure
