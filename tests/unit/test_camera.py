"""The camera's noise has the moments it promises, and the estimate finds them again."""

import math

import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.objects.pictures import load_picture
from isoplan.optics.camera import (
    DEGRADATIONS,
    check_camera,
    degrade,
    draw_camera,
    expose,
    mean_counts,
    noise_variance,
    poisson,
    vignette,
)
from isoplan.optics.camera_facts import complete_camera, counting_camera
from isoplan.optics.noise import estimate_noise, noiseless_level
from torch.nn import functional


def spec(**changes):
    return {
        "name": "test",
        "photons": [1000.0, 1000.0],
        "quantum_efficiency": 0.7,
        "read_noise_e": [4.0, 4.0],
        "gain": [0.5, 0.5],
        "offset": 100.0,
        "bits": 16,
        "salt_pepper": [0.0, 0.0],
        "illumination": [0.8, 0.8],
        "vignetting": [0.0, 0.0],
        **changes,
    }


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("bits", [0, 16])
def test_mean_and_variance_are_as_promised(bits):
    settings = draw_camera(spec(bits=bits, vignetting=[0.4, 0.4]), 2000, rng())
    image = torch.linspace(0.1, 1, 16).view(1, 4, 4).expand(2000, 4, 4)
    counts = expose(image, settings, rng(1))
    mean, variance = mean_counts(image, settings), noise_variance(image, settings)
    assert counts.dtype == torch.float32
    assert torch.allclose(counts.mean(0), mean[0], rtol=0.01)
    assert torch.allclose(counts.var(0), variance[0], rtol=0.15)
    assert bool((counts == counts.round()).all()) == (bits > 0)


def test_the_same_generator_gives_the_same_counts():
    settings = draw_camera(spec(photons=[10.0, 1e4]), 4, rng())
    image = torch.rand(4, 32, 32, generator=rng(5))
    assert torch.equal(expose(image, settings, rng(1)), expose(image, settings, rng(1)))


def test_draws_cover_their_ranges():
    drawn = draw_camera(spec(photons=[10.0, 1e5], read_noise_e=[1.0, 9.0]), 2000, rng())
    assert drawn["photons"].min() >= 10 and drawn["photons"].max() <= 1e5
    assert float(drawn["photons"].log10().mean()) == pytest.approx(3, abs=0.1)
    assert float(drawn["read_noise_e"].mean()) == pytest.approx(5, abs=0.2)


def test_salt_pepper_and_clipping():
    settings = draw_camera(spec(bits=8, salt_pepper=[0.1, 0.1], photons=[2e3, 2e3]), 1, rng())
    counts = expose(torch.full((1, 300, 300), 0.1), settings, rng())
    assert float((counts == 0).float().mean()) == pytest.approx(0.05, abs=0.005)
    assert float((counts == 255).float().mean()) == pytest.approx(0.05, abs=0.005)
    bright = expose(torch.ones(1, 20, 20), draw_camera(spec(bits=8), 1, rng()), rng())
    assert bright.max() == 255


def test_a_window_has_its_part_of_the_fields_vignette():
    share = torch.tensor([0.5])
    whole = vignette((60, 80), (0, 0), (60, 80), share)
    part = vignette((60, 80), (20, 30), (16, 24), share)
    assert torch.allclose(part, whole[:, 20:36, 30:54])
    assert float(whole[0, 30, 40]) == pytest.approx(1, abs=0.01)
    assert float(whole[0, 0, 0]) == pytest.approx(0.5, abs=0.02)


def test_photons_and_gain_are_drawn_by_ratio():
    settings = draw_camera(spec(photons=[1.0, 1e6], gain=[0.01, 1.0]), 20_000, rng())
    for key, low, high in (("photons", 0, 6), ("gain", -2, 0)):
        power = settings[key].log10()
        assert low <= float(power.min()) and float(power.max()) <= high
        assert float(power.mean()) == pytest.approx((low + high) / 2, abs=0.05)
        assert float(power.std()) == pytest.approx((high - low) / 12**0.5, rel=0.05)


