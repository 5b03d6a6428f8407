"""A gain that a picture tells is right, one that it does not tell unknown, and one that cannot be is refused."""

import re

import numpy as np
import pytest
from isoplan.base.errors import UserError
from isoplan.mosaic.measure import measure
from isoplan.objects.pictures import load_picture
from isoplan.optics.camera_facts import check_background, check_camera_of, complete_camera
from isoplan.restoration.in_memory import Counts
from scipy.ndimage import gaussian_filter

SIDE = 384
RNG = np.random.default_rng(0)
GRAIN = RNG.normal(size=(SIDE, SIDE))
HILLS = gaussian_filter(RNG.normal(size=(SIDE, SIDE)), 25)
HILLS = 0.1 + 0.9 * (HILLS - HILLS.min()) / np.ptp(HILLS)
DIAGONAL = np.add(*np.mgrid[:SIDE, :SIDE])


def soft(name: str, sigma_px: float = 1.2) -> np.ndarray:
    picture = gaussian_filter(load_picture(name).astype(float)[:SIDE, :SIDE], sigma_px)
    return picture / picture.max()


def points(number: int, ground: float) -> np.ndarray:
    places = np.zeros((SIDE, SIDE))
    places[tuple(np.random.default_rng(1).integers(0, SIDE, (2, number)))] = 1
    return ground + gaussian_filter(places, 1.5) * 14


def exposed(scene, photons, gain, *, offset=100.0, read_noise_e=2.0) -> np.ndarray:
    rng = np.random.default_rng(2)
    electrons = rng.poisson(photons * scene.clip(0)) + read_noise_e * rng.normal(size=scene.shape)
    return (offset + gain * electrons).round()


def found(picture, **given) -> float | None:
    camera, notes = complete_camera(given, picture)
    if camera["gain"] is None:
        assert camera["read_noise_e"] is None and "gain and read noise are unknown: " in notes[-1]
    return camera["gain"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, ["gain", "read noise"]),
        ({"gain": 0.5}, ["read noise"]),
        ({"read_noise_e": 2}, ["gain"]),
        ({"gain": 0.5, "read_noise_e": 2}, []),
    ],
)
def test_notes_name_only_what_was_not_given(given, named):
    ramp = 0.1 + np.linspace(0, 1, SIDE) * np.ones((SIDE, 1))
    picture = exposed(ramp, 1e3, 0.5)
    camera, notes = complete_camera(given | {"offset": 100}, picture)
    assert camera["gain"] == pytest.approx(0.5, rel=0.1)
    told = notes[0].removeprefix("estimated from the picture: ") if notes else ""
    assert [
        part.rpartition(" ")[0].rpartition(" ")[0] for part in told.split(", ") if part
    ] == named
    _, notes = complete_camera(given | {"offset": 100}, np.full((SIDE, SIDE), 7.0))
    words = f"{' and '.join(named)} {'are' if len(named) > 1 else 'is'} unknown: "
    assert [note.startswith(words) for note in notes] == [True] * bool(named)


@pytest.mark.parametrize(
    ("scene", "photons"),
    [
        (HILLS * (1 + 0.1 * GRAIN), 1e4),
        (HILLS + 0.3 + 0.05 * GRAIN, 1e4),
        (HILLS * (1 + 0.3 * gaussian_filter(GRAIN, 0.7)), 1e4),
        (HILLS * (1 + 0.6 * gaussian_filter(GRAIN, 0.7)), 1e3),
        (HILLS * (1 + 0.5 * np.sin(np.pi * DIAGONAL + 0.3)), 1e3),
        (HILLS * (1 + 0.5 * np.sin(2 * np.pi * DIAGONAL / 3 + 0.3)), 1e3),
        (HILLS * (GRAIN > 1.3) + 0.05, 1e3),
        (0.5 + 0.05 * GRAIN, 1e4),
        (load_picture("grass.png").astype(float)[:SIDE, :SIDE], 1e4),
    ],
    ids=(
        "grain",
        "even grain",
        "1 px grain",
        "weak 1 px grain",
        "checks",
        "stripes",
        "dots",
        "flat grain",
        "grass",
    ),
)
@pytest.mark.parametrize("gain", [0.2, 2.0])
def test_of_fine_texture_the_gain_is_unknown(scene, photons, gain):
    """What came out was 0, or too large by a factor of 4 to 1000."""
    assert found(exposed(scene, photons, gain), offset=100.0) is None


