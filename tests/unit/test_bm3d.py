"""BM3D, an extra, which has an environment of its own here: noise falls, and a study without it is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from extras import LIBRARY, environment
from isoplan.applications.enhancement import filters
from isoplan.base.errors import UserError
from isoplan.config import named_files
from isoplan.config.validation import validate

STUDY = {"enhancements": [{"name": "a", "methods": ["gaussian", "bm3d-stabilised"]}]}

FIELD = """
import json
import numpy as np
from isoplan.applications.enhancement.filters import FILTERS, Camera, choose
from isoplan.applications.enhancement.scores import error
from scipy import ndimage

rng = np.random.default_rng(0)
light = ndimage.gaussian_filter(rng.random((70, 53)), 3)
light = 30 * (light - light.min()) / np.ptp(light) + 2
camera = Camera(2.0, 10.0, 0.5)
counts = 2 * (rng.poisson(light) + 0.5 * rng.standard_normal(light.shape)) + 10
truth = 2 * light + 10
made = {}
for name in ("bm3d-stabilised", "nlm-stabilised"):
    setting = choose(name, [(counts, truth)], camera)["setting"]
    made[name] = FILTERS[name].apply(counts, setting, camera)
again = FILTERS["bm3d-stabilised"].apply(counts, 1.0, camera)
same = np.array_equal(again, FILTERS["bm3d-stabilised"].apply(counts, 1.0, camera))
flat = FILTERS["bm3d-stabilised"].apply(np.full((32, 32), 70.0), 1.0, camera)
found = {
    "errors": {name: error(picture, truth) for name, picture in made.items()},
    "input": error(counts, truth),
    "shape": again.shape,
    "same": same,
    "bias": float((again - truth).mean()),
    "flat": float(np.abs(flat - 70).max()),
}
print(json.dumps(found))
"""


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    filters._bm3d.cache_clear()
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(UserError, match=r"needs bm3d.*uv pip install -r envs/requirements-bm3d.txt"):  # fmt: skip
        filters.stable_bm3d(np.ones((32, 32)), 1.0, filters.Camera())


def test_a_study_that_names_it_is_told_before_jobs_start(monkeypatch):
    validate(STUDY)  # elsewhere, on a machine without the extra, it is right
    monkeypatch.setattr(named_files, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"methods\[1\]: bm3d-stabilised needs bm3d, which is not"):
        validate(STUDY, here=True)
    monkeypatch.setattr(named_files, "find_spec", lambda name: name)
    validate(STUDY, here=True)


def test_it_takes_noise_away_beside_the_pins(tmp_path):
    """At least as well as non-local means, the level kept, and the same at every run. It says nothing."""
    python = environment(tmp_path, "requirements-bm3d.txt")
    done = subprocess.run(
        [python, "-c", FIELD],
        cwd=tmp_path,
        env=os.environ | LIBRARY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["shape"] == [70, 53] and found["same"]
    assert found["errors"]["bm3d-stabilised"] < found["errors"]["nlm-stabilised"]
    assert found["errors"]["nlm-stabilised"] < found["input"] / 3
    assert abs(found["bias"]) < 0.5 and found["flat"] < 1
