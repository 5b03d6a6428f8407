"""Simulated mosaics: known fields, seamless blocks, the right number of photons."""

import numpy as np
import pytest
import torch
from isoplan import simulation as module
from isoplan.optics.camera import mean_counts
from isoplan.optics.psf import make_psf_model
from isoplan.simulation import Field, LaidOut, Simulation

SHAPE = (250, 330)
FIELD = [
    {"parameter": "width_x", "shape": "tilt-x", "low": 1.5, "high": 5},
    {"parameter": "width_y", "shape": "bowl", "low": 2, "high": 4},
]


@pytest.fixture(scope="module")
def model(gaussian):
    return make_psf_model(gaussian)


@pytest.fixture(scope="module")
def make(settings, model):
    """make(seed=1, order=..., **camera): a simulation."""

    def build(seed=1, order="mask-blur", **camera):
        spec = settings("simulations", size_px=SHAPE, tile_px=96, field=FIELD)
        keys = {"photons": [5e3, 5e3], "gain": [2.0, 2.0], "offset": 100, "bits": 16} | camera
        return Simulation(spec, model, settings("cameras", **keys), order, seed)

    return build


@pytest.fixture
def noiseless(monkeypatch):
    """The camera gives the counts that are to be expected, unrounded."""
    monkeypatch.setattr(
        module,
        "expose",
        lambda image, settings, rng, **place: mean_counts(image, settings, **place),
    )


# Fields ----------------------------------------------------------------------------------------


def field(model, *shapes) -> Field:
    names = [p.name for p in model.parameters]
    entries = tuple(
        {"parameter": name, "shape": shape, "low": 2.0, "high": 4.0}
        for name, shape in zip(names, shapes, strict=True)
    )
    return Field(model, entries, (100, 200))


@pytest.mark.parametrize(
    ("shape", "corner", "top", "left", "centre"),
    [
        ("tilt-y", 2, 2, 3, 3),
        ("tilt-x", 2, 3, 2, 3),
        ("bowl", 4, 3, 3, 2),
        ("saddle", 3, 4, 2, 3),
        ("constant", 2, 2, 2, 2),
    ],
)
def test_field_shapes(model, shape, corner, top, left, centre):
    at = field(model, "constant", shape).at
    y, x = np.array([0.0, 50.0]), np.array([0.0, 100.0])
    values = at(y, x)
    assert values.shape == (2, 2, 2) and values.dtype == torch.float32
    assert (values[..., 0] == 2).all()
    assert values[..., 1].tolist() == [[corner, top], [left, centre]]


def test_a_field_goes_on_beyond_the_mosaic_as_at_its_edge(model):
    at = field(model, "tilt-y", "tilt-x").at
    inside, outside = at(np.array([100.0]), np.array([0.0])), at(np.array([140]), np.array([-9]))
    assert torch.equal(inside, outside)


def test_parameters_keep_their_names_whatever_their_order(model):
    one = Field(model, tuple(FIELD), SHAPE).at(np.array([0.0]), np.array([0.0]))
    other = Field(model, tuple(FIELD[::-1]), SHAPE).at(np.array([0.0]), np.array([0.0]))
    assert torch.equal(one, other)
    assert one[0, 0].tolist() == [4, 1.5]  # (width_y, width_x): the model's order


# The layout ------------------------------------------------------------------------------------


def test_windows_of_the_layout_are_cut_from_one_picture(settings):
    layout = LaidOut(settings("simulations", tile_px=96, field=FIELD), 1)
    whole = layout.read(-20, 200, -30, 250)
    assert whole.min() >= 0 and whole.max() <= 1
    np.testing.assert_array_equal(layout.read(50, 140, -7, 101), whole[70:160, 23:131])
    np.testing.assert_array_equal(layout.read(95, 96, 96, 97), whole[115:116, 126:127])
    assert np.array_equal(whole, LaidOut(layout_spec(settings), 1).read(-20, 200, -30, 250))
    assert not np.array_equal(whole, LaidOut(layout_spec(settings), 2).read(-20, 200, -30, 250))


def layout_spec(settings) -> dict:
    return settings("simulations", tile_px=96, field=FIELD)


# What the camera sees --------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["mask-blur", "blur-mask"])
def test_blocks_are_seamless(make, noiseless, order):
    scene = make(order=order, vignetting=[0.3, 0.3])
    whole = scene.observed(0, 250, 0, 330, 0)
    parts = np.empty_like(whole)
    for y0, y1 in ((0, 101), (101, 250)):
        for x0, x1 in ((0, 64), (64, 207), (207, 330)):
            parts[y0:y1, x0:x1] = scene.observed(y0, y1, x0, x1, 1)
    assert np.abs(parts - whole).max() < 1e-5 * np.ptp(whole)


