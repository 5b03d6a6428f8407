"""How many steps of Richardson-Lucy restore the mean of frames best: five minutes of one core.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/fluctuation_steps.py

prints PSNR in dB, as the mean over two sequences of each kind. `baselines.STEPS` is what users get where nothing fluctuates, so
it is judged on static frames, dim and few ones beside bright and many.
"""

import numpy as np
from isoplan.applications.fluctuation import baselines, scores, superresolution, trials
from isoplan.applications.fluctuation.formation import Formation
from isoplan.config.validation import validate

STILL = {"off_frames": 0, "bleaching_frames": 1e9, "photons": 33}
KINDS = {
    "static": STILL,
    "static, 50 frames": STILL | {"frames": 50},
    "static, 50 frames, dim": STILL | {"frames": 50, "photons": 5},
    "static, background 100": STILL | {"background_e": 100},
    "static, dense": STILL | {"density_per_um": 160},
    "static, rings": STILL | {"structure": "rings", "density_per_um": 80},
    "static, PSF told 10 % too wide": STILL | {"wrong_fwhm": 1.1},
    "blinking": {},
    "blinking, 100 frames": {"frames": 100},
}
TRIED = (30, 50, 100, 200, 300, 500)
SEQUENCES = 2


def found(keys: dict) -> np.ndarray:
    """(SEQUENCES, TRIED) PSNR of the deconvolved mean."""
    study = validate({"fluctuation_tests": [{"name": "test"} | keys]})
    trial = trials.Trial(study["fluctuation_tests"][0], study["seed"])
    rows = []
    for number in range(SEQUENCES):
        sequence = trial.sequence(number)
        scene = trial.scene(sequence)
        shape = scene.frames.shape
        electrons = superresolution.electrons_of(
            scene.frames, tuple(slice(0, n) for n in shape), scene.settings
        )
        factor = trial.test["factor"]
        psi = Formation.of(shape, scene.settings.psf, factor=factor, border=4)
        pictures = [
            psi.inner(superresolution.by_mean(electrons, psi, scene.settings, steps)[1])
            for steps in TRIED
        ]
        rows.append([scores.psnr(p, sequence.truth, pixel_nm=trial.fine_nm) for p in pictures])
    return np.array(rows)


def main():
    print(f"{'':32}", *(f"{steps:6d}" for steps in TRIED))
    for name, keys in KINDS.items():
        print(f"{name:32}", *(f"{value:6.2f}" for value in found(keys).mean(0)), flush=True)
    print(f"users get {baselines.STEPS}")


if __name__ == "__main__":
    main()
