"""What must fit together in `identification_tests` and no keyword of the schema says: see `config.checks`."""

from isoplan.config.checks import Wrong
from isoplan.config.entries import choices, entry

HIGHEST = 0.25  # cut-off in cycles/px up to which spectra are fitted


def identification_tests(tests: list[dict], study: dict) -> Wrong:
    known = choices("psfs")
    for i, test in enumerate(tests):
        psf = entry(study, "psfs", test["psf"])
        if "modes_waves" not in known[psf["model"]]["parameters"].values():
            yield (i, "psf"), f"{psf['model']} has no single Zernike modes; take zernike-8"
            continue
        network = entry(study, "networks", test["network"])
        fitted = entry(study, "psfs", network["psf"])["model"]
        if fitted != psf["model"]:
            yield (i, "network"), f"{network['name']} estimates {fitted}, not {psf['model']}"
        highest = max(psf["cutoff_range"] or [psf["cutoff"]])
        if highest > HIGHEST:
            yield (
                (i, "psf"),
                f"{psf['name']} goes to a cut-off of {highest:g}; a fit goes to {HIGHEST:g}",
            )
