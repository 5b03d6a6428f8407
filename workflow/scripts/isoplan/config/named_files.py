"""Whether what a study names is there: files and folders, by the schema's keyword `path`, and packages, by `extra`."""

import os
from collections.abc import Iterator
from importlib.util import find_spec


def missing(value, rule: dict, path: tuple = ()) -> Iterator[tuple[tuple, str]]:
    """Key path of all that a checked config names and is not there, and what is wrong."""
    if isinstance(value, dict):
        for key, inner in rule["properties"].items():
            yield from missing(value[key], inner, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from missing(item, rule["items"], (*path, i))
    elif "path" in rule and value not in (None, "released") and not names_entry(value, rule):
        kind = rule["path"]
        there = {"file": os.path.isfile, "folder": os.path.isdir}.get(kind, os.path.exists)
        if not there(value):
            yield path, f"there is no {kind} {value!r}; paths count from {os.getcwd()}"
        elif kind == "file" and "{" in value:
            yield (
                path,
                f"{value!r} has braces, which Snakemake takes for wildcards; rename the file",
            )
    elif "extra" in rule and value in rule["extra"]["words"]:
        package, file = rule["extra"]["package"], rule["extra"]["file"]
        if find_spec(package) is None:
            install = f"install the extra, .venv/bin/uv pip install -r {file}"
            yield (
                path,
                f"{value} needs {package}, which is not installed; {install}, or leave it out",
            )


def names_entry(value, rule: dict) -> bool:
    """Whether what may name a file or an entry of this study names the latter. Checks say whether that is there."""
    return "or_entry" in rule and not value.endswith(rule["or_entry"])
