"""Networks that tell maps of weights: what they learn through, what they see, and how they restore a mosaic."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from isoplan import registration
from isoplan.applications.weight_maps import card, own_samples, unrolled
from isoplan.applications.weight_maps.blurs import Blurs
from isoplan.applications.weight_maps.judging import WeightJudge
from isoplan.applications.weight_maps.lessons import LESSONS, decibels, errors, held_out
from isoplan.applications.weight_maps.likelihood import most_likely
from isoplan.applications.weight_maps.oracle import best_map
from isoplan.applications.weight_maps.samples import Sample, Samples, ramps, uneven_light, wider
from isoplan.applications.weight_maps.schemes import restored
from isoplan.applications.weight_maps.summary import summary
from isoplan.applications.weight_maps.task import WeightMaps
from isoplan.applications.weight_maps.trials import BLOCK, OneBlur, Trial, tables
from isoplan.base.errors import UserError
from isoplan.config import entries
from isoplan.config.validation import validate
from isoplan.mosaic import tiles
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.reader import open_mosaic
from isoplan.networks import store, weight_maps
from isoplan.networks.unet import gaussian_profiles, smoothed
from isoplan.networks.weight_maps import CHOICES, WeightNetwork, choices_of
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.exposure import Exposure, Pixels
from isoplan.optics.gaussian import gaussian_psfs
from isoplan.optics.psf import make_psf_model
from isoplan.restoration import learnt_weights, weight_store
from isoplan.restoration.choice_words import describe_choice
from isoplan.restoration.choosing import choose
from isoplan.restoration.cores import restore_with_trust
from isoplan.restoration.halo import halo_of, with_choice
from isoplan.restoration.held_out import HeldOut
from isoplan.restoration.pieces import Piece
from isoplan.restoration.psfs import LocalPsfs
from isoplan.restoration.richardson_lucy import richardson_lucy
from isoplan.training.loop import train

torch.set_num_threads(1)
CPU = torch.device("cpu")
STUDY = validate(
    {
        "psfs": [{"name": "gaussian-2", "size_px": 15, "width_px": [0.5, 4]}],
        "weight_networks": [
            {"name": "tiny", "samples": 8, "epoch_samples": 4, "batch": 2, "patch_px": 32,
             "iterations": 4, "gradients": 2, "width": 4, "levels": 2}
        ],
    }
)  # fmt: skip
SPEC = entries.told(STUDY, "weight_networks", "tiny")
RECIPE = {
    "objects": {**entries.told(STUDY, "objects", "scenes"), "kinds": ["poi", "fractals"]},
    "psfs": [entries.told(STUDY, "psfs", "gaussian-2")],
}


@pytest.fixture(scope="module")
def sample():
    return Samples(RECIPE, SPEC, 1, "test", "train", CPU).draw(0, 0, 3)


# The operators ---------------------------------------------------------------------------------


def test_many_blurs_are_those_of_one_by_one():
    """Each that of the product for a PSF that passes over into another, with its exact adjoint."""
    shape, rng = (20, 24), torch.Generator().manual_seed(0)
    psfs = gaussian_psfs(torch.tensor([[2.0, 3.0], [4.0, 2.5], [1.0, 1.5], [3.0, 3.0]]), 7).double()
    side = shape[1] + 6
    along = torch.linspace(0, 1, side, dtype=torch.float64).expand(2, shape[0] + 6, side)
    blurs = Blurs(psfs.view(2, 2, 7, 7), torch.stack([1 - along, along], 1), shape)
    x = torch.rand(2, *blurs.object_shape, generator=rng, dtype=torch.float64)
    y = torch.rand(2, *shape, generator=rng, dtype=torch.float64)
    for k in range(2):
        own = psfs[2 * k : 2 * k + 2][None]
        one = SpaceVariantBlur(own, [0.0], [-3.0, shape[1] + 2.0], shape, tolerance=1e-12)
        torch.testing.assert_close(blurs.forward(x)[k], one.forward(x[k]), rtol=0, atol=1e-9)
        torch.testing.assert_close(blurs.adjoint(y)[k], one.adjoint(y[k]), rtol=0, atol=1e-9)
    torch.testing.assert_close((blurs.forward(x) * y).sum(), (x * blurs.adjoint(y)).sum())


def test_the_unrolled_restoration_is_the_products():
    rng = torch.Generator().manual_seed(0)
    psf = gaussian_psfs(torch.tensor([[2.0, 3.0]]), 7).double()
    one = SpaceVariantBlur(psf[None], [0], [0], (30, 26))
    x = 300 * torch.rand(one.object_shape, generator=rng, dtype=torch.float64) ** 3
    y = torch.poisson(one.forward(x), generator=rng)
    weights = 0.001 + 0.2 * torch.rand(one.object_shape, generator=rng, dtype=torch.float64)
    level, scale = y.mean(), y.max()
    how = {"iterations": 20, "shift": 2.0}
    expected = richardson_lucy(
        *(y, one), tv_weight=weights, start=float(level), scale=float(scale), **how
    )
    blurs = Blurs(psf[None], None, (30, 26))
    got = unrolled.restored(
        *(y[None], blurs, weights[None]), start=level[None], scale=scale[None], **how
    )
    torch.testing.assert_close(got[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scheme", ["richardson-lucy", "primal-dual"])
def test_gradients_are_those_of_the_restoration(sample, scheme):
    """By finite differences along a direction at random, up to the lengths of steps, through which none pass."""
    lesson = LESSONS["restoration"](SPEC | {"scheme": scheme, "gradients": None})
    double = replace(
        sample,
        **{name: getattr(sample, name).double() for name in
           ("photons", "truth", "widths", "bright", "peak", "level", "floor")},
        blurs=Blurs(gaussian_psfs(torch.tensor([[2.0, 3.0]] * 3), 15).double()[:, None], None, (32, 32)),
    )  # fmt: skip
    network = lesson.build().double()
    rng = torch.Generator().manual_seed(0)
    way = [torch.randn(p.shape, generator=rng).double() for p in network.parameters()]
    lesson.loss(network, double, rng).backward()
    told = sum(float((p.grad * w).sum()) for p, w in zip(network.parameters(), way, strict=True))
    found = []
    with torch.no_grad():
        for step in (1e-6, -2e-6):
            for p, w in zip(network.parameters(), way, strict=True):
                p += step * w
            found.append(float(lesson.loss(network, double, rng)))
    assert told == pytest.approx((found[0] - found[1]) / 2e-6, rel=1e-2)


# The samples -----------------------------------------------------------------------------------


def test_samples_are_functions_of_their_number_and_what_they_say(sample):
    again = Samples(RECIPE, SPEC, 1, "test", "train", CPU).draw(0, 0, 3)
    assert torch.equal(again.photons, sample.photons)
    assert sample.photons.shape == sample.widths.shape == (3, 32, 32)
    assert sample.truth.shape == (3, 46, 46)
    seen = sample.true_blurs.forward(sample.truth)
    noise = (seen + sample.floor.view(-1, 1, 1)).sqrt()
    z = (sample.photons - seen) / noise.clamp(min=0.5)
    assert 0.8 < float(z.std()) < 1.2
    assert ((sample.peak >= sample.bright) & (sample.peak <= 10 * sample.bright)).all()


def test_light_falls_off_and_psfs_pass_over():
    rng = torch.Generator().manual_seed(0)
    masks = ramps(4, 16, rng)
    torch.testing.assert_close(masks.sum(1), torch.ones(4, 16, 16))
    assert masks.min() >= 0 and (masks[:, 0].amax((1, 2)) > 0.9).all()
    light = uneven_light(200, 16, 0.5, rng)
    flat = (light.amin((1, 2)) == 1).float().mean()
    assert 0.3 < flat < 0.7 and light.max() <= 1 and light.min() < 0.1


def test_wrong_psfs_stay_within_their_ranges():
    model = make_psf_model(RECIPE["psfs"][0])
    params = torch.tensor([[[2.0, 3.0]], [[2.0, 3.9]]])
    found = wider(model, params, torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 1.5]], [[3.0, 4.0]]]))


def test_held_out_photons_are_held_out(sample):
    even = replace(sample, photons=torch.full_like(sample.photons, 1000.0), floor=torch.zeros(3))
    fit, test = held_out(even, torch.Generator().manual_seed(0))
    torch.testing.assert_close(fit.photons + test, even.photons)
    assert float(test.mean()) == pytest.approx(300, abs=2)
    apart = torch.corrcoef(torch.stack([fit.photons.flatten(), test.flatten()]))
    assert apart[0, 1] < -0.99  # of a fixed number; of a Poisson number they are independent


# The networks ----------------------------------------------------------------------------------


def test_windows_agree():
    """A window that begins at a multiple of the step tells the weights of the whole, but near its border."""
    torch.manual_seed(0)
    network = WeightNetwork(width=4, levels=3)
    torch.nn.init.normal_(network.last.weight)
    photons = torch.poisson(torch.rand(1, 200, 220) * 100)
    widths = torch.rand(1, 200, 220) + 2
    how = torch.tensor([[100.0], [1.0], [0.1]])
    halo, step = network.halo_px, network.step_px
    y, x = slice(5 * step, None), slice(7 * step, None)
    with torch.inference_mode():
        whole = network(photons, widths, *how)[:, y, x]
        part = network(photons[:, y, x], widths[:, y, x], *how)
    torch.testing.assert_close(part[:, halo:, halo:], whole[:, halo:, halo:], rtol=0, atol=1e-5)
    assert (part - whole).abs().max() > 1e-3  # near the border


def test_choices_are_spread_about_three_over_the_photons():
    weights = choices_of(torch.tensor([100.0]), torch.tensor([0.0]))
    assert weights.shape == (1, CHOICES)
    assert float(weights[0, CHOICES // 2]) == pytest.approx(0.03)
    assert float(weights[0, -1] / weights[0, 0]) == pytest.approx(np.exp(8), rel=1e-3)


@pytest.mark.parametrize("learns", LESSONS)
def test_every_lesson_lowers_its_loss(sample, learns):
    lesson = LESSONS[learns](SPEC | {"learns": learns, "iterations": 10, "gradients": None})
    torch.manual_seed(0)
    network = lesson.build()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = lesson.loss(network, sample, torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.01
    with torch.inference_mode():
        assert lesson.made(network, sample).shape == sample.photons.shape


def test_a_training_resumes_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr("isoplan.applications.weight_maps.task.VALIDATION", 8)

    def task():
        return WeightMaps.of_config(RECIPE, SPEC, seed=1, device=CPU)

    assert train(task(), tmp_path / "whole")
    assert not train(task(), tmp_path / "parts", stop_after_s=0)
    assert train(task(), tmp_path / "parts")
    files = [(tmp_path / name / "network.safetensors").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]
    card = WeightMaps.take(tmp_path / "whole/network.safetensors", {}, SPEC)
    assert card["task"] == "weight-map" and card["halo_px"] % card["step_px"] == 0
    with pytest.raises(UserError, match="scheme is richardson-lucy, but tiny wants primal-dual"):
        WeightMaps.take(
            tmp_path / "whole/network.safetensors", {}, SPEC | {"scheme": "primal-dual"}
        )


def test_a_start_is_kept_until_it_is_beaten(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("isoplan.applications.weight_maps.task.VALIDATION", 32)
    network, file = WeightNetwork(width=4, levels=2), tmp_path / "start.safetensors"
    torch.nn.init.constant_(network.last.bias, 4.0)  # smooths far too much
    store.save(file, network, {"task": "weight-map", "network": SPEC})

    def trained(**asked):
        spec = SPEC | {"start": str(file), "samples": 80, "epoch_samples": 80} | asked
        folder = tmp_path / str(asked["learning_rate"])
        assert train(WeightMaps.of_config(RECIPE, spec, seed=1, device=CPU), folder)
        return store.read(folder / "network.safetensors")

    _, given = store.read(file)
    poor = SPEC | {"samples": 4, "epoch_samples": 4, "learning_rate": 1e-12}
    assert train(WeightMaps.of_config(RECIPE, poor, seed=1, device=CPU), tmp_path / "poor")
    assert "restores worse than one weight for all pictures, by" in capsys.readouterr().out
    card, weights = trained(learning_rate=1e-12)
    assert card["kept_start"] and all(torch.equal(weights[key], given[key]) for key in given)
    card, weights = trained(learning_rate=0.01, samples=160)
    assert not card["kept_start"] and weights["last.bias"] < 4
    with pytest.raises(UserError, match="to start from it, give width 4, levels 2"):
        trained(learning_rate=0.02, width=8)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A mosaic of 1000 photons at its brightest and a better picture of it, as `own_samples.Source` is told of them."""
    rng = np.random.default_rng(0)
    sharp = torch.from_numpy(rng.random((20, 24)).repeat(12, 0).repeat(12, 1).astype(np.float32))
    blurs = Blurs(gaussian_psfs(torch.tensor([[2.0, 3.0]]), 15)[:, None], None, (226, 274))
    seen = blurs.forward(sharp[None])[0].numpy()
    better = sharp.numpy()[7:-7, 7:-7]
    frames = {"poor": 2 * rng.poisson(1000 * seen) + 100, "better": 500 * better + 3}
    for name, frame in frames.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", frame.astype(np.float32))
    facts = Facts(
        path=str(tmp_path / "poor.tif"), reference=str(tmp_path / "better.tif"), height_px=226, width_px=274,
        dtype="float32", offset=100.0, gain=2.0, read_noise_e=1.0, mean=1100.0, p999=2100.0,
    )  # fmt: skip
    told = {"facts": "facts.json", "sums": "sums.json", "reference": "reference.json", "psf": {}}
    told = {
        key: name and str(tmp_path / name) if key != "psf" else {} for key, name in told.items()
    }
    Path(told["facts"]).write_text(json.dumps(facts))
    assert "refused" not in registration.write(told["reference"], facts)
    sums = {"valid_cells": 4, "doubt": 0.1}
    Path(told["sums"]).write_text(json.dumps(sums))
    local = LocalPsfs(make_psf_model(RECIPE["psfs"][0]), constant=(2.0, 3.0), mean_of=sums)
    monkeypatch.setattr(own_samples, "local_psfs", lambda psf, shape: local)
    return told


