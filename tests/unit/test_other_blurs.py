"""Blurs that no PSF model makes: against closed forms, and drawn for training."""

import math

import numpy as np
import pytest
import torch
from isoplan.optics import other_blurs
from isoplan.optics.gaussian import gaussian_psfs
from isoplan.optics.model import equivalent_width_px
from isoplan.optics.psf import make_psf_model
from isoplan.restoration_test.blurs import BLURS, SIZE_PX, kind_of
from isoplan.training.samples import VALID, make_set


def one(*numbers):
    return [torch.tensor([float(number)]) for number in numbers]


def moments(psf) -> np.ndarray:
    """Mean (y, x) about the middle, and variance along y and x, in px."""
    at = torch.arange(psf.shape[-1]) - psf.shape[-1] // 2
    y, x = psf.sum(1), psf.sum(0)
    mean = (y * at).sum(), (x * at).sum()
    spread = [(w * (at - m) ** 2).sum() for w, m in zip((y, x), mean, strict=True)]
    return np.array([*mean, *spread])


@pytest.mark.parametrize("angle", [0.0, 0.6, math.pi / 2])
def test_motion_is_a_line_of_its_length(angle):
    found = moments(other_blurs.motion(*one(9, angle), 31)[0])
    along = 9**2 / 12 * np.array([math.sin(angle), math.cos(angle)]) ** 2
    np.testing.assert_allclose(found[:2], 0, atol=1e-4)
    # Points are shared among two pixels, which widens them by up to 1/4 px^2.
    assert (found[2:] >= along - 0.01).all() and (found[2:] <= along + 0.26).all()


def test_a_disk_has_the_area_and_the_moments_of_one():
    disk = other_blurs.disk(*one(4), 31)[0]
    assert float(1 / disk.max()) == pytest.approx(math.pi * 16, rel=0.01)
    np.testing.assert_allclose(moments(disk), [0, 0, 4 + 1 / 12, 4 + 1 / 12], atol=0.03)


def test_a_halo_is_two_gaussians():
    halo = other_blurs.halo(*one(2.5, 11, 0.35), 63)[0]
    core, wide = gaussian_psfs(torch.tensor([[2.5, 2.5], [11.0, 11.0]]), 63)
    torch.testing.assert_close(halo, 0.65 * core + 0.35 * wide)


def test_a_moffat_has_its_width_and_its_wings():
    """The larger its exponent, the more it is a Gaussian."""
    wide = [other_blurs.moffat(*one(9, beta), 101)[0] for beta in (1.2, 2, 50)]
    for psf in wide:
        line = psf[50] / psf[50].max()
        assert float(line[54:56].mean()) == pytest.approx(0.5, abs=0.03)  # half of it at 4.5 px
    shares = [float(psf[30:71, 30:71].sum()) for psf in wide]
    assert shares[0] < shares[1] - 0.1 < shares[2] and shares[2] > 0.999
    gaussian = gaussian_psfs(torch.tensor([[9.0, 9.0]]), 101)[0]
    assert float((wide[2] - gaussian).abs().sum()) < 0.05


def test_a_pupil_without_aberration_is_the_airy_disk(settings):
    """As the Zernike model makes it, by another way."""
    model = make_psf_model(settings("psfs", model="zernike-1", size_px=63, cutoff=0.25))
    for waves in (0.0, 0.3):
        expected = model.psf(torch.tensor([[waves]]))[0][0]
        found = other_blurs.aberrated({"defocus": torch.tensor([waves])}, *one(0, 0.25), 63)[0]
        assert float((found - expected).abs().sum()) < 0.03


def test_coma_is_turned_by_its_angle_and_odd():
    coma = [
        other_blurs.aberrated({"coma": torch.tensor([0.2])}, *one(a, 0.25), 31)[0]
        for a in (0, math.pi / 2)
    ]
    assert abs(moments(coma[0])[0]) > 0.5 and abs(moments(coma[0])[1]) < 1e-3
    turned = [coma[0].T, coma[0].flip(0).T]  # by a quarter to either side
    assert sum(torch.allclose(coma[1], one, atol=1e-5, rtol=1e-3) for one in turned) == 1


@pytest.mark.parametrize("size", [15, 31, 79])
def test_drawn_blurs_are_psfs_and_depend_on_the_generator(size):
    def draw(seed):
        return other_blurs.draw_others(
            torch.full((40,), 0.25), size, torch.Generator().manual_seed(seed)
        )

    psfs = draw(1)
    assert psfs.shape == (40, size, size) and psfs.isfinite().all() and psfs.min() >= 0
    torch.testing.assert_close(psfs.sum((1, 2)), torch.ones(40))
    assert torch.equal(psfs, draw(1)) and not torch.equal(psfs, draw(2))
    assert len({float(w) for w in equivalent_width_px(psfs)}) == 40


def test_samples_of_other_blurs_are_labelled_and_measure_nothing(recipe):
    import dataclasses

    plain = make_set(recipe, 64, seed=1, stream="s", split="train")
    mixed = make_set(
        dataclasses.replace(recipe, other_blur_share=0.5), 64, seed=1, stream="s", split="train"
    )
    assert not plain.other_blur.any() and 10 < mixed.other_blur.sum() < 54
    assert (mixed.measurable == ((mixed.invalid == VALID) & (mixed.other_blur == 0))).all()


def test_named_blurs_are_psfs_and_know_their_models():
    for name, blur in BLURS.items():
        psfs = blur.psfs()
        assert psfs.ndim == 4 and psfs.shape[-1] <= SIZE_PX and psfs.shape[-1] % 2
        torch.testing.assert_close(psfs.sum((-2, -1)), torch.ones(psfs.shape[:2]))
        assert kind_of(name, "gaussian-2") in ("sharp", "inside", "outside")
    kinds = [kind_of(name, "gaussian-2") for name in ("none", "gaussian", "motion", "defocus")]
    assert kinds == ["sharp", "inside", "outside", "outside"]
    assert kind_of("defocus", "zernike-1") == "inside"


def test_equivalent_widths_are_those_of_gaussians():
    widths = torch.tensor([[3.0, 3.0], [4.0, 9.0]])
    found = equivalent_width_px(gaussian_psfs(widths, 63))
    # The pixel widens a Gaussian: by its own variance of 1/12 px^2.
    wider = (widths**2 + 8 * math.log(2) / 12).prod(1) ** 0.25
    torch.testing.assert_close(found, wider, rtol=5e-3, atol=0)
    assert float(equivalent_width_px(torch.ones(1, 1))) == pytest.approx(0.664, abs=1e-3)
