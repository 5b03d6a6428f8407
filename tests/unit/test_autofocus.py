"""Autofocus: a simulated microscope, its calibration, the search, and what happens if something fails."""

import math

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from isoplan.__main__ import main
from isoplan.applications.autofocus import published, report, search, trials
from isoplan.applications.autofocus.calibration import Calibration, calibrate
from isoplan.applications.autofocus.focus import Finder
from isoplan.applications.autofocus.measures import MEASURES
from isoplan.applications.autofocus.simulated import Simulated
from isoplan.applications.autofocus.stage import Guarded, StageError, opened
from isoplan.applications.autofocus.summary import scores, summary
from isoplan.base.errors import UserError
from isoplan.cli.outputs import sealed_json
from isoplan.config.validation import validate
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX
from isoplan.report.results import Study

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


def test_the_interval_knows_of_a_stage_that_stops_elsewhere(leaves, finder):
    def half_um(noise: float, seed: int) -> float:
        scope = Guarded(Simulated(leaves, TRUE, 3.0, noise_um=noise, seed=seed), (-60, 60))
        return search.autofocus(scope, finder, pictures=5).focus.half_width_um

    steady, noisy = (sum(half_um(noise, seed) for seed in range(3)) for noise in (0.0, 1.0))
    assert noisy > 1.4 * steady


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


def test_a_limit_between_two_pictures_and_focus_is_no_end(leaves, finder):
    """The first pictures see too little, the limits are taken: it looks at what lies between."""
    guarded = Guarded(Simulated(leaves, TRUE, 47.0, photons=300), (-55, 55))
    found = search.autofocus(guarded, finder, pictures=6)
    assert found.focus.known and abs(found.focus.z_um - 47) < 1


def test_empty_parts_of_a_region_do_not_lead_far_away(finder):
    """Noise alone is not taken for a scene that is so far from focus that all pictures show the same."""
    sharp = scene("filaments").clone()
    sharp[:, : MARGIN_PX + SIDE // 2] = (
        sharp.quantile(0.05) + 0.02 * sharp[:, : MARGIN_PX + SIDE // 2]
    )
    guarded = Guarded(Simulated(sharp, TRUE, 8.0, photons=300), (-60, 60))
    found = search.autofocus(guarded, finder, pictures=8)
    assert found.focus.known and abs(found.focus.z_um - 8) < 1


def test_a_larger_region_sees_farther():
    """A third level takes pixels together by eight, if windows of 1024 px fit."""
    finder = Finder(TRUE, 60)
    flat = np.random.default_rng(3).poisson(100, (1024, 1024))
    for side, levels in ((256, 1), (512, 2), (1024, 3)):
        seen = finder.see(flat[:side, :side], 0.0)
        assert len(seen.spectra) == levels and not any(part.any() for part in seen.told)


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


class Marked:
    """A microscope whose pictures show nothing but the distance from focus."""

    def __init__(self, focus_um: float):
        self.focus_um, self.z = focus_um, 0.0

    def where(self):
        return self.z

    def move(self, z_um):
        self.z = z_um

    def snap(self):
        return np.array([[self.z - self.focus_um, 1e3]])  # of one value none is taken


def curved(picture: np.ndarray) -> float:
    return float(published.moffat(picture[0, 0], 3.0, 15.0, 1.0, 4.0))


@pytest.mark.parametrize("focus", [-31.0, 4.0, 22.5])
def test_the_published_search_finds_focus(focus):
    curve = published.Curve((3.0, 15.0, 1.0, 4.0))
    found = published.triplet(Guarded(Marked(focus), (-64, 64)), curved, curve, 8)
    assert len(found) == 8 and abs(found[-1] - focus) < 0.1
    assert published.triplet(Guarded(Marked(3.0), (-64, 64)), curved, curve, 3)[
        -1
    ] == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("method", [published.golden_section, published.brent])
def test_searches_of_scores_close_in(method):
    found = method(Guarded(Marked(22.5), (-64, 64)), curved, 14)
    apart = np.abs(np.array(found) - 22.5)
    assert len(found) == 14 and apart[-1] < 1 and (np.diff(apart) <= 1e-9).all()


def test_measures_are_highest_in_focus(leaves):
    near, far = (Simulated(leaves, TRUE, at, photons=1e5).snap() for at in (0.0, 25.0))
    for name, measure in MEASURES.items():
        assert measure(near) > measure(far), name


def study_of(tmp_path, wrong=0.1):
    """A finished study of one test, from made-up figures."""
    study = validate({"study": "s", "mosaics": None, "autofocus_tests": [{"name": "t"}]})
    values = {"half_width_um": 0.5, "known": 1.0, "seconds": 0.1}
    rows = pd.DataFrame(
        [
            {"test": "t", "trial": k, "object": k, "start_um": 3.0, "method": method, "pictures": n}
            | values
            | {"error_um": error + 0.01 * k}
            for k in range(3)
            for method, error in (("fit", wrong), ("tenengrad", 4.0))
            for n in (3, 4)
        ]
    )
    z = np.linspace(-60, 60, 13)
    curves = pd.DataFrame(
        [
            ("t", m, k, at, 1 - abs(at) / 60)
            for m in ("fit", "tenengrad")
            for k in (0, 1)
            for at in z
        ],
        columns=trials.CURVES,
    )
    depths = {"t": 5.0}
    tables = {"autofocus.csv": rows, "autofocus_summary.csv": summary(rows, depths)}
    tables |= {"autofocus_curves.csv": curves, "autofocus_scores.csv": scores(curves, depths)}
    empty = {"mosaics": [], "networks": [], "maps": {}, "true_maps": {}}
    return Study(
        folder=tmp_path,
        config=study,
        config_text="",
        tables=tables,
        benchmarks=pd.DataFrame(),
        **empty,
    )


def test_the_report_says_how_near_focus_is(tmp_path):
    study = study_of(tmp_path)
    score = report.score(study)
    assert score is not None and "within 0.11 µm after 3 pictures" in score.headline
    _, part = report.parts(study)
    assert part.title == "t" and len(part.figures) == 2 and len(part.tables) == 2
    for figure in part.figures:
        figure.draw()
    assert report.cautions(study) == []


def test_the_report_warns_of_a_fit_that_is_wrong(tmp_path):
    texts = [caution.text for caution in report.cautions(study_of(tmp_path, wrong=9.0))]
    assert len(texts) == 4 and "without knowing in 100 %" in texts[0]
    assert "Tenengrad is nearer" in texts[1]


def test_a_range_must_hold_the_starts():
    test = {"name": "t", "start_depths": 20, "networks": []}
    with pytest.raises(UserError, match=r"20 away"):
        validate({"study": "s", "mosaics": None, "autofocus_tests": [test]})
