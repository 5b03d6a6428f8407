"""What `optics.exposure.lone_pixels` finds, and what it takes for bad that is none, into results/bench/lone_pixels.csv.

Rows "points": points of light on a dim ground and dark ones on a bright one, alone or in pairs 1.5 to 4 px apart, at random
places, through Gaussian PSFs of some widths; `share` is that of the points of which a pixel counts as bad. Rows
"clusters": hot (+3000 counts) and dead pixels on textures; `share` is that of the bad pixels that are found. Gain 2, read noise
2 electrons.
"""

import csv
import itertools

import numpy as np
from isoplan.optics.exposure import lone_pixels
from run import RESULTS

GAIN, READ_E = 2.0, 2.0
SIDE, STEP = 1200, 12  # px: of a picture, and from point to point
SHAPES = {
    "1": [(0, 0)],
    "2": [(0, 0), (0, 1)],
    "2 diagonal": [(0, 0), (1, 1)],
    "3 L": [(0, 0), (0, 1), (1, 0)],
    "3 line": [(0, 0), (0, 1), (0, 2)],
    "4 square": [(0, 0), (0, 1), (1, 0), (1, 1)],
    "4 line": [(0, 0), (0, 1), (0, 2), (0, 3)],
    "4 L": [(0, 0), (0, 1), (0, 2), (1, 0)],
}
TEXTURES = {"soft": (7, 9), "steep": (4, 5), "steeper": (2.5, 3)}  # px over 2 pi, along y and x


def run() -> list[dict]:
    rng = np.random.default_rng(0)
    rows = [
        points(rng, width, height, pair, dark)
        for width, height, pair, dark in itertools.product(
            (1.42, 1.6, 2.0, 3.5), (100, 1e3, 1e4, 1e5), (False, True), (False, True)
        )
        if not (dark and height > 1e4)
    ]
    for (shape, pixels), (texture, periods), kind in itertools.product(
        SHAPES.items(), TEXTURES.items(), ("hot on dim", "hot on bright", "dead on bright")
    ):
        rows.append(clusters(rng, pixels, periods, kind) | {"case": f"{shape}, {kind}, {texture}"})
    with (RESULTS / "lone_pixels.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["what", "case", "n", "share"])
        writer.writeheader()
        writer.writerows(rows)
    return []  # nothing to time


def points(rng, width: float, height: float, pair: bool, dark: bool) -> dict:
    places = np.arange(STEP // 2, SIDE - STEP // 2, STEP)
    y, x = np.mgrid[:STEP, :STEP] - STEP // 2
    light = np.zeros((SIDE, SIDE))
    for row, column in itertools.product(places, repeat=2):
        at = rng.uniform(-0.5, 0.5, 2)
        spot = _spot(y - at[0], x - at[1], width)
        if pair:
            angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 4)
            beside = at + far * np.array([np.sin(angle), np.cos(angle)])
            spot += rng.choice([0.03, 0.3, 1]) * _spot(y - beside[0], x - beside[1], width)
        light[row - STEP // 2 : row + STEP // 2, column - STEP // 2 : column + STEP // 2] += spot
    light = height * (1.05 - np.minimum(light, 1)) if dark else 2 + height * light
    bad = _found(rng, light)
    taken = {(row // STEP, column // STEP) for row, column in np.argwhere(bad)}
    case = f"{'dark' if dark else 'bright'} {'pairs' if pair else 'points'}, {width} px, {height:g} photons"
    return {
        "what": "points",
        "case": case,
        "n": len(places) ** 2,
        "share": len(taken) / len(places) ** 2,
    }


def clusters(rng, pixels, periods, kind: str) -> dict:
    y, x = np.mgrid[:600, :600]
    texture = np.sin(y / periods[0]) * np.cos(x / periods[1])
    light = 200 + 75 * texture if kind == "hot on dim" else 2000 + 750 * texture  # electrons
    bad = np.zeros(light.shape, bool)
    for row, column in itertools.product(range(10, 585, 13), repeat=2):
        for dy, dx in pixels:
            bad[row + dy, column + dx] = True
    found = _found(rng, light, bad, -np.inf if kind.startswith("dead") else 3000)
    return {"what": "clusters", "n": int(bad.sum()), "share": float(found[bad].mean())}


def _spot(y, x, width: float) -> np.ndarray:
    return np.exp(-4 * np.log(2) * (y**2 + x**2) / width**2)


def _found(rng, light, bad=False, more: float = 0.0) -> np.ndarray:
    """Bad pixels that are found in an exposure of light (electrons), where some show more or less counts."""
    counts = GAIN * (rng.poisson(light) + rng.normal(0, READ_E, light.shape))
    counts = np.where(bad, np.maximum(counts + more, 0), counts).round().astype(np.float32)
    return lone_pixels(counts, GAIN, (GAIN * READ_E) ** 2)
