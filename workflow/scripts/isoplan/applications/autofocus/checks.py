"""What must fit together in `autofocus_tests` and no keyword of the schema says: see `config.checks`."""

from isoplan.config.checks import Wrong
from isoplan.config.entries import entry

MODELS = ("zernike-1", "zernike-3", "gaussian-1")  # whose first parameter is blur


def autofocus_tests(tests: list[dict], study: dict) -> Wrong:
    for i, test in enumerate(tests):
        if test["range_depths"] < test["start_depths"]:
            yield (
                (i, "range_depths"),
                f"{test['range_depths']:g} depths of field, but focus is up to {test['start_depths']:g} away",
            )
        for name in test["networks"]:
            model = entry(study, "psfs", entry(study, "networks", name)["psf"])["model"]
            if model not in MODELS:
                yield (i, "networks"), f"{name} estimates {model}; take one of {', '.join(MODELS)}"
        for key in ("networks", "measures"):
            if len(set(test[key])) < len(test[key]):
                yield (i, key), "names one twice"
