"""The picture that `enhance` leaves to look at first."""

import numpy as np
from matplotlib.figure import Figure

from isoplan.applications.enhancement.stores import APART, DOUBTS, SHOWN
from isoplan.applications.enhancement.whole import DOUBTED
from isoplan.report import plots

INPUT = "input"


def preview(crops: dict[str, np.ndarray], pixel_size_um: float | None) -> bytes:
    """The middle of the input, the result and what lies beside it, as PNG.

    crops: (h, w) each, by INPUT, "" for the result, and layer. pixel_size_um: for the scale bar.
    """

    def draw() -> Figure:
        low, high = np.nanquantile(crops[""], (0.005, 0.997))
        grey = {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-6)}
        doubt = {"cmap": "RdBu_r", "vmin": -2 * DOUBTED, "vmax": 2 * DOUBTED}
        forms = {
            INPUT: ("input", grey),
            "": ("enhanced", grey),
            DOUBTS: ("more (red) or less than counts say", doubt),
            APART: ("how far networks differ", {"cmap": "magma", "vmin": 0}),
        }
        figure = plots.blank(400 * len(crops), 420)
        panels = figure.subplots(1, len(crops), squeeze=False)[0]
        for axes, (name, crop) in zip(panels, crops.items(), strict=True):
            title, form = forms[name]
            shown = axes.imshow(crop, **form)
            axes.set_title(title, fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
            if name in SHOWN:
                figure.colorbar(shown, ax=axes, label=SHOWN[name].unit, shrink=0.8)
        if pixel_size_um:
            plots.scale_bar(panels[0], crops[INPUT].shape[1] * pixel_size_um, "µm")
        return figure

    return plots.render(draw, "png")
