"""Reads tables of tile positions.

Snakemake imports this when it parses the workflow, so nothing heavy is imported and no picture is
opened. There are three formats:

- our own: tab-separated, with the columns tile, y_px and x_px;
- ImageJ/Fiji's TileConfiguration: `tile.tif; ; (x, y)`;
- MIST's global positions: `file: tile.tif; corr: 1.0; position: (x, y); grid: (column, row);`.

A position is that of a tile's first pixel, in px. The origin is arbitrary.
"""

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.mosaic.table import plain_number

COLUMNS = ("tile", "y_px", "x_px")
_LARGEST_BYTES = 2**24  # larger files are not tables
_FARTHEST_PX = 2**31  # larger positions are mistakes
_ENDINGS = (".txt", ".tsv", ".csv")
_ZARR = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
_NUMBER = r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*"
_FIJI = re.compile(rf"\s*([^;]+?)\s*;\s*([^;]*?)\s*;\s*\({_NUMBER},{_NUMBER}(?:,{_NUMBER})?\)\s*")
_MIST = re.compile(rf"\s*file:\s*([^;]+?)\s*;.*?position:\s*\({_NUMBER},{_NUMBER}\)\s*;.*")


@dataclass(frozen=True)
class Positions:
    """A table of positions that was read.

    Attributes
    ----------
    table
        Path of the table.
    tiles
        Paths of the tiles.
    y_px, x_px
        Position of each tile's first pixel, in px.
    notes
        Messages for the log.
    """

    table: str
    tiles: list[str]
    y_px: list[float]
    x_px: list[float]
    notes: list[str]


def is_table_of_tiles(path: str | Path) -> bool:
    """Whether a path is a position table or a folder with one, judged by names and first lines."""
    path = Path(path)
    if path.is_dir():
        return not any((path / name).exists() for name in _ZARR) and bool(_tables(path))
    return path.suffix.lower() in _ENDINGS and _format(path) is not None


def read(path: str | Path) -> Positions:
    """Read a position table, or the only one in a folder.

    Tile names are relative to the table's folder. If Fiji wrote both TileConfiguration.txt and
    TileConfiguration.registered.txt, the registered one is read.

    Raises
    ------
    UserError
        With file and line: if a line cannot be read, a tile is missing or listed twice, a folder has
        several tables, or positions have more than one height (z).
    """
    table, notes = _choose(Path(path))
    if _format(table) == "misnamed":
        raise UserError(
            f"{table}: is a table of tiles without y_px and x_px; give the columns {', '.join(COLUMNS)}, in px"
        )
    rows = _own_rows(table) if _format(table) == "own" else _fiji_or_mist_rows(table)
    if not rows:
        raise UserError(f"{table}: lists no tile; give a line for each")
    first: dict[str, int] = {}
    tiles = []
    for number, name, y, x in rows:
        where = f"{table}, line {number}"
        real = os.path.realpath(table.parent / name)  # finds links to the same file, too
        if real in first:
            raise UserError(
                f"{where}: tile {name!r} is already listed in line {first[real]}; keep one"
            )
        first[real] = number
        if not (abs(y) < _FARTHEST_PX and abs(x) < _FARTHEST_PX):
            raise UserError(
                f"{where}: the position of {name!r}, ({x:g}, {y:g}), is impossible; correct it"
            )
        tile = table.parent / name
        if not tile.exists():
            raise UserError(
                f"{where}: there is no tile {tile}; put table and tiles into one folder, or correct it"
            )
        tiles.append(str(tile))
    if beside := _unlisted(table, tiles):
        notes.append(
            f"{len(beside)} files beside {table.name} look like tiles but are not listed, such as {beside[0]}: not read"
        )
    return Positions(str(table), tiles, [row[2] for row in rows], [row[3] for row in rows], notes)


def files_of(path: str | Path) -> list[str]:
    """All files of a mosaic: the path itself, or a position table and its tiles. Raises as `read` does."""
    if not is_table_of_tiles(path):
        return [str(path)]
    found = read(path)
    return [found.table, *found.tiles]


def _unlisted(table: Path, tiles: list[str]) -> list[str]:
    """Names of files beside a table that have a tile's extension but are not listed."""
    folder = table.parent
    listed = {Path(tile).name for tile in tiles if Path(tile).parent == folder}
    endings = {Path(name).suffix for name in listed}
    found = (file.name for file in folder.iterdir() if file.suffix in endings)
    return sorted(name for name in found if name not in listed and not name.startswith("."))


