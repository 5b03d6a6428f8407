"""The study file: its defaults, its checks, and what it says when something is wrong.

All of it comes from workflow/schemas/config.schema.yaml, cross references between keys apart. Imported
whenever the Snakefile is read, in every job: the standard library and yaml alone.
"""

import difflib
import math
import re
from collections.abc import Iterator
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.config import yamlmarks
from isoplan.config.entries import PARAMETERS, entry, released
from isoplan.config.named_files import missing
from isoplan.config.schema import schema
from isoplan.config.values import Problems, check, shown

SHOWN_ERRORS = 12


def load(path: str | Path) -> dict:
    """Reads one study file alone and returns it checked, with every default filled in."""
    return validate(yamlmarks.read(path), [str(path)])


def validate(config: dict, files: list[str] | tuple = (), *, here: bool = False) -> dict:
    """Checks a config (as Snakemake merged it) and returns it with every default filled in.

    files: the config files it was merged from, in order; errors then name file and line. here: whether what
    it names has to be there, from the working directory.
    Raises UserError with one line for every mistake: place, key, what is wrong, what is allowed.
    """
    marks = yamlmarks.lines(files)
    problems: Problems = []
    for file, tree in marks:
        problems += [
            ((f"{file}:{line}", name), "is given twice") for line, name in yamlmarks.doubles(tree)
        ]
        words = "is read in base 8 or 60 by YAML; write the number without leading 0 and colon"
        problems += [
            ((f"{file}:{line}", text), words) for line, text in yamlmarks.other_bases(tree)
        ]
    resolved = check(config, schema(), (), problems)
    for later in (_references(resolved, schema(), resolved), _cross_checks(resolved)):
        problems = problems or list(later)  # each can rely on what was checked before
    problems = problems or list(missing(resolved, schema()) if here else ())
    if problems:
        raise UserError("\n".join(_message(path, text, marks) for path, text in _some(problems)))
    if resolved["restoration"]["tv_step"] == "none":
        resolved["restoration"]["tv_weight"] = 0.0  # there is none to weigh, nor to choose
    return resolved


def _some(problems: Problems) -> Problems:
    rest = len(problems) - SHOWN_ERRORS
    return problems[:SHOWN_ERRORS] + ([((), f"{rest} mistakes more")] if rest > 0 else [])


# One value against its part of the schema ----------------------------------------------------------


# Keys that depend on one another -------------------------------------------------------------------


