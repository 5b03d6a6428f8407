"""Folders of overlapping tiles cut from one picture, for tests: positions are known, and so is the truth."""

from pathlib import Path

import numpy as np
import tifffile


def write_tiles(
    folder: Path, picture: np.ndarray, boxes: list[tuple[int, int, int, int]], **options
) -> list[str]:
    """Writes picture[y0:y1, x0:x1] for each box; returns the names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"tile{number}.tif" for number in range(len(boxes))]
    for name, (y0, y1, x0, x1) in zip(names, boxes, strict=True):
        tifffile.imwrite(folder / name, picture[..., y0:y1, x0:x1], **options)
    return names


def own(names, places) -> str:
    lines = [f"{name}\t{y}\t{x}" for name, (y, x) in zip(names, places, strict=True)]
    return "\n".join(["# a note", "tile\ty_px\tx_px", *lines, ""])


def fiji(names, places) -> str:
    lines = [f"{name}; ; ({x}, {y})" for name, (y, x) in zip(names, places, strict=True)]
    head = [
        "# Define the number of dimensions we are working on",
        "dim = 2",
        "",
        "# Define the image",
    ]
    return "\n".join([*head, *lines, ""])


def mist(names, places) -> str:
    pairs = enumerate(zip(names, places, strict=True))
    return "".join(
        f"file: {name}; corr: 0,9800000000; position: ({x}, {y}); grid: ({n}, 0);\n"
        for n, (name, (y, x)) in pairs
    )


def grid(shape: tuple[int, int], tile: tuple[int, int], step: tuple[int, int]) -> list[tuple]:
    """Boxes of equal tiles `step` apart that lie inside `shape`, row by row."""
    return [
        (y, y + tile[0], x, x + tile[1])
        for y in range(0, shape[0] - tile[0] + 1, step[0])
        for x in range(0, shape[1] - tile[1] + 1, step[1])
    ]
