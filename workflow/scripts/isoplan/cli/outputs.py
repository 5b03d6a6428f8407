"""Where a command writes, so that nothing of the user's is lost.

What is there is replaced only where the user says so, and then only what isoplan made, by its own mark in it. What is
read is never written over. Results are made in a folder beside their places, which one command holds at a time, and
moved there at the end, all together: a command that was killed leaves nothing but that folder, which the next one
clears away.
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

SOFTWARE = "isoplan"  # TIFF's and PNG's tag of that name begins so
FOLDER_MARK = "isoplan.json"  # in a folder of results: the files that were made, with their SHA-256
_SEAL = "# made by isoplan, SHA-256 of what follows: "
_LOCK = "isoplan.lock"
_FILES = (".tif", ".tiff", ".png", ".csv", ".tsv")
_IN_STORES = ("zarr.json", "raw", "trust", "missing")  # beside the levels
# What stands near the beginning of what training and releasing write, by the name's ending.
_MARKS = {
    ".safetensors": b'"card"',
    ".pt": b"fingerprint",
    ".json": b'"fingerprint"',
    ".csv": b"epoch,step,",
    ".md": b"<!-- Written by `python -m isoplan release`",
}
_STORES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


class Outputs:
    """Places of a command's results, all of them in one folder. `with` holds them; outputs[place] is where the
    result is made, and `deliver` moves all to their places.

    A place that ends in .zarr is a store, one that ends as tables and pictures do a file, any other a folder.
    header: how isoplan's tables begin, by which they are known.
    Raises UserError, before anything is done, for what is in the way: anything that exists, or with overwrite all
    but what isoplan made; and always for a place that is, holds or lies inside a source, or lies inside a store.
    """

    def __init__(
        self, *places: Path, sources: Iterable = (), overwrite: bool = False, header: str = ""
    ):
        self.places, self.overwrite, self.header = places, overwrite, header
        self.folder = places[0].parent / f".{places[0].name}.part"
        self.spare(sources)
        for place in places:
            self._check(place)

    def __getitem__(self, place: Path) -> Path:
        return self.folder / place.name

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / _LOCK
        if any(self.folder.iterdir()) and not lock.exists():
            raise UserError(f"{self.folder}: is in the way, and isoplan did not make it; move it")
        self._lock = open(lock, "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UserError(
                f"{self.places[0]}: another command is making it; wait for it to end"
            ) from None
        except OSError:
            pass  # a file system without locks
        for left in self.folder.iterdir():  # by a command that was killed
            if left.name != _LOCK:
                _remove(left)
        return self

    def __exit__(self, kind, error, trace) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()
        # Libraries that write seldom say what file it was.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{self.places[0]}: the disk or your quota is full; free some space and run the same command again"
            ) from None

    def spare(self, sources: Iterable) -> None:
        """Refuses places that are, hold, or lie inside one of the sources, links followed."""
        found = [Path(source).resolve() for source in sources]
        for place in self.places:
            real = place.resolve()
            for source in found:
                if real == source or (
                    place.exists() and source.exists() and place.samefile(source)
                ):
                    raise UserError(f"{place}: is read itself; give the result another name")
                if real in source.parents:
                    raise UserError(f"{place}: holds {source}, which is read; give another name")
                if source in real.parents:
                    raise UserError(
                        f"{place}: lies inside {source}, which is read; give another place"
                    )
            store = next((p for p in real.parents if any((p / n).is_file() for n in _STORES)), None)
            if store:
                raise UserError(f"{place}: lies inside the store {store}; give another place")

    def deliver(self) -> None:
        """Moves the results to their places, if none was taken by somebody else meanwhile."""
        for place in self.places:
            self._check(place)
        for place in self.places:
            made = self[place]
            if _is_folder(place):
                self._deliver_folder(made, place)
                continue
            if not os.path.lexists(place):
                # Made anew: one that appears at this very moment is not replaced either.
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
                f"{place}: exists already; give the result another name, or --overwrite to replace what isoplan made"
            )
        foreign = f"{place}: was not made by isoplan, or was changed since, so --overwrite does not replace it; give the result another name"
        if place.is_symlink() or is_file(place) != place.is_file():
            raise UserError(foreign)
        if place.is_file():
            if not self._is_marked(place):
                raise UserError(foreign)
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
            others = _strangers(place, {*_IN_STORES, *known}) if known else []
        if not known:
            raise UserError(foreign)
        if others:
            raise UserError(
                f"{place}: holds {others[0]}, which isoplan did not make and --overwrite does not remove; move it"
            )

    def _is_marked(self, file: Path) -> bool:
        """Whether isoplan made a file, by what stands in it."""
        with contextlib.suppress(Exception):  # of a broken one nobody knows
            if file.suffix.lower() in (".tif", ".tiff"):
                import tifffile

                with tifffile.TiffFile(file) as tiff:
                    return str(tiff.pages[0].software).startswith(SOFTWARE)
            if file.suffix.lower() == ".png":
                from PIL import Image

                with Image.open(file) as image:
                    return str(image.info.get("Software")).startswith(SOFTWARE)
            first, _, rest = file.read_text(encoding="utf-8").partition("\n")
            if first.startswith(_SEAL):
                return first == sealed(rest).partition("\n")[0]
            return bool(self.header) and first.startswith(self.header)
        return False


def sealed(text: str) -> str:
    """A table that users may go on with, behind a comment by which one that they changed is known.

    >>> sealed("mosaic\\tpath\\n")[:30]
    '# made by isoplan, SHA-256 of '
    """
    return f"{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def reserve(path: Path) -> None:
    """Takes all of a file's space on the disk: to write to a memory map where there is none kills the process.

    Raises OSError where the disk or the quota is full."""
    with open(path, "r+b") as handle:
        os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)


def is_file(place: Path) -> bool:
    """Whether a place has the name of a file."""
    return place.suffix.lower() in _FILES


def _is_folder(place: Path) -> bool:
    return not is_file(place) and place.suffix.lower() != ".zarr"


def _digest(file: Path) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _files_of(folder: Path) -> dict[str, str]:
    """What isoplan made of a folder, with its digest, its mark too, without; nothing of a foreign one."""
    try:
        told = json.loads((folder / FOLDER_MARK).read_text(encoding="utf-8"))
        names = told["files"].items() if told["made_by"] == SOFTWARE else ()
        return {FOLDER_MARK: ""} | {name: sha for name, sha in names if name == Path(name).name}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _levels_of(store: Path) -> list[str]:
    """The levels of a store that isoplan made; none of a foreign one."""
    try:
        told = json.loads((store / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        levels = [one["path"] for one in told["ome"]["multiscales"][0]["datasets"]]
        return levels if SOFTWARE in told else []
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return []


def _strangers(store: Path, known: set[str]) -> list[str]:
    """Files in a store that are neither metadata nor chunks, which bear numbers, of what is known there."""
    found = []
    for path in store.rglob("*"):
        file = path.relative_to(store)
        chunk = "c" in file.parts and file.name.isdecimal()
        ours = file.parts[0] in known and (file.name == "zarr.json" or chunk)
        if not ours and (path.is_symlink() or not path.is_dir()):
            found.append(str(file))
    return sorted(found)


def spare(*places: Path) -> None:
    """Refuses places of what training or releasing writes, where something lies that isoplan did not make."""
    for place in places:
        if os.path.lexists(place) and not _is_training_s(place):
            raise UserError(
                f"{place}: was not made by isoplan, and would be written over; move it, or give another folder"
            )


def _is_training_s(place: Path) -> bool:
    if not place.is_file() or place.is_symlink():
        return False
    with open(place, "rb") as handle:
        return _MARKS[place.suffix] in handle.read(2**20)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