def _references(value, rule: dict, config: dict, path: tuple = ()) -> Iterator[tuple[tuple, str]]:
    """Every name that is asked for and not there."""
    if isinstance(value, dict):
        for key, inner in rule["properties"].items():
            yield from _references(value[key], inner, config, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _references(item, rule["items"], config, (*path, i))
    elif "reference" in rule and value is not None:
        names = [entry["name"] for entry in config[rule["reference"]]]
        if value not in names:
            near = difflib.get_close_matches(value, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(names) or "none at all"
            yield path, f"{shown(value)} is no entry of {rule['reference']}; {hint}known: {known}"


def _cross_checks(config: dict) -> Iterator[tuple[tuple, str]]:
    """What the schema cannot say of a config whose keys are each right and whose names exist."""
    psfs = {psf["name"]: psf for psf in config["psfs"]}
    networks = {network["name"]: network for network in config["networks"]}
    sets = {test_set["name"]: test_set for test_set in config["test_sets"]}
    for i, psf in enumerate(config["psfs"]):
        if (psf["model"] == "measured") != (psf["file"] is not None):
            yield ("psfs", i, "file"), "goes with the model measured, and only with it"
        varied = psf["cutoff_range"]
        if varied and not varied[0] <= psf["cutoff"] <= varied[1]:
            text = f"[{varied[0]:g}, {varied[1]:g}] does not hold the cutoff, {psf['cutoff']:g}"
            yield ("psfs", i, "cutoff_range"), text
    for i, objects in enumerate(config["objects"]):
        if ("folder" in objects["kinds"]) != (objects["folder"] is not None):
            yield ("objects", i, "folder"), "goes with the kind folder, and only with it"
    for i, network in enumerate(config["networks"]):
        place = ("networks", i)
        if network["name"] == "true":
            yield (*place, "name"), "true is the true map's name; take another"
        if psfs[network["psf"]]["model"] == "measured":
            yield (*place, "psf"), "a measured PSF has no parameters that a network could estimate"
        elif network["weights"] == "released":
            try:
                released(psfs[network["psf"]]["model"])
            except UserError as error:
                yield (*place, "weights"), f"{error}; null trains one"
        if network["pretrained"]:
            if not network["architecture"].startswith("resne"):
                yield (*place, "pretrained"), "goes with resnet34 or resnext50, and only with them"
            elif not network["pretrained"].endswith((".pth", ".safetensors")):
                yield (*place, "pretrained"), "is neither a .pth nor a .safetensors file"
        if network["epoch_samples"] < network["batch"]:
            yield (*place, "epoch_samples"), f"is less than one batch ({network['batch']} patches)"
        if network["fresh_scenes"] > network["scenes"]:
            yield (*place, "fresh_scenes"), f"are more than all scenes ({network['scenes']})"
    for i, test in enumerate(config["tests"]):
        trained = psfs[networks[test["network"]]["psf"]]["model"]
        tested = psfs[sets[test["test_set"]]["psf"]]["model"]
        if trained != tested:
            text = f"{test['test_set']} is blurred with {tested}, but {test['network']} estimates {trained}"
            yield ("tests", i, "test_set"), f"{text}; take one model for both"
        place = ("tests", i, "strengths")
        if test["degradation"] == "none" and test["strengths"] != [0]:
            yield place, "go with a degradation; name one"
        elif test["degradation"] != "none" and not any(test["strengths"]):
            yield place, f"of the degradation {test['degradation']} are missing; give some, up to 1"
        elif len(set(test["strengths"])) < len(test["strengths"]):
            yield place, "name a strength twice"
    for i, simulation in enumerate(config["simulations"]):
        psf = psfs[simulation["psf"]]
        for place, text in _check_field(simulation["field"], psf):
            yield ("simulations", i, "field", *place), text
    window, stride = config["map"]["window_px"], config["map"]["stride_px"]
    if window % stride:
        yield ("map", "stride_px"), f"{stride} px does not divide window_px ({window} px)"
    for i, test in enumerate(config["restoration_tests"]):
        for key, text in _check_restoration_test(test, config, psfs):
            yield ("restoration_tests", i, key), text
    restoration = config["restoration"]
    measured = restoration["measured"]
    if ("measured" in restoration["methods"]) != (measured is not None):
        yield ("restoration", "measured"), "goes with the method measured, and only with it"
    elif measured and psfs[measured]["model"] != "measured":
        yield ("restoration", "measured"), f"{measured} is no PSF of the model measured"
    if len(set(restoration["methods"])) < len(restoration["methods"]):
        yield ("restoration", "methods"), "names a method twice"


def _check_restoration_test(test, config, psfs) -> Iterator[tuple[str, str]]:
    """Key and text of what cannot go together in one entry of `restoration_tests`."""
    window, stride, cell = config["map"]["window_px"], test["stride_px"], test["cell_px"]
    if psfs[test["psf"]]["model"] == "measured":
        yield "psf", "a measured PSF has no parameters to draw; name another"
    if "black" in entry(config, "objects", test["objects"])["kinds"]:
        yield "objects", f"{test['objects']} has black pictures, which have no SNR; take others"
    if test["size_px"] % cell:
        yield "cell_px", f"{cell} px does not divide size_px ({test['size_px']} px)"
    if test["size_px"] < window:
        yield "size_px", f"{test['size_px']} px is less than the network's window ({window} px)"
    if window % stride:
        yield "stride_px", f"{stride} px does not divide map.window_px ({window} px)"
    if test["masks"] == "hard" and not window == stride == cell:
        text = (
            f"wants cell_px ({cell}), stride_px ({stride}) and map.window_px ({window}) to be one"
        )
        yield "masks", f"hard {text}; take bilinear"
    if len(set(test["methods"])) < len(test["methods"]):
        yield "methods", "names a method twice"
    if test["sweep_tv_weights"] and test["tv_step"] == "none":
        yield "sweep_tv_weights", "have nothing to weigh where tv_step is none"
    if test["sweep_tv_weights"] and not {"true", "estimated"} & {*test["methods"]}:
        yield "sweep_tv_weights", "want true or estimated among the methods"


def _check_field(field: list[dict], psf: dict) -> Iterator[tuple[tuple, str]]:
    """A simulated field names each parameter of its PSF once, with values that the PSF can take."""
    wanted, given = PARAMETERS[psf["model"]], [varied["parameter"] for varied in field]
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
        if name == "axis":
            low, high = 0, math.pi / (2 if psf["model"] == "zernike-2" else 1)
        else:
            low, high = psf[f"{name.split('_')[0]}_waves" if "width" not in name else "width_px"]
        for key in ("low", "high"):
            if varied[key] is not None and not low <= varied[key] <= high:
                text = f"{varied[key]:g} is outside the range of {psf['name']}, {low:g} to {high:g}"
                yield (i, key), text
    for name in wanted:
        if name not in given:
            yield (), f"does not say how {name} varies; add it (shape: constant holds it)"


def _message(path: tuple, text: str, marks: list) -> str:
    if path and isinstance(path[0], str) and path[0].rpartition(":")[2].isdigit():
        return f"{path[0]}: {path[1]} {text}"
    key = ""
    for part in path:
        word = part if re.fullmatch(r"\w{1,60}", str(part)) else shown(part)
        key += f"[{part}]" if isinstance(part, int) else f".{word}" if key else str(word)
    return ": ".join(filter(None, [yamlmarks.place(path, marks), key, text]))
