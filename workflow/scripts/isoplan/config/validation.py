"""The study file: its defaults, its checks, and what it says when something is wrong.

All of it comes from workflow/schemas, a file for each key, and from the functions that these name. Imported
whenever the Snakefile is read, in every job: the standard library and yaml alone.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.config import yamlmarks
from isoplan.config.entries import what_counts
from isoplan.config.named_files import missing
from isoplan.config.schema import choices, families, schema
from isoplan.config.values import Problems, check, shown
from isoplan.config.windows import settle

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
    problems = problems or list(_references(resolved, schema(), resolved))
    if not problems:  # each can rely on what was checked before
        settle(resolved)
        problems = [*_settle_fixed(resolved), *_cross_checks(resolved)]
    problems = problems or list(missing(resolved, schema()) if here else ())
    if problems:
        raise UserError("\n".join(_message(path, text, marks) for path, text in _some(problems)))
    if what_counts("restoration", resolved["restoration"]).get("tv_step") == "none":
        resolved["restoration"]["tv_weight"] = 0.0  # there is none to weigh, nor to choose
    return resolved


def _some(problems: Problems) -> Problems:
    rest = len(problems) - SHOWN_ERRORS
    return problems[:SHOWN_ERRORS] + ([((), f"{rest} mistakes more")] if rest > 0 else [])


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


def _settle_fixed(config: dict) -> Problems:
    """Fills in the values that stand for what a choice does not read of the keys that all families have. Returns a
    problem for each that was given another."""
    problems: Problems = []
    for key, rule in schema()["properties"].items():
        known = rule.get("items", rule).get("properties", {})
        blocks = config[key] if isinstance(config[key], list) else [config[key]]
        for i, block in enumerate(blocks if "chosen_by" in rule else []):
            chosen = block[rule["chosen_by"]]
            for name, stands in choices(key).get(chosen, {}).get("fixed", {}).items():
                if block[name] not in (known[name].get("default"), stands):
                    place = (i, name) if isinstance(config[key], list) else (name,)
                    problems.append(((key, *place), f"is not read by {chosen}; leave it out"))
                block[name] = stands
    return problems


def _cross_checks(config: dict) -> Iterator[tuple[tuple, str]]:
    """What the schema cannot say of a config whose keys are each right and whose names exist."""
    for key, rule in schema()["properties"].items():
        for place, text in _unread(key, rule.get("chosen_by"), config[key]):
            yield (key, *place), text
        for part in (rule, *families(key).values()):
            if "checks" in part:
                for place, text in load_named(part["checks"])(config[key], config):
                    yield (key, *place), text


def _unread(section: str, chooser: str | None, value) -> Iterator[tuple[tuple, str]]:
    """Keys that are given though what is chosen reads none of them, and those that it needs and that are missing."""
    for family in families(section).values():
        for key, rule in family["properties"].items():
            if rule["default"] is not None:
                continue
            readers = [name for name, one in choices(section).items() if key in one["reads"]]
            for i, item in enumerate(value) if isinstance(value, list) else [((), value)]:
                given, read = item[key] is not None, item[chooser] in readers
                if given > read or (rule.get("needed") and read > given):
                    words = f"goes with the {chooser} {' or '.join(readers)}, and only with "
                    place = (i, key) if isinstance(value, list) else (key,)
                    yield place, words + ("it" if len(readers) == 1 else "them")


def _message(path: tuple, text: str, marks: list) -> str:
    if path and isinstance(path[0], str) and path[0].rpartition(":")[2].isdigit():
        return f"{path[0]}: {path[1]} {text}"
    key = ""
    for part in path:
        word = part if re.fullmatch(r"\w{1,60}", str(part)) else shown(part)
        key += f"[{part}]" if isinstance(part, int) else f".{word}" if key else str(word)
    return ": ".join(filter(None, [yamlmarks.place(path, marks), key, text]))
