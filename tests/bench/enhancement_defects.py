"""How often defects of the instrument are told where there are none, and how large they are found: half an hour of one core.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/enhancement_defects.py
    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/enhancement_defects.py PICTURE...

The first prints shares of simulated mosaics, of each kind of specimen and each light: of clean ones, which have to stay silent,
of specimens that dim by 70 % in a direction that is drawn, which are no defect either, and of defects of several sizes.
The second prints what is told of pictures that you name, slices of stacks each on its own, as they are and after every second
line was shifted, or left out, in their counts.
"""

import sys
from time import perf_counter

import numpy as np
from isoplan.applications.enhancement import defects
from isoplan.applications.enhancement.defects import Defects, Signs
from isoplan.applications.enhancement.detectors import detector, simulate
from isoplan.config.validation import validate
from isoplan.mosaic.reader import Mosaic, open_mosaic
from isoplan.restoration.in_memory import Counts

KINDS, LIGHTS, MOSAICS, SIDE_PX = ("poi", "nuclei", "syn", "filaments"), (40, 120, 400), 20, 1024
SIZES = {
    "shear_px": (0.5, 1, 2, 4),
    "line_step": (2, 3, 4),
    "bleaching": (0.3, 0.5, 0.7),
    "tilt": (4, 8, 16),
}
DIMS = 0.7
SLICES = 12  # of a stack, at most


def told(counts: np.ndarray) -> dict[str, bool]:
    """Which defects are told of a picture."""
    signs = Signs.of(Counts(counts))
    if defects.line_step(signs) > 1:
        return dict.fromkeys(SIZES, False) | {"line_step": True}
    found = {
        "shear_px": defects.shear(signs),
        "bleaching": defects.bleaching(signs),
        "tilt": defects.tilt(signs),
    }
    return {"line_step": False} | {name: bool(one and one.told) for name, one in found.items()}


def dimmed(photons: np.ndarray, direction: float) -> np.ndarray:
    """A specimen whose light falls to 1 - DIMS of itself in a direction."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in photons.shape), indexing="ij")
    way = np.sin(direction) * y + np.cos(direction) * x
    return photons * (1 - DIMS * (way - way.min()) / np.ptp(way))


def shares(kind: str, photons: float) -> dict[tuple, list[bool]]:
    """Of clean mosaics, of dim specimens and of every defect: whether it is told, mosaic by mosaic."""
    entry = {"name": "a", "kinds": [kind], "photons": photons, "mosaic_px": SIDE_PX}
    entry = validate({"enhancements": [entry]})["enhancements"][0]
    low, found = detector(entry, "low"), {}
    for number in range(MOSAICS):
        pair = simulate(entry, "test", number, 0)
        rng = np.random.default_rng(number)
        for name, one in told(pair.low).items():
            found.setdefault(("clean", name), []).append(one)
        direction = rng.uniform(0, 2 * np.pi)
        for name, one in told(low.expose(dimmed(pair.photons, direction), rng)).items():
            found.setdefault(("dims", name), []).append(one)
        for name, sizes in SIZES.items():
            for size in sizes:
                made = Defects(**{name: size})
                light = made.light(pair.photons, entry["blur_fwhm_px"], rng)
                counts = made.stored(low.expose(light, rng), whole=True)
                found.setdefault((name, size), []).append(told(counts)[name])
    return found


def simulated():
    print(f"{MOSAICS} mosaics of {SIDE_PX} px each; % told, of {' / '.join(map(str, LIGHTS))} photons")
    print(f"{'':20}", *(f"{kind:>16}" for kind in KINDS), f"{'all':>8}")
    found = {(kind, light): shares(kind, light) for kind in KINDS for light in LIGHTS}
    for row in found[KINDS[0], LIGHTS[0]]:
        cells = [[np.mean(found[kind, light][row]) for light in LIGHTS] for kind in KINDS]
        shown = (" / ".join(f"{100 * share:3.0f}" for share in cell) for cell in cells)
        print(f"{row[0]:>10} {row[1]!s:9}", *(f"{one:>16}" for one in shown), f"{100 * np.mean(cells):8.1f}", flush=True)
    counts = np.random.default_rng(0).poisson(20.0, (2048, 2048))
    began = perf_counter()
    Signs.of(Counts(counts))
    print(f"{perf_counter() - began:.1f} s for 2048 x 2048 px")


def pictures(files: list[str]):
    found: dict[str, list] = {"as it is": [], "shear of 2 px": [], "line step of 2": []}
    for file in files:
        for counts in planes(file):
            kinds = (Defects(), Defects(shear_px=2), Defects(line_step=2))
            for name, one in zip(found, kinds, strict=True):
                moved = one.light(counts, 0, np.random.default_rng(0)) if one.shear_px else counts
                found[name].append(told(one.stored(moved, whole=True)))
            if any(found["as it is"][-1].values()):
                print(file, found["as it is"][-1])
    print(f"{len(found['as it is'])} pictures; told, %")
    for name, rows in found.items():
        print(f"{name:16}", *(f"{key} {100 * np.mean([row[key] for row in rows]):.0f}" for key in SIZES))


def planes(file: str):
    """Pictures of a file, float32 (h, w)."""
    with open_mosaic(file, slice=0) as mosaic:
        window = (0, mosaic.shape[0], 0, mosaic.shape[1])
        count = mosaic.slices if isinstance(mosaic, Mosaic) else 1
        for number in np.unique(np.linspace(0, count - 1, min(count, SLICES)).astype(int)):
            if count == 1:
                yield mosaic.read(*window)
            else:
                yield mosaic.read_stack(int(number), int(number) + 1, *window)[0]


if __name__ == "__main__":
    pictures(sys.argv[1:]) if sys.argv[1:] else simulated()