def test_patches_of_a_mosaic_are_what_a_camera_would_have_made_of_its_reference(pair):
    spec = SPEC | {"pictures": "mosaics", "learns": "patches"}
    made = [
        own_samples.OwnSamples({"mosaics": [pair]}, spec, 1, name, name, CPU)
        for name in ("train", "validation")
    ]
    apart = [{repr(place[1]) for place in samples.places} for samples in made]
    assert apart[0] and apart[1] and not apart[0] & apart[1]
    one = made[0].draw(0, 3, 4)
    again = made[0].draw(0, 3, 4)
    assert torch.equal(one.photons, again.photons)
    assert one.peak.tolist() == [1000] * 4 and one.level.tolist() == [500] * 4
    assert one.floor.tolist() == [1] * 4 and one.doubt.tolist() == pytest.approx([0.1] * 4)
    rim = one.blurs.margin
    seen = one.blurs.forward(one.truth.nan_to_num(0.0))
    inside = (slice(None), *(slice(rim, n - rim) for n in one.blurs.shape))
    z = ((one.photons - seen) / (seen + 1).sqrt())[inside]
    assert abs(float(z.mean())) < 0.2 and float(z.std()) == pytest.approx(1, abs=0.2)


def test_a_reference_that_is_as_blurred_is_compared_after_blurring(pair):
    """The truth itself is far from a longer exposure, and blurred again as near as the noise lets it be."""
    spec = SPEC | {"pictures": "mosaics", "learns": "restoration", "references": "alike"}
    one = own_samples.OwnSamples({"mosaics": [pair]}, spec, 1, "alike", "train", CPU).draw(0, 3, 4)
    inside = (slice(None), *(slice(one.blurs.margin, -one.blurs.margin),) * 2)
    sharp = one.truth[inside]
    seen = one.blurs.forward(one.truth.nan_to_num(0.0))
    exposed = replace(one, truth=one.truth.clone())
    exposed.truth[inside] = seen
    alike, sharper = (
        LESSONS["restoration"](spec | {"references": n}) for n in ("alike", "sharper")
    )
    apart = [errors(lesson.compared(sharp, exposed), exposed)
             for lesson in (alike, sharper)]  # fmt: skip
    assert (apart[0] < 0.6 * apart[1]).all()  # the rest is the rim's


