"""Whether a study asks for anything, and what it is told of a default that changed."""

from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.config import yamlmarks
from isoplan.config.schema import schema

WORK = ("mosaics", "simulations", "tests", "restoration_tests", "harm_tests")
# In version 0.1.0 a study that named no networks trained this one.
FORMER = "small"


def check_asked(config: dict, files: list[str]) -> None:
    """Looks at a checked study before anything is made.

    files: the config files that it was merged from; the first is the default study.
    Raises UserError where it asks for nothing, and where it would go on in the results of a study that trained its own
    network because it named none.
    """
    applications = {
        key: rule["absent"] for key, rule in schema()["properties"].items() if "absent" in rule
    }
    trains = any(not network["weights"] for network in config["networks"])
    if not (
        trains
        or any(config[key] for key in WORK)
        or any(config[k] != v for k, v in applications.items())
    ):
        raise UserError(
            "the study asks for nothing: name your table of mosaics (`mosaics: config/mosaics/mine.tsv`) in a file of yours "
            "and give that, as in: make study STUDY=<name or .yaml>. `make demo` runs the demo; others lie in config/studies/"
        )
    folder = Path("results", config["study"], "networks")
    named = any("networks" in yamlmarks.read(file) for file in files[1:])
    if (folder / FORMER).is_dir() and not (folder / "released").is_dir() and not named:
        raise UserError(
            f"{folder / FORMER}: was trained, since a study without `networks` once trained its own; it now takes the "
            f"released one. To go on with yours write into the study: networks: [{{name: {FORMER}}}]; to take the released "
            "one: networks: [{name: released, weights: released}]"
        )
