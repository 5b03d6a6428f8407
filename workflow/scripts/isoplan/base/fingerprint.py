"""Short hashes that say whether a result was made by this code, these settings and this input.

Read at parse time by every Snakemake process, hence the standard library alone.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]
MOST_FILES = 20_000  # whose sizes are asked for, which takes 0.1 s on a disk
# What the room `config` makes of a study reaches the jobs as their settings, which count themselves; how a scheduler is
# asked makes no result; of the formats of files those count that a job's pictures have.
UNCOUNTED = ("isoplan.config.", "isoplan.cluster.schedulers.", "isoplan.mosaic.formats.rows")
STATEMENTS = (
    "body",
    "orelse",
    "finalbody",
    "handlers",
    "cases",
)  # where a node of Python's code holds some
BY_VIEWERS = (".DS_Store", "Thumbs.db")  # left where somebody looked into a folder


def fingerprint(*parts) -> str:
    """16 hexadecimal digits of any JSON-able parts; the order of keys does not matter."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def library_hashes(script: str | Path, *chosen: str) -> dict[str, str]:
    """Module name -> hash of its code, for all of the library that `script` imports, also indirectly.

    chosen: what the script loads by name, as its settings say, each as "module:name" (`base.imports`): no import shows
    it, so that a new choice in a registry reruns nothing that does not choose it.
    Comments, docstrings and layout do not count, so correcting a docstring reruns nothing.
    """
    modules = {}
    waiting = [*_imports(Path(script)), *(name.partition(":")[0] for name in chosen)]
    while waiting:
        name = waiting.pop()
        if name not in modules:
            path = _path(name)
            modules[name] = _code_hash(path)
            waiting += _imports(path)
    return dict(sorted(modules.items()))


def unhashed(loaded: Iterable[str], library: Iterable[str]) -> list[str]:
    """Of the names of loaded modules, those of isoplan's that are not among a job's hashes, so that their edits would
    rerun nothing. What stands on the ground floor is loaded by the uncounted too, and the rows of all applications
    are read by whoever reads a list."""
    floors = (*UNCOUNTED, "isoplan.base.")
    own = {
        name
        for name in loaded
        if name.startswith("isoplan.")
        and not name.startswith(floors)
        and not name.endswith(".rows")
    }
    return sorted(name for name in own - {*library} if _path(name).name != "__init__.py")


def file_stamp(path: str | Path) -> list:
    """Size and modification time of a file, or a mark of all files in a folder or store: cheap, and the same
    wherever it lies."""
    path = Path(path)
    if path.is_dir():
        return [fingerprint(_folder_stamps(path))]
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _folder_stamps(path: Path) -> list:
    """Names, sizes and times of a folder's files, or of the folders in it where the files are more than MOST_FILES."""
    root, folders, files = os.fspath(path), [path], []
    for folder in folders:  # which grows meanwhile
        with os.scandir(folder) as found:
            for entry in found:
                if entry.is_dir():
                    folders.append(entry)
                elif len(files) <= MOST_FILES and entry.name not in BY_VIEWERS:
                    files.append(entry)
    stamps = []
    for entry in files if len(files) <= MOST_FILES else folders:
        status = entry.stat()
        stamps.append((os.fspath(entry)[len(root) :], status.st_size, status.st_mtime_ns))
    return sorted(stamps)


def _path(module: str) -> Path:
    stem = LIBRARY.joinpath(*module.split(".")[1:])
    return stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")


@cache
def _tree(path: Path) -> ast.Module:
    """The code without docstrings; comments and layout are not in it anyway."""
    tree = ast.parse(path.read_text())
    for node in _statements(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = body[1:] or [ast.Pass()]
    return tree


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """The module and all statements in it: no expression holds one, and to walk through those takes most of the time."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for name in STATEMENTS:
            held = getattr(node, name, None)
            if isinstance(held, list):  # else that of a lambda or `x if y else z`
                waiting += held


@cache
def _imports(path: Path) -> frozenset[str]:
    """The library's modules that a file imports anywhere, functions included."""
    found = set()
    for node in _statements(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "isoplan"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "isoplan":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if _path(inner).exists() else node.module)
    return frozenset(name for name in found if not name.startswith(UNCOUNTED))


@cache
def _code_hash(path: Path) -> str:
    return hashlib.blake2b(ast.dump(_tree(path)).encode(), digest_size=6).hexdigest()
