"""What must fit together in `identification_tests` and no keyword of the schema says: see `config.checks`."""

from isoplan.config.checks import HIGHEST_CUTOFF, Wrong
from isoplan.config.entries import entry, single_modes

# Methods of `trials`.
RESERVED = ("fit", "fit-central", "mean", "mean-fixed", "diffraction")


def kernel_networks(networks: list[dict], study: dict) -> Wrong:
    for i, network in enumerate(networks):
        psf = entry(study, "psfs", network["psf"])
        if not single_modes(psf["model"]):
            yield (i, "psf"), f"{psf['model']} has no single Zernike modes; take zernike-8"
        if network["name"] in RESERVED:
            yield (i, "name"), f"{network['name']} is what tables call another method; take another"
        if not network["weights"] and network["epoch_samples"] < network["batch"]:
            yield (i, "epoch_samples"), f"is less than one batch ({network['batch']} pictures)"


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
        for name in test["kernel_networks"]:
            made = entry(study, "psfs", entry(study, "kernel_networks", name)["psf"])
            for key in ("model", "size_px"):
                if made[key] != psf[key]:
                    text = f"{name} makes kernels of the {key} {made[key]}, but {psf['name']} has {psf[key]}"
                    yield (i, "kernel_networks"), text
        if len(set(test["kernel_networks"])) < len(test["kernel_networks"]):
            yield (i, "kernel_networks"), "names one twice"
        highest = max(psf["cutoff_range"] or [psf["cutoff"]])
        if highest > HIGHEST_CUTOFF:
            yield (
                (i, "psf"),
                f"{psf['name']} goes to a cut-off of {highest:g}; a fit goes to {HIGHEST_CUTOFF:g}",
            )
