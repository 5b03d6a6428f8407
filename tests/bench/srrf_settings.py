"""How near SRRF and eSRRF come to the truth with other settings: ten minutes of one core.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/srrf_settings.py

prints PSNR in dB on the first sequence of three kinds of filaments. Those of `srrf.CHOSEN` have the highest mean. It wants
nanopyx: envs/requirements-srrf.txt.
"""

from itertools import product

import numpy as np
from isoplan.applications.fluctuation import baselines, scores, srrf, trials
from isoplan.applications.fluctuation.blocks import blocks
from isoplan.config.validation import validate

TESTS = [
    {"name": f"filaments-{density}-{background}", "density_per_um": density}
    | {"background_e": background}
    for density, background in ((10, 100), (40, 20), (160, 20))
]
TRIED = {  # radii in px and sensitivities
    "srrf": ((0.25, 0.5, 1.0), (1,)),
    "esrrf": ((1.0, 1.5, 2.0), (1, 2, 3)),
}
ORDERS = (1, 2)


def found(trial: trials.Trial) -> dict[tuple, float]:
    """PSNR by kind, radius, sensitivity and order."""
    sequence = trial.sequence(0)
    scene, factor = trial.scene(sequence), trial.test["factor"]
    background = baselines.background_of(scene.mean)
    parts = list(blocks(scene.still))
    lights = [srrf.light(part, factor, background) for part in parts]
    made = {}
    for kind, (radii, sensitivities) in TRIED.items():
        for radius in radii:
            pointed = [
                srrf.convergence(part, factor, kind=kind, radius_px=radius) for part in parts
            ]
            for power, order in product(sensitivities, ORDERS):
                each = [
                    len(one) * srrf.joined(one**power * light, order)
                    for one, light in zip(pointed, lights, strict=True)
                ]
                picture = srrf.placed(sum(each), factor, kind=kind, order=order)
                psnr = scores.psnr(picture, sequence.truth, pixel_nm=trial.fine_nm)
                made[kind, radius, power, order] = psnr
    return made


def main():
    study = validate({"fluctuation_tests": TESTS})
    columns = [found(trials.Trial(test, study["seed"])) for test in study["fluctuation_tests"]]
    print("kind   radius  sensitivity  order  ", *(test["name"] for test in TESTS), "mean")
    rows = {key: [column[key] for column in columns] for key in columns[0]}
    for (kind, radius, power, order), values in sorted(
        rows.items(), key=lambda row: (row[0][0], -np.mean(row[1]))
    ):
        told = "  ".join(f"{value:.2f}" for value in (*values, np.mean(values)))
        print(f"{kind:6} {radius:6} {power:12} {order:6}   {told}", flush=True)


if __name__ == "__main__":
    main()
