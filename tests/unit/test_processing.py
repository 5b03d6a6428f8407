"""Each processing does what it is called after, and only as far as it can be told from a raw picture."""

import io

import numpy as np
import processed_pictures
import pytest
import torch
from isoplan.optics import filters, processing
from isoplan.optics.denoisers import DENOISERS
from isoplan.optics.filters import noise_deviation
from isoplan.optics.processing import KINDS, SHARES, draw_kinds, jpeg, process
from PIL import Image
from scipy import ndimage

FREQUENCY = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(n=8, mean=500.0, noise=10.0):
    return mean + noise * torch.randn(n, 128, 128, generator=rng(1))


@pytest.fixture(scope="module")
def raw() -> torch.Tensor:
    """Held-out pictures of 128 px, blurred by Gaussians, 10^2 to 10^5 photons."""
    return torch.cat([pictures(photons) for photons in (1e2, 1e3, 1e4, 1e5)])


def pictures(photons):
    line = np.exp(-0.5 * (np.arange(-10, 11) / np.linspace(0.8, 3, 8)[:, None]) ** 2)
    psfs = line[:, :, None] * line[:, None, :]
    psfs /= psfs.sum((1, 2), keepdims=True)
    return torch.from_numpy(processed_pictures.raw_pictures(psfs, photons=photons, size_px=128))


