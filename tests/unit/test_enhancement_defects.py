"""Defects of an instrument do to a picture what they say, and are told of pictures that have them alone."""

import numpy as np
import pytest
from isoplan.applications.enhancement import defects
from isoplan.applications.enhancement.defects import Defects, Signs
from isoplan.applications.enhancement.detectors import detector, simulate
from isoplan.base.errors import UserError
from isoplan.config.entries import told as what_is_told
from isoplan.config.validation import validate
from isoplan.restoration.in_memory import Counts
from scipy import ndimage

SHAPE = (512, 512)


def entry(**changes) -> dict:
    given = {"name": "a", "mosaic_px": 64, "field_px": 32, "kinds": ["filaments"], **changes}
    return validate({"enhancements": [given]})["enhancements"][0]


def light(shape=SHAPE, seed: int = 0, width: float = 2.0) -> np.ndarray:
    """Structures of light, a few pixels wide."""
    noise = np.random.default_rng(seed).normal(size=shape)
    blurred = ndimage.gaussian_filter(noise, width, mode="wrap")
    return 60 * np.exp(blurred / (2 * blurred.std()))


def seen(made: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(made).astype(np.float32)


def sampled(seen: np.ndarray, **keys) -> np.ndarray:
    return Defects(**keys).light(seen, 3.0, np.random.default_rng(0))


def said(counts: np.ndarray) -> list[str]:
    return defects.cautions(Signs.of(Counts(counts)))


def test_none_changes_nothing():
    made = light((40, 50))
    assert np.array_equal(sampled(made), made)
    assert np.array_equal(Defects(line_step=1).stored(made, False), made.astype(np.float32))


def test_every_second_line_is_shifted():
    made = light((64, 128))
    found = sampled(made, shear_px=1.5)
    assert np.array_equal(found[::2], made[::2])
    # A half pixel lies between its neighbours.
    whole = sampled(sampled(made, shear_px=1.5), shear_px=1.5)
    rest = (whole - np.roll(made, 3, axis=1))[1::2, 16:-16]
    assert rest.std() < 0.02 * made.std()


def test_lines_that_are_not_scanned_are_interpolated():
    counts = np.arange(7)[:, None] ** 2 * np.ones((7, 3))
    found = Defects(line_step=3).stored(counts, False)[:, 0]
    assert found == pytest.approx([0, 3, 6, 9, 18, 27, 36])
    # A bidirectional scan turns back after every scanned line.
    back = sampled(np.eye(12), shear_px=2, line_step=2)
    assert [int(back[line].argmax()) for line in (2, 4, 6, 8)] == [4, 4, 8, 8]


def test_oil_keeps_the_light_and_lowers_the_contrast():
    made = light((256, 256))
    little, much = (sampled(made, oil=share) for share in (0.2, 0.6))
    assert little.mean() == pytest.approx(made.mean(), rel=0.02)
    assert made.std() > 1.1 * little.std() > 1.3 * much.std()


def test_a_tilt_blurs_one_side():
    found = Defects(tilt=12).light(light(), 3.0, np.random.default_rng(0))
    rest = np.abs(np.diff(found, axis=1))
    edges = [part.mean() for part in (rest[:64], rest[-64:], rest[:, :64], rest[:, -64:])]
    assert max(edges) > 1.7 * min(edges)
    corners = [found[:9, :9], found[:9, -9:], found[-9:, :9], found[-9:, -9:]]
    same = [np.allclose(a, b) for a, b in zip(corners, _corners(light()), strict=True)]
    assert sum(same) <= 1


def _corners(made: np.ndarray) -> list[np.ndarray]:
    return [made[:9, :9], made[:9, -9:], made[-9:, :9], made[-9:, -9:]]


def test_bleaching_loses_light_along_the_scan():
    found = sampled(np.ones((5, 3)), bleaching=0.4)
    assert found[:, 1] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6])


KEYS = {"shear_px": 3, "line_step": 2, "oil": 0.5, "tilt": 8, "bleaching": 0.5}


@pytest.mark.parametrize("key", KEYS)
def test_the_input_alone_has_defects(key):
    clean = simulate(entry(), "test", 0, 0)
    one, again = (simulate(entry(defects={key: KEYS[key]}), "test", 0, 0) for _ in range(2))
    assert np.array_equal(one.low, again.low) and not np.array_equal(one.low, clean.low)
    assert np.array_equal(one.high, clean.high) and np.array_equal(one.photons, clean.photons)
    assert one.low.max() <= 255 and np.array_equal(one.low, one.low.round())


