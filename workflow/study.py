"""Runs a study: python workflow/study.py STUDY [Snakemake's options, such as --cores 4 or --profile slurm -n].

STUDY is the name of a study or the path of its config. The study is checked before Snakemake starts, since
Snakemake says little or nothing about a broken config file. `preflight.py` and `resume.py` find their study
with this module, too.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from isoplan.base.errors import UserError
from isoplan.config import yamlmarks
from isoplan.config.asked import check_asked
from isoplan.config.validation import validate
from isoplan.mosaic.table import read_table

DEFAULT = Path("config/config.yaml")
STUDIES = Path("config/studies")


def main(given: list[str]) -> int:
    if not given or given[0].startswith("-"):
        print(f"ERROR say which study: {__doc__.splitlines()[0]}", file=sys.stderr)
        return 1
    config = find_config(given[0])
    options = join_config_options(given[1:], config)
    settings = read_study(config)
    given = [option.partition("=")[2] for option in options if option.startswith("mosaics=")]
    check_table(given[-1] if given else settings["mosaics"])
    command = snakemake(config, *options)
    os.execv(command[0], command)


def exit_code_of(work) -> int:
    """Run a function and return its exit code; after a UserError, print one line per mistake and return 1."""
    try:
        return work()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"ERROR {line}", file=sys.stderr)
        return 1


def join_config_options(options: list[str], config: Path) -> list[str]:
    """Join all `--config` options of Snakemake into one, since a later one would replace earlier ones.

    Raises UserError for another config file, which would replace the study's own, and for an argument
    that is not KEY=VALUE.
    """
    rest, pairs, taking = [], [], False
    for option in options:
        name, equals, value = option.partition("=")
        if option.startswith("-"):
            taking = name in ("--config", "-C")
        if name in ("--configfile", "--configfiles") and config != DEFAULT:
            raise UserError(
                f"{name} would replace {config}; write what differs into the study, or give it by --config KEY=VALUE"
            )
        if not taking:
            rest.append(option)
        elif not option.startswith("-"):
            pairs.append(option)
        elif equals:
            pairs.append(value)
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if "." in key and equals:
            block, _, inner = key.partition(".")
            raise UserError(
                f"--config {pair}: a key inside a block is given as {block}={{{inner}: {value}}}, in quotes"
            )
        if not (key.isidentifier() and equals):
            raise UserError(
                f"--config {pair}: is not KEY=VALUE; correct it, or put targets before --config"
            )
    return [*rest, "--config", *pairs] if pairs else rest


def snakemake(config: Path, *options: str) -> list[str]:
    """The command that runs a study; Snakemake reads the default config in any case."""
    own = [] if config == DEFAULT else ["--configfile", str(config)]
    return [sys.executable, "-m", "snakemake", *own, *options]


def arguments(about: str, given: list[str] | None = None) -> argparse.Namespace:
    """Arguments of `preflight.py` and `resume.py`: study, config, checked settings, profile, cores.

    Raises UserError if there is no such study or its config is wrong.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("study", help="its name, or the path of its config")
    parser.add_argument("--configfile", type=Path, help="its config, if not in config/studies/")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--profile", help="Snakemake profile, such as slurm (default: this machine)")
    how.add_argument("--cores", default="all", help="cores of this machine")
    args = parser.parse_args(given)
    args.config = args.configfile or find_config(args.study)
    args.settings = read_study(args.config, here=True)
    check_table(args.settings["mosaics"])
    name = args.settings["study"]
    if args.study not in (name, str(args.config)):
        raise UserError(
            f"{args.config}: is the study {name}, not {args.study}; give the right file"
        )
    args.study = name
    return args


def check_early(about: str) -> None:
    """End a script early if its study is wrong, before slow imports."""
    if code := exit_code_of(lambda: arguments(about) and 0):
        sys.exit(code)


def read_study(config: Path, *, here: bool = False) -> dict:
    """Read a study, merge it over config/config.yaml as Snakemake does, check it and fill in defaults.

    here: whether the files that it names must exist.
    """
    files = [file for file in (DEFAULT, config) if file == config or file.is_file()]
    merged: dict = {}
    for file in dict.fromkeys(files):
        _merge(merged, yamlmarks.read(file))
    settings = validate(merged, files, here=here)
    check_asked(settings, [*map(str, files)])
    return settings


def check_table(path: str | None) -> None:
    """Raise UserError if the table of mosaics has a mistake; Snakemake would bury it in its own message."""
    if path and Path(path).is_file():
        read_table(path)


def _merge(base: dict, over: dict) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def find_config(study: str) -> Path:
    """The config of a study: the user's own file where there is one, else what the last run wrote down.

    study: its name, or a path. Files beside it that are no configs do not matter, unless one bears its name.
    """
    if study.endswith((".yaml", ".yml")):
        return Path(study)
    if Path(study).is_file():
        table = f", with the line `mosaics: {study}`" if study.endswith(".tsv") else ""
        raise UserError(
            f"{study}: is not a .yaml file; a study is a YAML file in config/studies/{table}"
        )
    known, broken = {}, {}
    for file in sorted(file for file in STUDIES.glob("*.y*ml") if file.is_file()):
        try:
            known[file] = str(yamlmarks.read(file).get("study"))
        except UserError as error:
            broken[file] = error
    own = [file for file, name in known.items() if name == study]
    if len(own) > 1:
        names = " and ".join(map(str, own))
        raise UserError(f"{study}: is the study of {names}; give the path of one: STUDY={own[0]}")
    for file, error in broken.items():
        if not own and file.stem == study:
            raise error
    last = yamlmarks.read(DEFAULT).get("study", "demo") if DEFAULT.is_file() else "demo"
    written = Path("results", study, "config.yaml")
    found = [*own, *([DEFAULT] if study == last else []), *([written] if written.is_file() else [])]
    if found:
        return found[0]
    names = ", ".join(sorted({str(last), *known.values()} - {"None"}))
    no = f" (not read: {', '.join(map(str, broken))})" if broken else ""
    raise UserError(
        f"{study}: no file in config/studies/ has `study: {study}`; known are {names}{no}. For a config "
        "elsewhere give its path: STUDY=FILE.yaml"
    )


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
