"""Autofocus: a simulated microscope, its calibration, the search, and what happens if something fails."""

import math

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from isoplan.__main__ import main
from isoplan.applications.autofocus import search
from isoplan.applications.autofocus.calibration import Calibration, calibrate
from isoplan.applications.autofocus.focus import Finder
from isoplan.applications.autofocus.simulated import Simulated
from isoplan.applications.autofocus.stage import Guarded, StageError, opened
from isoplan.base.errors import UserError
from isoplan.cli.outputs import sealed_json
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX

TRUE = Defocus(0.3, 0.48, 0.32, spherical_waves=0.05, softness_um=0.25)
PLAIN = Defocus(0.3, 0.48, 0.32)
SIDE = 384


def scene(kind: str, number: int = 0) -> torch.Tensor:
    spec = {"name": kind, "kinds": [kind], "zoom": [0.6, 1.6], "reduce": 1}
    side = SIDE + 2 * MARGIN_PX
    return draw_scenes(spec, 1, side, seed=4, stream="autofocus", first=number)[0]


@pytest.fixture(scope="module")
def leaves() -> torch.Tensor:
    return scene("dead-leaves")


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder(TRUE, 60)


def slices(sharp, z_um, focus_um):
    scope = Simulated(sharp, TRUE, focus_um, limits_um=(min(z_um), max(z_um)))
    for z in z_um:
        scope.move(float(z))
        yield scope.snap()


@pytest.mark.parametrize("start", [-40, 9, 26])
def test_focus_is_found_with_three_pictures(leaves, finder, start):
    scope = Simulated(leaves, TRUE, 3.0, noise_um=0.1, backlash_um=0.5, drift_um=0.02)
    scope = Simulated(**vars_of(scope) | {"bleaching": 0.03, "exposure_noise": 0.02})
    scope.move(start)
    guarded = Guarded(scope, (-60, 60), backlash_um=2)
    found = search.autofocus(guarded, finder, pictures=3)
    assert found.focus.known and len(found.z_um) == 3
    # Backlash leaves the stage behind, by half of it.
    assert abs(found.focus.z_um - 3.25) < 0.6 and guarded.where() == found.focus.z_um
    assert found.focus.half_width_um < 1


def vars_of(scope: Simulated) -> dict:
    names = ("scene", "optics", "focus_um", "noise_um", "backlash_um", "drift_um")
    return {name: getattr(scope, name) for name in names}


def test_it_stops_when_it_is_sure(leaves, finder):
    scope = Guarded(Simulated(leaves, TRUE, 3.0), (-60, 60))
    found = search.autofocus(scope, finder, pictures=9, enough_um=0.5)
    assert len(found.z_um) == search.LEAST_PICTURES


def test_empty_ground_is_not_in_focus_anywhere(finder):
    """The stage is sent back, and never left the limits."""
    empty = torch.full((SIDE + 2 * MARGIN_PX,) * 2, 0.5)
    scope = Simulated(empty, TRUE, 3.0)
    scope.move(10)
    guarded = Guarded(scope, (0, 20))
    found = search.autofocus(guarded, finder, pictures=4)
    assert not found.focus.known and "no picture has texture" in found.focus.why
    assert guarded.where() == 10 and all(0 <= z <= 20 for z in found.z_um)


def test_focus_beyond_the_limits_is_not_claimed(leaves, finder):
    for focus in (-30.0, 12.0, 30.0):
        guarded = Guarded(Simulated(leaves, TRUE, focus), (-10, 10))
        found = search.autofocus(guarded, finder, pictures=4)
        assert "beyond the limits" in found.focus.why and guarded.where() == 0


def test_a_microscope_that_fails_is_sent_back(leaves, finder):
    class Failing(Simulated):
        def snap(self):
            if self.taken == 1:
                raise OSError("no light")
            return super().snap()

    scope = Failing(leaves, TRUE, 3.0)
    scope.move(20)
    with pytest.raises(StageError, match=r"failed to take a picture: no light"):
        search.autofocus(Guarded(scope, (-60, 60)), finder)
    assert scope.where() == 20


def test_an_interruption_sends_the_stage_back(leaves, finder):
    scope = Simulated(leaves, TRUE, 3.0)
    scope.move(20)

    def interrupted(focus, z_um):
        if scope.taken == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.autofocus(Guarded(scope, (-60, 60)), finder, said=interrupted)
    assert scope.where() == 20


