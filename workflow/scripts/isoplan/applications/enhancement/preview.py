"""The picture that `enhance` leaves to look at first."""

import numpy as np
from matplotlib.figure import Figure

from isoplan.applications.enhancement.whole import DOUBTED
from isoplan.report import plots


def preview(crops: list[np.ndarray], pixel_size_um: float | None) -> bytes:
    """Input, result and, where they are known, doubts of the picture's middle, as PNG.

    crops: (h, w) each. pixel_size_um: for the scale bar.
    """

    def draw() -> Figure:
        low, high = np.nanquantile(crops[1], (0.005, 0.997))
        grey = {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-6)}
        doubt = {"cmap": "RdBu_r", "vmin": -2 * DOUBTED, "vmax": 2 * DOUBTED}
        forms = (
            ("input", grey),
            ("enhanced", grey),
            ("more (red) or less than its counts say", doubt),
        )
        figure = plots.blank(400 * len(crops), 420)
        panels = figure.subplots(1, len(crops), squeeze=False)[0]
        for axes, crop, (title, form) in zip(panels, crops, forms, strict=False):
            shown = axes.imshow(crop, **form)
            axes.set_title(title, fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
        if form is doubt:
            figure.colorbar(shown, ax=axes, label="standard deviations of the noise", shrink=0.8)
        if pixel_size_um:
            plots.scale_bar(panels[0], crops[0].shape[1] * pixel_size_um, "µm")
        return figure

    return plots.render(draw, "png")
