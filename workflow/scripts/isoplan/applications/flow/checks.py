"""What must fit together in `flow_tests` and `flow_maps`, and no keyword of the schema says: see `config.checks`."""

import math

from isoplan.applications.flow.defaults import BINNED_CUTOFF, LATERAL_PX
from isoplan.config.checks import Wrong

WINDOW_PX = 192  # of `fit`, which imports torch


def flow_tests(tests: list[dict], study: dict) -> Wrong:
    for i, test in enumerate(tests):
        if test["layers"] > 1 and (test["motion"] != "one" or test["frames"] > 1):
            yield (i, "layers"), "only single pictures of one motion have layers"
        if test["frames"] > 1 and test["motion"] == "two":
            yield (
                (i, "frames"),
                "a sequence of two motions cannot be simulated; take one of the others",
            )
        cutoff = test["na"] * test["pixel_size_um"] / test["wavelength_um"]
        long = math.ceil(test["lateral_px"] / LATERAL_PX - 1e-9)
        window = WINDOW_PX * max(1, round(BINNED_CUTOFF / cutoff), long)
        if test["size_px"] < window:
            yield (
                (i, "size_px"),
                f"{test['size_px']} px, but a window has {window} with this lateral_px and these optics",
            )


def flow_maps(maps: list[dict], study: dict) -> Wrong:
    known = {entry["name"]: entry for entry in maps}
    for i, entry in enumerate(maps):
        if entry["interval_ms"]:
            if not entry["exposure_ms"]:
                yield (i, "interval_ms"), "needs exposure_ms, too"
            elif entry["interval_ms"] < entry["exposure_ms"]:
                yield (
                    (i, "interval_ms"),
                    f"is shorter than exposure_ms, {entry['exposure_ms']:g}; it is from the beginning of a picture to that of the next",
                )
            for key in ("slice", "shorter"):
                if entry[key] is not None:
                    yield (i, key), "goes with one picture, and interval_ms with all of a sequence"
        if entry["shorter"] is None:
            continue
        other = known.get(entry["shorter"])
        if other is None:
            yield (i, "shorter"), f"{entry['shorter']!r} is no entry of flow_maps"
        elif other["interval_ms"]:
            yield (i, "shorter"), f"{other['name']} is a sequence"
        elif not (entry["exposure_ms"] and other["exposure_ms"]):
            yield (i, "shorter"), "needs exposure_ms of both entries, as speeds are compared"
        elif other["exposure_ms"] >= entry["exposure_ms"]:
            yield (i, "shorter"), f"{other['name']} was not exposed for a shorter time"
