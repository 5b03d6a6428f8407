"""Identification tests: how pictures are taken, how kernels are scored, and what a trial tells."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from isoplan.applications.identification import checks, report, trials
from isoplan.applications.identification.acquisition import take
from isoplan.applications.identification.kernel_network import KernelNetwork
from isoplan.applications.identification.scores import VALUES, psnr, score, snr
from isoplan.applications.identification.summary import COLUMNS, summary
from isoplan.applications.identification.task import Kernels
from isoplan.applications.identification.trials import (
    CENTRAL,
    FIT,
    IDEAL,
    MEAN,
    MEAN_FIXED,
    Trial,
    table,
)
from isoplan.base.errors import UserError
from isoplan.config.schema import schema
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


RECIPE = {"objects": OBJECTS, "psf": PSF}
LEARNT = {
    "name": "coder",
    "width": 4,
    "levels": 4,
    "patch_px": 64,
    "amplitude_drawn": True,
    "noise": [0, 0.02],
    "gain": [0.001, 0.01],
    "bits": [0, 8],
    "salt_pepper": [0, 0.001],
    "reblurred_weight": 0.1,
    "batch": 4,
}


def trial(network, others=None, **changes):
    return Trial(TEST | changes, RECIPE, 1, network, others or {})


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


def kernels(tmp_path, **changes):
    """A task, and the file of a network that learnt nothing."""
    task = Kernels.of_config(RECIPE, LEARNT, seed=1, device=torch.device("cpu"))
    file = tmp_path / "kernels.safetensors"
    card = {"task": "kernel", "network": LEARNT, "psf": PSF, "fingerprint": "k"} | changes
    store.save(file, task.network, card)
    return task, str(file)


def test_a_network_learns_to_make_kernels_and_goes_on_where_it_was(tmp_path):
    task, _ = kernels(tmp_path)
    before = task.validate()
    batches = list(task.batches(0, 6))
    again = zip(batches, task.batches(0, 6), strict=True)
    assert all(torch.equal(one.picture, two.picture) for one, two in again)
    for batch in batches[:3]:
        task.step(batch, 0.01)
    kept = copy.deepcopy(task.state())
    losses = [task.step(batch, 0.01) for batch in batches[3:]]
    other, _ = kernels(tmp_path)
    other.load_state(kept)
    assert losses == [other.step(batch, 0.01) for batch in batches[3:]]
    after = task.validate()
    assert set(after) == set(Kernels.history_columns[1:])
    assert after["validation_loss"] < before["validation_loss"]  # a kernel is not flat
    assert task.settings() == [RECIPE, LEARNT] and task.card() == RECIPE


def test_a_network_is_called_like_no_other_method():
    assert set(checks.RESERVED) == {FIT, CENTRAL, *trials.TRIVIAL}
    study = {"psfs": [PSF], "kernel_networks": []}
    one = {"name": "fit", "psf": PSF["name"], "weights": "w.safetensors"}
    (found,) = checks.kernel_networks([one], study)
    assert found[0] == (0, "name") and "another method" in found[1]


def test_the_published_network_has_sixty_million_weights():
    spec = schema()["properties"]["kernel_networks"]["items"]["properties"]
    with torch.device("meta"):
        made = KernelNetwork(33, spec["width"]["default"], spec["levels"]["default"])
    assert 55e6 < sum(weights.numel() for weights in made.parameters()) < 65e6


def test_kernels_of_a_network_stand_beside_the_fit(network, tmp_path):
    _, file = kernels(tmp_path)
    made = trial(network, {"coder": file}, samples=2, known=["given"], kernel_networks=["coder"])
    rows = table([made], [made.unit(0)])
    assert list(rows["method"].unique()) == [FIT, CENTRAL, "coder", MEAN, MEAN_FIXED, IDEAL]
    assert made.mark == ["f", "k"]
    # It learnt nothing: its kernel is flat.
    true = made.sample(0.01, 0).kernel[:2]
    flat = psnr(torch.full_like(true, 1 / true[0].numel()), true)
    assert rows[rows["method"] == "coder"]["psnr"].to_numpy() == pytest.approx(flat.numpy())
    _, wide = kernels(tmp_path, psf=PSF | {"size_px": 35})
    with pytest.raises(UserError, match="makes kernels of 35 px"):
        trial(network, {"coder": wide}, kernel_networks=["coder"]).others  # noqa: B018
    with pytest.raises(UserError, match="is a network for psf-regression, not for kernel"):
        KernelNetwork.load(network)
    _, torn = kernels(tmp_path, network=LEARNT | {"width": 5})
    with pytest.raises(UserError, match="do not go together"):
        KernelNetwork.load(torn)
    with pytest.raises(UserError, match="size_px is 33, but coder wants 31"):
        Kernels.take(file, {"psf": PSF | {"size_px": 31}}, LEARNT)


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
    cutoff, most = made.told(sample, "cutoff")
    assert torch.equal(cutoff, sample.cutoff) and (most == 0.15).all()
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
