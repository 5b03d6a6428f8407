"""PSF models against integrals, brute force and their own conventions."""

import math

import numpy as np
import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.config.entries import ONE_PIXEL
from isoplan.config.schema import choices
from isoplan.optics.measured import centred_psf
from isoplan.optics.psf import make_psf_model
from isoplan.optics.pupil import make_pupil, published_pupil, zernike
from scipy.special import j0, j1

SYNTHETIC = [name for name, told in choices("psfs").items() if told["parameters"]]


def spec(model, **changes):
    return {
        "name": "test",
        "model": model,
        "form": "isoplan",
        "size_px": 31,
        "cutoff": 0.25,
        "excitation_cutoff": None,
        "width_px": [1.0, 9.0],
        "focus_waves": [0.0, 0.3],
        "cylinder_waves": [0.02, 0.15],
        "modes_waves": [-0.1, 0.1],
        "file": None,
        **changes,
    }


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("form", ["isoplan", "published"])
@pytest.mark.parametrize("name", SYNTHETIC)
def test_every_model_draws_psfs_of_sum_one_and_decodes_what_it_encodes(name, form):
    model = make_psf_model(spec(name, form=form))
    params = model.sample(200, rng())
    psf, lost = model.psf(params)
    assert psf.shape == (200, 31, 31) and psf.dtype == torch.float32
    assert torch.allclose(psf.sum((1, 2)), torch.ones(200), atol=1e-5)
    assert (psf >= 0).all() and (lost >= 0).all() and (lost < 1).all()
    targets = model.encode(params)
    assert targets.shape == (200, model.n_targets) and targets.abs().max() <= 1 + 1e-6
    decoded = model.decode(targets)
    assert torch.allclose(model.nearest(decoded, params, mirror=False), params, atol=1e-5)
    assert torch.allclose(model.psf(decoded)[0], psf, atol=1e-5)
    for column, p in zip(params.T, model.parameters, strict=True):
        assert column.min() >= p.low and column.max() <= p.high


def test_targets_far_off_decode_into_the_ranges():
    model = make_psf_model(spec("zernike-3"))
    decoded = model.decode(10 * torch.randn(500, 6, generator=rng()))
    for column, p in zip(decoded.T, model.parameters, strict=True):
        assert column.min() >= p.low and column.max() <= p.high
    assert model.decode(torch.full((1, 6), torch.nan)).isnan().all()


def test_noll_modes_are_orthonormal():
    radius, weight = np.polynomial.legendre.leggauss(20)
    radius, weight = torch.from_numpy((radius + 1) / 2), torch.from_numpy(weight / 2)
    angle = torch.arange(40, dtype=torch.float64) * 2 * math.pi / 40
    disc = torch.meshgrid(radius, angle, indexing="ij")
    modes = torch.stack([zernike(j, *disc) for j in range(1, 22)])
    area = (2 * weight * radius)[:, None].expand(20, 40) / 40
    gram = torch.einsum("iab,jab,ab->ij", modes, modes, area)
    assert torch.allclose(gram, torch.eye(21, dtype=torch.float64), atol=1e-10)
    # Signs and names: 4 is focus, 5 astigmatism at 45 degrees, 6 along the axes.
    one, east = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert zernike(4, one, east) > 0 and zernike(6, one, east) > 0
    assert zernike(5, one, east + math.pi / 4) > 0


def test_an_unaberrated_pupil_gives_the_airy_disc():
    cutoff, size = 0.08, 129
    pupil = make_pupil(cutoff, noll=(4,), size_px=size, field_px=1000, nodes=1, device="cpu")
    intensity = pupil.integrate(pupil.intensity(torch.zeros(1, 1)))[0].double() / pupil.total
    index = torch.arange(size) - size // 2
    distance = torch.hypot(index[:, None].double(), index[None, :].double()).numpy()
    v = 2 * math.pi * cutoff * np.maximum(distance, 1e-9)
    airy = math.pi * cutoff**2 * (2 * j1(v) / v) ** 2
    assert np.abs(intensity.numpy() - airy).max() < 0.01 * airy.max()
    for radius in (8.0, 14.0, 30.0):  # encircled energy: 1 - J0^2 - J1^2
        v = 2 * math.pi * cutoff * radius
        inside = float(intensity[torch.from_numpy(distance <= radius)].sum())
        assert inside == pytest.approx(1 - j0(v) ** 2 - j1(v) ** 2, abs=0.01)


