"""What must fit together in `weight_networks` and no keyword of the schema says: see `config.checks`."""

from isoplan.config.checks import Wrong
from isoplan.config.entries import entry


def weight_networks(networks: list[dict], study: dict) -> Wrong:
    for i, network in enumerate(networks):
        if network["weights"]:
            continue
        if network["epoch_samples"] < network["batch"]:
            yield (i, "epoch_samples"), f"is less than one batch ({network['batch']} pictures)"
        if (network["gradients"] or 0) > network["iterations"]:
            yield (i, "gradients"), f"is more than the iterations ({network['iterations']})"
        for name in network["psfs"]:
            psf = entry(study, "psfs", name)
            if psf["model"] == "measured":
                yield (i, "psfs"), f"{name} is a measured PSF, which has no parameters to draw"
