"""Writes a command's results without ever losing a file of the user.

An existing file is replaced only on request, and only if a mark in it shows that isoplan made it.
Inputs are never overwritten. Results are made in a temporary folder beside their final places, which
one command locks, and moved together at the end. A killed command leaves only that folder, and the
next one removes it.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from isoplan.base.errors import UserError

SOFTWARE = "isoplan"  # begins the tag Software of TIFF and PNG files
FOLDER_MARK = "isoplan.json"  # lists the files of a results folder, with their SHA-256
_SEAL = "# made by isoplan, SHA-256 of what follows: "
_SEALS = ("made_by", "sha256")  # keys of a JSON file
_LOCK = "isoplan.lock"
_FILES = (".tif", ".tiff", ".png", ".csv", ".tsv", ".json")
_IN_STORES = ("zarr.json", "raw", "trust", "missing")  # besides the levels
# Bytes near the beginning of files that `train` and `release` write, by extension.
_MARKS = {
    ".safetensors": b'"card"',
    ".pt": b"fingerprint",
    ".json": b'"fingerprint"',
    ".csv": b"epoch,step,",
    ".md": b"<!-- Written by `python -m isoplan release`",
}
_STORES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


# Of a picture's pixels no digest is kept.
REPLACED = "{}: is replaced, with whatever was changed in its pixels since"


class Outputs:
    """The results of a command, all in one folder.

    Used as a context manager, which locks the temporary folder. Write each result to `outputs[place]`,
    then call `deliver` to move all to their places. A place that ends in .zarr is a store; one with the
    extension of a table or picture is a file; any other is a folder.

    Parameters
    ----------
    *places
        Final places of the results.
    sources
        Inputs, which must not be overwritten.
    overwrite
        Whether earlier results of isoplan are replaced.
    header
        First columns of isoplan's tables, by which they are recognised.

    Raises
    ------
    UserError
        Before anything is written: if a place exists (with `overwrite`: and isoplan did not make it),
        or if it is, contains or lies inside a source, or lies inside a store.
    """

    def __init__(
        self, *places: Path, sources: Iterable = (), overwrite: bool = False, header: str = ""
    ):
        self.places, self.overwrite, self.header = places, overwrite, header
        self.folder = places[0].parent / f".{places[0].name}.part"
        self.refuse_sources(sources)
        for place in places:
            self._check(place)

    def __getitem__(self, place: Path) -> Path:
        return self.folder / place.name

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / _LOCK
        if any(self.folder.iterdir()) and not lock.exists():
            raise UserError(f"{self.folder}: exists, and isoplan did not make it; move it")
        self._lock = open(lock, "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UserError(
                f"{self.places[0]}: another command is writing it; wait until that has finished"
            ) from None
        except OSError:
            pass  # a file system without locks
        for left in self.folder.iterdir():  # left by a killed command
            if left.name != _LOCK:
                _remove(left)
        return self

    def __exit__(self, kind, error, trace) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()
        # Libraries seldom say which file could not be written.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{self.places[0]}: the disk or your quota is full; free some space and run the same command again"
            ) from None

    def refuse_sources(self, sources: Iterable) -> None:
        """Refuse places that are, contain or lie inside a source; symbolic links are followed."""
        found = [Path(source).resolve() for source in sources]
        for place in self.places:
            real = place.resolve()
            for source in found:
                if real == source or (
                    place.exists() and source.exists() and place.samefile(source)
                ):
                    raise UserError(f"{place}: is an input; give the result another name")
                if real in source.parents:
                    raise UserError(f"{place}: contains the input {source}; give another name")
                if source in real.parents:
                    raise UserError(f"{place}: lies inside the input {source}; give another place")
            store = next((p for p in real.parents if any((p / n).is_file() for n in _STORES)), None)
            if store:
                raise UserError(f"{place}: lies inside the store {store}; give another place")

    def deliver(self) -> None:
        """Move the results to their places, unless another program has taken one meanwhile.

        A result that was not made this time has no place. What lies there belongs to what is replaced, and goes with it.
        """
        for place in self.places:
            self._check(place)
        for place in self.places:
            made = self[place]
            if not made.exists():
                if self.overwrite and os.path.lexists(place):
                    _remove(place)
                continue
            if _is_folder(place):
                self._deliver_folder(made, place)
                continue
            if not os.path.lexists(place):
                # Exclusive creation: a file that appears at this very moment is not replaced either.
                place.mkdir() if made.is_dir() else open(place, "x").close()
            elif place.is_dir():
                place.rename(self.folder / "replaced")
            made.replace(place)
            shutil.rmtree(self.folder / "replaced", ignore_errors=True)

    def _deliver_folder(self, made: Path, place: Path) -> None:
        names = {file.name: _digest(file) for file in sorted(made.iterdir())}
        (made / FOLDER_MARK).write_text(json.dumps({"made_by": SOFTWARE, "files": names}))
        place.mkdir(exist_ok=True)
        for name in {*_files_of(place), *names} - {FOLDER_MARK}:
            (place / name).unlink(missing_ok=True)
        for name in (FOLDER_MARK, *names):
            (made / name).replace(place / name)

    def _check(self, place: Path) -> None:
        empty = place.is_dir() and not place.is_symlink() and not any(place.iterdir())
        if not os.path.lexists(place) or (empty and not is_file(place)):
            return
        if not self.overwrite:
            raise UserError(
                f"{place}: already exists; give the result another name, or --overwrite to replace what isoplan made"
            )
        foreign = f"{place}: was not made by isoplan, or was changed since, so --overwrite does not replace it; give the result another name"
        if place.is_symlink() or is_file(place) != place.is_file():
            raise UserError(foreign)
        if place.is_file():
            if not self._is_marked(place):
                raise UserError(foreign)
            if place.suffix.lower() in (".tif", ".tiff"):
                print(REPLACED.format(place))
            return
        if _is_folder(place):
            known = _files_of(place)
            others = [p.name for p in place.iterdir() if p.name not in known]
            for name, digest in known.items():
                if digest and (place / name).exists() and _digest(place / name) != digest:
                    raise UserError(
                        f"{place}: {name} was changed since isoplan made it, so --overwrite does not replace it; move it"
                    )
        else:
            known = _levels_of(place)
            others = _foreign_files(place, {*_IN_STORES, *known}) if known else []
        if not known:
            raise UserError(foreign)
        if others:
            raise UserError(
                f"{place}: contains {others[0]}, which isoplan did not make and --overwrite does not remove; move it"
            )
        if not _is_folder(place):
            print(REPLACED.format(place))

    def _is_marked(self, file: Path) -> bool:
        """Whether a file's content shows that isoplan made it."""
        with contextlib.suppress(Exception):  # a broken file shows nothing
            if file.suffix.lower() in (".tif", ".tiff"):
                import tifffile

                with tifffile.TiffFile(file) as tiff:
                    return str(tiff.pages[0].software).startswith(SOFTWARE)
            if file.suffix.lower() == ".png":
                from PIL import Image

                with Image.open(file) as image:
                    return str(image.info.get("Software")).startswith(SOFTWARE)
            text = file.read_text(encoding="utf-8")
            if file.suffix.lower() == ".json":
                told = json.loads(text)
                return sealed_json({k: told[k] for k in told if k not in _SEALS}) == text
            first, _, rest = text.partition("\n")
            if first.startswith(_SEAL):
                return first == sealed(rest).partition("\n")[0]
            return bool(self.header) and first.startswith(self.header)
        return False


