"""What must fit together in `flow_tests` and no keyword of the schema says: see `config.checks`."""

import math

from isoplan.applications.flow.defaults import BINNED_CUTOFF, LATERAL_PX
from isoplan.config.checks import Wrong

WINDOW_PX = 192  # of `fit`, which imports torch


def flow_tests(tests: list[dict], study: dict) -> Wrong:
    for i, test in enumerate(tests):
        cutoff = test["na"] * test["pixel_size_um"] / test["wavelength_um"]
        long = math.ceil(test["lateral_px"] / LATERAL_PX - 1e-9)
        window = WINDOW_PX * max(1, round(BINNED_CUTOFF / cutoff), long)
        if test["size_px"] < window:
            yield (
                (i, "size_px"),
                f"{test['size_px']} px, but a window has {window} with this lateral_px and these optics",
            )