def _tables(folder: Path) -> list[Path]:
    """A folder's position tables; if there are none, those with wrong column names."""
    files = (
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _ENDINGS and not file.name.startswith(".")
    )
    forms = {file: form for file in sorted(files) if (form := _format(file))}
    return [file for file, form in forms.items() if form != "misnamed"] or [*forms]


def _choose(path: Path) -> tuple[Path, list[str]]:
    if not path.is_dir():
        return path, []
    tables = _tables(path)
    registered = [table for table in tables if table.name.endswith(".registered.txt")]
    if len(registered) == 1:
        plain = registered[0].with_name(registered[0].name.replace(".registered", ""))
        if set(tables) <= {registered[0], plain}:
            return registered[0], [f"positions are those of {registered[0].name}"]
    if len(tables) != 1:
        names = ", ".join(table.name for table in tables)
        raise UserError(
            f"{path}: holds {len(tables)} position tables ({names}); name the one meant"
        )
    return tables[0], [f"positions are those of {tables[0].name}"]


def _text(table: Path) -> list[str]:
    try:
        if not table.is_file() or table.stat().st_size > _LARGEST_BYTES:
            return []
        text = table.read_bytes()
    except OSError:
        return []
    try:
        return text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:  # such as a µ in a comment from Windows; Latin-1 reads any byte
        return text.decode("latin-1").splitlines()


def _is_comment(table: Path, line: str) -> bool:
    """Whether a line is empty, a setting or a comment. A tile's name may begin with `#`, too."""
    if line.startswith("#"):
        return not os.path.isfile(table.parent / re.split(r"[\t;]", line)[0].strip())
    return not line.strip() or bool(re.match(r"\s*(dim|multiseries)\s*=", line))


def _format(table: Path) -> str | None:
    """Format of a table by its first telling line: "own", "fiji" or "mist".

    "misnamed" is a table like our own whose columns have other names; None is not a position table.
    """
    for line in _text(table)[:100]:
        if _is_comment(table, line):
            continue
        cells = {cell.strip() for cell in line.split("\t")}
        if set(COLUMNS) <= cells:
            return "own"
        if "tile" in cells and all(any(cell.startswith(axis) for cell in cells) for axis in "yx"):
            return "misnamed"
        return "mist" if _MIST.fullmatch(line) else "fiji" if _FIJI.fullmatch(line) else None
    return None


def _own_rows(table: Path) -> list[tuple[int, str, float, float]]:
    rows, header = [], None
    for number, line in enumerate(_text(table), start=1):
        if _is_comment(table, line):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter="\t"))]
        if header is None:
            header = cells
            if twice := [name for name in COLUMNS if header.count(name) > 1]:
                raise UserError(
                    f"{table}, line {number}: column {twice[0]!r} occurs twice; remove one"
                )
            continue
        row = dict(zip(header, cells, strict=False))
        try:
            if not row["tile"]:
                raise ValueError("tile is empty")
            rows.append((number, row["tile"], plain_number(row["y_px"]), plain_number(row["x_px"])))
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{table}, line {number}: {line!r} ({error}); give {', '.join(COLUMNS)}, with tabs"
            ) from None
    return rows


def _fiji_or_mist_rows(table: Path) -> list[tuple[int, str, float, float]]:
    rows: list[tuple[int, str, float, float]] = []
    heights: dict[str | None, int] = {}  # height to the first line that has it
    pattern = _MIST if _format(table) == "mist" else _FIJI
    for number, line in enumerate(_text(table), start=1):
        if _is_comment(table, line):
            continue
        found = pattern.fullmatch(line)
        if not found:
            raise UserError(
                f"{table}, line {number}: {line!r} is not a position; correct or remove it"
            )
        groups = found.groups()
        if pattern is _FIJI:
            name, series, x, y, z = groups
            heights.setdefault(z and z.rstrip("0").rstrip("."), number)
            if series:
                raise UserError(
                    f"{table}, line {number}: positions of series {series} of a file; export each tile as a "
                    "file of its own"
                )
            if len(heights) > 1:
                raise UserError(
                    f"{table}, line {number}: has another height z than line {min(heights.values())}; a mosaic is one "
                    "plane, keep the tiles of one"
                )
        else:
            name, x, y = groups
        try:
            rows.append((number, name, float(y), float(x)))
        except ValueError:
            raise UserError(
                f"{table}, line {number}: {line!r} has no numbers; correct it"
            ) from None
    return rows
