"""Richardson-Lucy with total variation: its identities, its limits and its peers."""

import numpy as np
import pytest
import torch
from isoplan.optics.blur import ORDERS, SpaceVariantBlur
from isoplan.optics.psf import make_psf_model
from isoplan.restoration import richardson_lucy as deconvolution
from isoplan.restoration.richardson_lucy import (
    ACCELERATIONS,
    TV_STEPS,
    extrapolate,
    richardson_lucy,
)
from isoplan.restoration.total_variation import gradient
from isoplan.restoration.tv_richardson_lucy import halo_px

# Small arrays: a second thread would only wait.
torch.set_num_threads(1)


def gaussian(width: float, size: int, dtype=torch.float64) -> torch.Tensor:
    axis = torch.arange(size, dtype=dtype) - size // 2
    line = torch.exp(-4 * np.log(2) * (axis / width) ** 2)
    psf = line[:, None] * line
    return psf / psf.sum()


def varying_blur(shape=(48, 45), size=11, order="mask-blur", dtype=torch.float64, shift=(0, 0)):
    """Gaussians of 1.5 to 5 px; shift: the block's first pixel in the whole picture."""
    widths = np.linspace(1.5, 5, 9).reshape(3, 3)
    psfs = torch.stack([torch.stack([gaussian(w, size, dtype) for w in row]) for row in widths])
    centres = [[c - s for c in (6.0, 24.0, 42.0)] for s in shift]
    return SpaceVariantBlur(psfs, *centres, shape, order=order)


