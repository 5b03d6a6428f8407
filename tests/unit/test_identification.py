"""Identification tests: how pictures are taken, how kernels are scored, and what a trial tells."""

import numpy as np
import pandas as pd
import pytest
import torch
from isoplan.applications.identification import report, trials
from isoplan.applications.identification.acquisition import take
from isoplan.applications.identification.scores import VALUES, psnr, score, snr
from isoplan.applications.identification.summary import COLUMNS, summary
from isoplan.applications.identification.trials import FIT, IDEAL, MEAN, MEAN_FIXED, Trial, table
from isoplan.base.errors import UserError
from isoplan.networks import store
from isoplan.networks.whittle_fit import WhittleFit, mean_psfs
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.psf import make_psf_model

PSF = {
    "name": "kernels",
    "model": "zernike-8",
    "form": "published",
    "size_px": 33,
    "cutoff": 0.1875,
    "cutoff_range": [0.125, 0.25],
    "excitation_cutoff": None,
    "modes_waves": [-0.15, 0.15],
}
OBJECTS = {"name": "s", "kinds": ["syn", "filaments", "dead-leaves", "glyphs"], "zoom": [0.5, 2]}
TEST = {
    "name": "t",
    "known": ["given", "fixed"],
    "noise": [0.01],
    "amplitude_drawn": False,
    "gain": 0,
    "bits": 0,
    "salt_pepper": 0,
    "size_px": 128,
    "samples": 6,
}
PERFECT = {"gain": 0, "noise": 0, "bits": 0, "salt_pepper": 0}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A file of a fit that has seen sharp scenes, and whose head learnt nothing."""
    torch.manual_seed(0)
    made = WhittleFit(128, make_psf_model(PSF))
    made.prepare(
        draw_scenes(OBJECTS, 64, 256, seed=3, stream="fit", first=first)
        for first in range(0, 256, 64)
    )
    path = tmp_path_factory.mktemp("fit") / "network.safetensors"
    spec = {"architecture": "whittle-fit", "head_width": 64}
    card = {"task": "psf-regression", "network": spec, "psf": PSF, "window_px": 128}
    store.save(path, made, card | {"fingerprint": "f"})
    return str(path)


def trial(network, **changes):
    recipe = {"objects": OBJECTS, "psf": PSF}
    return Trial(TEST | changes, recipe, seed=1, network=network)


def rng():
    return torch.Generator().manual_seed(0)


def test_pictures_are_taken_in_the_published_order():
    clean = torch.full((1, 200, 200), 0.4)
    assert torch.equal(take(clean, PERFECT, rng()), clean)
    poisson = take(clean, PERFECT | {"gain": 0.05}, rng())
    assert abs(float(poisson.mean()) - 0.4) < 0.005
    assert abs(float(poisson.var()) - 0.05 * 0.4) < 0.001
    gaussian = take(clean, PERFECT | {"noise": 0.1}, rng())
    assert abs(float(gaussian.std()) - 0.1) < 0.002
    # Quantised after the noise, black and white pixels after that.
    whole = take(clean, PERFECT | {"noise": 0.1, "bits": 2, "salt_pepper": 0.1}, rng())
    assert whole.unique().numel() == 4
    plain = take(clean, PERFECT | {"noise": 0.1, "bits": 2}, rng())
    changed = (whole != plain).float().mean()
    assert 0.05 < changed < 0.11


def test_psnr_says_nothing_of_a_kernel_with_a_peak_of_one():
    true = make_psf_model(PSF).psf(torch.full((1, 8), 0.05))[0]
    flat = torch.full_like(true, 1 / true[0].numel())
    assert psnr(flat, true, 1.0) > 45 and psnr(flat, true) < 25
    assert snr(flat, true) < 3
    assert psnr(true, true) > 100


def test_a_mirror_image_is_told_apart():
    model = make_psf_model(PSF)
    true = model.psf(0.1 * torch.ones(1, 8))[0]
    scene = torch.rand(1, 80, 80, generator=rng())
    right, wrong = score(true, true, scene), score(true.flip(1, 2), true, scene)
    assert set(right) == set(VALUES) - {"seconds"}
    assert right["told_right"] == 1 and wrong["told_right"] == 0
    assert wrong["psnr"] < 30 < wrong["psnr_either"]
    assert torch.equal(right["psnr_either"], wrong["psnr_either"])
    assert wrong["reblurred"] < wrong["reblurred_either"]


def test_a_trial_finds_kernels_better_than_who_does_not_look(network):
    made = trial(network, samples=8, size_px=256)
    rows = table([made], [made.unit(0)])
    assert list(rows.columns) == trials.COLUMNS and len(rows) == 8 * 2 * 5
    means = rows[rows["known"] == "given"].groupby("method")["psnr_either"].mean()
    assert means[FIT] > means[MEAN] + 2  # 7 dB on many pictures
    assert means[MEAN] > means[IDEAL] + 5
    told = rows[rows["known"] == "fixed"].groupby("method")["psnr"].mean()
    assert told[MEAN] == pytest.approx(told[MEAN_FIXED])
    # What is drawn does not depend on the noise, and is made again alike.
    other = trial(network, samples=8, size_px=256, noise=[0.05])
    one, two = made.sample(0.01, 0), other.sample(0.05, 0)
    assert torch.equal(one.kernel, two.kernel) and not torch.equal(one.picture, two.picture)
    assert torch.equal(made.sample(0.01, 0).picture, one.picture)


def test_without_information_the_mean_kernel_is_what_a_fit_gives(network):
    loaded, model, _ = store.load(network)
    noise = torch.randn(4, 128, 128, generator=rng())
    cutoff, most = torch.full((4,), 0.2), torch.full((4,), 0.05)
    found = mean_psfs(loaded.identify(noise, cutoff, most), model, 33)
    drawn = 0.1 * torch.rand(400, 8, generator=rng()) - 0.05
    mean = model.psf(drawn, torch.full((400,), 0.2))[0].mean(0, keepdim=True)
    airy = model.psf(torch.zeros(1, 8), torch.tensor([0.2]))[0]
    assert (psnr(found, mean.expand_as(found)) > psnr(airy, mean) + 3).all()


def test_amplitudes_of_their_own_are_given_or_their_mean_is(network):
    made = trial(network, amplitude_drawn=True)
    sample = made.sample(0.01, 0)
    assert (sample.theta.abs() <= sample.most_waves[:, None] + 1e-6).all()
    assert len(sample.most_waves.unique()) > 2
    assert torch.equal(made.told(sample, "given")[1], sample.most_waves)
    assert (made.told(sample, "fixed")[1] == 0.075).all()


def test_another_kind_of_network_is_refused(network, tmp_path):
    other = {**PSF, "model": "zernike-5"}
    with pytest.raises(UserError, match="no fit of zernike-5"):
        _ = Trial(TEST, {"objects": OBJECTS, "psf": other}, 1, network).loaded


def test_a_summary_counts_costly_mirror_images_alone():
    rows = []
    for k in range(4):
        for method, value in ((MEAN, 20.0), (FIT, 24.0 + k)):
            values = dict.fromkeys(VALUES, value)
            values |= {"mirror_cost": 2.0 + k, "told_right": float(k != 1)}
            place = {"test": "t", "noise": 0.01, "known": "given", "picture": k, "method": method}
            rows.append({**place, "cutoff": 0.2, "most_waves": 0.15, **values})
    found = summary(pd.DataFrame(rows)).set_index("method")
    assert tuple(found.reset_index().columns[:1]) == ("method",)
    assert found.loc[FIT, "mirror_n"] == 3 and found.loc[FIT, "mirror_right"] == pytest.approx(
        2 / 3
    )
    assert found.loc[FIT, "psnr_gain"] == 5.5 and found.loc[FIT, "worst_gain"] == 4
    assert found.loc[FIT, "psnr_low"] < 5.5 < found.loc[FIT, "psnr_high"]
    assert set(COLUMNS) == set(found.reset_index().columns)


def test_the_figure_shows_every_kind_of_kernel():
    kernels = {name: np.random.default_rng(0).random((8, 9, 9)) for name in ("true", FIT, MEAN)}
    figure = report.kernel_figure({"picture": np.ones((8, 20, 20)), **kernels})
    assert len(figure.axes) == 4 * report.SHOWN
    assert figure.axes[0].get_ylabel() == "Picture"