def test_a_network_learns_from_a_users_pair_or_from_its_photons_alone(pair, tmp_path, monkeypatch):
    monkeypatch.setattr("isoplan.applications.weight_maps.task.VALIDATION", 8)
    for learns in ("restoration", "patches", "held-out"):
        spec = SPEC | {"pictures": "mosaics", "learns": learns, "references": "alike"}
        recipe = {"mosaics": [pair if learns != "held-out" else pair | {"reference": None}]}
        task = WeightMaps.of_config(recipe, spec, seed=1, device=CPU)
        assert train(task, tmp_path / learns)
        told = task.validate()
        assert np.isfinite(told["validation_loss"])
        assert np.isfinite(told["validation_gain_db"]) == (learns != "held-out")
    with pytest.raises(UserError, match="has a known gain, a valid PSF, a reference"):
        recipe = {"mosaics": [pair | {"reference": None}]}
        WeightMaps.of_config(recipe, spec | {"learns": "patches"}, seed=1, device=CPU)


# In a restoration ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A network that smooths more where there is less light."""
    torch.manual_seed(0)
    network = WeightNetwork(width=4, levels=2)
    torch.nn.init.normal_(network.last.weight, std=30)
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    card = {"task": "weight-map", "network": SPEC, "halo_px": network.halo_px, "step_px": 2}
    store.save(path, network, card)
    return path


