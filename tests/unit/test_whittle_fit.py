"""The fit of single Zernike modes: its parts against what they stand for, and the whole against trivial answers."""

import pytest
import torch
from isoplan.networks import outputs
from isoplan.networks.phases import Phases
from isoplan.networks.scene_spectra import SQUARE_PX, SceneSpectra, half_plane, leaked, welch
from isoplan.networks.whittle import CUTOFFS, FINER, REFINED, Whittle
from isoplan.networks.whittle_fit import (
    LEVELS,
    WhittleFit,
    candidate_psfs,
    posterior_spread,
)
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.full_pupil import FullPupil, pixel_transfer
from isoplan.optics.psf import make_psf_model
from isoplan.training.samples import blur_patches

SCENES = {
    "name": "s",
    "kinds": ["syn", "poi", "filaments", "dead-leaves", "fractals", "glyphs"],
    "zoom": [0.5, 2],
}
WINDOW = 256


def make_model(**changes):
    return make_psf_model(
        {
            "name": "test",
            "model": "zernike-8",
            "form": "isoplan",
            "size_px": 63,
            "cutoff": 0.25,
            "cutoff_range": [0.125, 0.25],
            "excitation_cutoff": None,
            "modes_waves": [-0.15, 0.15],
            **changes,
        }
    )


MODEL = make_model()


def scenes(count, size=WINDOW, first=0, split="train"):
    return draw_scenes(SCENES, count, size, seed=3, stream="fit", first=first, split=split)


@pytest.fixture(scope="module")
def spectra():
    learnt = SceneSpectra()
    learnt.learn(scenes(64, first=first) for first in range(0, 320, 64))
    return learnt


@pytest.fixture(scope="module")
def fit(spectra):
    return Whittle(MODEL.noll, spectra)


@pytest.fixture(scope="module")
def blurred():
    """16 windows with their modes and cut-offs, at a noise of 1 % of the peak."""
    return blurred_windows(1.0)


def blurred_windows(amplitude):
    rng = torch.Generator().manual_seed(5)
    theta = amplitude * MODEL.sample(16, rng)
    cutoff = torch.tensor([0.13, 0.16, 0.2, 0.25]).repeat(4)
    sharp = scenes(16, WINDOW + 62, first=1000, split="test")
    seen = blur_patches(sharp, MODEL.psf(theta, cutoff)[0])
    return seen + 0.01 * torch.randn(seen.shape, generator=rng), theta, cutoff


def test_welch_gives_the_variance_of_white_noise():
    noise = 3 * torch.randn(8, 128, 128, generator=torch.Generator().manual_seed(0)) + 50
    power = welch(noise)
    assert abs(float(power[:, half_plane()].mean()) - 9) < 0.3


def test_leakage_is_that_of_the_taper():
    # The expected spectrum of a tapered square of a periodic pattern, against many random phases.
    fy = torch.fft.fftfreq(SQUARE_PX)[:, None]
    fx = torch.fft.rfftfreq(SQUARE_PX)
    power = 1 / (torch.hypot(fy, fx) + 0.05) ** 2
    rng = torch.Generator().manual_seed(0)
    white = torch.randn(2000, SQUARE_PX, SQUARE_PX, generator=rng)
    made = torch.fft.irfft2(torch.fft.rfft2(white) * power.sqrt(), s=white.shape[1:])
    found, wanted = welch(made).mean(0), leaked(power)
    ratio = (found / wanted)[half_plane()]
    assert abs(float(ratio.mean()) - 1) < 0.01 and float(ratio.std()) < 0.05


def test_scene_spectra_describe_scenes_better_than_a_power_law(spectra):
    from isoplan.networks.scene_spectra import frequencies

    used = half_plane() & (frequencies() <= 0.5)
    logs = (welch(scenes(64, first=5000)) / pixel_transfer(SQUARE_PX, 1).square()).log()[:, used]

    def left(terms):
        found = torch.linalg.lstsq(terms, logs.T).solution
        return float((logs.T - terms @ found).square().mean())

    law = torch.stack([torch.ones(int(used.sum())), frequencies()[used].log()], 1)
    learnt = spectra.shapes[:, used].T
    wanted = left(torch.cat([learnt, spectra.mean[used][:, None]], 1))
    assert wanted < 0.35 * left(law)
    assert float(spectra.scatter[used].mean()) < 2 * wanted


def likeliest_theta(found):
    return found.theta[torch.arange(len(found.theta)), found.evidence.argmax(1)]