def fine_intensity(cutoff, waves, size, fine, field=601):
    """|sum over the pupil|^2 on `fine` points per pixel, by a plain sum in float64."""
    axis = torch.arange(-math.ceil(cutoff * field), math.ceil(cutoff * field) + 1).double() / field
    ny, nx = axis[:, None], axis[None, :]
    r, t = torch.hypot(ny, nx) / cutoff, torch.atan2(ny, nx)
    focus, cylinder, turn = waves
    w = focus * math.sqrt(3) * (2 * r**2 - 1)
    w = w + cylinder * math.sqrt(6) * r**2 * torch.cos(2 * (t - turn))
    soft = ((cutoff - torch.hypot(ny, nx)) * field + 0.5).clamp(0, 1)
    at = (torch.arange(size * fine).double() + 0.5) / fine - size / 2
    line = torch.exp(2j * math.pi * at[:, None] * axis[None, :])
    return (line @ (soft * torch.exp(2j * math.pi * w)) @ line.T).abs() ** 2


def over_pixels(intensity, size, fine):
    psf = intensity.reshape(size, fine, size, fine).sum((1, 3))
    return (psf / psf.sum()).float()


@pytest.mark.parametrize("cutoff", [0.2, 0.25, 0.375, 0.6])
def test_pixels_of_any_size_agree_with_a_brute_force_fine_grid(cutoff):
    waves = (0.2, 0.1, 0.7)
    model = make_psf_model(spec("zernike-3", cutoff=cutoff))
    psf = model.psf(torch.tensor([waves]))[0][0]
    brute = over_pixels(fine_intensity(cutoff, waves, 31, 12), 31, 12)
    assert (psf - brute).abs().max() < 6e-3 * brute.max()


def test_a_confocal_psf_is_excitation_times_emission():
    waves = (0.15, 0.1, 0.4)
    model = make_psf_model(spec("zernike-3", cutoff=0.2, excitation_cutoff=0.24))
    psf = model.psf(torch.tensor([waves]))[0][0]
    shorter = 0.24 / 0.2
    light = fine_intensity(0.24, (waves[0] * shorter, waves[1] * shorter, waves[2]), 31, 12)
    brute = over_pixels(fine_intensity(0.2, waves, 31, 12) * light, 31, 12)
    assert (psf - brute).abs().max() < 6e-3 * brute.max()
    wide = make_psf_model(spec("zernike-3", cutoff=0.2)).psf(torch.tensor([waves]))[0][0]
    assert psf[15, 15] > wide[15, 15]


def test_the_sign_of_all_even_modes_does_not_show():
    model = make_psf_model(spec("zernike-3"))
    params = torch.tensor([[0.2, 0.1, 0.3], [-0.2, 0.1, 0.3 + math.pi / 2]])
    psf = model.psf(params)[0]
    assert torch.allclose(psf[0], psf[1], atol=1e-6)
    focus_free = make_psf_model(spec("zernike-2"))
    psf = focus_free.psf(torch.tensor([[0.1, 0.3], [0.1, 0.3 + math.pi / 2]]))[0]
    assert torch.allclose(psf[0], psf[1], atol=1e-6)
    # What is one PSF is one target.
    targets = model.encode(torch.tensor([[0.0, 0.1, 0.3], [0.0, 0.1, 0.3 + math.pi / 2]]))
    assert torch.allclose(targets[0], targets[1], atol=1e-6)


def test_the_axis_runs_from_x_towards_y():
    model = make_psf_model(spec("zernike-3"))
    psf = model.psf(torch.tensor([[0.3, 0.15, 0.0], [0.3, 0.15, math.pi / 2]]))[0]
    index = (torch.arange(31) - 15.0) ** 2
    wide_x, wide_y = (psf * index).sum((1, 2)), (psf * index[:, None]).sum((1, 2))
    assert wide_x[0] > wide_y[0] and wide_x[1] < wide_y[1]
    assert torch.allclose(psf[0], psf[1].T, atol=1e-5)


def test_gaussians_are_integrated_over_the_pixel():
    model = make_psf_model(spec("gaussian-2"))
    psf = model.psf(torch.tensor([[2.0, 5.0]]))[0][0]
    at = (torch.arange(31 * 40) + 0.5) / 40 - 15.5
    lines = [torch.exp(-4 * math.log(2) * (at / w) ** 2).view(31, 40).sum(1) for w in (2.0, 5.0)]
    brute = lines[0][:, None] * lines[1][None, :]
    assert torch.allclose(psf, brute / brute.sum(), atol=5e-6)
    params = model.sample(4000, rng())
    middle = ((params > 4) & (params < 6)).all(1).float().mean()
    assert middle == pytest.approx((2 / 8) ** 2, abs=0.015)  # the whole square is drawn


