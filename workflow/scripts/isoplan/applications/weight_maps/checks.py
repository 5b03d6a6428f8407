"""What must fit together in `weight_networks` and no keyword of the schema says: see `config.checks`."""

from collections.abc import Iterator

from isoplan.base.errors import UserError
from isoplan.config.checks import Wrong
from isoplan.config.entries import entry, parameters, weight_network_file


def restored_model(entry: dict) -> Iterator[tuple[str, str]]:
    """What does not go together in what restores."""
    if entry["scheme"] == "richardson-lucy":
        for key, value in (("noise", "poisson"), ("regulariser", "isotropic")):
            if entry[key] != value:
                yield key, f"{entry[key]} goes with the scheme primal-dual, and only with it"


def weight_networks(networks: list[dict], study: dict) -> Wrong:
    for i, network in enumerate(networks):
        if network["weights"]:
            continue
        if network["epoch_samples"] < network["batch"]:
            yield (i, "epoch_samples"), f"is less than one batch ({network['batch']} pictures)"
        if network["learns"] == "held-out" and network["noise"] != "poisson":
            yield (i, "noise"), f"{network['noise']} has no photons that could be held out"
        if network["patch_px"] % network["factor"]:
            yield (i, "patch_px"), f"is not divided by the factor, {network['factor']}"
        if network["start"] == "released":
            try:
                weight_network_file({})
            except UserError as error:
                yield (i, "start"), str(error)
        if network["references"] == "alike" and network["pictures"] != "mosaics":
            yield (i, "references"), "alike is of pictures of mosaics alone"
        if network["pictures"] == "mosaics":
            for key, text in _own_pictures(network, study):
                yield (i, key), text
        if (network["gradients"] or 0) > network["iterations"]:
            yield (i, "gradients"), f"is more than the iterations ({network['iterations']})"
        for key, text in restored_model(network):
            yield (i, key), text
        for name in network["psfs"]:
            psf = entry(study, "psfs", name)
            if psf["model"] == "measured":
                yield (i, "psfs"), f"{name} is a measured PSF, which has no parameters to draw"


def _own_pictures(network: dict, study: dict) -> Iterator[tuple[str, str]]:
    """What does not go together if a network learns from the study's mosaics."""
    for key, value in (("scheme", "richardson-lucy"), ("factor", 1)):
        if network[key] != value:
            yield key, f"{network[key]} with pictures of mosaics, which go with {value} alone"
    if not (study["mosaics"] or study["simulations"]):
        yield "pictures", "takes mosaics, but the study has none"
    elif network["learns"] != "held-out" and not study["mosaics"]:
        yield "learns", f"{network['learns']} takes references, which only a table of mosaics names"


def weight_tests(tests: list[dict], study: dict) -> Wrong:
    for i, test in enumerate(tests):
        for key, text in restored_model(test):
            yield (i, key), text
        for key, text in _weight_test(test, study):
            yield (i, key), text


def _weight_test(test: dict, study: dict) -> Iterator[tuple[str, str]]:
    if not parameters(entry(study, "psfs", test["psf"])["model"]):
        yield "psf", f"{test['psf']} has no parameters to draw; name another"
    if "black" in entry(study, "objects", test["objects"])["kinds"]:
        yield "objects", f"{test['objects']} has black pictures, which tell nothing; take others"
    if test["size_px"] % test["factor"]:
        yield "size_px", f"is not divided by the factor, {test['factor']}"
    for key in ("methods", "networks", "photons"):
        if len(set(test[key])) < len(test[key]):
            yield key, "names one twice"
    if "chosen" in test["methods"] and (test["scheme"], test["factor"]) != ("richardson-lucy", 1):
        yield "methods", "chosen is of the scheme richardson-lucy with a factor of 1 alone"
    for name in test["networks"]:
        network = entry(study, "weight_networks", name)
        for key in ("scheme", "noise", "regulariser", "factor"):
            direct = network["learns"] == "direct" and key in ("scheme", "regulariser")
            told = (key, network[key], test[key]) == ("noise", "gaussian", "uneven")
            if network[key] != test[key] and not direct and not told:
                text = f"{name} is for the {key} {network[key]}, but this test is of {test[key]}"
                yield "networks", text