def sealed(text: str) -> str:
    """Put a comment with a checksum above a table, which shows later whether a user has edited it.

    Examples
    --------
    >>> sealed("mosaic\\tpath\\n")[:30]
    '# made by isoplan, SHA-256 of '
    """
    return f"{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def sealed_json(told: dict) -> str:
    """The text of a JSON file with a checksum, which shows later whether a user has edited it.

    Examples
    --------
    >>> json.loads(sealed_json({"na": 0.3}))["na"]
    0.3
    """
    plain = json.dumps(told, sort_keys=True)
    seal = dict(zip(_SEALS, (SOFTWARE, hashlib.sha256(plain.encode()).hexdigest()), strict=True))
    return json.dumps(seal | told, indent=1) + "\n"


def allocate(path: Path) -> None:
    """Reserve a file's space on the disk. Writing to a memory map on a full disk kills the process.

    Raises OSError if the disk or the quota is full.
    """
    with open(path, "r+b") as handle:
        os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)


def is_file(place: Path) -> bool:
    """Whether a place has the extension of a file."""
    return place.suffix.lower() in _FILES


def _is_folder(place: Path) -> bool:
    return not is_file(place) and place.suffix.lower() != ".zarr"


def _digest(file: Path) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _files_of(folder: Path) -> dict[str, str]:
    """Files that isoplan made in a folder, with their digests (none for its mark); {} for a foreign one."""
    try:
        told = json.loads((folder / FOLDER_MARK).read_text(encoding="utf-8"))
        names = told["files"].items() if told["made_by"] == SOFTWARE else ()
        return {FOLDER_MARK: ""} | {name: sha for name, sha in names if name == Path(name).name}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _levels_of(store: Path) -> list[str]:
    """The levels of a store that isoplan made; [] for a foreign one."""
    try:
        told = json.loads((store / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        levels = [one["path"] for one in told["ome"]["multiscales"][0]["datasets"]]
        return levels if SOFTWARE in told else []
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return []


def _foreign_files(store: Path, known: set[str]) -> list[str]:
    """Files in a store that are neither metadata nor chunks (named by numbers) of its known arrays."""
    found = []
    for path in store.rglob("*"):
        file = path.relative_to(store)
        chunk = "c" in file.parts and file.name.isdecimal()
        ours = file.parts[0] in known and (file.name == "zarr.json" or chunk)
        if not ours and (path.is_symlink() or not path.is_dir()):
            found.append(str(file))
    return sorted(found)


def refuse_foreign(*places: Path) -> None:
    """Refuse places that `train` or `release` would write to if they hold foreign files."""
    for place in places:
        if os.path.lexists(place) and not _is_training_file(place):
            raise UserError(
                f"{place}: was not made by isoplan and would be overwritten; move it, or give another folder"
            )


def _is_training_file(place: Path) -> bool:
    if not place.is_file() or place.is_symlink():
        return False
    with open(place, "rb") as handle:
        return _MARKS[place.suffix] in handle.read(2**20)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
