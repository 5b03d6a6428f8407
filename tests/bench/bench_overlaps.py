"""What `mosaic.overlaps` says of tables of tiles, right and mistaken, into results/bench/overlaps.csv.

Drawn scenes and pictures of scikit-image are cut into 3 x 3 tiles that overlap by a tenth, each with photon noise, a darker rim and
a stage's error of its own. `said`: agree, named (the mistake), tile (the wrong one), caution, unknown (noise) or nothing;
`count` of `n` tables.
"""

import csv
import itertools
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import tifffile
from isoplan.config.validation import validate
from isoplan.mosaic.overlaps import notes_on_overlaps
from isoplan.mosaic.reader import open_mosaic
from isoplan.objects.scenes import draw_scenes
from run import RESULTS
from skimage import data

KINDS = {
    "right": lambda y, x: (y, x),
    "exchanged": lambda y, x: (x, y),
    "y turned over": lambda y, x: (-y, x),
}
PICTURES = ("camera", "moon", "brick", "grass", "cell", "coins", "page", "text")
SIDE, OFFSET = 512, 100


def run() -> list[dict]:
    rng, told = np.random.default_rng(0), Counter()
    pictures = [p for p in map(whole, PICTURES) if min(p.shape) >= 300]
    scenes = validate({})["objects"][0] | {"kinds": ["filaments", "nuclei"]}
    how = {"size_px": SIDE, "seed": 0, "stream": "overlaps", "split": "test"}
    pictures += [scene.numpy() for scene in draw_scenes(scenes, 8, **how)]
    for picture, photons, error in itertools.product(pictures, (10, 100, 1000), (0, 6, 15)):
        told.update(
            (photons, error, kind, said)
            for kind, said in cut(rng, picture / picture.max(), photons, error)
        )
    with (RESULTS / "overlaps.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["photons", "error_px", "table", "said", "count", "n"])
        for key, count in sorted(told.items()):
            writer.writerow([*key, count, len(pictures)])
    return []  # nothing to time


def whole(name: str) -> np.ndarray:
    picture = getattr(data, name)().astype(float)
    return picture - picture.min()


def cut(rng, picture: np.ndarray, photons: float, error: int):
    """(kind of table, what is said of it) for one set of tiles; one tile off by 60 px among them."""
    height, width = (int(length / 2.8) for length in picture.shape)
    steps = [int(0.9 * length) for length in (height, width)]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = photons * (1 - 0.2 * (y * y + x * x))
    with tempfile.TemporaryDirectory() as folder:
        places = [(r * steps[0], c * steps[1]) for r in range(3) for c in range(3)]
        for number, place in enumerate(places):
            most = [full - own for full, own in zip(picture.shape, (height, width), strict=True)]
            off = rng.integers(-error, error + 1, 2)
            top, left = np.clip(np.array(place) + off, 0, most)
            part = picture[top : top + height, left : left + width]
            seen = OFFSET + 2 * rng.poisson(part * light)
            tifffile.imwrite(Path(folder, f"{number}.tif"), seen.astype("uint16"))
        tables = {kind: [change(*place) for place in places] for kind, change in KINDS.items()}
        tables["a tile off by 60 px"] = [(r, c - 60 * (n == 4)) for n, (r, c) in enumerate(places)]
        for kind, table in tables.items():
            yield kind, said_of(Path(folder), table)


def said_of(folder: Path, places) -> str:
    lines = [f"{n}.tif\t{y}\t{x}" for n, (y, x) in enumerate(places)]
    (folder / "where.tsv").write_text("\n".join(["tile\ty_px\tx_px", *lines, ""]))
    with open_mosaic(folder) as mosaic:
        said = " ".join(notes_on_overlaps(mosaic))
    words = {
        "named": "correct the table",
        "tile": "check its position",
        "caution": "CAUTION",
        "unknown": "not known",
        "agree": "show the same",
    }
    return next((name for name, text in words.items() if text in said), "nothing")
