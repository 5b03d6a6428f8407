"""Reads and checks the table of mosaics: one tab-separated line per mosaic.

Snakemake imports this when it parses the workflow, so nothing heavy is imported and no picture is
opened.
"""

import csv
import difflib
import importlib.util
import math
import os
import re
from pathlib import Path
from unicodedata import category

from isoplan.base.errors import UserError
from isoplan.base.textfile import read_text
from isoplan.config.schema import schema

PACKAGED = "scikit-image:"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_MOST_DIGITS = 9  # in an integer; Python refuses to convert thousands of digits
_LONGEST = 20_000  # characters in a line; a path has at most 4096
_NO_TEXT = {"Cc", "Zl", "Zp"}  # control characters and Unicode's line separators
_PICTURES = {".png", ".jpg", ".jpeg", ".tif"}

REQUIRED = ("mosaic", "path")
COLUMNS = schema()["properties"]["mosaics"]["columns"]
SLICES = tuple(COLUMNS["slice"]["words"])


def resolve_path(path: str | Path) -> str:
    """The file behind a path of the table.

    `scikit-image:NAME` is a picture in scikit-image's wheel. Every other path is returned unchanged.

    Raises
    ------
    UserError
        If the wheel has no such picture; the message lists those it has.
    """
    text = str(path)
    if not text.startswith(PACKAGED):
        return text
    name = text.removeprefix(PACKAGED)
    # Found without importing scikit-image, which would slow down every parse of the workflow.
    spec = importlib.util.find_spec("skimage")
    if spec is None:
        raise UserError(f"{text}: scikit-image is not installed; install it or give a file's path")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    names = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in _PICTURES)
    if name not in names:
        raise UserError(
            f"{text}: scikit-image's wheel has no such picture; use one of {', '.join(names)}"
        )
    return str(folder / name)


def valid_name(text: str) -> str:
    """A valid mosaic name made from a text: other characters become "-".

    Examples
    --------
    >>> valid_name("my sec (2)")
    'my-sec-2'
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-")[:100].rstrip(".-")
    return text if _NAME.fullmatch(text) else name or "picture"


def _separator(path: Path, header: str) -> str:
    """What stands between cells: a tab, or in a .csv what its header shows, as spreadsheets differ."""
    return max(",;\t", key=header.count) if path.suffix.lower() == ".csv" else "\t"


def _cells(where: str, line: str, separator: str) -> list[str]:
    """The cells of a line, without the quotes that a spreadsheet may have added."""
    odd = next((mark for mark in line if mark != "\t" and category(mark) in _NO_TEXT), None)
    if odd:
        raise UserError(f"{where}: has the control character U+{ord(odd):04X}; type the line again")
    if len(line) > _LONGEST:
        raise UserError(
            f"{where}: is {len(line):,} characters long; a line holds the few cells of one mosaic"
        )
    try:
        (cells,) = csv.reader([line], delimiter=separator, strict=True)
    except csv.Error:
        raise UserError(
            f"{where}: a cell begins with a quote and does not end with it; remove the quote"
        ) from None
    return [cell.strip() for cell in cells]


def _check_header(path: Path, line: int, header: list[str], mark: str) -> None:
    if len(header) > 1 and not {*header} & {*COLUMNS}:
        raise UserError(
            f"{path}, line {line}: is not a header; begin the table with {', '.join(REQUIRED)}"
        )
    for name in header:
        if name not in COLUMNS and {*re.split(r"[\s,;|]+", name)} & {*COLUMNS}:
            raise UserError(
                f"{path}, line {line}: {name!r} is not separated by {mark}; save it as tab-separated text, or as .csv"
            )
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            advice = f"did you mean {near[0]!r}" if near else f"known are {', '.join(COLUMNS)}"
            raise UserError(f"{path}, line {line}: unknown column {name!r}; {advice}")
        if header.count(name) > 1:
            raise UserError(f"{path}, line {line}: column {name!r} occurs twice; remove one")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise UserError(f"{path}, line {line}: column {missing[0]!r} is missing; add it")


def plain_number(text: str) -> float:
    """float(text), except that 0_5 (a typo for 0.5) is refused. Raises ValueError."""
    if "_" in text:
        raise ValueError(f"could not convert string to float: {text!r}")
    return float(text)


def number_of(column: str, text: str) -> float:
    """A number, checked against the range of its column. Raises UserError that says what is wrong."""
    rule = COLUMNS[column]
    try:
        value = plain_number(text)
    except ValueError:
        remedy = "write a point for the comma" if "," in text else "correct it"
        raise UserError(f"{column} is {text[:60]!r}, not a number; {remedy}") from None
    low, least = rule.get("exclusiveMinimum", -math.inf), rule.get("minimum", -math.inf)
    high = rule.get("maximum", math.inf)
    if not math.isfinite(value) or not low < value <= high or value < least:
        ends = {"above": low, "at least": least, "at most": high}
        bounds = " and ".join(f"{word} {end:g}" for word, end in ends.items() if math.isfinite(end))
        allowed = f"finite, {bounds}" if bounds else "finite"
        raise UserError(f"{column} is {text[:60]}; it must be {allowed} (check the unit)")
    return value


def _whole_number(column: str, text: str) -> int | str:
    """A cell as an integer from 0, or as one of its column's words."""
    words = COLUMNS[column].get("words", ())
    if text in words:
        return text
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        more = f", or {' or '.join(words)}" if words else ""
        raise UserError(f"{column} is {text[:60]!r}; give a whole number, the first is 0{more}")
    return int(text)