@pytest.mark.parametrize(
    ("method", "gives", "word"),
    [
        ("snap", np.zeros((4, 4, 3)), "height and width"),
        ("snap", np.full((4, 4), 7), "is there light"),
        ("snap", np.array([[1.0, math.nan]]), "no numbers"),
        ("where", math.nan, "no position"),
        ("where", "here", "no position"),
    ],
)
def test_what_is_no_picture_or_position_is_refused(leaves, method, gives, word):
    scope = Simulated(leaves, TRUE, 3.0)
    setattr(scope, method, lambda: gives)
    with pytest.raises(StageError, match=word):
        getattr(Guarded(scope, (-1, 1)), method)()


def test_the_stage_stays_within_limits(leaves):
    with pytest.raises(StageError, match="beyond the limits"):
        Guarded(Simulated(leaves, TRUE, 3.0), (-1, 1)).move(2)


def test_downward_moves_come_from_below(leaves):
    scope = Simulated(leaves, TRUE, 0.0, backlash_um=1.0)
    guarded = Guarded(scope, (-60, 60), backlash_um=2)
    for z in (5, -5, 3):
        guarded.move(z)
        assert scope.distance_um == z - 0.5


def test_a_region_smaller_than_a_window_is_refused(leaves, finder):
    with pytest.raises(UserError, match="256 a side at least"):
        finder.look(np.ones((100, 300)), 0.0)


def test_a_calibration_finds_the_optics(leaves):
    z = np.arange(-24, 25, 6.0)
    found = calibrate([(z, list(slices(leaves, z, 1.0)))], PLAIN)
    assert abs(found.optics.spherical_waves - 0.05) < 0.02 and found.optics.cylinder_waves < 0.02
    assert abs(found.apart_um[0]) < 0.5


@pytest.mark.parametrize(
    ("z", "word"),
    [
        ([0, 5, 10], "too few"),
        ([0, 5, 15, 10, 20], "rise or fall"),
        ([0, 0.01, 0.02, 0.03, 0.04], "positions are in um"),
    ],
)
def test_wrong_stacks_are_refused(z, word):
    blank = [np.ones((256, 256))] * len(z)
    with pytest.raises(UserError, match=word):
        calibrate([(np.array(z, float), blank)], PLAIN)
    with pytest.raises(UserError, match="no texture"):
        calibrate([(np.arange(0, 50, 10.0), [np.ones((256, 256))] * 5)], PLAIN)


@pytest.fixture
def calibration(tmp_path):
    file = tmp_path / "cal.json"
    file.write_text(sealed_json(Calibration(TRUE, (0.1,), (SIDE, SIDE)).told()))
    return file


def test_a_stack_stands_for_a_microscope(leaves, calibration, tmp_path, capsys):
    z = np.arange(-24, 25, 3.0)
    counts = np.stack(list(slices(leaves, z, 2.0))).astype(np.uint16)
    told = {"imagej": True, "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(tmp_path / "stack.tif", counts, **told)
    (tmp_path / "z.txt").write_text("\n".join(str(at) for at in z))
    command = ["autofocus", str(tmp_path / "stack.tif"), "--z-um", str(tmp_path / "z.txt")]
    command += ["--calibration", str(calibration), "--start-um", "-15"]
    assert main([*command, "-o", str(tmp_path / "out.csv")]) == 0
    assert "in focus at 3.00 um" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "out.csv", comment="#")
    assert abs(rows["focus_um"].iloc[-1] - 2) < 0.5 and rows["z_um"].iloc[0] == -15


def test_a_python_file_drives_a_microscope(tmp_path):
    file = tmp_path / "scope.py"
    file.write_text(
        "class Scope:\n    def where(self): return 1.0\n    def move(self, z_um): pass\n"
        "    def snap(self): return None\nscope = Scope()\nclass Half:\n    def where(self): pass\n"
        "def broken(): raise OSError('no camera')\n"
    )
    for name in ("Scope", "scope"):
        assert opened(f"{file}:{name}").where() == 1.0
    for name, word in (("Half", "has no move, snap"), ("broken", "no camera"), ("x", "has no x")):
        with pytest.raises(StageError, match=word):
            opened(f"{file}:{name}")
    with pytest.raises(StageError, match="cannot be read"):
        opened(f"{tmp_path}/nothing.py:Scope")