def test_noise_that_light_does_not_make_tells_no_gain():
    picture = exposed(0 * HILLS, 1.0, 1.0, read_noise_e=5.0) + (500 * HILLS).round()
    assert found(picture, offset=100.0) is None


def test_more_electrons_than_a_pixel_holds_or_too_few_are_no_gain():
    electrons = 1e8 * HILLS
    counts = 1e-3 * (electrons + np.sqrt(electrons) * GRAIN)
    camera, notes = complete_camera({"offset": 0.0}, counts)
    assert camera["gain"] is None and "would hold 7.7e+07 electrons" in notes[-1]
    # The same with a hundredth of the electrons can be: it is a gain of .1.
    counts = 1e-3 * (electrons + 10 * np.sqrt(electrons) * GRAIN)
    assert found(counts, offset=0.0) == pytest.approx(0.1, rel=0.1)
    few = 100 * (3 * HILLS + 2.5 * np.sqrt(3 * HILLS) * GRAIN)
    assert "would hold 3" in complete_camera({"offset": 0.0}, few)[1][-1]


def test_less_noise_than_rounding_makes_tells_no_gain():
    counts = 60 * HILLS + 0.05 * np.sqrt(HILLS) * GRAIN
    assert found(counts, offset=0.0) is not None
    assert found(counts.round(), offset=0.0) is None


@pytest.mark.parametrize("photons", [1e2, 1e3, 1e4])
@pytest.mark.parametrize("name", ["retina.jpg", "camera.png", "coins.png", "ihc.png", "gravel.png"])
@pytest.mark.parametrize("told", [100.0, None], ids=("offset", "no offset"))
def test_of_soft_pictures_the_gain_is_known(name, photons, told):
    """Without the offset, too: a line that had to end there was up to 25 times too flat."""
    gain = found(exposed(soft(name), photons, 1.0), offset=told)
    assert gain == pytest.approx(1, rel=0.25 if name in ("gravel.png", "ihc.png") else 0.12)


@pytest.mark.parametrize(
    ("scene", "photons"),
    [
        (HILLS, 1e3),
        (0.3 * HILLS + 0.7, 1e4),
        (HILLS * (1 + 0.5 * np.sin(np.pi * np.arange(SIDE) + 0.3)), 1e3),
        (points(3000, 0.02), 1e3),
        (load_picture("camera.png").astype(float)[:SIDE, :SIDE], 1e3),
    ],
    ids=("smooth", "little contrast", "stripes along the rows", "beads", "sharp"),
)
@pytest.mark.parametrize("gain", [0.2, 2.0])
def test_other_pictures_keep_their_gain(scene, photons, gain):
    assert found(exposed(scene, photons, gain), offset=100.0) == pytest.approx(gain, rel=0.25)


@pytest.mark.parametrize(("number", "bright"), [(1000, 0.1), (3000, 0.05), (3000, 0.1)])
def test_sharp_detail_on_a_bright_ground_is_no_noise(number, bright):
    """Points as fine as pixels made the gain of 2 come out as 32 to 96."""
    places = np.zeros((SIDE, SIDE))
    places[tuple(np.random.default_rng(1).integers(0, SIDE, (2, number)))] = 1
    scene = 0.3 + 3 * bright * gaussian_filter(places, 0.6) * HILLS
    assert found(exposed(scene, 1e4, 2.0), offset=100.0) == pytest.approx(2, rel=0.12)


@pytest.mark.parametrize("read_noise_e", [0.0, 2.0, 10.0])
def test_an_evenly_bright_picture_tells_its_gain_by_its_noise(read_noise_e):
    """Where the offset is known; read noise of 10 electrons counts as a hundred photons of 3000."""
    picture = exposed(0.98 + 0.02 * HILLS, 3e3, 2.0, read_noise_e=read_noise_e)
    assert found(picture, offset=100.0) == pytest.approx(2, rel=0.06)
    for untold in (None, 0.0):
        assert found(picture, offset=untold) is None


def test_a_gain_that_is_given_stays_where_none_can_be_told():
    picture = exposed(HILLS * (1 + 0.1 * GRAIN), 1e4, 2.0)
    camera, _ = complete_camera({"offset": 100.0, "gain": 2.0}, picture)
    assert camera["gain"] == 2 and camera["gain_given"] and camera["read_noise_e"] is not None