@pytest.fixture(scope="module")
def settings(file):
    asked = {"tv_weight": "learnt", "weight_network": str(file), "iterations": 8, "core_px": 256}
    settings = validate({"restoration": asked})["restoration"]
    choice = {"iterations": 8, "tv_weight": "learnt", "psf_scale": 1.0, "psf_shape": "map"}
    choice |= {"resolution_px": 0.0, "reason": "", "weights_gain": 2.0}
    settings = with_choice(settings, choice) | {"offset": 100.0, "trust_px": 32}
    settings["exposure"] = {"gain": 2.0, "floor": 8.0}
    return settings | {"halo_px": halo_of(settings, 15)}


def test_cores_of_a_mosaic_agree(settings, tmp_path):
    """Within what the halo allows, weights and picture alike, whatever lies in a core: bad pixels, NaN."""
    assert settings["halo_px"] % 2 == 0 and settings["weights_sha256"]
    rng = np.random.default_rng(0)
    counts = (
        2 * rng.poisson(200 * rng.random((25, 20)).repeat(16, 0).repeat(16, 1)) + 100.0
    ).astype(np.float32)
    counts[30, 40], counts[200:203, 100] = np.nan, 40000
    tifffile.imwrite(tmp_path / "m.tif", counts)
    model = make_psf_model(RECIPE["psfs"][0])
    local = LocalPsfs(model, constant=(2.0, 3.0))
    how = {"brightness": {"start": 200.0, "scale": 400.0}, "device": CPU}
    whole_core = tuple(slice(0, length) for length in counts.shape)
    with open_mosaic(tmp_path / "m.tif") as mosaic:
        whole = restore_with_trust(mosaic, local, whole_core, settings, **how)
        for core in tiles.shards(counts.shape, 192):
            part = restore_with_trust(mosaic, local, core, settings, **how)
            np.testing.assert_allclose(part.tv_weights, whole.tv_weights[core], rtol=1e-4)
            np.testing.assert_allclose(part.picture, whole.picture[core], atol=1e-3 * 400)
    assert whole.tv_weights.shape == counts.shape and (whole.tv_weights > 0).all()
    assert np.isnan(whole.picture[30, 40]) and np.isfinite(whole.tv_weights).all()
    assert whole.tv_weights.std() > 0.1 * whole.tv_weights.mean()


