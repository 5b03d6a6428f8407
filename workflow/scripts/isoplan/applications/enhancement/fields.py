"""The fields of an entry of `enhancements`: pairs of one place by a poor and a good detector, split by mosaic."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

import numpy as np

from isoplan.applications.enhancement.detectors import Exposure, simulate
from isoplan.base.errors import UserError
from isoplan.base.seeds import numpy_rng
from isoplan.mosaic.reader import Mosaic, open_mosaic
from isoplan.registration import APART_PX, register, shifted
from isoplan.restoration.in_memory import Counts

SPLITS = ("train", "test")
STILL_PX = (
    0.25  # shifts below it are left, as moving pixels between each other smooths the target's noise
)
HIDDEN = "."


@dataclass(frozen=True)
class Place:
    """Where a field lies.

    Attributes
    ----------
    mosaic : str
        The file's name, or train-0, test-0, ... of simulated mosaics.
    plane : int
        Slice of a stack.
    y, x : int
        Its corner in px.
    """

    mosaic: str
    plane: int
    y: int
    x: int

    @property
    def name(self) -> str:
        """What the table calls the field.

        Examples
        --------
        >>> Place("a.tif", 0, 0, 128).name
        '0:0:128'
        """
        return f"{self.plane}:{self.y}:{self.x}"


@dataclass(frozen=True)
class Field:
    """A pair of pictures of one field, (h, w) each. Simulated ones have the truth, expected photons, and a second exposure of the
    input, again; others have None."""

    low: np.ndarray
    high: np.ndarray
    truth: np.ndarray | None = None
    again: np.ndarray | None = None


@dataclass(frozen=True)
class Layout:
    """The fields of an entry, as JSON keeps them.

    Attributes
    ----------
    train, test : list of Place
        Fields of either split; no mosaic has fields in both.
    shifts : dict
        Of each picture of a user's, "mosaic:plane", how far the target lies from the input, (y, x) in px.
    elsewhere : dict or None
        Where inputs and targets show other places, the targets of either split, in the order of their inputs.
    """

    train: list[Place]
    test: list[Place]
    shifts: dict[str, tuple[float, float]]
    elsewhere: dict[str, list[Place]] | None = None

    def record(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, record: dict) -> "Layout":
        train, test = (_places_of(record[split]) for split in SPLITS)
        apart = record.get("elsewhere")
        elsewhere = apart and {split: _places_of(apart[split]) for split in SPLITS}
        shifts = {key: (y, x) for key, (y, x) in record["shifts"].items()}
        return cls(train, test, shifts, elsewhere)

    def target_of(self, place: Place) -> Place:
        """Where the target of an input lies: at the same place, or elsewhere."""
        for split in SPLITS if self.elsewhere else ():
            own = getattr(self, split)
            if place in own:
                return self.elsewhere[split][own.index(place)]
        return place


def _places_of(records: list[dict]) -> list[Place]:
    return [Place(**place) for place in records]


def lay_out(entry: dict, seed: int) -> Layout:
    """Finds the fields of an entry, and registers a user's pairs.

    Raises
    ------
    UserError
        If the pictures are no pairs, or cannot be split.
    """
    try:
        return _laid_out(entry, seed)
    except UserError as problem:
        raise UserError(f"enhancement {entry['name']}: {problem}") from problem.__cause__


def read(entry: dict, layout: Layout, place: Place, seed: int) -> Field:
    """One field."""
    side = entry["field_px"]
    window = (slice(place.y, place.y + side), slice(place.x, place.x + side))
    if not entry.get("folder"):
        split, number = place.mosaic.split("-")
        pair = _simulated(json.dumps(entry), split, int(number), seed)
        return Field(*(one[window] for one in (pair.low, pair.high, pair.photons, pair.again)))
    if layout.elsewhere:
        other = layout.target_of(place)
        rows, columns = (slice(k, k + side) for k in (other.y, other.x))
        channel = entry.get("channel")
        low = _plane(_file(entry, "low", place.mosaic), channel, place.plane)
        high = _plane(_file(entry, "high", other.mosaic), channel, other.plane)
        return Field(low[window], high[rows, columns])
    low, high = _pair(entry, place.mosaic, place.plane)
    shift = layout.shifts[f"{place.mosaic}:{place.plane}"]
    return Field(low[window], shifted(Counts(high), window, shift))


def training_pairs(
    entry: dict, layout: Layout, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(input, target) of at most `choice_fields` training fields, spread over all of them."""
    for place in spread(layout.train, entry["choice_fields"]):
        field = read(entry, layout, place, seed)
        yield field.low, field.high