@pytest.mark.parametrize("name", ["retina.jpg", "cell.png", "ihc.png"])
@pytest.mark.parametrize(("photons", "read", "gain"), [(200.0, 3.0, 2.0), (2000.0, 5.0, 0.5)])
def test_the_noise_of_a_picture_is_found_again(name, photons, read, gain):
    """On blurred pictures, as a microscope gives them: gain within 10 %, the noise of mean light within 5 %.

    Of the read noise, which bright pictures hardly tell, no more than there is.
    """
    picture = torch.from_numpy(load_picture(name))[None]
    line = torch.exp(-(((torch.arange(11) - 5.0) / 1.2) ** 2) / 2)
    kernel = (line[:, None] * line[None, :] / line.sum() ** 2)[None, None]
    blurred = functional.conv2d(picture, kernel)[None, 0]
    changes = dict.fromkeys(("photons", "read_noise_e"))
    changes.update(photons=[photons] * 2, read_noise_e=[read] * 2, gain=[gain] * 2)
    settings = draw_camera(spec(**changes, illumination=[1, 1], quantum_efficiency=1.0), 1, rng())
    counts = expose(blurred, settings, rng())[0]
    found_gain, found_read = estimate_noise(counts, offset=100.0)
    assert found_gain == pytest.approx(gain, rel=0.1)
    light = float(counts.mean()) - 100
    variance = gain * light + (gain * read) ** 2
    assert found_gain * light + found_read**2 == pytest.approx(variance, rel=0.05)
    assert found_read < 1.5 * read * gain


@pytest.mark.parametrize("name", ["camera.png", "coins.png"])
def test_a_sharp_picture_s_texture_is_not_all_noise(name):
    """Texture adds to the noise, so that it comes out too large: by under a half at 1000 photons."""
    picture = torch.from_numpy(load_picture(name))[None]
    settings = draw_camera(
        spec(photons=[1000.0] * 2, read_noise_e=[2.0] * 2, gain=[1.0] * 2, illumination=[1, 1], quantum_efficiency=1.0),
        1,
        rng(),
    )  # fmt: skip
    counts = expose(picture, settings, rng())[0]
    found_gain, found_read = estimate_noise(counts, offset=100.0)
    light = float(counts.mean()) - 100
    assert 0.9 < (found_gain * light + found_read**2) / (light + 4) < 1.5


def test_texture_is_no_read_noise_where_the_gain_is_given():
    texture = 400 * torch.randn(256, 256, generator=rng(), dtype=torch.float64)
    texture += torch.linspace(4000, 8000, 256)  # as strong where it is dark as where it is bright
    camera, _ = complete_camera({"offset": 0.0, "gain": 2.0}, texture)
    assert camera["gain_given"] and camera["read_noise_e"] == 20
    assert not complete_camera({"offset": 0.0}, texture)[0]["gain_given"]


def exposed_cells(**changes):
    """(h, w) counts of a blurred picture by a camera of offset 100."""
    picture = torch.from_numpy(load_picture("cell.png"))[None, None]
    soft = functional.avg_pool2d(picture, 5, stride=1)[0]
    settings = {"photons": [2000.0] * 2, "gain": [0.5] * 2, "read_noise_e": [5.0] * 2}
    camera = spec(**settings | changes, illumination=[1, 1], quantum_efficiency=1.0)
    return expose(soft, draw_camera(camera, 1, rng()), rng())[0]


def test_the_level_without_noise_is_found_without_the_offset():
    gain, level = noiseless_level(exposed_cells().double())
    assert gain == pytest.approx(0.5, rel=0.15)
    assert level == pytest.approx(100 - 0.5 * 5**2, abs=20)


@pytest.mark.parametrize("given", [{}, {"read_noise_e": 5.0}, {"gain": 0.5, "offset": 100.0}])
def test_photons_are_counted_with_what_is_known(given):
    """What is not given is such that the noise is as the photons and the read noise are."""
    picture = exposed_cells()
    camera, notes = counting_camera(given, picture)
    assert given.items() <= camera.items() and not any("not independent" in n for n in notes)
    gain, read_noise = camera["gain"], camera["read_noise_e"]
    mean = float(picture.mean())
    variance = gain * (mean - camera["offset"]) + (gain * read_noise) ** 2
    assert variance == pytest.approx(0.5 * (mean - 100) + (0.5 * 5) ** 2, rel=0.15)


def test_a_wrong_camera_is_told():
    for wrong in ({"offset": -500.0}, {"gain": 1.0, "offset": 100.0}):
        assert "not independent" in counting_camera(wrong, exposed_cells())[1][-1]
    with pytest.raises(UserError, match="gain cannot be estimated"):
        counting_camera({}, torch.full((256, 256), 7.0))
    known = {"gain": 2.0, "offset": 3.0, "read_noise_e": 1.0}
    found = known | {"gain_given": True}
    assert counting_camera(known, torch.full((256, 256), 7.0)) == (found, [])