def test_weights_follow_the_psf(file):
    """What a picture's PSFs are, and how far they lie apart, reaches the network."""
    counts = np.full((40, 60), 50.0, np.float32)
    no = np.zeros(counts.shape, bool)
    pixels = Pixels(~no, no, no)
    psfs = gaussian_psfs(torch.tensor([[1.0, 1.0], [6.0, 6.0]]), 15)[None]
    camera = {"scale": 100.0, "gain": 1.0}

    def weights(psfs, *centres, doubt=0.0):
        widths = learnt_weights.widths_of((psfs, *centres), counts.shape)
        how = {"exposure": Exposure(gain=1.0), "doubt": doubt} | camera
        return learnt_weights.weights_of(file, counts, pixels, widths, **how)

    one, same = weights(psfs, [0.0], [0.0, 59.0]), weights(psfs[:, :1], [0.0], [0.0])
    assert one.shape == (40, 60) and float(same.std()) < 1e-6 * float(same.mean())
    assert float(one.std()) > 1e-3 * float(one.mean())
    doubted = weights(psfs[:, :1], [0.0], [0.0], doubt=0.2)
    assert float((doubted / same).log().abs().mean()) > 1e-3


def test_what_is_no_network_of_weights_is_refused(tmp_path, file):
    with pytest.raises(UserError, match="is no network of weights"):
        weight_store.told_by({"weight_network": str(tmp_path / "none.safetensors")})
    with pytest.raises(UserError, match="not for weight-map"):
        weight_maps.load(entries.released("gaussian-2"))
    direct = tmp_path / "direct.safetensors"
    card = {"task": "weight-map", "network": SPEC | {"learns": "direct"}}
    store.save(direct, WeightNetwork(width=4, levels=2), card)
    with pytest.raises(UserError, match="makes pictures and tells no weights"):
        weight_maps.load(direct)
    told = weight_store.told_by({"weight_network": str(file)})
    assert told["weights_sha256"] and told["step_px"] == 2


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tv_step": "explicit"}, "tv_step: is explicit with learnt weights"),
        ({"acceleration": "none"}, "acceleration: is none with learnt weights"),
        ({"weight_network": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"weight_network": "network.pt"}, "is neither a .safetensors file nor an entry"),
        ({"weight_network": "nobody"}, "nobody is neither a .safetensors file nor an entry"),
        ({"tv_weight": 0.01}, "weight_network: goes with tv_weight: learnt"),
    ],
)
def test_what_does_not_go_with_learnt_weights_is_named(asked, words, file):
    asked = {"tv_weight": "learnt", "weight_network": str(file)} | asked
    with pytest.raises(UserError, match=words):
        validate({"restoration": asked}, here=True)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"epoch_samples": 1}, "is less than one batch"),
        ({"iterations": 5, "gradients": 6}, "is more than the iterations"),
        ({"psfs": ["gaussian"]}, "is no entry of psfs"),
        ({"learns": "truth"}, "learns"),
        ({"start": "network.pt"}, "is not a .safetensors file"),
        ({"pictures": "mosaics"}, "but the study has none"),
        ({"references": "alike"}, "alike is of pictures of mosaics"),
        ({"pictures": "mosaics", "scheme": "primal-dual"}, "scheme: primal-dual with pictures"),
    ],
)
def test_wrong_networks_of_weights_are_named(asked, words):
    with pytest.raises(UserError, match=words):
        validate({"weight_networks": [{"name": "w"} | asked], "simulations": [], "mosaics": None})


