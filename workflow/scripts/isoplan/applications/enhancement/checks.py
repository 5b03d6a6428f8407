"""What must fit together in `enhancers` and no keyword of the schema says: see `config.checks`."""

from isoplan.applications.enhancement.filters import FILTERS, RAW
from isoplan.config.checks import Wrong

TAKEN = (RAW, "target", "truth", *FILTERS)


def enhancers(enhancers: list[dict], study: dict) -> Wrong:
    apart = {entry["name"] for entry in study["enhancements"] if not entry["paired"]}
    for i, network in enumerate(enhancers):
        if network["trained_on"] in apart and network["learns_from"] in ("pairs", "walk"):
            yield (
                (i, "learns_from"),
                f"wants pairs, which {network['trained_on']} has none of; take unpaired or inputs",
            )
        if network["name"] in TAKEN:
            yield (i, "name"), "is the name of a filter or a row of the table; take another"
        if not (network["weights"] or network["trained_on"]):
            yield (i, "trained_on"), "is missing; name an entry of enhancements, or give weights"
        if network["epoch_samples"] < network["batch"]:
            yield (i, "epoch_samples"), f"is less than one batch ({network['batch']} squares)"
        if network["learns_from"] == "walk" and network["architecture"] != "variational":
            yield (i, "learns_from"), "walk needs the latent space of the architecture variational"
        if network["learns_from"] != "pairs":
            for key in ("adversarial", "perceptual"):
                if network[key]:
                    yield (i, key), "goes with pairs alone; leave it at 0, or learn from pairs"
        if network["perceptual"] and not network["perceptual_weights"]:
            yield (
                (i, "perceptual_weights"),
                "is missing; perceptual needs a file of VGG16's weights",
            )


def enhancements(enhancements: list[dict], study: dict) -> Wrong:
    for i, entry in enumerate(enhancements):
        if not (entry["paired"] or entry["folder"]):
            yield (i, "paired"), "goes with a folder; simulated pairs are pairs"
