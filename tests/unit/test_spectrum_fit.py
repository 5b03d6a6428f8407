"""The network-free baseline: known blurs are found, and it can stand wherever a network does."""

import math

import pytest
import torch
from isoplan.networks import outputs, spectrum_fit, store
from isoplan.networks.spectrum_fit import SpectrumFit
from isoplan.optics.psf import make_psf_model
from isoplan.training.loop import history_header, train
from isoplan.training.psf_regression import PsfRegression
from isoplan.training.samples import INVALID, VALID, Recipe, make_set

WINDOW = 128


@pytest.fixture(scope="module")
def fit(gaussian):
    return SpectrumFit(WINDOW, make_psf_model(gaussian))


@pytest.fixture(scope="module")
def samples(settings, gaussian):
    """Dead leaves and fractals, some of them blank, at 10^5 photons."""
    recipe = Recipe(
        psf=gaussian,
        objects=settings("objects", kinds=["dead-leaves", "fractals"]),
        camera=settings("cameras", photons=[1e5, 1e5], read_noise_e=[0, 2]),
        window_px=WINDOW,
        black_share=0.2,
    )
    return make_set(recipe, 64, seed=5, stream="fit", split="test")


def test_noise_levels_left_out_after_the_coarse_look_change_nothing(fit, samples, monkeypatch):
    few = outputs.predict(fit, samples, "cpu")
    monkeypatch.setattr(spectrum_fit, "NEAR", math.inf)
    torch.testing.assert_close(few, outputs.predict(fit, samples, "cpu"), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("signal", [0.5, 300.0])
def test_misfits_are_those_of_a_ridge_regression(signal):
    """Against least squares with an intercept and the prior as rows of their own, in float64."""
    rng = torch.Generator().manual_seed(8)
    bins = len(spectrum_fit.spectral_bins(torch.device("cpu"))[1])
    entries = torch.rand(3, bins, generator=rng) ** 4
    y = 2 * torch.randn(4, bins, generator=rng)
    y = y - y.mean(1, keepdim=True)
    rows = spectrum_fit.misfit_rows(entries, signal)
    ones = torch.nn.functional.pad(y, (0, 1), value=1.0)
    found = spectrum_fit.misfit(rows, ones, y.square().mean(1))
    terms = spectrum_fit.spectral_bins(torch.device("cpu"))[2].double()
    for e, k in ((e, k) for e in range(3) for k in range(4)):
        power = 1 + signal * entries[e].double()
        shape = (1 - 1 / power)[:, None] * terms
        design = torch.cat([torch.ones(bins, 1).double(), shape], dim=1)
        prior = (spectrum_fit.RIDGE * bins) ** 0.5 * torch.eye(8).double()[1:]
        wanted = torch.cat([y[k].double() - power.log(), torch.zeros(7).double()])
        left = (
            wanted
            - (whole := torch.cat([design, prior])) @ torch.linalg.lstsq(whole, wanted).solution
        )
        expected = left.square().sum() / bins
        assert float(found[e, k]) == pytest.approx(float(expected), rel=1e-4)


@pytest.fixture
def coarse(monkeypatch):
    """Few nodes, where only shapes count."""
    monkeypatch.setattr(spectrum_fit, "NODES", {1: (5,), 2: (4, 4), 3: (3, 3, 4)})
    monkeypatch.setattr(spectrum_fit, "NODES_PUBLISHED_AXIS", {2: (4, 2), 3: (3, 3, 2)})


def test_widths_are_found_within_their_intervals(fit, samples):
    found = outputs.to_estimate(outputs.predict(fit, samples, "cpu"), fit.model)
    usable = samples.invalid == VALID
    assert usable.sum() > 30
    error = (found.params - samples.params)[usable]
    assert error.square().mean().sqrt() < 0.3  # of 1.5 to 5 px: a guess of the middle errs by 1
    assert (error.abs() <= found.half_width[usable]).float().mean() > 0.8
    assert (found.alarm < 0.001).all()


def test_validity_tells_blanks_from_texture(fit, samples):
    found = outputs.to_estimate(outputs.predict(fit, samples, "cpu"), fit.model)
    assert (found.validity[samples.invalid == VALID] > 0.5).float().mean() > 0.95
    assert (samples.invalid == INVALID).sum() > 5
    assert (found.validity[samples.invalid == INVALID] < 0.5).all()


def test_dense_equals_windowed(fit):
    rng = torch.Generator().manual_seed(3)
    light = torch.nn.functional.interpolate(
        torch.rand(2, 1, 60, 68, generator=rng), (192, 224), mode="bicubic"
    )
    picture = torch.poisson(900 * light.clamp_min(0), generator=rng)
    dense = fit(picture, 32)
    assert dense.shape == (2, 7, 3, 4)
    for j in range(3):
        for i in range(4):
            part = picture[..., 32 * j : 32 * j + WINDOW, 32 * i : 32 * i + WINDOW]
            torch.testing.assert_close(fit(part)[..., 0, 0], dense[..., j, i], rtol=1e-5, atol=1e-5)


def test_neither_scale_nor_offset_matters(fit, samples):
    plain = fit(samples.patches[:4])
    torch.testing.assert_close(fit(samples.patches[:4] / 128), plain, rtol=3e-4, atol=3e-4)
    torch.testing.assert_close(fit(samples.patches[:4] + 100), plain, rtol=1e-2, atol=1e-2)


def test_flat_and_black_windows_give_numbers(fit):
    for level in (0.0, 1e-3, 5e4):
        found = fit(torch.full((1, 1, WINDOW, WINDOW), level))
        assert found.isfinite().all()
        assert outputs.to_estimate(found[:, :, 0, 0], fit.model).validity < 0.5


@pytest.mark.parametrize("form", ["isoplan", "published"])
@pytest.mark.parametrize(
    "name", ["gaussian-1", "gaussian-2", "zernike-1", "zernike-2", "zernike-3"]
)
def test_every_psf_model_runs(settings, coarse, name, form):
    model = make_psf_model(settings("psfs", model=name, form=form, size_px=31))
    fit = SpectrumFit(96, model)
    found = fit(torch.rand(1, 1, 96, 128, generator=torch.Generator().manual_seed(1)), 32)
    assert found.shape == (1, outputs.channel_count(model), 1, 2)
    assert found.isfinite().all()
    inside = outputs.to_estimate(found[..., 0, 0], model).params[0]
    for value, p in zip(inside.tolist(), model.parameters, strict=True):
        assert p.low - 1e-4 <= value <= p.high + 1e-4


def test_each_patch_is_fitted_at_its_own_cutoff(settings):
    psf = settings("psfs", model="zernike-1", size_px=31, cutoff=0.25, cutoff_range=[0.15, 0.35])
    model = make_psf_model(psf | {"focus_waves": [0, 0.3]})
    fit = SpectrumFit(96, model)
    cutoff = torch.tensor([0.16, 0.25, 0.34]).repeat(2)
    waves = torch.tensor([[0.1]] * 3 + [[0.25]] * 3)
    psfs, _ = model.psf(waves, cutoff)
    rng = torch.Generator().manual_seed(4)
    light = torch.rand(6, 126, 126, generator=rng) ** 8
    blurred = torch.stack(
        [
            torch.nn.functional.conv2d(one[None, None], psf[None, None])[0, 0]
            for one, psf in zip(light, psfs, strict=True)
        ]
    )
    blurred = torch.poisson(1e4 * blurred, generator=rng)[:, None]
    found = outputs.to_estimate(fit(blurred, cutoff=cutoff)[:, :, 0, 0], model).params
    assert (found - waves).abs().max() < 0.05  # a small focus hardly shows
    other = outputs.to_estimate(fit(blurred, cutoff=cutoff.flip(0))[:, :, 0, 0], model).params
    assert (other - waves).abs().max() > 0.05  # a wrong cut-off gives a wrong focus


def test_the_taper_leaks_as_predicted():
    """Mean spectra of made-up noise of a known spectrum against the expected ones."""
    side = 2 * spectrum_fit.SQUARE_PX
    fy, fx = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    transfer = torch.exp(-((fy / 0.12) ** 2) - (fx / 0.05) ** 2)  # squared: |OTF|^2
    slope = spectrum_fit.SLOPES[-1]
    law = (fy**2 + fx**2 + (0.5 / spectrum_fit.SQUARE_PX) ** 2) ** (-slope / 4)
    law[0, 0] = 0
    noise = torch.randn(100, side, side, generator=torch.Generator().manual_seed(6))
    made = torch.fft.irfft2(torch.fft.rfft2(noise) * transfer * law, s=(side, side))
    seen = spectrum_fit.welch(made, side, side).mean((0, 1, 2))
    law = spectrum_fit.power_laws(fy**2 + fx**2)[-1]
    expected = spectrum_fit.leakage("cpu") @ (transfer.square() * law).flatten()
    strong = expected > 1e-6 * expected.max()
    assert (seen / expected)[strong].log().abs().mean() < 0.1


def test_the_file_is_written_at_once_and_comes_back(settings, recipe, coarse, tmp_path):
    spec = settings("networks", architecture="spectrum-fit")
    task = PsfRegression(recipe, spec, 1, torch.device("cpu"))
    assert train(task, tmp_path)
    assert (tmp_path / "history.csv").read_text().strip() == ",".join(history_header(task))
    network, model, card = store.load(tmp_path / "network.safetensors")
    assert card["network"]["architecture"] == "spectrum-fit" and card["fingerprint"]
    picture = torch.rand(1, 1, recipe.window_px, 128, generator=torch.Generator().manual_seed(2))
    again = SpectrumFit(recipe.window_px, model)
    assert torch.equal(network(picture, 32), again(picture, 32))
    assert not math.isnan(float(network(picture).sum()))


def test_a_window_below_a_square_is_refused(fit):
    with pytest.raises(ValueError, match="window_px 64"):
        SpectrumFit(64, fit.model)