# What weights are compared with -------------------------------------------------------------------


def even_and_textured(light: float) -> Sample:
    """An even picture beside one of steps, in Poisson noise, hardly blurred."""
    rng = torch.Generator().manual_seed(0)
    psf = gaussian_psfs(torch.tensor([[1.0, 1.0]] * 2), 7)[:, None]
    blurs = Blurs(psf, None, (48, 48))
    steps = torch.rand(14, 14, generator=rng).repeat_interleave(4, 0).repeat_interleave(4, 1)
    truth = light * torch.stack([torch.full((54, 54), 0.5), steps[:54, :54]])
    photons = torch.poisson(blurs.forward(truth), generator=rng)
    level, flat = truth.mean((1, 2)), torch.ones(2, 48, 48)
    peak = torch.full((2,), light)
    return Sample(photons, truth, blurs, blurs, flat, peak, peak, level, *torch.zeros(2, 2))


def even_beside_textured(light: float) -> Sample:
    """A picture whose left half is even."""
    sample = even_and_textured(light).only(slice(1, 2))
    truth = sample.truth.clone()
    truth[..., :27] = 0.5 * light
    photons = torch.poisson(sample.blurs.forward(truth), generator=torch.Generator().manual_seed(1))
    return replace(sample, truth=truth, photons=photons)


def test_the_most_likely_weight_is_larger_where_nothing_is():
    sample = even_and_textured(200.0)
    even, textured = most_likely(sample, torch.Generator().manual_seed(0))
    assert even > 2 * textured
    # Of steps of 200/3 photons on average, every 4 px: TV of about 33 a pixel, and one over that.
    assert 0.3 < 33 * float(textured) < 3


def test_an_oracle_map_is_better_than_the_weight_it_starts_from():
    sample = even_and_textured(200.0).only(slice(1, 2))
    start = torch.tensor([0.01])
    flat = start.view(-1, 1, 1).expand_as(sample.widths)
    found = best_map(sample, start, SPEC, 10)
    before, after = (errors(restored(sample, w, SPEC, 10), sample) for w in (flat, found))
    assert after < 0.98 * before


def choose_learnt(file, sample, **asked):
    """The choice for a picture whose PSF is known, or in doubt."""
    doubt = asked.pop("doubt", None)
    asked = {"tv_weight": "learnt", "weight_network": str(file), "psf_scale": 1.0} | asked
    settings = validate({"restoration": asked})["restoration"]
    blur = OneBlur(sample.blurs)
    piece = Piece(
        sample.photons[0].numpy(),
        lambda which: blur,
        (slice(0, 48), slice(0, 48)),
        lambda which: 3.0,
        doubt,
        lambda which: sample.widths[0].numpy(),
    )
    exposure = Exposure(gain=asked.pop("gain", 1.0))
    return choose(
        [piece], settings, exposure=exposure, start=100.0, scale=200.0, seed=0, stream="t"
    )


def test_held_out_photons_judge_learnt_weights(file):
    """Iterations are chosen with the released network's weights, and those that make no sense are refused."""
    sample = even_beside_textured(200.0)
    choice = choose_learnt("released", sample)
    assert choice["tv_weight"] == "learnt" and not choice["curves"]
    assert 1 <= choice["iterations"] <= 40
    assert "a network tells the weights" in choice["reason"]
    assert "learnt TV weights" in describe_choice(choice)
    given = choose_learnt("released", sample, iterations=5)
    assert given["iterations"] == 5 and given["tv_weight"] == "learnt"
    assert choice["weights_doubt"] == 0
    assert choose_learnt("released", sample, doubt=0.3)["weights_doubt"] == pytest.approx(0.3)
    refused = choose_learnt(file, sample)
    assert refused["tv_weight"] > 0 and len(refused["curves"]) > 1
    assert "better than those that the network tells" in refused["reason"]


