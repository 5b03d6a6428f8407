"""The study file: its defaults, its checks, and what it says when something is wrong.

All of it comes from workflow/schemas/config.schema.yaml, cross references between keys apart. Imported
whenever the Snakefile is read, in every job: the standard library and yaml alone.

`python -m isoplan.base.config write` writes config/config.yaml and config/README.md from the schema.
"""

import copy
import difflib
import math
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from isoplan.base import yamlmarks
from isoplan.base.errors import UserError
from isoplan.base.named_files import missing

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
MODELS = ROOT / "resources" / "models"
PARAMETERS = {
    "gaussian-1": ("width",),
    "gaussian-2": ("width_y", "width_x"),
    "zernike-1": ("focus",),
    "zernike-2": ("cylinder", "axis"),
    "zernike-3": ("focus", "cylinder", "axis"),
    "measured": (),
}
# The PSF that blurs nothing, as an entry of `psfs`; the method `denoised` restores with it.
ONE_PIXEL = {"name": "pixel", "model": "pixel", "size_px": 3, "form": "isoplan"}
TYPES = {
    "string": "a word or text",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "a block of keys",
    "null": "null",
}
# Of a restoration, what can be chosen for each mosaic and method.
CHOSEN = ("iterations", "tv_weight", "psf_scale", "psf_shape", "resolution_px")
SHOWN_ERRORS = 12

Problems = list[tuple[tuple, str]]  # key path, what is wrong


def schema() -> dict:
    """The schema, a fresh copy."""
    return copy.deepcopy(_schema())


@cache
def _schema() -> dict:
    return yamlmarks.parse(SCHEMA.read_text(), str(SCHEMA))


def load(path: str | Path) -> dict:
    """Reads one study file alone and returns it checked, with every default filled in."""
    return validate(yamlmarks.read(path), [str(path)])


def entry(config: dict, section: str, name: str, key: str = "name") -> dict:
    """The entry of that name in one of a checked config's lists."""
    return next(item for item in config[section] if item[key] == name)


def released(psf_model: str) -> Path:
    """Where the released network of a PSF model lies. Raises UserError where none is released."""
    file = MODELS / f"{psf_model}.safetensors"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in MODELS.glob("*.safetensors")))
        raise UserError(
            f"no network is released for {psf_model}; released: {known or 'none at all'}"
        )
    return file


def weights_file(config: dict, network: dict) -> str | None:
    """File of a network's weights, from the working directory; None where it is to be trained."""
    if network["weights"] != "released":
        return network["weights"]
    return os.path.relpath(released(entry(config, "psfs", network["psf"])["model"]))


def left_open(restoration: dict) -> list[str]:
    """What of CHOSEN is to be chosen from the data (`isoplan.choosing`)."""
    given = restoration["psf_scale"] != "auto"  # PSFs of another kind come with it alone
    return [k for k in CHOSEN if restoration[k] == "auto" and not (k == "psf_shape" and given)]


def recipe(config: dict, item: dict) -> dict:
    """What the samples of an entry of `networks` or `test_sets` are made of."""
    return {
        "psf": entry(config, "psfs", item["psf"]),
        "objects": entry(config, "objects", item["objects"]),
        "camera": entry(config, "cameras", item["camera"]),
        "window_px": config["map"]["window_px"],
        "black_share": item.get("black_share", 0.0),
        "processed_share": item.get("processed_share", 0.0),
        "other_blur_share": item.get("other_blur_share", 0.0),
    }


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
    resolved = _check(config, _schema(), (), problems)
    for later in (_references(resolved, _schema(), resolved), _cross_checks(resolved)):
        problems = problems or list(later)  # each can rely on what was checked before
    problems = problems or list(missing(resolved, _schema()) if here else ())
    if problems:
        raise UserError("\n".join(_message(path, text, marks) for path, text in _some(problems)))
    if resolved["restoration"]["tv_step"] == "none":
        resolved["restoration"]["tv_weight"] = 0.0  # there is none to weigh, nor to choose
    return resolved