def test_the_fit_finds_psfs_better_than_the_mean_kernel(fit, blurred):
    windows, theta, cutoff = blurred
    found = fit(windows, cutoff, torch.full((16,), 0.15))
    assert torch.allclose(found.share.sum(1), torch.ones(16), atol=1e-5)
    assert (found.misfit.diff(dim=1) >= 0).all()
    assert (found.theta.abs() <= 0.15 + 1e-6).all()
    best = MODEL.nearest(likeliest_theta(found), theta)
    true, ours = (candidate_psfs(t[:, None], cutoff, MODEL.noll)[:, 0] for t in (theta, best))
    rng = torch.Generator().manual_seed(0)
    others = candidate_psfs(MODEL.sample(100, rng).expand(16, -1, -1), cutoff, MODEL.noll)
    error, trivial = (
        (psf - true).square().sum((1, 2)).log().mean() for psf in (ours, others.mean(1))
    )
    # 6 dB are log(4) = 1.39; 16 windows say that within about 1 dB.
    assert trivial - error > 0.7
    spread = posterior_spread(found, best, MODEL)
    assert 0.5 < float(((best - theta).square().mean() / spread.square().mean()).sqrt()) < 2


def test_small_amplitudes_are_found_where_they_are_allowed_for(fit):
    windows, theta, cutoff = (values[:8] for values in blurred_windows(0.25))
    true = candidate_psfs(theta[:, None], cutoff, MODEL.noll)[:, 0]
    errors = []
    for levels in (LEVELS[:1], LEVELS):
        found = fit(windows, cutoff, torch.full((8,), 0.15), levels)
        assert torch.allclose(found.share.sum(1), torch.ones(8), atol=1e-5)
        assert (found.misfit.diff(dim=1) >= 0).all()
        assert (found.theta.abs() <= found.most[..., None] + 1e-6).all()
        best = MODEL.nearest(likeliest_theta(found), theta)
        psfs = candidate_psfs(best[:, None], cutoff, MODEL.noll)[:, 0]
        errors.append((psfs - true).square().sum((1, 2)).log())
    # Measured: by 1.0, which is 4 dB.
    assert (errors[0] - errors[1]).mean() > 0.3


def test_a_window_is_fitted_alike_alone_and_among_others(fit, blurred):
    windows, _, cutoff = blurred
    most = torch.full((16,), 0.15)
    alone = fit(windows[3:4], cutoff[3:4], most[:1])
    among = fit(windows[2:8], cutoff[2:8], most[2:8])
    assert torch.equal(alone.theta[0], among.theta[1])


def test_an_unknown_cutoff_is_found(fit, blurred):
    windows, _, cutoff = blurred
    most = torch.full((16,), 0.15)
    fits = fit.without_cutoff(windows, 0.125, 0.25, most)
    tried = torch.stack([found.cutoff for found in fits], 1)
    assert tried.shape == (16, CUTOFFS + REFINED * len(FINER))
    assert (tried >= 0.125 - 1e-6).all() and (tried <= 0.25 + 1e-6).all()
    best = torch.stack([found.loss for found in fits], 1).argmin(1)
    told = tried[torch.arange(16), best]
    # Sometimes too high or too low, as strong modes dim high frequencies like a lower cut-off.
    assert float(torch.corrcoef(torch.stack([told, cutoff]))[0, 1]) > 0.5
    assert float((told / cutoff).log().abs().median()) < 0.15


def phases_of(windows, theta, cutoff):
    """Phases of windows with known PSFs, and a function that makes OTFs of other modes."""
    pupil = FullPupil(MODEL.noll, WINDOW, 0.25, WINDOW)
    modes = pupil.modes(cutoff)
    otf = pupil.otf(theta[:, None], modes)
    modulus = otf[:, 0].abs() * pixel_transfer(WINDOW, 1)
    phases = Phases.of(windows, modulus, torch.full((len(windows),), 1e-4))
    return phases, otf, lambda k, one: pupil.otf(one, modes[k : k + 1])


def test_windows_are_sparsest_with_the_phases_of_their_psf(blurred):
    windows, theta, cutoff = blurred
    phases, otf, _ = phases_of(windows, theta, cutoff)
    one, mirrored = (phases.log_sparsity(v).mean((1, 2)) for v in (otf, otf.conj()))
    differ = theta[:, MODEL.odd].norm(dim=1) > 0.1
    assert differ.sum() >= 8
    assert float((one < mirrored)[differ].float().mean()) >= 0.8
    without = phases.log_sparsity(torch.ones_like(otf)).mean((1, 2))
    assert float((one < without).float().mean()) >= 0.8