def _row(where: str, cells: dict[str, str], mark: str) -> dict:
    """Check the cells of one line; empty cells and absent columns become None."""
    for name in REQUIRED:
        if not cells[name]:
            raise UserError(f"{where}: {name} is empty; fill it in, with {mark} between the cells")
    if not _NAME.fullmatch(cells["mosaic"]):
        raise UserError(
            f"{where}: mosaic name {cells['mosaic'][:60]!r} cannot name result files; use letters, digits,"
            " '_', '.' and '-' only, at most 100, and begin with a letter, a digit or '_'"
        )
    row: dict = dict.fromkeys(COLUMNS)
    row["mosaic"] = cells["mosaic"]
    try:
        row["path"] = resolve_path(cells["path"])
        row["reference"] = resolve_path(cells["reference"]) if cells.get("reference") else None
        for name, rule in COLUMNS.items():
            if cells.get(name) and rule["type"] != "string":
                read = _whole_number if rule["type"] == "integer" else number_of
                row[name] = read(name, cells[name])
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if cells.get("reference_slice") and not row["reference"]:
        raise UserError(f"{where}: reference_slice needs a reference; name one or clear it")
    own, other = (os.path.realpath(row[name] or "") for name in ("path", "reference"))
    if row["reference"] and own == other and row["slice"] == row["reference_slice"]:
        raise UserError(f"{where}: reference is the picture itself; name a better one of its field")
    return row


def read_table(path: str | Path) -> list[dict]:
    """Read and check the table of mosaics.

    Whether the files can be read is checked later, by `open_mosaic`, so that one bad mosaic does not
    stop the others.

    Parameters
    ----------
    path
        A tab-separated file with a header, or one that ends in .csv, with commas or semicolons. Empty lines and lines that begin with `#` are skipped.
        Required columns: mosaic, path. Optional columns:

        - pixel_size_um, na, wavelength_um: from the file's header if not given;
        - gain (counts per electron), offset (counts), read_noise_e (electrons);
        - series (which picture of a file), channel, slice: from 0; slice also takes "sharpest" and
          "brightest";
        - reference: a better picture of the same field and pixel size, such as one in focus;
        - reference_slice: a slice of the reference's stack.

    Returns
    -------
    list of dict
        One per line, with all columns as keys; None where nothing was given. `path` and `reference` are
        files, as `resolve_path` finds them.

    Raises
    ------
    UserError
        With the file and the line.
    """
    path = Path(path)
    lines = [
        (number, line)
        for number, line in enumerate(read_text(path, "table of mosaics").split("\n"), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise UserError(f"{path}: the table of mosaics is empty; give a header and one line each")
    separator = _separator(path, lines[0][1])
    mark = {"\t": "tabs", ",": "commas", ";": "semicolons"}[separator]
    numbered = [
        (number, _cells(f"{path}, line {number}", line, separator)) for number, line in lines
    ]
    line, header = numbered[0]
    _check_header(path, line, header, mark)

    rows: list[dict] = []
    first_line: dict[str, int] = {}
    for number, cells in numbered[1:]:
        where = f"{path}, line {number}"
        if len(cells) > len(header):
            raise UserError(
                f"{where}: {len(cells)} cells for {len(header)} columns; remove the extra ones"
            )
        if len(cells) == 1:
            raise UserError(f"{where}: its cells are not separated by {mark}; put one between them")
        cells += [""] * (len(header) - len(cells))
        row = _row(where, dict(zip(header, cells, strict=True)), mark)
        if row["mosaic"] in first_line:
            raise UserError(
                f"{where}: mosaic {row['mosaic']!r} is already named in line"
                f" {first_line[row['mosaic']]}; give each its own name"
            )
        first_line[row["mosaic"]] = number
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: the table of mosaics has only a header; add a line per mosaic")
    return rows


def cutoff_of(facts: dict) -> float | None:
    """Cut-off frequency of a mosaic's pupil in cycles/px; None if unknown.

    It is given for simulated mosaics; else it is NA * pixel size / wavelength.

    Examples
    --------
    >>> cutoff_of({"na": 0.8, "pixel_size_um": 0.25, "wavelength_um": 0.5})
    0.4
    """
    if facts.get("cutoff"):
        return facts["cutoff"]
    values = [facts.get(key) for key in ("na", "pixel_size_um", "wavelength_um")]
    if any(value is None for value in values):
        return None
    na, pixel, wavelength = values
    return na * pixel / wavelength