def test_entries_without_defects_keep_their_settings():
    study = validate({"enhancements": [{"name": "a"}, {"name": "b", "defects": {"oil": 0.1}}]})
    assert "defects" not in what_is_told(study, "enhancements", "a")
    assert what_is_told(study, "enhancements", "b")["defects"]["oil"] == 0.1
    without = {key: value for key, value in entry().items() if key != "defects"}
    assert np.array_equal(simulate(without, "test", 0, 0).low, simulate(entry(), "test", 0, 0).low)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"oil": 1.5}, "1.5 is out of range"),
        ({"bleaching": -0.1}, "-0.1 is out of range"),
        ({"line_step": 2.5}, "2.5 is not a whole number"),
        ({"shear": 2}, "did you mean shear_px"),
    ],
)
def test_impossible_defects_are_refused(given, words):
    with pytest.raises(UserError, match=words):
        entry(defects=given)


@pytest.mark.parametrize("kind", ["poi", "nuclei", "syn", "filaments"])
def test_clean_pictures_stay_silent(kind):
    own = entry(kinds=[kind], mosaic_px=512)
    for number in range(2):
        assert said(simulate(own, "test", number, 0).low) == []


def test_stripes_and_gradients_stay_silent():
    y, x = np.indices(SHAPE)
    for wave in (x / 9, y / 5, (x + y) / 9, (x - 2 * y) / 11):
        assert said(seen(80 + 70 * np.sin(2 * np.pi * wave))) == []
        assert said(seen(light() + 80 + 70 * np.sin(2 * np.pi * wave))) == []
    for ramp in (y / 512, x / 512, 1 - y / 512):
        assert said(seen(light() + 300 * ramp)) == []  # light without structures
    assert said(seen(light() * (1 - 0.8 * x / 512))) == []  # a specimen that dims across the scan
    assert said(seen(np.full(SHAPE, 20.0))) == []
    assert said(np.zeros(SHAPE)) == []
    assert said(seen(light((20, 30)))) == []


@pytest.mark.parametrize("shift", [0.5, 1.8, -6.0])
def test_a_shear_is_measured(shift):
    counts = seen(sampled(light(), shear_px=shift))
    found = defects.shear(Signs.of(Counts(counts)))
    assert found.told and abs(found.value - shift) < max(4 * found.error, 0.1)
    assert said(counts)[0].startswith(f"every second line is shifted by {abs(shift)} px")


def test_a_line_step_is_told():
    for step in (2, 3, 4, 6):
        signs = Signs.of(Counts(Defects(line_step=step).stored(seen(light() / 10), True)))
        assert defects.line_step(signs) == step
    cut = Defects(line_step=4).stored(seen(light()), True)[3:]
    assert said(cut) == [words for words in said(cut) if words.startswith("one line of 4")]
    as_float = Defects(line_step=2).stored(seen(light()) * 0.37, False)
    assert "one line of 2" in said(as_float)[0]
    # Slanted lines that are repeated would look sheared.
    y, x = np.indices((256, 512))
    repeated = np.repeat(seen(80 + 70 * np.sin((x + 3 * y) / 9)), 2, axis=0)
    assert [words[:13] for words in said(repeated)] == ["one line of 2"]


def test_bleaching_is_told_along_the_scan():
    made = seen(sampled(light(), bleaching=0.7))
    found = defects.bleaching(Signs.of(Counts(made)))
    # From the middle of the first eighth to that of the last, as an exponential.
    assert found.told and 0.5 < found.value < 0.8
    assert "bleaching" in said(made)[0] and len(said(made)) == 1
    assert said(made[::-1].copy()) == []  # nothing becomes brighter by it


def test_a_tilt_is_told_and_not_as_bleaching():
    made = seen(sampled(light(), tilt=8))
    assert ["sharpness changes" in words for words in said(made)] == [True]


def test_windows_give_the_whole(monkeypatch):
    made = seen(sampled(light((515, 700)), shear_px=2))
    at_once = defects.shear(Signs.of(Counts(made)))
    monkeypatch.setattr(defects, "BLOCK_PX", 256)
    parts = Signs.of(Counts(made))
    assert defects.shear(parts).value == pytest.approx(at_once.value, abs=0.1)
    monkeypatch.setattr(defects, "BLOCKS", 3)
    assert len(Signs.of(Counts(made)).energy) < len(parts.energy)


def test_missing_pixels_are_left_out():
    made = seen(sampled(light(), shear_px=2))
    made[100:140, 200:420] = np.nan
    assert "shifted by 2.0 px" in said(made)[0]
    assert said(np.full(SHAPE, np.nan)) == []


def test_defects_of_the_simulated_detector_are_told():
    own = entry(mosaic_px=512, photons=400, defects={"shear_px": 2})
    assert "shifted by" in said(simulate(own, "test", 0, 0).low)[0]
    assert detector(own, "low").efficiency == 0.22