def test_learnt_weights_that_are_clearly_better_end_the_search(file, monkeypatch):
    tried, compare = [], HeldOut.compare

    def watched(self, blur, iterations, tv_weight, *args, **how):
        tried.append(tv_weight)
        return compare(self, blur, iterations, tv_weight, *args, **how)

    monkeypatch.setattr(HeldOut, "compare", watched)
    sample = even_beside_textured(2000.0)
    assert choose_learnt("released", sample)["tv_weight"] == "learnt"
    assert len(tried) == 2 and tried[1] == "learnt"
    tried.clear()
    assert choose_learnt(file, sample)["tv_weight"] != "learnt"
    assert len(tried) > 2 and tried.count("learnt") == 1


def test_without_the_gain_no_weight_is_learnt(file):
    sample = even_and_textured(200.0).only(slice(1, 2))
    settings = {"tv_weight": "learnt", "weight_network": str(file), "iterations": 5}
    settings = validate({"restoration": settings})["restoration"]
    found = choose([], settings, exposure=Exposure(), start=1.0, scale=2.0, seed=0, stream="t")
    assert found["tv_weight"] == 0.001 and found["iterations"] == 5
    assert sample.photons.shape == (1, 48, 48)


@pytest.mark.parametrize("uneven", [False, True])
def test_doubtful_psfs_are_chosen_first(uneven):
    """Where one PSF stands for different ones, iterations are limited, and a weight is chosen that goes with few of them."""
    sample = even_beside_textured(200.0)
    settings = validate({"restoration": {"tv_weight": "learnt"}})["restoration"]
    blur = OneBlur(sample.blurs)
    piece = Piece(
        *(sample.photons[0].numpy(), lambda which: blur, (slice(0, 48), slice(0, 48))),
        *(lambda which: 5.0 * which, 0.2, lambda which: sample.widths[0].numpy()),
    )
    how = {"exposure": Exposure(gain=1.0), "start": 100.0, "scale": 200.0, "seed": 0, "stream": "t"}
    found = choose([piece], settings, uneven=uneven, **how)
    assert len(found["widths"]) > 1
    if uneven:
        assert found["tv_weight"] != "learnt" and found["iterations"] <= 8
    else:
        assert found["tv_weight"] == "learnt" and not found["curves"]


def trial(networks=(), **keys):
    asked = {"name": "t", "size_px": 32, "iterations": 6, "samples": 3, "photons": [100.0, 1000.0]}
    asked |= {"networks": ["tiny"] if networks else []} | keys
    study = validate({k: STUDY[k] for k in ("psfs", "weight_networks")} | {"weight_tests": [asked]})
    return Trial(entries.told(study, "weight_tests", "t"), RECIPE, 1, tuple(map(str, networks)))


def test_a_test_shows_the_same_pictures_under_every_light():
    one = trial(light="uneven", blur="varying")
    assert one.units == [(100.0, 0), (1000.0, 0)]
    dim, bright = (one.sample(light, 0) for light in (100.0, 1000.0))
    shape = dim.truth / dim.truth.amax((1, 2), keepdim=True)
    torch.testing.assert_close(shape, bright.truth / bright.truth.amax((1, 2), keepdim=True))
    assert (bright.bright / dim.bright).median() == pytest.approx(10, rel=0.3)
    assert len(dim.photons) == BLOCK


def test_rows_tell_what_each_method_comes_to(file):
    one = trial([file], methods=["one", "best", "chosen"])
    rows, followed = tables([one], [np.concatenate([one.unit(0), one.unit(1)])])
    names = ["raw", "one", "best", "chosen", "tiny", "tiny (its mean)", "tiny (stopped)"]
    assert set(rows["method"]) == set(names) and len(rows) == 2 * 3 * len(names)
    psnr = rows.pivot(index=["photons", "picture"], columns="method", values="psnr")
    assert (psnr["best"] >= psnr["one"]).all() and (psnr["one"] > psnr["raw"]).mean() > 0.5
    weights = rows.pivot(index=["photons", "picture"], columns="method", values="weight")
    np.testing.assert_allclose(weights["tiny"], weights["tiny (its mean)"], rtol=1e-4)
    assert len(followed) == 6 and followed["light"].abs().max() <= 1
    found = summary(rows)
    assert len(found) == 3 * len(names)
    own = found[(found["method"] == "best") & (found["photons"] == 100)].iloc[0]
    assert own["gain_db"] == pytest.approx((psnr["best"] - psnr["one"]).loc[100].mean())


