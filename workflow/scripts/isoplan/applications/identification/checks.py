"""What must fit together in `identification_tests` and no keyword of the schema says: see `config.checks`."""

from isoplan.config.checks import HIGHEST_CUTOFF, Wrong
from isoplan.config.entries import entry, single_modes


def identification_tests(tests: list[dict], study: dict) -> Wrong:
    for i, test in enumerate(tests):
        psf = entry(study, "psfs", test["psf"])
        if not single_modes(psf["model"]):
            yield (i, "psf"), f"{psf['model']} has no single Zernike modes; take zernike-8"
            continue
        network = entry(study, "networks", test["network"])
        fitted = entry(study, "psfs", network["psf"])["model"]
        if fitted != psf["model"]:
            yield (i, "network"), f"{network['name']} estimates {fitted}, not {psf['model']}"
        highest = max(psf["cutoff_range"] or [psf["cutoff"]])
        if highest > HIGHEST_CUTOFF:
            yield (
                (i, "psf"),
                f"{psf['name']} goes to a cut-off of {highest:g}; a fit goes to {HIGHEST_CUTOFF:g}",
            )
