"""What a checked study file says: its entries by name, and what they stand for."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from isoplan.base.cards import read_card
from isoplan.base.errors import UserError
from isoplan.base.resources import ROOT
from isoplan.config.schema import choices, families, schema

MODELS = ROOT / "resources" / "models"
# The PSF that blurs nothing, as an entry of `psfs`; the method `denoised` restores with it.
ONE_PIXEL = {"name": "pixel", "model": "pixel", "size_px": 3, "form": "isoplan"}
LEARNT = "learnt"  # the word of `tv_weight` for weights that a network tells
# Of a restoration, what can be chosen for each mosaic and method.
CHOSEN = ("iterations", "tv_weight", "psf_scale", "psf_shape", "resolution_px")


def entry(config: dict, section: str, name: str, key: str = "name") -> dict:
    """The entry of that name in one of a checked config's lists."""
    return next(item for item in config[section] if item[key] == name)


def told(config: dict, section: str, name: str, key: str = "name") -> dict:
    """The entry of that name with the keys alone that count for it: jobs, marks and cards are told no other."""
    return what_counts(section, entry(config, section, name, key))


def what_counts(section: str, settings: dict) -> dict:
    """Of an entry of a top-level key, or of its block, the keys that what is chosen in it reads.

    Left out are the keys of families that are not chosen, those of a `group` that the choice, or a key that is given,
    goes `without`, and those whose value is as if they were `absent`. So a key that a new family brings reruns nothing that does not use it.
    """
    rule = schema()["properties"][section]
    known = rule.get("items", rule)["properties"]
    chosen = choices(section).get(settings.get(rule.get("chosen_by")), {})
    others = {key for family in families(section).values() for key in family["properties"]}
    others -= {*chosen.get("reads", ())}
    without = {chosen.get("without")} - {None}
    without |= {known[k]["without"] for k, v in settings.items() if v and "without" in known[k]}
    return {
        key: value
        for key, value in settings.items()
        if key not in others
        and known[key].get("group") not in without
        and not ("absent" in known[key] and value == known[key]["absent"])
    }


@cache
def files_in(section: str) -> list[str]:
    """Keys of an entry of a top-level key that name a file or a folder."""
    rule = schema()["properties"][section]
    known = dict(rule.get("items", rule)["properties"])
    for family in families(section).values():
        known |= family["properties"]
    return [key for key, value in known.items() if "path" in value]


def all_that_counts(config: dict) -> dict:
    """A checked config with the keys that count alone: what its results/<study>/config.yaml tells."""
    known = schema()["properties"]
    told = {}
    for key, value in config.items():
        if isinstance(value, list):
            told[key] = [what_counts(key, v) if isinstance(v, dict) else v for v in value]
        else:
            told[key] = what_counts(key, value) if isinstance(value, dict) else value
    # The whole value is compared, before keys below it are left out.
    return {
        key: value
        for key, value in told.items()
        if not ("absent" in known[key] and config[key] == known[key]["absent"])
    }


def with_absent(config: dict) -> dict:
    """What `all_that_counts` tells, with the top-level keys that it leaves out."""
    known = schema()["properties"]
    return {key: rule["absent"] for key, rule in known.items() if "absent" in rule} | config


def single_modes(model: str) -> bool:
    """Whether a PSF model has one parameter per Zernike mode."""
    return "modes_waves" in parameters(model).values()


def parameters(psf_model: str) -> dict[str, str | list[float]]:
    """Names of a PSF model's parameters, each with the key of its range in an entry of `psfs`, or the range itself."""
    return choices("psfs")[psf_model]["parameters"]


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


def weights_of_study(config: dict) -> str | None:
    """The entry of `weight_networks` whose network restores by learnt weights; None if it is none of this study's."""
    settings = config["restoration"]
    asked = settings.get("weight_network") or "released"
    trained = asked != "released" and not asked.endswith(".safetensors")
    return asked if trained and settings["tv_weight"] == LEARNT else None


def weight_network_file(settings: dict) -> Path:
    """File of the network that tells the weights of a `restoration` with `tv_weight: learnt`.

    Raises UserError where it is to be the released one, and none is released.
    """
    asked = settings.get("weight_network", "released")
    if asked != "released":
        return Path(asked)
    file = MODELS / "weight-maps" / "restoration.safetensors"
    if not file.is_file():
        raise UserError(
            "no network of weights is released; give restoration.weight_network, or another tv_weight"
        )
    return file


def code_of_psf(psf: dict) -> str:
    """The class of an entry of `psfs`, as "module:name"."""
    return choices("psfs")[psf["model"]]["code"]


def code_of_network(config: dict, network: dict) -> list[str]:
    """The classes that an entry of `networks` chooses: its own and its PSF's. Weights that are given bring theirs."""
    architecture = network["architecture"]
    if file := weights_file(config, network):
        with suppress(
            OSError, ValueError, KeyError, TypeError
        ):  # whoever loads it says what is wrong
            architecture = read_card(file)["network"]["architecture"]
    known = choices("networks")
    psf = code_of_psf(entry(config, "psfs", network["psf"]))
    return [known[architecture]["code"], psf] if architecture in known else [psf]


def learns(network: dict) -> bool:
    """Whether the architecture of an entry of `networks` is trained."""
    return choices("networks")[network["architecture"]].get("without") != "training"


def algorithm(settings: dict) -> dict:
    """What `schema.choices` tells of the algorithm of a `restoration`; settings of tests, and of version 0.1.0, name none."""
    return choices("restoration")[settings.get("algorithm", "richardson-lucy")]


def fixed(settings: dict) -> list[str]:
    """Keys of a `restoration` that all algorithms have and that its own does not read."""
    return sorted(algorithm(settings).get("fixed", ()))


def left_open(restoration: dict) -> list[str]:
    """What of CHOSEN is to be chosen from the data (`isoplan.restoration.choosing`). What is fixed may be missing."""
    given = restoration["psf_scale"] != "auto"  # PSFs of another kind come with it alone
    found = [k for k in CHOSEN if restoration.get(k) in ("auto", LEARNT)]
    return [k for k in found if not (k == "psf_shape" and given)]


def recipe_of(config: dict, item: dict) -> dict:
    """What the samples of an entry of `networks` or `test_sets` are made of."""
    return {
        "psf": told(config, "psfs", item["psf"]),
        "objects": told(config, "objects", item["objects"]),
        "camera": told(config, "cameras", item["camera"]),
        "window_px": item["window_px"],
        "black_share": item.get("black_share", 0.0),
        "processed_share": item.get("processed_share", 0.0),
        "other_blur_share": item.get("other_blur_share", 0.0),
    }