def test_blur_is_the_field_s(make, noiseless, model, monkeypatch):
    """Points far apart come out as the PSFs of their places."""
    scene = make(offset=0, gain=[1.0, 1.0], bits=0)
    points = [(60, 50), (150, 200), (220, 300)]

    def dots(y0, y1, x0, x1):
        out = np.zeros((y1 - y0, x1 - x0), np.float32)
        for y, x in points:
            if y0 <= y < y1 and x0 <= x < x1:
                out[y - y0, x - x0] = 1
        return out

    monkeypatch.setattr(scene.layout, "read", dots)
    seen = scene.observed(0, 250, 0, 330, 0) / 5e3
    for y, x in points:
        params = scene.field.at(np.array([y + 0.5]), np.array([x + 0.5])).reshape(1, -1)
        psf = model.psf(params)[0][0].numpy()
        # Between its nodes the field is interpolated: a hundredth of the peak.
        found = seen[y - 7 : y + 8, x - 7 : x + 8]
        assert np.abs(found - psf).max() < 0.01 * psf.max()
        assert found.sum() == pytest.approx(1, abs=1e-3)


def test_truth_is_in_the_counts_of_the_observed(make, noiseless):
    scene = make(quantum_efficiency=0.5, illumination=[0.8, 0.8])
    truth = scene.truth(0, 250, 0, 330)
    sharp = scene.layout.read(0, 250, 0, 330)
    np.testing.assert_allclose(truth, sharp * 5e3 * 0.5 * 0.8 * 2.0, rtol=1e-4, atol=0.1)
    seen = scene.observed(0, 250, 0, 330, 0) - 100
    assert seen.mean() == pytest.approx(truth.mean(), rel=0.01)  # what leaves comes in elsewhere


def test_vignetting_dims_the_corners_of_the_whole_mosaic(make, noiseless):
    plain, dim = make().observed(0, 60, 0, 60, 0), make(vignetting=[0.5, 0.5])
    corner = dim.observed(0, 60, 0, 60, 0)
    ratio = (corner - 100).sum() / (plain - 100).sum()
    assert 0.5 < ratio < 0.75
    np.testing.assert_array_equal(dim.truth(0, 60, 0, 60), make().truth(0, 60, 0, 60))


def test_a_mosaic_is_a_function_of_its_seed(make):
    block = 0, 80, 100, 180
    one = make().observed(*block, 3)
    np.testing.assert_array_equal(one, make().observed(*block, 3))
    assert not np.array_equal(one, make().observed(*block, 4))  # another block, other noise
    assert not np.array_equal(one, make(seed=2).observed(*block, 3))


def test_noise_is_the_camera_s(make, noiseless, monkeypatch):
    scene = make(read_noise_e=[3, 3])
    expected = scene.observed(0, 250, 0, 330, 0)
    monkeypatch.undo()
    noise = scene.observed(0, 250, 0, 330, 0) - expected
    variance = 2.0**2 * ((expected - 100) / 2.0 + 3**2) + 1 / 12
    assert abs((noise / np.sqrt(variance)).mean()) < 0.02
    assert (noise**2 / variance).mean() == pytest.approx(1, abs=0.03)


def test_what_is_stored_and_told(make):
    scene = make(read_noise_e=[3, 3])
    assert scene.dtype == "uint16" and make(bits=0).dtype == "float32"
    assert scene.camera_columns() == {"gain": 2.0, "offset": 100.0, "read_noise_e": 3.0}
    counts = scene.observed(0, 40, 0, 40, 0)
    assert np.array_equal(counts, np.rint(counts)) and counts.min() >= 0


def test_a_measured_psf_blurs_without_parameters(settings, tmp_path):
    bead = np.zeros((9, 9), np.float32)
    bead[4, 3:6] = 1, 2, 1
    np.save(tmp_path / "bead.npy", bead)
    psf = settings("psfs", model="measured", size_px=5, file=str(tmp_path / "bead.npy"))
    spec = settings("simulations", size_px=SHAPE, tile_px=96, field=FIELD) | {"field": []}
    camera = settings("cameras", photons=[5e3, 5e3])
    simulation = Simulation(spec, make_psf_model(psf), camera, "mask-blur", 1)
    assert simulation.field.at(np.arange(3.0), np.arange(4.0)).shape == (3, 4, 0)
    observed = simulation.observed(0, 64, 0, 64, 0)
    sharp = simulation.truth(0, 64, -1, 65)
    expected = (sharp[:, :-2] + 2 * sharp[:, 1:-1] + sharp[:, 2:]) / 4
    assert abs(observed - expected).mean() < 3 * np.sqrt(expected.mean())
    assert np.corrcoef(observed.ravel(), expected.ravel())[0, 1] > 0.99
