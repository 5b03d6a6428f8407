"""What must fit together in a study and no keyword of the schema says, key by key.

Each takes the value of its key and the whole study, whose keys are each right and whose names exist, and yields
(place below the key, what is wrong).
"""

from collections.abc import Iterator

from isoplan.base.errors import UserError
from isoplan.config.entries import (
    LEARNT,
    entry,
    parameters,
    released,
    single_modes,
    weight_network_file,
    weights_of_study,
)

Wrong = Iterator[tuple[tuple, str]]


def zernike(psfs: list[dict], study: dict) -> Wrong:
    for i, psf in enumerate(psfs):
        varied = psf["cutoff_range"]
        if varied and not varied[0] <= psf["cutoff"] <= varied[1]:
            text = f"[{varied[0]:g}, {varied[1]:g}] does not hold the cutoff, {psf['cutoff']:g}"
            yield (i, "cutoff_range"), text


def objects(objects: list[dict], study: dict) -> Wrong:
    for i, item in enumerate(objects):
        if ("folder" in item["kinds"]) != (item["folder"] is not None):
            yield (i, "folder"), "goes with the kind folder, and only with it"
        if item["pictures"] is not None and "pictures" not in item["kinds"]:
            yield (i, "pictures"), "goes with the kind pictures"


def networks(networks: list[dict], study: dict) -> Wrong:
    for i, network in enumerate(networks):
        if network["name"] == "true":
            yield (i, "name"), "true is the true map's name; take another"
        model = entry(study, "psfs", network["psf"])["model"]
        if not parameters(model):
            yield (i, "psf"), f"a {model} PSF has no parameters that a network could estimate"
        elif network["weights"] == "released":
            try:
                released(model)
            except UserError as error:
                yield (i, "weights"), f"{error}; null trains one"
        for key, text in _fit(network, entry(study, "psfs", network["psf"])):
            yield (i, key), text
        if network["epoch_samples"] < network["batch"]:
            yield (i, "epoch_samples"), f"is less than one batch ({network['batch']} patches)"
        if network["fresh_scenes"] > network["scenes"]:
            yield (i, "fresh_scenes"), f"are more than all scenes ({network['scenes']})"


# The highest cut-off (cycles/px) that whittle-fit fits, where no frequency is aliased, and its smallest window.
HIGHEST_CUTOFF, LEAST_WINDOW_PX = 0.25, 128


def _fit(network: dict, psf: dict) -> Iterator[tuple[str, str]]:
    """Networks that start from a fit, or are one, are for the PSF models that it fits."""
    if network["weights"]:
        return
    architecture, single = network["architecture"], single_modes(psf["model"])
    if architecture == "whittle-fit":
        if not single:
            text = f"{psf['model']} has no single Zernike modes, which whittle-fit fits; take zernike-8"
            yield "psf", text
        elif max(psf["cutoff_range"] or [psf["cutoff"]]) > HIGHEST_CUTOFF:
            yield (
                "psf",
                f"goes beyond a cut-off of {HIGHEST_CUTOFF:g}, up to which whittle-fit fits",
            )
        elif network["window_px"] < LEAST_WINDOW_PX:
            yield "window_px", f"is below {LEAST_WINDOW_PX} px, which whittle-fit needs"
    elif single and (architecture == "spectrum-fit" or network.get("fit") == "spectrum"):
        text = f"tabulates no {psf['model']}; take the architecture whittle-fit, or fit: none"
        yield "architecture", text


def tests(tests: list[dict], study: dict) -> Wrong:
    for i, test in enumerate(tests):
        trained, tested = (
            entry(study, "psfs", entry(study, section, test[key])["psf"])["model"]
            for section, key in (("networks", "network"), ("test_sets", "test_set"))
        )
        if trained != tested:
            text = f"{test['test_set']} is blurred with {tested}, but {test['network']} estimates {trained}"
            yield (i, "test_set"), f"{text}; take one model for both"
        sees, shown = (
            entry(study, section, test[key])["window_px"]
            for section, key in (("networks", "network"), ("test_sets", "test_set"))
        )
        if sees != shown:
            text = f"{test['test_set']} has samples of {shown} px, but the window of {test['network']} has {sees} px"
            yield (i, "test_set"), f"{text}; give it a test set of its own"
        place = (i, "strengths")
        if test["degradation"] == "none" and test["strengths"] != [0]:
            yield place, "go with a degradation; name one"
        elif test["degradation"] != "none" and not any(test["strengths"]):
            yield place, f"of the degradation {test['degradation']} are missing; give some, up to 1"
        elif len(set(test["strengths"])) < len(test["strengths"]):
            yield place, "name a strength twice"


def simulations(simulations: list[dict], study: dict) -> Wrong:
    for i, simulation in enumerate(simulations):
        psf = entry(study, "psfs", simulation["psf"])
        for place, text in _field(simulation["field"], psf):
            yield (i, "field", *place), text