def spread(places: list[Place], count: int | None) -> list[Place]:
    """So many of the fields, spread over all of them; None for all.

    Examples
    --------
    >>> [place.x for place in spread([Place("a", 0, 0, 64 * k) for k in range(5)], 3)]
    [0, 128, 256]
    """
    if count is None or count >= len(places):
        return places
    return [places[k] for k in np.linspace(0, len(places) - 1, count).round().astype(int)]


def split_names(
    names: list[str], test_files: list[str], test_share: float, seed: int
) -> dict[str, list[str]]:
    """Mosaics of either split: those named, or a share of them that the seed draws; at least one in each.

    Examples
    --------
    >>> split_names(["a", "b", "c"], ["b"], 0.5, 0)
    {'train': ['a', 'c'], 'test': ['b']}
    """
    if len(names) < 2:
        raise UserError(
            f"has one mosaic alone ({', '.join(names)}): settings are chosen on one and judged on another, so give "
            "two or more; parts of one are no independent test"
        )
    strange = [name for name in test_files if name not in names]
    if strange:
        raise UserError(
            f"test_files: {', '.join(strange)} is not there; there are {', '.join(names)}"
        )
    test = set(test_files)
    if not test:
        count = min(max(round(test_share * len(names)), 1), len(names) - 1)
        order = numpy_rng(seed, "enhancement/split").permutation(len(names))
        test = {names[number] for number in order[:count]}
    if len(test) == len(names):
        raise UserError("test_files: names all mosaics; leave at least one to choose settings on")
    return {
        "train": [name for name in names if name not in test],
        "test": [name for name in names if name in test],
    }


def corners(
    shape: tuple[int, int], side: int, shift: tuple[float, float] = (0.0, 0.0)
) -> list[tuple[int, int]]:
    """Corners (y, x) of the whole squares of a picture that the shifted target shows too, each alone in its place.

    Examples
    --------
    >>> corners((256, 300), 128)
    [(0, 0), (0, 128), (128, 0), (128, 128)]
    >>> corners((256, 300), 128, (-2.0, 0.0))
    [(2, 0), (2, 128)]
    """
    lines = []
    for length, s in zip(shape, shift, strict=True):
        # A field begins where the target does, and ends where it does.
        first = max(ceil(-s), 0)
        last = length - max(ceil(s), 0)
        lines.append(range(first, last - side + 1, side))
    return [(y, x) for y in lines[0] for x in lines[1]]


def _laid_out(entry: dict, seed: int) -> Layout:
    if not entry.get("folder"):
        shape = (entry["mosaic_px"],) * 2
        made = {
            split: [
                Place(f"{split}-{number}", 0, y, x)
                for number in range(entry[f"{split}_mosaics"])
                for y, x in corners(shape, entry["field_px"])
            ]
            for split in SPLITS
        }
        if not made["train"]:
            raise UserError(
                f"mosaic_px: {shape[0]} px hold no field of {entry['field_px']} px; give more"
            )
        return Layout(made["train"], made["test"], {})
    if not entry.get("paired", True):
        return _apart(entry, seed)
    split = split_names(names_of(entry["folder"]), entry["test_files"], entry["test_share"], seed)
    shifts: dict[str, tuple[float, float]] = {}
    found = {
        name: [place for file in split[name] for place in _places(entry, file, shifts)]
        for name in SPLITS
    }
    return Layout(found["train"], found["test"], shifts)


