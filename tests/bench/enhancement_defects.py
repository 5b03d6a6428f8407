"""How often defects of the instrument are told where there are none, and how large they are found: ten minutes of one core.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/enhancement_defects.py
    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/enhancement_defects.py PICTURE...

The first prints shares of simulated mosaics, of each kind of specimen and each light: of clean ones, which have to stay silent,
of specimens that dim by 70 % in a direction that is drawn, which are no defect either, and of defects of several sizes.
The second prints what is told of pictures that you name, slices of stacks each on its own, as they are and after every second
line was shifted, or left out, in their counts.
"""

import sys
from collections.abc import Iterator
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
    "line_step": (2, 4),
    "bleaching": (0.5, 0.7),
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


def lights(entry: dict, number: int, rng: np.random.Generator) -> Iterator[tuple]:
    """Name, size, defects and light, for the light of the entry, of all pictures of a mosaic."""
    photons = simulate(entry, "test", number, 0).photons
    yield "clean", "", Defects(), photons
    yield "dims", DIMS, Defects(), dimmed(photons, rng.uniform(0, 2 * np.pi))
    for name, sizes in SIZES.items():
        for size in sizes:
            made = Defects(**{name: size})
            yield name, size, made, made.light(photons, entry["blur_fwhm_px"], rng)


def shares(kind: str) -> dict[tuple, np.ndarray]:
    """(LIGHTS,) shares told: of clean mosaics and dim specimens of each defect, of each defect of itself."""
    entry = {"name": "a", "kinds": [kind], "photons": 1, "mosaic_px": SIDE_PX}
    entry = validate({"enhancements": [entry]})["enhancements"][0]
    low, found = detector(entry, "low"), {}
    for number in range(MOSAICS):
        rng = np.random.default_rng(number)
        for name, size, made, light in lights(entry, number, rng):
            for place, photons in enumerate(LIGHTS):
                counts = made.stored(low.expose(photons * light, rng), whole=True)
                for key, one in told(counts).items():
                    if name in (key, "clean", "dims"):
                        row = (name, size, key)
                        found.setdefault(row, np.zeros(len(LIGHTS)))[place] += one / MOSAICS
    return found


def simulated():
    print(
        f"{MOSAICS} mosaics of {SIDE_PX} px each; told, %, of {' / '.join(map(str, LIGHTS))} photons"
    )
    print(f"{'':24}", *(f"{kind:>15}" for kind in KINDS), f"{'all':>6}")
    found = {kind: shares(kind) for kind in KINDS}
    for name, size, key in found[KINDS[0]]:
        cells = 100 * np.array([found[kind][name, size, key] for kind in KINDS])
        shown = (" / ".join(f"{share:3.0f}" for share in cell) for cell in cells)
        about = name if name == key else f"{name}: {key}"
        print(f"{about:>18} {size!s:5}", *(f"{one:>15}" for one in shown), f"{cells.mean():6.1f}")
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
        print(
            f"{name:16}",
            *(f"{key} {100 * np.mean([row[key] for row in rows]):.0f}" for key in SIZES),
        )


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