def test_lost_energy_is_measured_warned_of_and_refused():
    strong = spec("zernike-3", focus_waves=[0.0, 0.8], cylinder_waves=[0.0, 0.35])
    lost = make_psf_model(strong).psf(torch.tensor([[0.8, 0.35, 0.0]]))[1]
    assert float(lost) == pytest.approx(0.38, abs=0.03)
    with pytest.raises(UserError, match="size_px"):
        make_psf_model(strong).check()
    with pytest.warns(UserWarning, match="lose up to"):
        make_psf_model(spec("gaussian-1", size_px=15, width_px=[1, 6.8])).check()
    assert make_psf_model(spec("gaussian-2")).check() < 0.001


def test_published_forms_keep_their_ranges():
    pairs = make_psf_model(spec("gaussian-2", form="published")).sample(3000, rng())
    isotropic = pairs[:, 0] == pairs[:, 1]
    assert isotropic.float().mean() == pytest.approx(1 / 3, abs=0.04)
    assert (pairs[~isotropic].amin(1) <= 2).all() and (pairs[~isotropic].amax(1) >= 5).all()
    params = make_psf_model(spec("zernike-3", form="published")).sample(2000, rng())
    assert set(params[:, 2].tolist()) <= {0.0, float(torch.tensor(math.pi / 2))}
    assert (params[params[:, 1] > 0.5, 0] <= 1).all() and params[:, 0].max() > 3
    pupil = published_pupil(127, "cpu")
    radius = ((pupil.weights[0] > 0).sum() - 0.5) / 255
    assert float(radius) == pytest.approx(0.242, abs=0.003)


def test_one_pixel_blurs_nothing():
    psf, lost = make_psf_model(ONE_PIXEL).psf(torch.zeros(2, 0))
    assert psf.shape == (2, 3, 3) and (psf[:, 1, 1] == 1).all()
    assert (psf.sum((1, 2)) == 1).all() and (lost == 0).all()


def test_a_measured_psf_is_centred_and_stripped_of_its_background(tmp_path):
    y, x = np.indices((41, 45))
    bead = 20 + 500 * np.exp(-((y - 17) ** 2 + (x - 25) ** 2) / 8)
    np.save(tmp_path / "bead.npy", bead)
    model = make_psf_model(spec("measured", file=str(tmp_path / "bead.npy")))
    psf, lost = model.psf(model.sample(3, rng()))
    assert psf.shape == (3, 31, 31) and int(psf[0].argmax()) == 15 * 31 + 15
    assert float(lost.max()) < 1e-3 and model.n_targets == 0 and model.check() < 1e-3
    assert model.encode(torch.zeros(3, 0)).shape == (3, 0)
    assert centred_psf(bead, 5)[1] > 0.1
    with pytest.raises(UserError, match="no such file"):
        make_psf_model(spec("measured", file=str(tmp_path / "none.tif")))
    for wrong, (values, words) in {
        "flat": (np.ones((9, 9)), "nothing is brighter than its border"),
        "complex": (bead.astype(complex), "pixels of type complex128"),
        "words": (np.full((9, 9), "a"), "pixels of type <U1"),
        "huge": (1e300 * bead, "NaN or infinite pixels"),
    }.items():
        np.save(tmp_path / f"{wrong}.npy", values)
        with pytest.raises(UserError, match=rf"{wrong}\.npy: .*{words}"):
            make_psf_model(spec("measured", file=str(tmp_path / f"{wrong}.npy")))


@pytest.mark.parametrize(
    ("model", "changes", "key"),
    [
        ("zernike-1", {"cutoff": 0.0}, "cutoff"),
        ("zernike-1", {"cutoff": 1.2}, "cutoff"),
        ("zernike-1", {"excitation_cutoff": -1}, "excitation_cutoff"),
        ("zernike-1", {"focus_waves": [-0.2, 0.2]}, "focus_waves"),
        ("gaussian-1", {"width_px": [5, 1]}, "width_px"),
        ("gaussian-1", {"size_px": 30}, "size_px"),
        ("measured", {}, "file"),
        ("moffat", {}, "moffat"),
    ],
)
def test_impossible_settings_are_named(model, changes, key):
    with pytest.raises(UserError, match=key):
        make_psf_model(spec(model, **changes))
