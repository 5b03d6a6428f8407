"""Drawings of the choice by held-out photons, of iterations, TV weights and widths of the PSFs."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from isoplan.report import style
from isoplan.report.plots import blank


def narrowed(widths: list[dict], taken: float, at_end: bool = False) -> Figure:
    """Draw how much worse PSFs of each width predict held-out photons than the best ones, in standard errors.

    Parameters
    ----------
    widths
        From `restoration.choosing.choose`.
    taken
        The `psf_scale` that was chosen, which a line marks.
    at_end
        Whether it is at the end of the range that was tried, which is marked too.
    """
    figure = blank(460, 300)
    axes = figure.subplots()
    shown = sorted(widths, key=lambda width: width["psf_scale"])
    at = [width["psf_scale"] for width in shown]
    worse = [min(width["worse"], 100) for width in shown]
    axes.plot(at, worse, "o-", color=style.INK, ms=5, lw=1.2)
    axes.axvline(taken, color="#005EA8", lw=1.8, zorder=0)
    if at_end:
        _mark_end(axes, taken)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(
        ylim=(-0.3, 150),
        ylabel="prediction of held-out photons,\nstandard errors worse than the best",
    )
    labelled = [0]
    for number, place in enumerate(at):
        if place - at[labelled[-1]] > 0.07 * (at[-1] - at[0]):  # labels do not run into each other
            labelled.append(number)
    axes.set_xticks(
        [at[number] for number in labelled],
        [f"{shown[n]['width_px']:.2g}" if at[n] else "none" for n in labelled],
    )
    axes.set_xlabel("full width at half maximum of the median PSF (px)")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    return figure


def _mark_end(axes, at: float) -> None:
    axes.axvline(at, color=style.INK, lw=1, ls="--", zorder=0)
    axes.annotate(
        "end of the range",
        (at, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -4),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="top",
        fontsize=8,
    )


def held_out(curves: list[dict], iterations: int, at_end: bool = False) -> Figure:
    """Draw the error of held-out photons over iterations, with a line for each TV weight.

    The errors are drawn as per cent above the smallest one, on a logarithmic scale.

    Parameters
    ----------
    curves
        tv_weight, iterations and error of each line, from `restoration.choosing.choose`.
    iterations
        The iterations that were chosen, which a ring marks.
    at_end
        Whether they are at the end of the range, which is marked too.
    """
    figure = blank(460, 300)
    axes = figure.subplots()
    curves = sorted(curves, key=lambda curve: curve["tv_weight"])
    shades = colormaps[style.DEFAULT_MAP](np.linspace(0.05, 0.85, len(curves)))
    least = min(min(curve["error"]) for curve in curves)
    low, high = 0.01, 1000
    for curve, shade in zip(curves, shades, strict=True):
        above = (100 * (np.array(curve["error"]) / least - 1)).clip(low, high)
        label = f"{curve['tv_weight']:.2g}"
        axes.plot(curve["iterations"], above, color=shade, lw=1.6, label=label)
    axes.plot(iterations, low, "o", mfc="none", mec=style.INK, ms=9, clip_on=False)
    if at_end:
        _mark_end(axes, iterations)
    axes.set(xlabel="iterations", ylabel="error of held-out photons,\n% above the smallest")
    axes.set(yscale="log", ylim=(low, high))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(curves) > 1:
        axes.legend(title="TV weight", fontsize=8, title_fontsize=8)
    return figure
