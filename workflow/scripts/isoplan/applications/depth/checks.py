"""What must fit together in `depth_tests` and no keyword of the schema says: see `config.checks`."""

import math

from isoplan.config.checks import Wrong
from isoplan.config.entries import entry

# Of `calibration`, `printed` and `trials`, which import torch.
LEAST_CYLINDER, MODELS, FIT = 0.05, ("zernike-3", "gaussian-2"), "fit"


def depth_tests(tests: list[dict], study: dict) -> Wrong:
    for i, test in enumerate(tests):
        if test["cylinder_waves"] <= LEAST_CYLINDER:
            yield (
                (i, "cylinder_waves"),
                f"{test['cylinder_waves']:g} waves are too few to tell the sides of focus apart; give more than {LEAST_CYLINDER:g}",
            )
        side = test["size_px"] * test["pixel_size_um"]
        highest = test["height_um"] / 2
        if test["surface"] == "plane":
            highest = math.tan(math.radians(test["tilt_deg"])) * side / math.sqrt(2)
            lowest = math.tan(math.radians(test["tilt_deg"])) * side / 2
        else:
            lowest = highest
        if test["reach_um"] < lowest:
            yield (
                (i, "reach_um"),
                f"{test['reach_um']:g} um, but the surface goes {lowest:.3g} to {highest:.3g} um from focus",
            )
        for name in test["networks"]:
            model = entry(study, "psfs", entry(study, "networks", name)["psf"])["model"]
            if model not in MODELS:
                yield (i, "networks"), f"{name} estimates {model}; take zernike-3 or gaussian-2"
            if name == FIT:
                yield (
                    (i, "networks"),
                    f"{FIT} is what tables call another method; call it otherwise",
                )
        if len(set(test["networks"])) < len(test["networks"]):
            yield (i, "networks"), "names one twice"
