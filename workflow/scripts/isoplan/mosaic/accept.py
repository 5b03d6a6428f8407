"""Which lines of the table of mosaics can be worked on, and what becomes of each."""

from pathlib import Path

from isoplan.mosaic.convert import memory_mb
from isoplan.mosaic.positions import files_of
from isoplan.mosaic.reader import open_row

# mosaic: its name in the results. row: the line of the table. file: what it is read from. channel: ""
# where there is but one. convert_mb: memory that its conversion takes, 0 where it is read as it is.
COLUMNS = ("mosaic", "row", "file", "channel", "convert_mb")


def accept(
    rows: list[dict], taken: list[str], results: Path
) -> tuple[list[dict], list[tuple[dict, str]]]:
    """Looks at the headers of all mosaics: (accepted, refused with the reason).

    rows: of `table.read_table`. taken: names that no mosaic may bear. results: the study's folder, from which
    none may be read. A line that names no channel, of
    a file with several, becomes a mosaic for each: name-DAPI, or name-c0 where the file has no names
    that serve. Whatever a broken file raises costs its own line alone.
    """
    accepted, refused = [], []
    names = {row["mosaic"] for row in rows}
    for row in rows:
        try:
            if row["mosaic"] in taken:
                raise ValueError("a simulation of this study bears the same name; rename one")
            _check_place(row, results)
            found = _look(row)
            for name in (one["mosaic"] for one in found):
                others = (
                    (names - {row["mosaic"]}) | set(taken) | {one["mosaic"] for one in accepted}
                )
                if name in others:
                    raise ValueError(
                        f"one of its channels would be called {name}, as another mosaic is; rename one"
                    )
            accepted += found
        except Exception as error:
            refused.append((row, " ".join(str(error).split()) or type(error).__name__))
    return accepted, refused


def _check_place(row: dict, results: Path) -> None:
    own = results.resolve()
    read = [row["path"], *([row["reference"]] if row["reference"] else [])]
    for file in (file for path in read for file in files_of(path)):
        if own in Path(file).resolve().parents:
            raise ValueError(
                f"{file} lies in {results}, which this study makes anew; copy it elsewhere, or call the study otherwise"
            )


def _look(row: dict) -> list[dict]:
    if row["reference"]:
        reference = {"path": row["reference"], "slice": row["reference_slice"]}
        open_row(reference, look=True).close()
    with open_row(row, look=True, large_pieces=True) as mosaic:
        if row["pixel_size_um"] is None and "pixel_size_um" not in mosaic.optics:
            raise ValueError(
                f"{mosaic.path} does not tell its pixel size; give pixel_size_um in the table"
            )
        one = {
            "mosaic": row["mosaic"],
            "row": row["mosaic"],
            "file": mosaic.path,
            "channel": "" if row["channel"] is None else row["channel"],
            "convert_mb": memory_mb(mosaic),
        }
        if row["channel"] is not None or not mosaic.channels:
            return [one]
        return [
            one | {"mosaic": f"{row['mosaic']}-{name}", "channel": number}
            for number, name in enumerate(mosaic.channels)
        ]
