"""Checks every line of the table of mosaics and lists the mosaics that can be processed."""

from pathlib import Path

from isoplan.mosaic.convert import memory_mb
from isoplan.mosaic.positions import files_of
from isoplan.mosaic.reader import open_row

# Columns of the list of accepted mosaics:
# - mosaic: its name in the results,
# - row: the name of its line in the table,
# - file: the file that it is read from,
# - channel: empty if there is only one,
# - convert_mb: memory that its conversion needs, 0 if it is read directly.
COLUMNS = ("mosaic", "row", "file", "channel", "convert_mb")


def accept(
    rows: list[dict], taken: list[str], results: Path
) -> tuple[list[dict], list[tuple[dict, str]]]:
    """Read the headers of all mosaics and decide which ones can be processed.

    If a line names no channel and its file has several, each channel becomes a mosaic of its own:
    name-DAPI, or name-c0 if the file's channel names cannot be used in file names. A broken file
    only costs its own line.

    Parameters
    ----------
    rows
        Lines of the table, as `table.read_table` returns them.
    taken
        Names that no mosaic may have, because simulations of the study have them.
    results
        The study's results folder. Mosaics and references must lie outside it.

    Returns
    -------
    accepted
        One dict per mosaic, with the keys `COLUMNS`.
    refused
        Lines of the table, each with the reason.
    """
    accepted, refused = [], []
    names = {row["mosaic"] for row in rows}
    for row in rows:
        try:
            if row["mosaic"] in taken:
                raise ValueError("a simulation of this study bears the same name; rename one")
            _check_outside_results(row, results)
            found = _entries(row)
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


def _check_outside_results(row: dict, results: Path) -> None:
    own = results.resolve()
    read = [row["path"], *([row["reference"]] if row["reference"] else [])]
    for file in (file for path in read for file in files_of(path)):
        if own in Path(file).resolve().parents:
            raise ValueError(
                f"{file} lies in {results}, which this study makes anew; copy it elsewhere, or call the study otherwise"
            )


def _entries(row: dict) -> list[dict]:
    if row["reference"]:
        reference = {"path": row["reference"], "slice": row["reference_slice"]}
        open_row(reference, any_slice=True).close()
    with open_row(row, any_slice=True, large_pieces=True) as mosaic:
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