def test_what_a_judge_says_is_what_the_test_says(file):
    asked = {
        "recipe": {"test": trial([file], methods=["one"]).test | {"networks": ["network"]}}
        | RECIPE,
        "seed": 1,
    }
    judge = WeightJudge(file, CPU)
    told = judge.judge(judge.samples(asked, 3)).regression.set_index(["parameter", "metric"])
    assert told.loc[("100/one", "gain"), "value"] == 0
    assert np.isfinite(told.loc[("all/network", "PSNR"), "value"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"noise": "gaussian"}, "goes with the scheme primal-dual"),
        ({"noise": "uneven"}, "goes with the scheme primal-dual"),
        ({"scheme": "primal-dual"}, "chosen is of the scheme richardson-lucy"),
        ({"factor": 2, "size_px": 96, "methods": ["one"], "networks": ["tiny"]}, "is for the factor 1"),
        ({"photons": [100, 100]}, "names one twice"),
        ({"objects": "black"}, "tell nothing"),
    ],
)  # fmt: skip
def test_tests_that_cannot_be_are_named(asked, words):
    study = {k: STUDY[k] for k in ("psfs", "weight_networks")}
    study["objects"] = [{"name": "scenes"}, {"name": "black", "kinds": ["black"]}]
    with pytest.raises(UserError, match=words):
        validate(study | {"weight_tests": [{"name": "t"} | asked]})


@pytest.mark.parametrize(
    "model",
    [
        {"scheme": "primal-dual", "regulariser": "directional"},
        {"scheme": "primal-dual", "regulariser": "huber"},
        {"scheme": "primal-dual", "noise": "gaussian", "regulariser": "anisotropic"},
        {"scheme": "primal-dual", "noise": "uneven", "regulariser": "directional"},
        {"scheme": "primal-dual", "noise": "uneven", "factor": 2},
        {"factor": 2},
    ],
)
def test_other_models_learn_too(model):
    spec = SPEC | model | {"gradients": None}
    one = Samples(RECIPE, spec, 1, "other", "train", CPU).draw(0, 0, 2)
    assert one.photons.shape[-1] == 32 // spec["factor"]
    lesson = LESSONS["restoration"](spec)
    torch.manual_seed(0)
    network = lesson.build()
    lesson.loss(network, one, torch.Generator()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.last.weight.grad.abs().amax((1, 2, 3)).min() > 0
    assert lesson.made(network, one).shape == (2, 32, 32)


def test_uneven_noise_is_restored_better_if_its_map_is_known():
    spec = SPEC | {"scheme": "primal-dual", "noise": "uneven", "psf_error": [0, 0], "patch_px": 64}
    recipe = RECIPE | {"objects": RECIPE["objects"] | {"kinds": ["fractals"]}}
    one = Samples(recipe, spec, 1, "uneven", "train", CPU).draw(0, 0, 8)
    apart = (one.photons - one.true_blurs.forward(one.truth)).square()
    torch.testing.assert_close(apart.mean((1, 2)), one.floor, rtol=0.2, atol=0)
    noise = smoothed(apart[:, None], gaussian_profiles((8.0,), 4.0))[:, 0]
    assert (noise.amax((1, 2)) > 2 * noise.amin((1, 2))).sum() >= 4
    noise = noise / noise.mean((1, 2), keepdim=True)
    weights = 9 / (one.peak + one.floor).view(-1, 1, 1).expand_as(one.widths)
    known, even = (restored(one, weights, spec, 100, noise=told) for told in (noise, None))
    assert (decibels(known, one) - decibels(even, one)).mean() > 0.5
    # What a network tells has a mean of 1, so that only where noise is counts.
    told = WeightNetwork.of(spec | {"scheme": "primal-dual"}).maps(*one.seen)
    torch.testing.assert_close(told.noise, torch.ones_like(told.noise))
    assert WeightNetwork.of(spec | {"noise": "gaussian"}).maps(*one.seen).noise is None


def test_the_released_network_has_its_card():
    file = entries.weight_network_file({})
    network, told = weight_maps.load(file)
    assert file.with_suffix(".md").read_text() == card.markdown(told)
    assert file.stat().st_size <= 8_000_000
    assert {"released", "limits", "tests", "seed", "samples"} <= set(told)
    assert (told["halo_px"], told["step_px"]) == (network.halo_px, network.step_px)
    by = {
        (t["test_set"], r["parameter"], r["metric"]): r for t in told["tests"] for r in t["figures"]
    }
    for test in told[
        "tests"
    ]:  # better than one weight for all, but where it was judged by what it did not learn with
        unlike = test["test_set"].endswith("unlike")
        assert (by[test["test_set"], "all/network", "gain"]["value"] > 0) != unlike