def _apart(entry: dict, seed: int) -> Layout:
    """Of inputs and targets that show other places. Each input is given a target, spread over all of them."""
    found: dict[str, dict[str, list[Place]]] = {}
    files = files_of(entry["folder"])
    strange = sorted(set(entry["test_files"]) - set.union(*files.values()))
    if strange:
        raise UserError(f"test_files: {', '.join(strange)} is neither in low/ nor in high/")
    for part, names in files.items():
        if not names:
            raise UserError(f"{entry['folder']}: has no files in {part}/")
        named = [name for name in entry["test_files"] if name in names]
        split = split_names(sorted(names), named, entry["test_share"], seed)
        found[part] = {one: _fields_of(entry, part, split[one]) for one in SPLITS}
    low, high = found["low"], found["high"]
    elsewhere = {
        split: [_in_turn(high[split], k, len(low[split])) for k in range(len(low[split]))]
        for split in SPLITS
    }
    return Layout(low["train"], low["test"], {}, elsewhere)


def _in_turn(places: list[Place], number: int, count: int) -> Place:
    """Of places, that of one of `count` inputs: all are taken, as far as there are inputs for them."""
    if count <= len(places):
        return places[number * len(places) // count]
    return places[number % len(places)]


def _fields_of(entry: dict, part: str, names: list[str]) -> list[Place]:
    """Fields of the files of one detector."""
    found = []
    for name in names:
        file = _file(entry, part, name)
        planes, shape = _sizes(entry, file)
        taken = _taken(entry, file, planes)
        own = [
            Place(name, plane, y, x)
            for plane in taken
            for y, x in corners(shape, entry["field_px"])
        ]
        if not own:
            raise UserError(
                f"{file}: {_shown(1, shape)} hold no field of {entry['field_px']} px; lower field_px"
            )
        for plane in taken:
            _check_measured(file, plane, _plane(file, entry.get("channel"), plane))
        found += own
    return found


def files_of(folder: str) -> dict[str, set[str]]:
    """Names of the files in `low/` and `high/` of a folder.

    Raises
    ------
    UserError
        If one of the two is missing.
    """
    found = {}
    for part in ("low", "high"):
        inside = Path(folder, part)
        if not inside.is_dir():
            raise UserError(
                f"{folder}: has no folder {part}/; put the input's files into low/ and the target's, of the same names, "
                "into high/"
            )
        found[part] = {file.name for file in inside.iterdir() if not file.name.startswith(HIDDEN)}
    return found


def names_of(folder: str) -> list[str]:
    """Files that `low/` and `high/` of a folder both have.

    Raises
    ------
    UserError
        If one of the two is missing or empty, or a file has no partner.
    """
    found = files_of(folder)
    for part, other in (("low", "high"), ("high", "low")):
        alone = sorted(found[part] - found[other])
        if alone:
            raise UserError(
                f"{Path(folder, part, alone[0])}: has no partner in {other}/; both files of a pair have one name, or give "
                "paired: false"
            )
    if not found["low"]:
        raise UserError(f"{folder}: has no files in low/ and high/")
    return sorted(found["low"])


def _places(entry: dict, name: str, shifts: dict) -> list[Place]:
    """Fields of a user's file, once its pictures are registered; `shifts` learns theirs."""
    low, high = (_file(entry, part, name) for part in ("low", "high"))
    planes, shape = _sizes(entry, low)
    others = _sizes(entry, high)
    if (planes, shape) != others:
        raise UserError(
            f"{low} and {high} are of unequal sizes: {_shown(planes, shape)} and {_shown(*others)}; save both alike"
        )
    found = []
    for plane in _taken(entry, low, planes):
        shift = _registered(entry, name, plane)
        shifts[f"{name}:{plane}"] = shift
        own = [Place(name, plane, y, x) for y, x in corners(shape, entry["field_px"], shift)]
        if not own:
            raise UserError(
                f"{low}: what both pictures show of {_shown(1, shape)} holds no field of {entry['field_px']} px; lower "
                "field_px"
            )
        found += own
    return found


def _registered(entry: dict, name: str, plane: int) -> tuple[float, float]:
    where = f"{name}, slice {plane}" if plane else name
    pair = _pair(entry, name, plane)
    for part, picture in zip(("low", "high"), pair, strict=True):
        _check_measured(_file(entry, part, name), plane, picture)
    try:
        found = register(*map(Counts, pair))
    except UserError as problem:
        words = str(problem).replace("the reference", "the target").replace("picture", "input")
        raise UserError(f"{where}: misregistered: {words}") from problem.__cause__
    if found.apart_px > APART_PX:
        raise UserError(
            f"{where}: misregistered: the target is turned, scaled or warped against the input, whose shifts differ by "
            f"up to {found.apart_px:.1f} px over the picture; register the two first"
        )
    shift = found.shift if max(map(abs, found.shift)) >= STILL_PX else (0.0, 0.0)
    print(f"{where}: the target lies {found.shift[0]:+.2f}, {found.shift[1]:+.2f} px (y, x) away")
    for note in found.notes:
        print(f"{where}: {note.replace('the reference', 'the target')}")
    return shift


def _check_measured(file: Path, plane: int, picture: np.ndarray) -> None:
    if not np.isfinite(picture).all():
        raise UserError(f"{file}: has pixels without a measurement; cut them off")
    if np.ptp(picture) == 0:
        raise UserError(f"{file}: slice {plane} is constant; leave the pair out")


def _file(entry: dict, part: str, name: str) -> Path:
    return Path(entry["folder"], part, name)


def _sizes(entry: dict, file: Path) -> tuple[int, tuple[int, int]]:
    with open_mosaic(file, channel=entry.get("channel"), slice=0) as mosaic:
        return _planes(mosaic), mosaic.shape


def _planes(mosaic) -> int:
    return mosaic.slices if isinstance(mosaic, Mosaic) else 1


def _taken(entry: dict, file: Path, planes: int) -> list[int]:
    """Slices of a file that are fields, all unless the entry names one; of one picture alone, that."""
    chosen = entry.get("slice")
    if chosen is None or planes == 1:
        return list(range(planes))
    if isinstance(chosen, str):
        with open_mosaic(file, channel=entry.get("channel"), slice=chosen) as mosaic:
            print(f"{file.name}: slice {mosaic.slice} is the brightest")
            return [mosaic.slice]
    if chosen >= planes:
        raise UserError(f"{file}: has no slice {chosen}; there are {planes}, from 0")
    return [chosen]


def _shown(planes: int, shape: tuple[int, int]) -> str:
    return f"{f'{planes} slices of ' if planes > 1 else ''}{shape[0]} x {shape[1]} px"


def _pair(entry: dict, name: str, plane: int) -> tuple[np.ndarray, np.ndarray]:
    return tuple(
        _plane(_file(entry, part, name), entry.get("channel"), plane) for part in ("low", "high")
    )


@lru_cache(maxsize=2)  # fields of one picture follow each other
def _plane(file: Path, channel: int | str | None, plane: int) -> np.ndarray:
    """One picture of a file: float32 (h, w)."""
    with open_mosaic(file, channel=channel, slice=0) as mosaic:
        window = (0, mosaic.shape[0], 0, mosaic.shape[1])
        if _planes(mosaic) == 1:
            return mosaic.read(*window)
        return mosaic.read_stack(plane, plane + 1, *window)[0]


@lru_cache(maxsize=1)  # likewise
def _simulated(entry: str, split: str, number: int, seed: int) -> Exposure:
    return simulate(json.loads(entry), split, number, seed)
