"""Fields are split by file, pairs registered, and what is no pair refused in one line."""

import numpy as np
import pytest
import tifffile
from isoplan.applications.enhancement import fields
from isoplan.base.errors import UserError
from isoplan.config.validation import validate
from scipy import ndimage

SIZE = 140


def light(number: int) -> np.ndarray:
    noise = np.random.default_rng(number).random((SIZE, SIZE))
    return 1000 * ndimage.gaussian_filter(noise, 3) + 50


def write(folder, name: str, low, high) -> None:
    for part, picture in (("low", low), ("high", high)):
        (folder / part).mkdir(exist_ok=True)
        tifffile.imwrite(folder / part / name, np.asarray(picture, np.uint16))


def entry(folder=None, **changes) -> dict:
    given = {"name": "a", "field_px": 40, "folder": folder and str(folder), **changes}
    return validate({"enhancements": [given]})["enhancements"][0]


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(9)
    for number in range(4):
        seen = light(number)
        write(tmp_path, f"{number}.tif", rng.poisson(seen), rng.poisson(2 * seen))
    return tmp_path


def test_a_file_is_never_split(pairs):
    layout = fields.lay_out(entry(pairs), 0)
    train, test = ({place.mosaic for place in part} for part in (layout.train, layout.test))
    assert len(train) == len(test) == 2 and not train & test
    assert len(layout.train) == len(layout.test) == 2 * 9
    named = fields.lay_out(entry(pairs, test_files=["3.tif"]), 0)
    assert {place.mosaic for place in named.test} == {"3.tif"}
    assert fields.Layout.of(layout.record()) == layout


def test_simulated_mosaics_are_split_too():
    made = entry(mosaic_px=96, train_mosaics=2, test_mosaics=1)
    layout = fields.lay_out(made, 0)
    assert {place.mosaic for place in layout.train} == {"train-0", "train-1"}
    assert len(layout.test) == 4
    field = fields.read(made, layout, layout.test[3], 0)
    assert field.low.shape == field.high.shape == field.truth.shape == (40, 40)


def test_a_shifted_target_is_moved_back(tmp_path):
    for number in range(2):
        seen = light(number)
        moved = ndimage.shift(seen, (2.5, -3), mode="nearest")
        rng = np.random.default_rng(number)
        write(tmp_path, f"{number}.tif", rng.poisson(seen), 20 * moved)
    own = entry(tmp_path)
    layout = fields.lay_out(own, 0)
    for shift in layout.shifts.values():
        assert shift == pytest.approx((2.5, -3), abs=0.15)
    for place in layout.test:
        field = fields.read(own, layout, place, 0)
        assert np.isfinite(field.high).all() and place.x >= 3
        there = (slice(place.y, place.y + 40), slice(place.x, place.x + 40))
        seen = light(int(place.mosaic[0]))[there]
        assert np.corrcoef(seen.ravel(), field.high.ravel())[0, 1] > 0.99


def test_a_pair_in_register_keeps_its_target(pairs):
    own = entry(pairs)
    layout = fields.lay_out(own, 0)
    assert set(layout.shifts.values()) == {(0.0, 0.0)}
    field = fields.read(own, layout, layout.test[0], 0)
    stored = tifffile.imread(pairs / "high" / layout.test[0].mosaic)
    assert np.array_equal(field.high, stored[:40, :40])


def test_slices_are_fields(tmp_path):
    for number in range(2):
        seen = np.array([light(2 * number), light(2 * number + 1)])
        rng = np.random.default_rng(number)
        for part, factor in (("low", 1), ("high", 3)):
            (tmp_path / part).mkdir(exist_ok=True)
            counts = rng.poisson(factor * seen).astype(np.uint16)
            file = tmp_path / part / f"{number}.tif"
            tifffile.imwrite(file, counts, imagej=True, metadata={"axes": "ZYX"})
    layout = fields.lay_out(entry(tmp_path), 0)
    assert {place.plane for place in layout.test} == {0, 1} and len(layout.shifts) == 4


def spoilt(folder, what: str) -> None:
    seen = light(0)
    if what == "size":
        write(folder, "0.tif", seen, seen[:-8])
    elif what == "partner":
        (folder / "high" / "2.tif").unlink()
    elif what == "constant":
        write(folder, "1.tif", seen, np.full_like(seen, 7))
    elif what == "elsewhere":
        write(folder, "1.tif", seen, light(77))
    elif what == "alone":
        for number in (1, 2, 3):
            for part in ("low", "high"):
                (folder / part / f"{number}.tif").unlink()
    else:
        (folder / "high").rename(folder / "good")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("size", "unequal sizes: 140 x 140 px and 132 x 140 px"),
        ("partner", "low/2.tif: has no partner in high/"),
        ("constant", "high/1.tif: slice 0 is constant"),
        ("elsewhere", "1.tif: misregistered: the target does not show the same field"),
        ("alone", "has one mosaic alone"),
        ("folder", "has no folder high/"),
    ],
)
def test_what_is_no_pair_is_refused(pairs, what, words):
    spoilt(pairs, what)
    with pytest.raises(UserError, match=f"enhancement a: .*{words}"):
        fields.lay_out(entry(pairs), 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"field_px": 200}, "holds no field of 200 px"),
        ({"test_files": ["9.tif"]}, "9.tif is not there"),
        ({"test_files": [f"{n}.tif" for n in range(4)]}, "names all mosaics"),
    ],
)
def test_settings_that_do_not_fit_are_refused(pairs, changes, words):
    with pytest.raises(UserError, match=words):
        fields.lay_out(entry(pairs, **changes), 0)


def test_of_a_stack_one_slice_may_be_taken(tmp_path, capsys):
    """The brightest of the input, and the target's of the same number, whose own brightest is another."""
    seen, rng = np.array([light(0), 2 * light(1), light(2)]), np.random.default_rng(0)
    for name in ("a.tif", "b.tif"):
        for part, factors in (("low", (1, 1, 1)), ("high", (1, 1, 9))):
            (tmp_path / part).mkdir(exist_ok=True)
            counts = rng.poisson(seen * np.array(factors)[:, None, None]).astype(np.uint16)
            tifffile.imwrite(tmp_path / part / name, counts, imagej=True, metadata={"axes": "ZYX"})
    own = entry(tmp_path, slice="brightest")
    layout = fields.lay_out(own, 0)
    assert "slice 1 is the brightest" in capsys.readouterr().out
    assert {place.plane for place in layout.train + layout.test} == {1}
    field = fields.read(own, layout, layout.test[0], 0)
    assert field.high.mean() == pytest.approx(field.low.mean(), rel=0.01)
    named = fields.lay_out(entry(tmp_path, slice=2), 0)
    assert {place.plane for place in named.train} == {2}
    with pytest.raises(UserError, match="has no slice 3"):
        fields.lay_out(entry(tmp_path, slice=3), 0)
    with pytest.raises(UserError, match="neither a number nor brightest"):
        entry(tmp_path, slice="dimmest")
