"""Drawings of restoration tests: numbers and pictures in, a matplotlib figure out."""

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from isoplan.report import style
from isoplan.report.network_plots import PUBLISHED_GREY

ROW_PX = 23


@dataclass
class Gain:
    """One value with its interval (NaN: none), and the published one (NaN: none)."""

    label: str
    colour: str
    mean: float
    low: float
    high: float
    published: float = np.nan


@dataclass
class Losses:
    """The losses of the rules in one test: label, colour, mean, low and high of each."""

    test: str
    rules: list[tuple[str, str, float, float, float]]


@dataclass
class Curves:
    """The sweep of one test.

    Attributes
    ----------
    test
        Name of the test.
    lines
        (iterations, gain) by TV weight.
    marks
        (colour, iterations, gain) of settings on the curves, by label.
    levels
        (colour, gain) of rules whose setting differs between pictures, by label.
    """

    test: str
    lines: dict[float, tuple]
    marks: dict[str, tuple[str, float, float]]
    levels: dict[str, tuple[str, float]]


def gains(rows: list[Gain], *, x_label: str, width_px: int) -> Figure:
    """Draw a dot with its interval for each row; published values are grey diamonds."""
    known = any(np.isfinite(row.published) for row in rows)
    height = 52 + ROW_PX * len(rows) + (18 if known else 0)
    figure = Figure(figsize=(width_px / 100, height / 100), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(rows):
        if y % 2:
            axes.axhspan(y - 0.5, y + 0.5, color="#F6F7F8", lw=0, zorder=0)
        axes.plot([0, row.mean], [y, y], color=style.lighter(row.colour, 0.72), lw=5, zorder=1,
                  solid_capstyle="butt")  # fmt: skip
        if np.isfinite(row.published):
            axes.plot(row.published, y, "D", ms=5, color=PUBLISHED_GREY, mec=style.QUIET, mew=0.6)
        axes.plot([row.low, row.high], [y, y], color=row.colour, lw=1.6, zorder=3)
        axes.plot(row.mean, y, "o", ms=5, color=row.colour, zorder=4)
    axes.axvline(0, color=style.INK, lw=0.8, alpha=0.5, zorder=2)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    # The axis is limited, so that one very bad method does not compress all others.
    ends = np.array([v for r in rows for v in (r.low, r.high, r.mean, r.published, 0.0)])
    ends = ends[np.isfinite(ends)]
    low, high = max(ends.min(), -3 * max(ends.max(), 2.0)), ends.max()
    room = 0.04 * (high - low)
    axes.set_xlim(low - room, high + room)
    for y, row in enumerate(rows):
        if row.mean < low:
            axes.plot(low - 0.5 * room, y, "<", ms=6, color=row.colour, zorder=5)
            axes.text(low + room, y, style.signed(row.mean), va="center", fontsize=8)
    axes.set_xlabel(x_label)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=style.RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    if known:
        marker = Line2D([], [], marker="D", ls="", ms=5, color=PUBLISHED_GREY, label="published")
        figure.legend(handles=[marker], loc="outside upper left", fontsize=8)
    return figure


SCATTERED = ("estimated", "true", "denoised-best")


def scattered(panels: list[tuple[str, list[tuple[float, dict]]]], *, width_px: int) -> Figure:
    """Draw the gains of all pictures, with a line for each mean; the scale is linear near 0.

    panels: for each kind of blur its title, and for each light the photons and the gains by method.
    """
    figure = Figure(figsize=(width_px / 100, 3.6), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, lights) in zip(grid, panels, strict=True):
        for place, (_, gains) in enumerate(lights):
            for k, method in enumerate(SCATTERED):
                at = place + 0.26 * (k - 1)
                values = np.sort(np.asarray(gains[method]))
                colour = style.method_colour(method)
                spread = np.linspace(-0.07, 0.07, len(values)) if len(values) > 1 else [0]
                label = style.method_label(method) if not place else None
                axes.plot(
                    at + np.roll(spread, 1),
                    values,
                    "o",
                    ms=3.2,
                    color=colour,
                    alpha=0.7,
                    mew=0,
                    label=label,
                )
                axes.plot([at - 0.11, at + 0.11], [values.mean()] * 2, color=colour, lw=2)
        axes.axhline(0, color=style.INK, lw=0.8, alpha=0.5)
        axes.set_xticks(range(len(lights)), [f"{light:.3g}" for light, _ in lights])
        axes.set_xlim(-0.5, len(lights) - 0.5)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlabel("photons at the brightest pixels")
        axes.grid(axis="y", color=style.RULE, lw=0.6)
        axes.set_axisbelow(True)
    grid[0].set_yscale("symlog", linthresh=2, linscale=1.2)
    grid[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    grid[0].yaxis.set_minor_locator(NullLocator())
    grid[0].set_yticks([-20, -10, -5, -2, -1, 0, 1, 2, 5, 10])
    grid[0].set_ylabel("SNR gain (dB)")
    grid[0].legend(fontsize=8, loc="lower left")
    return figure


def losses(tests: list[tuple[str, list[Gain]]], steps: list[str], *, width_px: int) -> Figure:
    """Draw the cost of each step: a panel for each test, with a bar and its interval for each step."""
    count = len(tests)
    columns = 2 if count > 1 else 1
    rows = -(-count // columns)
    height = 30 + rows * (50 + ROW_PX * len(steps))
    figure = Figure(figsize=(width_px / 100, height / 100), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    ends = [v for _, test in tests for r in test for v in (r.mean, r.low, r.high)]
    low, high = min([0.0, *ends]), max([0.1, *ends])
    for axes, (title, test) in zip(grid.flat, tests, strict=False):
        for row in test:
            y = steps.index(row.label)
            axes.barh(y, row.mean, height=0.56, color=row.colour, zorder=2)
            axes.plot([row.low, row.high], [y, y], color=style.INK, lw=1.2, zorder=3)
            at = max(row.high, row.mean, 0) + 0.012 * (high - low)
            axes.text(
                at,
                y,
                style.signed(round(-row.mean, 2) + 0.0),
                va="center",
                fontsize=8,
                color=style.INK,
            )
        axes.set_title(title, fontsize=9, loc="left")
        axes.axvline(0, color=style.INK, lw=0.8, alpha=0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=style.RULE, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    grid[0, 0].set_yticks(range(len(steps)), steps)
    grid[0, 0].set_ylim(len(steps) - 0.5, -0.5)
    grid[0, 0].set_xlim(low - 0.02 * (high - low), high + 0.12 * (high - low))
    for axes in grid[-1]:
        axes.set_xlabel("loss of SNR gain (dB)")
    return figure


def choices(panels: list[tuple[str, list[Losses]]], *, width_px: int) -> Figure:
    """Draw losses compared with the best choice: a panel for each kind of PSFs, a row for each test, a dot for each rule."""
    count = max(len(tests) for _, tests in panels)
    rules = max(len(test.rules) for _, tests in panels for test in tests)
    height = 76 + count * (12 + 11 * rules)
    figure = Figure(figsize=(width_px / 100, height / 100), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    seen = {}
    for axes, (title, tests) in zip(grid, panels, strict=True):
        for y, test in enumerate(tests):
            if y % 2:
                axes.axhspan(y - 0.5, y + 0.5, color="#F6F7F8", lw=0, zorder=0)
            for k, (label, colour, mean, low, high) in enumerate(test.rules):
                at = y + (k - (len(test.rules) - 1) / 2) * 0.8 / rules
                axes.plot([low, high], [at, at], color=colour, lw=1.4, zorder=2)
                (seen[label],) = axes.plot(
                    mean, at, "o", ms=4.5, color=colour, label=label, zorder=3
                )
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlabel("SNR gain lost compared with the best choice (dB)")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=style.RULE, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
    longest = max((tests for _, tests in panels), key=len)
    grid[0].set_yticks(range(count), [test.test for test in longest])
    grid[0].set_ylim(count - 0.5, -0.5)
    grid[0].set_xlim(left=0)
    figure.legend(
        handles=list(seen.values()), loc="outside upper left", ncols=len(seen), fontsize=8
    )
    return figure


def sweeps(tests: list[Curves], *, width_px: int) -> Figure:
    """Draw the mean gain over iterations: a panel for each test, a line for each TV weight."""
    columns = min(3, len(tests))
    rows = -(-len(tests) // columns)
    figure = Figure(figsize=(width_px / 100, (46 + 240 * rows) / 100), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    weights = sorted({weight for test in tests for weight in test.lines})
    shades = colormaps[style.DEFAULT_MAP](np.linspace(0.05, 0.9, len(weights)))
    seen = {}
    for axes, test in zip(grid.flat, tests, strict=False):
        for weight, (iterations, gain) in test.lines.items():
            shade = shades[weights.index(weight)]
            label = f"TV {weight:g}"
            (seen[label],) = axes.plot(iterations, gain, color=shade, lw=1.4, label=label)
        for label, (colour, gain) in test.levels.items():
            seen[label] = axes.axhline(gain, color=colour, lw=1, ls=(0, (4, 2)), label=label)
        for label, (colour, iterations, gain) in test.marks.items():
            (seen[label],) = axes.plot(
                iterations, gain, "o", mfc="none", mec=colour, mew=1.6, ms=8, label=label, ls=""
            )
        top = max(max(gain) for _, gain in test.lines.values())
        top = max(top, *(gain for _, gain in test.levels.values()))
        # The axis is limited, so that very bad settings do not compress all others.
        axes.set_ylim(max(min(min(g) for _, g in test.lines.values()), -1.0 - top), top + 0.15)
        axes.set_title(test.test, fontsize=9, loc="left")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xticks([1, 2, 5, 10, 20, 40])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color=style.RULE, lw=0.6)
        axes.set_axisbelow(True)
    for axes in grid.flat[len(tests) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("SNR gain (dB)")
    for axes in grid[-1]:
        axes.set_xlabel("iterations")
    figure.legend(handles=list(seen.values()), loc="outside upper left", ncols=7, fontsize=8)
    return figure


def pictures(panels: list[tuple[str, np.ndarray]], limits: tuple[float, float]) -> Figure:
    """Draw pictures in one grey scale, four in a row, each with its title above."""
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(columns * 2.6, rows * 2.95), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, (title, picture) in zip(grid.flat, panels, strict=False):
        axes.imshow(picture, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
        axes.set_title(title, fontsize=8.5, color=style.INK)
    return figure