def power(pictures, low, high):
    """Mean power (n,) between two frequencies in cycles per px."""
    spectrum = np.abs(np.fft.fft2(pictures - pictures.mean((1, 2), keepdim=True))) ** 2
    return spectrum[:, (low <= FREQUENCY) & (high > FREQUENCY)].mean(1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_is_changed_and_the_generator_says_how(kind, raw):
    kinds = [kind] * len(raw)
    out = process(raw, kinds, rng())
    assert out.shape == raw.shape and out.dtype == torch.float32 and bool(out.isfinite().all())
    assert torch.equal(out, process(raw, kinds, rng()))
    assert not torch.equal(out, process(raw, kinds, rng(1)))
    assert bool((out != raw).any(2).any(1).all())


def test_kinds_may_be_mixed_and_a_picture_left_alone(raw):
    kinds = torch.arange(-1, len(KINDS)).repeat_interleave(4)
    out = process(raw, kinds, rng())
    assert torch.equal(out[:4], raw[:4]) and bool((out != raw).any(2).any(1)[4:].all())
    names = ["jpeg", "saturated"] * 16
    numbers = torch.tensor([KINDS.index(name) for name in names])
    assert torch.equal(process(raw, names, rng()), process(raw, numbers, rng()))
    with pytest.raises(KeyError, match="fog"):
        process(raw[:1], ["fog"], rng())


def test_kinds_are_drawn_by_their_shares():
    drawn = draw_kinds(20000, rng())
    assert torch.equal(drawn, draw_kinds(20000, rng()))
    found = torch.bincount(drawn, minlength=len(KINDS)) / 20000
    assert sum(SHARES) == 1 and torch.allclose(found, torch.tensor(SHARES), atol=0.015)


def test_pictures_without_anything_and_with_nan_do_no_harm():
    odd = [torch.zeros(40, 56), torch.full((40, 56), 7.5), -torch.ones(40, 56)]
    odd += [torch.eye(56)[:40], torch.full((40, 56), torch.nan), torch.rand(40, 56)]
    odd[-1][3, 4] = torch.nan
    for kind in KINDS:
        out = process(torch.stack(odd), [kind] * len(odd), rng())
        assert out.shape == (6, 40, 56) and bool(out[:4].isfinite().all()), kind


@pytest.mark.parametrize("kind", KINDS)
def test_whole_counts_stay_whole(kind, raw):
    out = process(raw[-8:].round(), [kind] * 8, rng())
    assert torch.equal(out, out.round())


@pytest.mark.parametrize("deviation", [0.5, 20.0])
def test_the_noise_is_measured(deviation):
    found = noise_deviation(flat(noise=deviation))
    assert torch.allclose(found, torch.full_like(found, deviation), rtol=0.05)


@pytest.mark.parametrize("denoiser", DENOISERS)
def test_denoisers_take_noise_away_and_keep_the_rest(denoiser, raw):
    out = denoiser(flat(), rng())
    assert float(out.std((1, 2)).max()) < 7.5  # of 10
    assert torch.allclose(out.mean((1, 2)), flat().mean((1, 2)), atol=0.5)
    out = denoiser(raw[-8:], rng())
    for before, after in zip(raw[-8:], out, strict=True):
        assert np.corrcoef(before.flatten(), after.flatten())[0, 1] > 0.9


def test_no_denoised_picture_keeps_its_noise(raw):
    """On pictures too, and where the signal stands far above the noise."""
    out = process(raw.repeat(4, 1, 1), ["denoised"] * 4 * len(raw), rng())
    change = (out - raw.repeat(4, 1, 1)).abs().mean((1, 2))
    noise = noise_deviation(raw).repeat(4, 1, 1)
    assert float((change / noise.flatten()).min()) > 0.33
    dim = torch.arange(len(out)) % 32 < 16  # else the finest detail counts as noise
    assert float((noise_deviation(out) / noise)[dim].max()) < 0.75


@pytest.mark.parametrize("corner", [(0, 0), (3, 6)])
@pytest.mark.parametrize("quality", [7, 40, 50, 85])
def test_jpeg_is_that_of_pillow(quality, corner, raw):
    """Within a grey level or two; only where a coefficient lies on an edge one rounds the other way."""
    picture = raw[20].clamp_min(0)
    grey = (255 * picture / picture.max()).round()
    file = io.BytesIO()
    Image.fromarray(grey.to(torch.uint8).numpy()).save(file, "JPEG", quality=quality)
    theirs = torch.from_numpy(np.array(Image.open(file), np.float32))
    top, left = corner
    ours = jpeg(
        grey[None, top:, left:], torch.tensor([float(quality)]), torch.tensor(corner)[:, None]
    )[0]
    inside = slice(8 - top, 112), slice(8 - left, 112)  # blocks that are whole in both
    off = (ours[inside] - theirs[top:, left:][inside]).abs()
    assert float((off <= 2).float().mean()) > 0.99
    assert float(off.mean()) < 0.3


def test_jpeg_is_never_finer_than_the_noise(raw):
    out = process(raw, ["jpeg"] * len(raw), rng())
    assert float(((out - raw).std((1, 2)) / noise_deviation(raw).flatten()).min()) > 0.6


def test_enlarging_is_that_of_scipy(monkeypatch, raw):
    """With every draw in the middle of its range: linear, about the centre."""
    for module in (processing, filters):
        monkeypatch.setattr(
            module,
            "uniform",
            lambda x, low, high, generator: x.new_full((len(x), 1, 1), (low + high) / 2),
        )
    factor = (1.2 * 4) ** 0.5
    ours = processing._enlarged(raw[:1], rng())[0]
    offset = 63.5 - 63.5 / factor
    theirs = ndimage.affine_transform(
        raw[0].double().numpy(), [1 / factor] * 2, offset=offset, order=1
    )
    assert np.allclose(ours, theirs, atol=1e-3 * float(raw[0].max()))


@pytest.mark.parametrize("step", ["_enlarged", "_shrunk"])
def test_the_spectrum_is_emptied_beyond_the_cut(step, monkeypatch):
    monkeypatch.setattr(
        processing, "log_uniform", lambda x, low, high, generator: x.new_full((len(x), 1, 1), 3.0)
    )
    out = getattr(processing, step)(flat(64), rng())
    assert np.median(power(out, 0.3, 0.5) / power(out, 0, 0.12)) < 0.02  # the cut is at 0.17


def test_resampled_noise_is_white_no_more():
    out = process(flat(64), ["resampled"] * 64, rng())
    assert (power(out, 0.45, 0.7) / power(out, 0.02, 0.2)).max() < 0.6


def test_the_share_that_saturates(raw):
    bright = raw[8:]
    out = process(bright, ["saturated"] * len(bright), rng())
    for before, after in zip(bright, out, strict=True):
        top = after == after.max()
        assert torch.equal(before[~top], after[~top])
        lit = before > before.quantile(0.05) + 0.1 * (
            before.quantile(0.999) - before.quantile(0.05)
        )
        assert float(top.float().mean()) > 0.0019
        assert 0.02 < float(top.sum() / lit.sum()) < 0.45


def test_haze_holds_most_of_the_power_at_low_frequencies(raw):
    out = process(raw, ["haze"] * len(raw), rng())
    ratio = power(out, 0.007, 0.02) / power(raw, 0.007, 0.02)
    assert ratio.min() > 1.5 and np.quantile(ratio, 0.1) > 2 and np.median(ratio) > 8
    assert bool((out.mean((1, 2)) > 1.9 * raw.mean((1, 2))).all())
    assert float((noise_deviation(out) / noise_deviation(raw)).min()) > 1
    dark = process(flat(mean=0), ["haze"] * 8, rng())  # nothing but read noise, of 10
    assert float(dark.std((1, 2)).max()) < 150


def test_sharpening_raises_the_gradients():
    clear = pictures(1e8)[3:]
    out = process(clear.repeat(4, 1, 1), ["sharpened"] * 20, rng())
    ratio = out.diff(dim=1).std((1, 2)) / clear.repeat(4, 1, 1).diff(dim=1).std((1, 2))
    assert float(ratio.min()) > 1


def test_few_grey_levels_are_left(raw):
    out = process(raw, ["posterised"] * len(raw), rng())
    levels = [len(picture.unique()) for picture in out]
    assert max(levels) <= 64 and min(levels) >= 2  # a few more where bright points pass the white


def test_the_held_out_pictures_cover_every_kind():
    size = 96 + 2 * processed_pictures.MARGIN_PX
    psf = np.ones((2, 3, 3)) / 9
    sharp = processed_pictures.raw_pictures(psf, photons=1000, size_px=size)
    assert tuple(processed_pictures.BY_KIND) == KINDS
    before = processed_pictures.processed(sharp, "raw")
    for name in processed_pictures.METHODS:
        after = processed_pictures.processed(sharp, name)
        assert after.shape == (2, 96, 96) and np.isfinite(after).all(), name
        assert np.abs(after - before).mean() > 0.2 * processed_pictures._noise(before[0]), name