def _some(problems: Problems) -> Problems:
    rest = len(problems) - SHOWN_ERRORS
    return problems[:SHOWN_ERRORS] + ([((), f"{rest} mistakes more")] if rest > 0 else [])


# One value against its part of the schema ----------------------------------------------------------


def _check(value, rule: dict, path: tuple, problems: Problems):
    """The value with its defaults filled in; what is wrong goes to `problems`."""
    kinds = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
    if value is None and "object" in kinds:
        value = {}  # a block whose keys are all commented out
    if value is None and "null" in kinds:
        return None
    if "object" in kinds:
        return _check_block(value, rule, path, problems)
    if "array" in kinds:
        return _check_list(value, rule, path, problems)
    if isinstance(value, str) and value in rule.get("words", ()):
        return value  # a word that a number's key takes beside numbers
    number = _as_number(value, whole="integer" in kinds) if "string" not in kinds else None
    if number is not None:
        value = number
    elif "string" not in kinds or not isinstance(value, str):
        wanted = " or ".join(TYPES[kind] for kind in kinds)
        quotes = '; put it in "quotes"' if "string" in kinds and _plain(value) else ""
        problems.append((path, f"{_show(value)} is not {wanted}{_allowed(rule)}{quotes}"))
        return value
    wrong = _wrong_value(value, rule)
    if wrong:
        problems.append((path, f"{_show(value)} {wrong}"))
    return value


def _check_block(value, rule: dict, path: tuple, problems: Problems):
    if not isinstance(value, dict):
        problems.append((path, f"{_show(value)} is not {TYPES['object']}"))
        return value
    known = rule["properties"]
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            problems.append(((*path, key), f"unknown key; {hint}"))
    resolved = {}
    for key, inner in known.items():
        place = (*path, key)
        if key in value:
            resolved[key] = _check(value[key], inner, place, problems)
        elif "default" in inner or inner["type"] == "object":
            default = copy.deepcopy(inner.get("default", {}))
            resolved[key] = _check(default, inner, place, problems)
        else:
            problems.append((place, "is missing and has no default; give one"))
    return resolved


def _check_list(value, rule: dict, path: tuple, problems: Problems):
    if not isinstance(value, list | tuple):
        problems.append((path, f"{_show(value)} is not {TYPES['array']}{_allowed(rule)}"))
        return value
    before = len(problems)
    inner = {"unit": rule["unit"], **rule["items"]} if "unit" in rule else rule["items"]
    resolved = [_check(item, inner, (*path, i), problems) for i, item in enumerate(value)]
    if len(problems) > before:
        return resolved
    if rule.get("range"):
        if len(resolved) != 2:
            problems.append((path, f"{_show(value)} is not a range [lowest, highest]"))
        elif resolved[0] > resolved[1]:
            problems.append((path, f"{_show(value)}: the lowest is above the highest"))
    least, most = rule.get("minItems", 0), rule.get("maxItems", math.inf)
    if not least <= len(resolved) <= most:
        count = least if least == most else f"at least {least}"
        problems.append((path, f"has {len(resolved)} items; wants {count}"))
    if fields := rule.get("unique"):
        seen: dict[tuple, int] = {}
        for i, item in enumerate(resolved):
            key = tuple(item[field] for field in fields)
            if key in seen:
                what = " and ".join(f"{f} {item[f]}" for f in fields)
                problems.append(((*path, i), f"{what} stands in item {seen[key]} already"))
            seen.setdefault(key, i)
    return resolved