def scene(shape, dtype=torch.float64) -> torch.Tensor:
    """Blocks, a disk and points over a background."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    picture = 0.1 + 0.5 * ((y // 9 + x // 7) % 3 == 0) + 0.3 * (np.hypot(y - 25, x - 20) < 9)
    picture[::13, ::11] += 1
    return torch.as_tensor(picture, dtype=dtype)


def observed(blur, photons=1000.0, noise_seed=0) -> torch.Tensor:
    mean = blur.forward(scene(blur.object_shape, blur.dtype)).clamp(min=0)
    generator = torch.Generator().manual_seed(noise_seed)
    return torch.poisson(mean * photons, generator=generator) / photons


def restore(y, blur, **settings):
    return richardson_lucy(y, blur, **{"start": float(y.mean()), "scale": 1.0, **settings})


def plain(y, blur, **settings):
    """Without acceleration, 20 iterations."""
    return restore(y, blur, **{"acceleration": "none", "iterations": 20, **settings})


def picture_part(x, blur):
    """The object without its margin, whose rim is hardly seen."""
    m = blur.margin
    return x[m:-m, m:-m]


def total_variation(x):
    """Isotropic: the sum of |grad x|."""
    return gradient(x).square().sum(0).sqrt().sum()


def objective(x, y, blur, tv_weight=0.0) -> float:
    mean = blur.forward(x)
    likelihood = (mean - torch.special.xlogy(y, mean)).sum()
    return float(likelihood + tv_weight * total_variation(x))


@pytest.mark.parametrize("order", ORDERS)
def test_flux_without_tv(order):
    blur = varying_blur(order=order)
    y = observed(blur)
    weight = blur.adjoint(torch.ones_like(y))
    for iterations in (1, 7):
        x = restore(y, blur, tv_step="none", iterations=iterations)
        assert (x * weight).sum().item() == pytest.approx(y.sum().item(), rel=1e-6)


@pytest.mark.parametrize("tv_step", TV_STEPS)
@pytest.mark.parametrize("order", ORDERS)
def test_flat_object_comes_back_flat(order, tv_step):
    blur = varying_blur(order=order, dtype=torch.float32)
    y = blur.forward(torch.ones(blur.object_shape))
    x = picture_part(restore(y, blur, tv_step=tv_step, start=1.0), blur)
    torch.testing.assert_close(x, torch.ones_like(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-3), (torch.float64, 1e-4)])
def test_flat_object_comes_back_from_another_start(dtype, error):
    """Up to what is hardly seen beyond the corners, which stays as it was."""
    blur = varying_blur(dtype=dtype)
    y = blur.forward(torch.ones(blur.object_shape, dtype=dtype))
    x = picture_part(restore(y, blur, tv_step="none", start=0.3), blur)
    torch.testing.assert_close(x, torch.ones_like(x), atol=error, rtol=0)


@pytest.mark.parametrize("tv_step", TV_STEPS)
def test_likelihood_and_positivity(tv_step):
    blur = varying_blur()
    y = observed(blur, photons=30)
    values = []

    def watch(iteration, x):
        assert iteration == len(values) + 1
        assert torch.isfinite(x).all() and (x >= 0).all()
        values.append(objective(x, y, blur, 0.01 if tv_step == "proximal" else 0.0))

    plain(y, blur, tv_step=tv_step, tv_weight=0.01, iterations=30, callback=watch)
    if tv_step != "explicit":  # which promises no descent
        assert (np.diff(values) <= 1e-9 * abs(values[0])).all()


def test_equals_scikit_image_inside():
    """One PSF, no TV, the same flat start. scikit-image sees darkness beyond the border, so the
    picture is kept dark there: then both say the same."""
    restoration = pytest.importorskip("skimage.restoration")
    psf, pad = gaussian(3, 9), 30
    truth = torch.zeros(92, 96, dtype=torch.float64)
    truth[pad:-pad, pad:-pad] = scene((32, 36))
    blur = SpaceVariantBlur(psf[None, None], [0.0], [0.0], (84, 88))
    y = blur.forward(truth).clamp(min=0) + 1e-3
    ours = plain(y, blur, tv_step="none", start=0.5, iterations=10)
    theirs = restoration.richardson_lucy(y.numpy(), psf.numpy(), num_iter=10, clip=False)
    inside = (slice(20, -20),) * 2
    picture = ours[4:-4, 4:-4].numpy()
    np.testing.assert_allclose(picture[inside], theirs[inside], atol=1e-4 * picture.max())


def test_gain_without_unit():
    """Counts or photons: scaling the picture scales the result and nothing else."""
    blur = varying_blur()
    y = observed(blur)
    for tv_step in TV_STEPS:
        small = restore(y, blur, tv_step=tv_step)
        large = restore(100 * y, blur, tv_step=tv_step, scale=100.0)
        torch.testing.assert_close(large, 100 * small, rtol=0, atol=1e-8 * large.max())


@pytest.mark.parametrize("tv_step", TV_STEPS)
def test_masked_pixels_do_not_matter(tv_step):
    blur = varying_blur()
    y = observed(blur)
    valid = torch.ones_like(y, dtype=torch.bool)
    valid[20:23, 10:30] = False
    spoilt = y.clone()
    spoilt[~valid] = torch.nan
    spoilt[21] = torch.where(valid[21], y[21], 1e6)
    x = restore(y, blur, tv_step=tv_step, valid=valid)
    assert torch.equal(
        restore(spoilt, blur, tv_step=tv_step, valid=valid, start=float(y.mean())), x
    )
    assert torch.isfinite(x).all()
    # Neighbours fill a gap narrower than the PSF.
    truth = picture_part(scene(blur.object_shape), blur)
    assert (picture_part(x, blur) - truth)[~valid].abs().mean() < 0.3


@pytest.mark.parametrize("tv_step", TV_STEPS)
def test_black_and_negative_pictures(tv_step):
    blur = varying_blur(dtype=torch.float32)
    black = torch.zeros(blur.shape)
    assert not richardson_lucy(black, blur, tv_step=tv_step, start=0.0, scale=0.0).any()
    half = observed(blur)
    half[:, :20] = -0.01 * torch.rand(48, 20)  # read noise about 0
    x = restore(half, blur, tv_step=tv_step)
    assert torch.isfinite(x).all() and (x >= 0).all() and x.max() < 5
    assert torch.equal(
        x, restore(half.clamp(min=0), blur, tv_step=tv_step, start=float(half.mean()))
    )


# Background, read noise, saturation --------------------------------------------------------------


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
@pytest.mark.parametrize("tv_step", TV_STEPS)
def test_neither_background_nor_shift_is_what_there_was_before(tv_step, acceleration):
    blur = varying_blur(dtype=torch.float32)
    y = observed(blur)
    how = {"tv_step": tv_step, "acceleration": acceleration}
    none = torch.zeros(blur.shape)
    nowhere = none > 0
    same = restore(y, blur, **how, background=none, shift=0.0, saturated=nowhere)
    assert torch.equal(same, restore(y, blur, **how))


def test_a_known_background_goes():
    """Nearly as good as where there was none; not told of it, the restoration keeps it."""
    blur = varying_blur()
    sharp = scene(blur.object_shape) - 0.1  # dark between things
    haze = 0.2 + 0.3 * torch.linspace(0, 1, 45, dtype=torch.float64).expand(48, 45)
    light, truth = blur.forward(sharp).clamp(min=0), picture_part(sharp, blur)

    def error(mean, background):
        generator = torch.Generator().manual_seed(3)
        seen = torch.poisson(mean * 1e4, generator) / 1e4
        x = picture_part(restore(seen, blur, background=background, start=0.3), blur)
        return float((x - truth).square().mean().sqrt()), float(x.mean() - truth.mean())

    (without, _), (known, drift) = error(light, 0.0), error(light + haze, haze)
    untold, brighter = error(light + haze, 0.0)
    assert known < 1.25 * without and known < 0.5 * untold
    assert abs(drift) < 0.02 < 0.3 < brighter


def test_the_shift_is_that_of_poisson_and_gauss():
    """What is lowered: with it, the gradient at the truth has the mean 0 and no pixel of few photons
    pulls harder than its noise allows. At little light and much read noise it gains decibels."""
    blur = varying_blur()
    sharp = scene(blur.object_shape)
    gain, read_noise = 2.0, 5.0  # counts per electron, electrons
    light = blur.forward(sharp).clamp(min=0) * 40 * gain
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(blur.shape, dtype=torch.float64, generator=generator)
    seen = gain * (torch.poisson(light / gain, generator) + read_noise * noise)
    truth = picture_part(sharp, blur) * 40 * gain

    def snr(shift):
        x = restore(seen, blur, shift=shift, scale=80.0, tv_weight=0.01)
        error = picture_part(x, blur) - truth
        return float(10 * torch.log10(truth.square().sum() / error.square().sum()))

    assert snr(gain * read_noise**2) > snr(0.0) + 1
    # Mean and variance of the data shifted and in electrons agree, as a Poisson variable's.
    shifted = light / gain + read_noise**2
    residual = seen / gain + read_noise**2 - shifted
    assert float((residual**2 / shifted).mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("psf_model", ["gaussian-2", "zernike-3"])
def test_objective_falls_with_background_shift_and_saturation(order, psf_model, settings):
    """In every plain iteration, for saturated pixels too, whose term ends at its least value."""
    model = make_psf_model(settings("psfs", model=psf_model, size_px=15, width_px=[1.5, 5]))
    low = torch.tensor([p.low for p in model.parameters])
    high = torch.tensor([p.high for p in model.parameters])
    params = low + (high - low) * torch.linspace(0.1, 0.5, 4)[:, None]
    psfs = model.psf(params)[0].double().reshape(2, 2, 15, 15)
    blur = SpaceVariantBlur(psfs, [8, 30], [5, 33], (40, 38), order=order)
    y = observed(blur, photons=50)
    top, pedestal = float(y.quantile(0.9)), 0.15
    saturated = y >= top
    y = y.clamp(max=top)
    values = []

    def watch(_, x):
        mean = blur.forward(x) + pedestal
        data = torch.where(saturated, torch.maximum(y + 0.05, mean), y + 0.05)
        values.append(float((mean - data + torch.xlogy(data, data / mean)).sum()))
        assert torch.isfinite(x).all() and (x >= 0).all()

    plain(y, blur, tv_step="none", background=0.1, shift=0.05, saturated=saturated, callback=watch)
    assert (np.diff(values) <= 1e-9 * values[0]).all() and values[-1] < values[0]


def test_saturated_spots_keep_their_middle_and_do_not_ring():
    """A spot wider than the PSF, cut off at a level below it. Left in, its flat top is restored as
    such, with a rim; left out, its middle stays at `start`; as a lower bound it is neither."""
    blur = varying_blur(shape=(64, 64))
    y, x = np.mgrid[: blur.object_shape[0], : blur.object_shape[1]]
    spot = np.hypot(y - 37, x - 37) < 14
    sharp = torch.from_numpy(0.2 + 0.1 * ((x // 5) % 2) + 3.0 * spot)
    full = blur.forward(sharp)
    cut = full.clamp(max=2.0)
    saturated, how = cut >= 2.0, {"start": 0.5, "tv_weight": 0.001, "scale": 2.0}
    best = restore(full, blur, **how)
    bound = restore(cut, blur, saturated=saturated, **how)
    out = restore(cut, blur, valid=~saturated, **how)
    kept = restore(cut, blur, **how)
    middle = (slice(35, 40),) * 2
    assert float(bound[middle].min()) >= 1.9  # no less than the camera saw
    assert float(out[middle].max()) < 1
    # Beside the spot, from its rim to a PSF away.
    ring = torch.from_numpy((np.hypot(y - 37, x - 37) > 15) & (np.hypot(y - 37, x - 37) < 24))
    errors = [float((found - sharp)[ring].abs().mean()) for found in (best, bound, out, kept)]
    assert errors[1] < 1.3 * errors[0]
    assert errors[1] < errors[3]


def test_proximal_and_explicit_reach_one_fixed_point(monkeypatch):
    """On a smooth picture, under a blur narrow enough to converge, they differ by less than a
    tenth of what TV changes."""
    monkeypatch.setattr(deconvolution, "TV_EPSILON", 1e-3)
    blur = SpaceVariantBlur(gaussian(1.2, 7)[None, None], [0.0], [0.0], (24, 24))
    y, x = np.mgrid[:30, :30]
    truth = torch.from_numpy(1 + 0.02 * x + 0.5 * np.exp(-((y - 14.3) ** 2 + (x - 13.6) ** 2) / 60))
    picture = blur.forward(truth)
    settings = {"tv_weight": 1e-3, "iterations": 100}
    proximal = plain(picture, blur, tv_step="proximal", **settings)
    explicit = plain(picture, blur, tv_step="explicit", **settings)
    without = plain(picture, blur, tv_step="none", iterations=100)
    inside = (slice(6, -6),) * 2
    apart = (proximal - explicit)[inside].abs().mean()
    assert apart < 0.1 * (proximal - without)[inside].abs().mean()
    assert objective(proximal, picture, blur, 1e-3) <= objective(without, picture, blur, 1e-3)


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
@pytest.mark.parametrize("tv_step", ["proximal", "explicit"])
def test_a_map_of_one_weight_is_that_weight(tv_step, acceleration):
    blur = varying_blur()
    y = observed(blur)
    for weight in (0.003, 0.05):  # above .03 the momentum fades
        how = {"tv_step": tv_step, "acceleration": acceleration, "iterations": 20}
        one = restore(y, blur, tv_weight=weight, **how)
        even = torch.full(blur.object_shape, weight, dtype=y.dtype)
        assert (restore(y, blur, tv_weight=even, **how) - one).abs().max() < 1e-9


def test_a_map_of_weights_reduces_its_own_objective():
    blur = varying_blur()
    y = observed(blur)
    weights = torch.full(blur.object_shape, 1e-4, dtype=y.dtype)
    weights[:, weights.shape[1] // 2 :] = 0.05

    def value(x):
        steps = torch.hypot(*gradient(x))
        return objective(x, y, blur) + float((weights * steps).sum())

    values = [value(plain(y, blur, tv_weight=weights, iterations=n)) for n in (10, 30, 100, 300)]
    assert values == sorted(values, reverse=True)
    others = [
        value(plain(y, blur, tv_weight=w, iterations=n))
        for w in (1e-4, 0.01, 0.05)
        for n in (30, 300)
    ]
    assert values[-1] < min(others) - 0.5
    with pytest.raises(ValueError, match="is not the object's"):
        restore(y, blur, tv_weight=weights[1:])


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
@pytest.mark.parametrize("tv_step", TV_STEPS)
def test_a_tile_with_its_halo_equals_the_whole(tv_step, acceleration):
    size = 7
    halo = halo_px(size, acceleration=acceleration)
    shape = (24, 3 * halo + 60)
    widths = np.linspace(1.5, 4, 8)
    psfs = torch.stack([gaussian(w, size, torch.float32) for w in widths])[None]
    centres = np.linspace(10, shape[1] - 10, 8)
    settings = {"tv_step": tv_step, "acceleration": acceleration, "start": 0.3, "scale": 1.0}
    whole = SpaceVariantBlur(psfs, [0.0], centres, shape)
    y = observed(whole)
    cut = halo + 30
    tile = SpaceVariantBlur(psfs, [0.0], centres - cut, (24, shape[1] - cut))
    weights = torch.rand(whole.object_shape, generator=torch.Generator().manual_seed(0)) / 20
    m = size // 2
    for weight in (0.001, weights):
        own = weights[:, cut:].contiguous() if weight is weights else weight
        x = richardson_lucy(y, whole, tv_weight=weight, **settings)
        part = richardson_lucy(y[:, cut:].contiguous(), tile, tv_weight=own, **settings)
        error = (part[m:-m, m + halo : -m] - x[m:-m, m + cut + halo : -m]).abs().max()
        assert error < 1e-4 * (x.max() - x.min())


def test_large_tiles_equal_the_whole_in_double_precision(settings):
    """Real PSFs, a core of several hundred px, the halo that is asked for: within 1e-5."""
    size, shape, cut = 31, (48, 700), 240
    model = make_psf_model(settings("psfs", model="zernike-1", size_px=size, focus_waves=[0, 0.5]))
    psfs = model.psf(torch.linspace(0.05, 0.45, 9)[:, None])[0][None].double()
    centres = np.linspace(20, 680, 9)
    halo = halo_px(size)
    whole = SpaceVariantBlur(psfs, [0.0], centres, shape)
    tile = SpaceVariantBlur(psfs, [0.0], centres - cut, (48, shape[1] - cut))
    y = observed(whole)
    x = richardson_lucy(y, whole, start=0.3, scale=1.0)
    part = richardson_lucy(y[:, cut:].contiguous(), tile, start=0.3, scale=1.0)
    core = part[:, halo + size // 2 :]
    off = picture_part(part, tile)[:, halo:] - picture_part(x, whole)[:, cut + halo :]
    assert core.shape[1] > 300
    assert off.abs().max() < 1e-5 * (x.max() - x.min())


def test_default_gains():
    """At 1e4 photons the default beats the blurred picture."""
    blur = varying_blur()
    truth = picture_part(scene(blur.object_shape), blur)
    y = observed(blur, photons=1e4)
    x = picture_part(restore(y, blur), blur)
    gain = 10 * torch.log10(((y - truth) ** 2).sum() / ((x - truth) ** 2).sum())
    assert gain > 1


def snrs(y, blur, truth, **settings) -> list[float]:
    """After each iteration, in dB."""
    found = []

    def watch(_, x):
        error = picture_part(x, blur) - truth
        found.append(float(10 * torch.log10(truth.square().sum() / error.square().sum())))

    restore(y, blur, **settings, callback=watch)
    return found


@pytest.mark.parametrize("tv_weight", [0.0, 0.001])
@pytest.mark.parametrize("order", ORDERS)
def test_ten_accelerated_iterations_go_as_far_as_twenty(order, tv_weight):
    blur = varying_blur(order=order)
    truth = picture_part(scene(blur.object_shape), blur)
    y = observed(blur, photons=1e5)
    slow = snrs(y, blur, truth, tv_weight=tv_weight, acceleration="none", iterations=20)
    fast = snrs(y, blur, truth, tv_weight=tv_weight, iterations=40)
    assert fast[9] > slow[19] - 0.05
    assert fast[7] < slow[19] + 0.2  # no farther either: 10 stands for 20
    assert min(fast[9:]) > slow[19] - 0.05  # and stays so: nothing swings


@pytest.mark.parametrize("tv_weight", [0.03, 0.1, 0.3])
def test_much_tv_is_stable_however_long_it_runs(tv_weight):
    """Plain, J falls; with momentum it comes to the same picture in half the iterations."""
    blur = varying_blur((96, 90), dtype=torch.float32)
    truth = picture_part(scene(blur.object_shape), blur)
    y = observed(blur, photons=1e3)
    falls = []
    restore(
        y, blur, tv_weight=tv_weight, acceleration="none", iterations=60,
        callback=lambda _, x: falls.append(objective(x.double(), y, blur, tv_weight)),
    )  # fmt: skip
    allowed = 0.03 if tv_weight > 0.1 else 1e-6  # of the whole fall
    assert np.diff(falls).max() < allowed * (falls[0] - falls[-1]) and falls[-1] == min(falls)
    fast = snrs(y, blur, truth, tv_weight=tv_weight, iterations=80)
    slow = snrs(y, blur, truth, tv_weight=tv_weight, acceleration="none", iterations=160)
    assert fast[-1] == pytest.approx(slow[-1], abs=0.1)


def test_extrapolation_is_a_power_within_bounds():
    x = torch.tensor([1.0, 1.1, 0.9, 5.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    before = torch.tensor([1.0, 1.0, 1.0, 1e-30, 0.0, 1.0, 0.0], dtype=torch.float64)
    ahead = extrapolate(x, before, 0.7)
    np.testing.assert_allclose(ahead[:3], (x * (x / before) ** 0.7)[:3], rtol=2e-4)
    assert torch.isfinite(ahead).all() and (ahead >= 0).all()
    assert ahead[3] == pytest.approx(5 * 1.7 / 0.3) and ahead[4] == ahead[5] == 0
    torch.testing.assert_close(extrapolate(x, before, 0.0)[:3], x[:3])


def test_wrong_input_is_refused():
    blur = varying_blur()
    y = observed(blur)
    with pytest.raises(ValueError, match="tv_step"):
        restore(y, blur, tv_step="implicit")
    with pytest.raises(ValueError, match="acceleration"):
        restore(y, blur, acceleration="Biggs")
    with pytest.raises(ValueError, match="negative"):
        restore(y, blur, tv_weight=-1)
    for wrong in ({"shift": -1.0}, {"background": -0.1}, {"background": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            restore(y, blur, **wrong)
    with pytest.raises(ValueError, match="background: shape"):
        restore(y, blur, background=torch.ones(3))
    with pytest.raises(ValueError, match="start"):
        restore(y, blur, start=0.0)
    with pytest.raises(ValueError, match="picture: shape"):
        restore(y[1:], blur)
    with pytest.raises(ValueError, match="valid"):
        restore(y, blur, valid=torch.ones(3, 3))