def test_where_read_noise_dominates_the_offset_is_not_below_zero():
    noise = 60 + 8 * torch.randn(400, 400, generator=rng())
    camera, _ = counting_camera({"gain": 0.1}, noise + torch.linspace(0, 40, 400))
    assert camera["offset"] >= 0 and camera["gain"] == 0.1


def test_no_noise_can_be_found_in_a_constant_picture():
    with pytest.raises(UserError, match="blocks"):
        estimate_noise(torch.full((256, 256), 7.0))


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_degradations_start_at_nothing_and_stay_in_range(kind):
    patches = torch.rand(3, 32, 32, generator=rng())
    assert torch.equal(degrade(patches, kind, 0.0, rng()), patches)
    worse = degrade(patches, kind, 0.5, rng())
    assert worse.shape == patches.shape and worse.min() >= 0 and worse.max() <= 1
    assert not torch.allclose(worse, patches, atol=0.01)


def test_degradations_have_the_published_amounts():
    """Facts of the public code: deviation .026, .058, .082 and peaks of 8, 2, 1 at .1, .5, 1."""
    grey = torch.full((4, 200, 200), 0.5)
    for strength, deviation in ((0.1, 0.026), (0.5, 0.058), (1.0, 0.082)):
        found = float(degrade(grey, "gaussian", strength, rng()).std())
        assert found == pytest.approx(deviation, rel=0.02)
    for strength, peak in ((0.1, 8), (0.5, 2), (1.0, 1)):
        counts = degrade(grey / 2, "poisson", strength, rng()) * peak
        assert torch.equal(counts, counts.round()) and counts.max() <= peak
        dark = float((counts == 0).float().mean())  # e^-mean of them all
        assert dark == pytest.approx(math.exp(-peak / 4), rel=0.05)
    # Both noises, one after the other.
    found = float(degrade(grey, "mixed", 0.01, rng()).var())
    assert found == pytest.approx(0.01 / 150 + 0.5 / 64, rel=0.05)


def test_degradations_of_the_light():
    patches = torch.rand(2, 64, 64, generator=rng())
    assert torch.allclose(degrade(patches, "illumination", 0.9, rng()), patches / 10)
    ratio = degrade(patches, "vignette", 1.0, rng()) / patches
    centre, half = float(ratio[0, 31, 31]), float(ratio[0, 31, 15])
    assert centre == pytest.approx(1, abs=0.01) and half == pytest.approx(0.5, abs=0.05)
    partly = degrade(patches, "vignette", 0.5, rng()) / patches
    assert torch.allclose(partly, (1 + ratio) / 2, atol=1e-5)


def test_the_same_noise_grows_with_the_strength():
    grey = torch.full((1, 50, 50), 0.5)
    weak, strong = (degrade(grey, "gaussian", s, rng(3)) - grey for s in (0.01, 0.04))
    assert torch.allclose(2 * weak, strong, atol=1e-6)
    with pytest.raises(UserError, match="fog"):
        degrade(grey, "fog", 0.5, rng())


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"photons": [0, 10]}, "photons"),
        ({"read_noise_e": [-1, 0]}, "read_noise_e"),
        ({"salt_pepper": [0, 2]}, "salt_pepper"),
        ({"vignetting": [0.5, 0.1]}, "vignetting"),
        ({"gain": [0, 1]}, "gain"),
        ({"bits": 8}, "bits"),
    ],
)
def test_an_impossible_camera_is_refused(changes, key):
    check_camera(spec())
    with pytest.raises(UserError, match=key):
        check_camera(spec(**changes))


@pytest.mark.parametrize("rate", [0.0, 0.3, 20.0, 32.0, 100.0, 1e5])
def test_poisson_numbers(rate):
    n = 200_000
    drawn = poisson(torch.full((n,), rate), torch.Generator().manual_seed(1)).double()
    assert (drawn == drawn.round()).all() and (drawn >= 0).all()
    # Within 4 standard errors of a Poisson's mean, variance and skewness.
    assert abs(drawn.mean() - rate) <= 4 * math.sqrt(rate / n)
    if rate:
        assert abs(drawn.var() / rate - 1) <= 4 * math.sqrt((2 + 1 / rate) / n) + 0.003
        skewness = ((drawn - drawn.mean()) ** 3).mean() / drawn.var() ** 1.5
        assert abs(skewness - rate**-0.5) <= 4 * math.sqrt(15 / n) * (1 + rate**-0.5)