# What is told and cannot be ---------------------------------------------------------------------


def looked_at(picture, **given) -> list[str]:
    """Notes on a picture and the camera that is told."""
    camera, _ = complete_camera({"offset": 0.0, "read_noise_e": 2.0} | given, picture)
    mosaic = Counts(picture.astype(np.float32))
    return check_camera_of(measure(mosaic, offset=camera["offset"]) | camera, "a.tif")


BRIGHT = exposed(HILLS, 900, 1.0)  # from 170 to 1060 counts, the mean 550
SPARSE = exposed(points(20, 0.0), 300, 1.0)
TAKEN_OFF = exposed(points(900, 0.03), 900, 1.0) - 160  # the ground at -33


@pytest.mark.parametrize(
    "picture",
    [BRIGHT, SPARSE, exposed(0 * HILLS, 1.0, 1.0), exposed(points(5, 0.0), 20, 0.2), SPARSE - 100],
    ids=("bright", "sparse", "no light", "no light, rounded", "offset taken off"),
)
def test_a_camera_that_is_told_right_is_taken(picture):
    """Of dark pictures half of the pixels lie below the offset, by noise alone."""
    offset = 0.0 if picture.min() < 50 else 100.0
    assert looked_at(picture, offset=offset) == looked_at(picture, offset=offset, gain=0.2) == []


@pytest.mark.parametrize(
    ("picture", "offset", "words"),
    [
        (BRIGHT, 400.0, None),
        (
            BRIGHT,
            540.0,
            r"22 % of the picture lies below the offset of 540 counts by more than noise",
        ),
        (
            BRIGHT,
            560.0,
            "a.tif: no light is left above the offset of 560 counts, as the mean is 550",
        ),
        (BRIGHT, 5000.0, "a.tif: no light is left above the offset of 5000 counts"),
        (SPARSE, 104.0, None),
        (
            SPARSE,
            108.0,
            "a.tif: no light is left above the offset of 108 counts, as the mean is 100.6",
        ),
        (TAKEN_OFF, 0.0, "65 % of the picture lies below the offset of 0 counts"),
        (TAKEN_OFF, -80.0, None),
    ],
)
def test_an_offset_above_the_picture_is_refused_or_told(picture, offset, words):
    if words and words.startswith("a.tif"):
        with pytest.raises(UserError, match=words):
            looked_at(picture, offset=offset)
    elif words:
        (note,) = looked_at(picture, offset=offset)
        assert re.match(words, note)
    else:
        assert looked_at(picture, offset=offset) == []


@pytest.mark.parametrize(
    ("gain", "held"),
    [(4e-5, "2.2e+07"), (2.9e-4, "3e+06"), (3e-4, None), (1, None), (1900, None), (3000, "0.32")],
)
def test_a_gain_that_no_camera_has_is_refused(gain, held):
    if held is None:
        assert looked_at(BRIGHT, offset=100.0, gain=gain) == []
        return
    with pytest.raises(UserError) as error:
        looked_at(BRIGHT, offset=100.0, gain=gain)
    assert f"a.tif: with a gain of {gain:g}" in str(error.value) and held in str(error.value)


def test_a_picture_without_contrast_is_not_judged():
    assert looked_at(np.full((64, 64), 7.0), offset=100.0, gain=1.0) == []


def test_a_background_above_all_light_is_refused():
    facts = measure(Counts(BRIGHT.astype(np.float32)), offset=100.0) | {"offset": 100.0}
    for background in (0, "auto", 300):
        check_background(facts, background, "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: no light is left above the background of 1e\+06"):
        check_background(facts, 1e6, "a.tif")


@pytest.mark.parametrize(("read_noise_e", "told"), [(0.0, False), (1.5, False), (300.0, True)])
@pytest.mark.parametrize("gain", [1.0, None])
def test_more_read_noise_than_there_is_noise_is_told(read_noise_e, gain, told):
    given = {"offset": 100.0, "gain": gain, "read_noise_e": read_noise_e}
    _, notes = complete_camera(given, exposed(HILLS, 900, 1.5))
    assert any("CAUTION: read noise 300 e is" in note for note in notes) == told