def test_phases_of_normally_distributed_windows_count_little(blurred):
    windows, theta, cutoff = blurred
    phases, otf, _ = phases_of(windows, theta, cutoff)
    own = phases.weight(phases.log_sparsity(otf))
    noise = torch.randn(16, WINDOW, WINDOW, generator=torch.Generator().manual_seed(3))
    phases, otf, _ = phases_of(noise, theta, cutoff)
    none = phases.weight(phases.log_sparsity(otf))
    assert none.max() < 0.2 * own.median()
    assert none.min() >= 0


def test_phases_refine_what_a_spectrum_tells_roughly(blurred):
    windows, theta, cutoff = (values[:6] for values in blurred)
    rng = torch.Generator().manual_seed(2)
    rough = (theta + 0.04 * torch.randn(theta.shape, generator=rng)).clamp(-0.15, 0.15)
    phases, otf, otf_of = phases_of(windows, rough, cutoff)
    weight = phases.weight(phases.log_sparsity(otf))
    weight[5] = 0  # as of a flat window
    held = torch.eye(8).expand(6, 8, 8) / 0.04**2
    found = phases.refined(rough, weight, held, otf_of)
    assert torch.equal(found[5], rough[5])
    psfs = [candidate_psfs(t[:, None], cutoff, MODEL.noll)[:, 0] for t in (theta, rough, found)]
    before, after = ((psf - psfs[0]).square().sum((1, 2)).log()[:5] for psf in psfs[1:])
    # 3 dB are log(2) = 0.7.
    assert (before - after).mean() > 0.7


def test_what_is_identified_is_nearer_than_what_the_spectrum_alone_tells(spectra, blurred):
    windows, theta, cutoff = blurred
    network = WhittleFit(WINDOW, MODEL)
    network.scenes.load_state_dict(spectra.state_dict())
    known = network.identify(windows, cutoff)
    assert torch.allclose(known.found.share.sum(1), torch.ones(16), atol=1e-5)
    assert (known.theta.abs() <= 0.15 + 1e-6).all()
    assert (known.evidence.sum(1) >= 0).all()
    true = candidate_psfs(theta[:, None], cutoff, MODEL.noll)[:, 0]
    errors = []
    for one in (
        likeliest_theta(network.fit(windows, cutoff, torch.full((16,), 0.15))),
        known.theta,
    ):
        near = MODEL.nearest(one, theta)
        psfs = candidate_psfs(near[:, None], cutoff, MODEL.noll)[:, 0]
        errors.append((psfs - true).square().sum((1, 2)).log())
    assert (errors[0] - errors[1]).mean() > 0.4


def test_networks_of_small_amplitudes_allow_for_them(spectra, blurred):
    windows, _, cutoff = (values[:2] for values in blurred)
    for scale in ([1, 1], [0.25, 1]):
        network = WhittleFit(WINDOW, make_model(modes_scale=scale))
        network.scenes.load_state_dict(spectra.state_dict())
        found = network.identify(windows, cutoff, smaller=network.model.scale[0] < 1).found
        assert len(found.most.unique()) == (3 if scale[0] < 1 else 1)


def test_it_has_the_interface_of_a_network(spectra, blurred):
    windows, _, _ = blurred
    torch.manual_seed(0)
    network = WhittleFit(128, make_model(cutoff=0.2, cutoff_range=None)).eval()
    assert network.unprepared
    network.scenes.load_state_dict(spectra.state_dict())
    assert not network.unprepared
    picture = windows[
        7:8, None, :, :192
    ]  # two windows down, at a stride of 64 three, and two across
    dense = network(picture, 64)
    assert dense.shape == (1, outputs.channel_count(network.model), 3, 2)
    single = network(picture[..., 64:192, 64:192])
    assert torch.allclose(dense[..., 1, 1], single[..., 0, 0], atol=1e-3)
    found = outputs.to_estimate(dense.flatten(2)[0].T, network.model)
    assert found.params.shape == (6, 8) and found.mirror.shape == (6,)
    assert (found.mirror >= 0.5).all()  # the sparser of both is shown
    flat = network(torch.full((1, 1, 128, 128), 7.0))
    assert flat.isfinite().all()


def test_it_refuses_what_it_cannot_fit():
    with pytest.raises(ValueError, match="single Zernike modes"):
        WhittleFit(128, make_psf_model({"name": "g", "model": "gaussian-1", "form": "isoplan",
                                        "size_px": 31, "width_px": [1, 9]}))  # fmt: skip
    with pytest.raises(ValueError, match="two squares"):
        WhittleFit(96, MODEL)
