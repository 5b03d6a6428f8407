"""Two outlooks of enhancement that are no part of the product: pseudo-labels, and twice as many pixels.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/enhancement_outlooks.py labels
    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/enhancement_outlooks.py pixels

`labels`: a teacher learns from few fields that have targets. A student learns from these and, as often, from the teacher's results in
place of the targets that the other fields lack. It is compared with the teacher, which learns as long as both together.

`pixels`: the input has pixels twice as large as the target. A network learns from inputs that a cubic spline brought to
the target's pixels. It is compared with a network of the large pixels whose results the spline brings there.

Both print PSNR to the target and to the truth over test fields of simulated pairs, and differences with 95 % intervals
over mosaics and fields. Each takes about twenty minutes of one core.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from isoplan.applications.enhancement import fields, scores
from isoplan.applications.enhancement.fields import Field, Place
from isoplan.applications.enhancement.filters import FILTERS, Camera
from isoplan.applications.enhancement.networks import Enhancer, statistics
from isoplan.applications.enhancement.report import mean_of
from isoplan.applications.enhancement.task import Enhancement
from isoplan.config.validation import validate
from isoplan.training.loop import train
from scipy import ndimage

PAIRS = {"name": "made", "train_mosaics": 4, "test_mosaics": 4, "mosaic_px": 512, "field_px": 256}
LABELLED = (2, 4)  # fields that have targets
FWHM_PX = (2.0, 3.0)  # of the PSF, in pixels of the target
See = Callable[[Place, Field], Field]


def study(samples: int, **keys) -> tuple[dict, dict]:
    """An entry of `enhancements` and one of `enhancers`."""
    blur = {"blur_fwhm_px": keys.pop("blur_fwhm_px", 3.0)}
    network = {"name": "one", "trained_on": "made", "patch_px": 64, "samples": samples}
    network |= {"epoch_samples": min(samples, 800)} | keys
    made = validate(
        {"enhancements": [PAIRS | blur | {"networks": ["one"]}], "enhancers": [network]}
    )
    return made["enhancements"][0], made["enhancers"][0]


def taught(
    pairs: dict, spec: dict, seed: int, see: See, more: list[Place] | None = None
) -> tuple[Enhancer, Enhancement]:
    """A network that learns from fields as `see` shows them, and from `more` of them.

    see : callable
        (place, field) -> field.
    """

    class Seen(Enhancement):
        def _field(self, place: Place) -> Field:
            return see(place, super()._field(place))

    layout = json.loads(json.dumps(fields.lay_out(pairs, seed).record()))
    task = Seen({"enhancement": pairs, "layout": layout}, spec, seed, torch.device("cpu"))
    task.learnt = task.learnt + (more or [])
    with tempfile.TemporaryDirectory() as folder:
        train(task, Path(folder))
        return Enhancer.load(Path(folder) / "network.safetensors"), task


def shown(title: str, rows: list[dict], pairs: list[tuple[str, str]]) -> None:
    """Print the means of methods, and how far the first of each pair is ahead of the second."""
    table = pd.DataFrame(rows).groupby(["mosaic", "field"]).mean(numeric_only=True)
    print(f"{title}, {len(table)} fields")
    for name in table:
        print(f"  {name}: {table[name].mean():.2f} dB")
    for one, other in pairs:
        for to in ("target", "truth"):
            found = mean_of(table[f"{one}, to {to}"] - table[f"{other}, to {to}"])
            print(f"  {one} - {other}, to {to}: {found.words(2)} dB", flush=True)


def scored(place: Place, field: Field, made: dict[str, np.ndarray]) -> dict:
    found: dict = {"mosaic": place.mosaic, "field": place.name}
    for name, picture in made.items():
        for to, other in (("target", field.high), ("truth", field.truth)):
            found[f"{name}, to {to}"] = scores.against(picture, other)["PSNR"]
    return found


def labels(samples: int, seeds: int) -> None:
    for count in LABELLED:
        rows = []
        for seed in range(seeds):
            pairs, spec = study(samples, fields=count)
            teacher, task = taught(pairs, spec, seed, lambda _, field: field)
            known = set(task.learnt + task.judges)
            alone = [place for place in task.layout.train if place not in known]

            def see(place: Place, field: Field, teacher=teacher, alone=frozenset(alone)) -> Field:
                if place not in alone:
                    return field
                return Field(field.low, teacher.apply(field.low, *statistics(field.low)))

            again = task.learnt * (len(alone) // len(task.learnt) - 1)
            student, _ = taught(pairs, spec, seed, see, alone + again)
            longer, _ = taught(pairs, spec | {"samples": 2 * samples}, seed, lambda _, field: field)
            known_as = {"teacher": teacher, "student": student, "teacher for longer": longer}
            for place in task.layout.test:
                field = fields.read(pairs, task.layout, place, seed)
                own = statistics(field.low)
                made = {name: one.apply(field.low, *own) for name, one in known_as.items()}
                rows.append(scored(place, field, made) | {"mosaic": f"{seed}/{place.mosaic}"})
        title = f"{count} fields with targets of {len(task.layout.train)}, {seeds} seeds"
        shown(title, rows, [("student", "teacher for longer")])


def larger(picture: np.ndarray) -> np.ndarray:
    """A picture of pixels twice as large."""
    h, w = picture.shape
    return picture.reshape(h // 2, 2, w // 2, 2).mean((1, 3))


def smaller(picture: np.ndarray) -> np.ndarray:
    """Brought back to small pixels by a cubic spline, in its place."""
    return ndimage.zoom(picture, 2, order=3, mode="nearest", grid_mode=True)


def pixels(samples: int, seeds: int) -> None:
    for width in FWHM_PX:
        rows = []
        for seed in range(seeds):
            pairs, spec = study(samples, blur_fwhm_px=width)
            fine, task = taught(
                pairs,
                spec,
                seed,
                lambda _, field: Field(smaller(larger(field.low)), field.high),
            )
            coarse, _ = taught(
                pairs,
                spec | {"patch_px": 32, "batch": 4 * spec["batch"], "samples": 4 * samples},
                seed,
                lambda _, field: Field(larger(field.low), larger(field.high)),
            )
            gaussian = FILTERS["gaussian"]
            known = [fields.read(pairs, task.layout, place, seed) for place in task.layout.train]
            errors = gaussian.fit([(smaller(larger(one.low)), one.high) for one in known], Camera())
            best = min(errors, key=lambda sigma: errors[sigma])
            for place in task.layout.test:
                field = fields.read(pairs, task.layout, place, seed)
                low = larger(field.low)
                wide = smaller(low)
                made = {
                    "spline": wide,
                    "Gaussian": gaussian.apply(wide, best, Camera()),
                    "network, then spline": smaller(coarse.apply(low, *statistics(low))),
                    "spline, then network": fine.apply(wide, *statistics(wide)),
                    "truth of large pixels, splined": smaller(larger(field.truth)),
                }
                rows.append(scored(place, field, made) | {"mosaic": f"{seed}/{place.mosaic}"})
        asked = [
            ("spline, then network", "network, then spline"),
            ("spline, then network", "Gaussian"),
        ]
        shown(f"PSF of {width:g} px, {seeds} seeds", rows, asked)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["labels", "pixels"])
    parser.add_argument("--samples", type=int, default=6400, help="squares of each training")
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    {"labels": labels, "pixels": pixels}[asked.part](asked.samples, asked.seeds)
