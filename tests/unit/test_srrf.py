"""SRRF and eSRRF of nanopyx, an extra, which has an environment of its own here: places, shapes, nanopyx's own values."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from extras import LIBRARY, environment
from isoplan.applications.fluctuation import srrf
from isoplan.base.errors import UserError
from isoplan.config import named_files, yamlmarks
from isoplan.config.validation import validate

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "config/studies/fluctuation.srrf.yaml"

POINT = """
import contextlib, io, json, warnings
import numpy as np
from isoplan.applications.fluctuation import methods, srrf
from isoplan.applications.fluctuation.formation import Formation, Psf
from isoplan.applications.fluctuation.trials import Trial
from isoplan.config.validation import validate
from scipy import ndimage

found = {"places": {}, "apart": {}, "units": {}}
rng = np.random.default_rng(0)
psi = Formation.of((20, 18), Psf(2.59), factor=4, border=0)
x = np.zeros(psi.fine_shape)
x[41, 30] = 2000
on = np.repeat(rng.random(10) < 0.4, 4)[:, None, None]
frames = rng.poisson(on * psi.forward(x) + 20).astype(np.float32)
for kind, chosen in srrf.CHOSEN.items():
    for order in (1, 2):
        made = srrf.picture(frames, factor=4, kind=kind, **chosen | {"order": order})
        assert made.shape == (80, 72) and made.dtype == np.float32
        bright = np.where(made > made.max() / 2, made, 0)
        found["places"][f"{kind} {order}"] = ndimage.center_of_mass(bright)

test = {"name": "a", "size_px": 16, "frames": 60, "factor": 2, "seeds": 1}
trial = Trial(validate({"fluctuation_tests": [test]})["fluctuation_tests"][0], 0)
scene = trial.scene(trial.sequence(0))
for kind in srrf.CHOSEN:
    made = methods.apply(kind, scene, None)
    found["units"][kind] = [made.picture.shape, float(made.picture.min()), made.emission]

# nanopyx's whole functions, with which it talks.
with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
    from nanopyx.methods import SRRF, eSRRF
    few, border = frames[:10], srrf.BORDER_PX
    wide = np.pad(few, ((0, 0), (border,) * 2, (border,) * 2), mode="reflect")
    same = {"magnification": 4, "macro_pixel_correction": False, "_force_run_type": "threaded"}
    theirs = {
        "srrf": np.mean(SRRF(wide, ringRadius=1.0, **same), axis=0),
        "esrrf": eSRRF(wide, radius=1.5, sensitivity=2, temporal_correlation="TAC2", **same),
    }
inner = (slice(4 * border, -4 * border),) * 2
light = srrf.light(few, 4, 0.0)
for kind, radius, power, order in (("srrf", 1.0, 1, 1), ("esrrf", 1.5, 2, 2)):
    maps = srrf.convergence(few, 4, kind=kind, radius_px=radius) ** power * light
    apart = np.abs(srrf.joined(maps, order) - theirs[kind][inner]).max()
    found["apart"][kind] = float(apart / theirs[kind].max())
print(json.dumps(found))
"""


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    srrf._nanopyx.cache_clear()
    monkeypatch.setitem(sys.modules, "nanopyx", None)
    monkeypatch.setitem(sys.modules, "nanopyx.core.transform", None)
    frames = np.ones((60, 16, 16), np.float32)
    for kind, chosen in srrf.CHOSEN.items():
        with pytest.raises(UserError, match=r"need nanopyx.*uv pip install -r envs/requirements-srrf.txt"):  # fmt: skip
            srrf.picture(frames, factor=2, kind=kind, **chosen)


def test_a_study_that_names_it_is_told_before_jobs_start(monkeypatch):
    study = yamlmarks.read(STUDY)
    validate(study, [str(STUDY)])  # elsewhere, on a machine without the extra, it is right
    monkeypatch.setattr(named_files, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        validate(study, [str(STUDY)], here=True)
    lines = str(error.value).splitlines()
    assert len(lines) == 4 and all("nanopyx, which is not installed" in line for line in lines)
    assert "fluctuation.srrf.yaml:" in lines[0] and "methods[3]: srrf needs" in lines[0]
    monkeypatch.setattr(named_files, "find_spec", lambda name: name)
    validate(study, [str(STUDY)], here=True)


def test_a_point_comes_out_at_its_place_and_values_are_nanopyx_s_own(tmp_path):
    """Beside the numpy of the pins. It says nothing, and leaves nothing in the home folder."""
    python = environment(tmp_path, "requirements-srrf.txt", alone=False)
    home = tmp_path / "home"
    home.mkdir()
    own = LIBRARY | {"HOME": str(home)}
    done = subprocess.run(
        [python, "-c", POINT], cwd=tmp_path, env=os.environ | own, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    found = json.loads(done.stdout)
    for place in found["places"].values():
        assert place == pytest.approx((41, 30), abs=0.3)
    assert max(found["apart"].values()) < 1e-5
    for shape, least, emission in found["units"].values():
        assert shape == [32, 32] and least >= 0 and emission is False
    assert not {".nanopyx", ".liquid_engine"} & {path.name for path in home.iterdir()}