def _as_number(value, *, whole: bool) -> int | float | None:
    """The number that `value` is or spells (YAML 1.1 reads 1e-3 as text), or None."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not abs(value) <= sys.float_info.max:  # nan, infinite, or a whole number of 400 digits
        return None
    if whole:
        return int(value) if value == int(value) else None
    return value


def _wrong_value(value, rule: dict) -> str:
    """What is wrong with a value of the right type, or nothing."""
    if "enum" in rule and value not in rule["enum"]:
        near = difflib.get_close_matches(str(value), rule["enum"], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"is not allowed; {hint}allowed: {', '.join(map(str, rule['enum']))}"
    if "pattern" in rule and not re.fullmatch(rule["pattern"], value):
        names = "does not serve in file names; use letters, digits, . _ -, at most 100 in all"
        return rule.get("mismatch", names)
    if isinstance(value, str):
        return ""
    outside = (
        value < rule.get("minimum", -math.inf)
        or value > rule.get("maximum", math.inf)
        or value <= rule.get("exclusiveMinimum", -math.inf)
    )
    if outside:
        return f"is out of range{_allowed(rule)}"
    if rule.get("odd") and value % 2 == 0:
        return f"is even; an odd number of {rule.get('unit', 'units')} has a middle one"
    if value % rule.get("multipleOf", 1 if isinstance(value, int) else value or 1):
        return f"is not a multiple of {rule['multipleOf']}"
    return ""


def allowed(rule: dict) -> str:
    """The range or the words that a key allows, in words."""
    if "enum" in rule:
        return ", ".join(map(str, rule["enum"]))
    if "items" in rule and rule["items"]["type"] != "object":
        return allowed(rule["items"])
    parts = []
    if "minimum" in rule and "maximum" in rule:
        parts.append(f"{rule['minimum']:g} to {rule['maximum']:g}")
    elif "minimum" in rule:
        parts.append(f"{rule['minimum']:g} or more")
    elif "exclusiveMinimum" in rule:
        parts.append(f"above {rule['exclusiveMinimum']:g}")
        if "maximum" in rule:
            parts.append(f"up to {rule['maximum']:g}")
    if rule.get("odd"):
        parts.append("odd")
    if "multipleOf" in rule:
        parts.append(f"a multiple of {rule['multipleOf']}")
    parts += [f"or {word}" for word in rule.get("words", ())]
    return ", ".join(parts)


def _allowed(rule: dict) -> str:
    words = "; ".join(filter(None, [allowed(rule), f"in {rule['unit']}" if "unit" in rule else ""]))
    return f" ({words})" if words else ""


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
            yield path, f"{_show(value)} is no entry of {rule['reference']}; {hint}known: {known}"


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
    for i, entry in enumerate(config["objects"]):
        if ("folder" in entry["kinds"]) != (entry["folder"] is not None):
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
    wanted, given = PARAMETERS[psf["model"]], [entry["parameter"] for entry in field]
    for i, entry in enumerate(field):
        name = entry["parameter"]
        if name not in wanted:
            has = ", ".join(wanted) or "no parameters"
            yield (i, "parameter"), f"{name} is no parameter of {psf['name']}, which has {has}"
            continue
        if entry["high"] is None and entry["shape"] != "constant":
            yield (i, "high"), f"is missing; {entry['shape']} runs from low to high"
        if psf["form"] == "published":
            continue  # its ranges are not those of the file
        if name == "axis":
            low, high = 0, math.pi / (2 if psf["model"] == "zernike-2" else 1)
        else:
            low, high = psf[f"{name.split('_')[0]}_waves" if "width" not in name else "width_px"]
        for key in ("low", "high"):
            if entry[key] is not None and not low <= entry[key] <= high:
                text = f"{entry[key]:g} is outside the range of {psf['name']}, {low:g} to {high:g}"
                yield (i, key), text
    for name in wanted:
        if name not in given:
            yield (), f"does not say how {name} varies; add it (shape: constant holds it)"


def _message(path: tuple, text: str, marks: list) -> str:
    if path and isinstance(path[0], str) and path[0].rpartition(":")[2].isdigit():
        return f"{path[0]}: {path[1]} {text}"
    key = ""
    for part in path:
        word = part if re.fullmatch(r"\w{1,60}", str(part)) else _show(part)
        key += f"[{part}]" if isinstance(part, int) else f".{word}" if key else str(word)
    return ": ".join(filter(None, [yamlmarks.place(path, marks), key, text]))


def _plain(value) -> bool:
    return isinstance(value, bool | int | float)


def _show(value) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


if __name__ == "__main__":
    if sys.argv[1:] != ["write"]:
        sys.exit("usage: python -m isoplan.base.config write")
    from isoplan.base import configdocs

    configdocs.write(ROOT)