def _field(field: list[dict], psf: dict) -> Wrong:
    """A simulated field names each parameter of its PSF once, with values that the PSF can take."""
    wanted, given = parameters(psf["model"]), [varied["parameter"] for varied in field]
    for i, varied in enumerate(field):
        name = varied["parameter"]
        if name not in wanted:
            has = ", ".join(wanted) or "no parameters"
            yield (i, "parameter"), f"{name} is no parameter of {psf['name']}, which has {has}"
            continue
        if varied["high"] is None and varied["shape"] != "constant":
            yield (i, "high"), f"is missing; {varied['shape']} runs from low to high"
        if psf["form"] == "published":
            continue  # its ranges are not those of the file
        low, high = psf[wanted[name]] if isinstance(wanted[name], str) else wanted[name]
        for key in ("low", "high"):
            if varied[key] is not None and not low <= varied[key] <= high:
                text = f"{varied[key]:g} is outside the range of {psf['name']}, {low:g} to {high:g}"
                yield (i, key), text
    for name in wanted:
        if name not in given:
            yield (), f"does not say how {name} varies; add it (shape: constant holds it)"


def psf_map(settings: dict, study: dict) -> Wrong:
    window, stride = settings["window_px"], settings["stride_px"]
    network = entry(study, "networks", settings["network"] or study["networks"][0]["name"])
    if window != network["window_px"]:
        text = f"{window} px is not the window of {network['name']}, which maps ({network['window_px']} px); leave it out"
        yield ("window_px",), text
    elif window % stride:
        yield ("stride_px",), f"{stride} px does not divide window_px ({window} px)"


def restoration(settings: dict, study: dict) -> Wrong:
    measured = settings["measured"]
    if "measured" in settings["methods"] and measured is None:
        yield (
            ("methods",),
            "has measured: name its PSF in restoration.measured, an entry of psfs of the model measured",
        )
    elif "measured" not in settings["methods"] and measured is not None:
        yield ("measured",), "goes with the method measured, and only with it"
    elif measured and entry(study, "psfs", measured)["model"] != "measured":
        yield ("measured",), f"{measured} is no PSF of the model measured"
    if len(set(settings["methods"])) < len(settings["methods"]):
        yield ("methods",), "names a method twice"
    scale, shape = settings["psf_scale"], settings["psf_shape"]
    if scale not in ("auto", 1) and shape not in ("auto", "map"):
        yield (
            ("psf_scale",),
            f"{scale:g} is of the map's PSFs, in whose place psf_shape ({shape}) stands; leave one of them out",
        )


def richardson_lucy(settings: dict, study: dict) -> Wrong:
    if settings["tv_weight"] != LEARNT:
        if settings["weight_network"] not in (None, "released"):
            yield ("weight_network",), "goes with tv_weight: learnt, and only with it"
        return
    for key, value in (("tv_step", "proximal"), ("acceleration", "momentum")):
        if settings[key] not in (None, value):
            yield (key,), f"is {settings[key]} with learnt weights, which go with {value} alone"
    if name := weights_of_study(study):
        own = {network["name"]: network for network in study["weight_networks"]}
        if name not in own:
            yield (
                ("weight_network",),
                f"{name} is neither a .safetensors file nor an entry of weight_networks",
            )
        elif own[name]["learns"] == "direct":
            yield ("weight_network",), f"{name} makes pictures and tells no weights"
    elif settings["weight_network"] in (None, "released"):
        try:
            weight_network_file({})
        except UserError as error:
            yield ("weight_network",), str(error)


def restoration_tests(tests: list[dict], study: dict) -> Wrong:
    for i, test in enumerate(tests):
        for key, text in _restoration_test(test, study):
            yield (i, key), text


def _restoration_test(test: dict, study: dict) -> Iterator[tuple[str, str]]:
    window = entry(study, "networks", test["network"])["window_px"]
    stride, cell = test["stride_px"], test["cell_px"]
    model = entry(study, "psfs", test["psf"])["model"]
    if not parameters(model):
        yield "psf", f"a {model} PSF has no parameters to draw; name another"
    if "black" in entry(study, "objects", test["objects"])["kinds"]:
        yield "objects", f"{test['objects']} has black pictures, which have no SNR; take others"
    if test["size_px"] % cell:
        yield "cell_px", f"{cell} px does not divide size_px ({test['size_px']} px)"
    if test["size_px"] < window:
        yield "size_px", f"{test['size_px']} px is less than the network's window ({window} px)"
    if window % stride:
        yield (
            "stride_px",
            f"{stride} px does not divide the window of {test['network']} ({window} px)",
        )
    if test["masks"] == "hard" and not window == stride == cell:
        text = f"wants cell_px ({cell}), stride_px ({stride}) and the network's window ({window}) to be one"
        yield "masks", f"hard {text}; take bilinear"
    if len(set(test["methods"])) < len(test["methods"]):
        yield "methods", "names a method twice"
    if test["sweep_tv_weights"] and test["tv_step"] == "none":
        yield "sweep_tv_weights", "have nothing to weigh where tv_step is none"
    if test["sweep_tv_weights"] and not {"true", "estimated"} & {*test["methods"]}:
        yield "sweep_tv_weights", "want true or estimated among the methods"
