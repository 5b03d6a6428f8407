"""Other people's blind methods: their operators against direct ones, ours of Fish against deepinv's."""

import importlib.util

import numpy as np
import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.restoration_test import rivals
from scipy.signal import fftconvolve


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape))).double()


def kernel(size: int, turned: bool = False) -> torch.Tensor:
    """A lopsided PSF, so that a flip would show."""
    psf = torch.zeros(size, size).double()
    middle = size // 2
    psf[middle, middle], psf[middle, middle + 2], psf[middle - 1, middle] = 0.5, 0.3, 0.2
    return psf.flip(0, 1) if turned else psf


@pytest.mark.parametrize("small_first", [False, True])
def test_factors_blur_where_it_is_whole_and_correlate_is_the_transpose(small_first):
    x, h = random(30, 35), random(7, 7)
    own, other = (h, x) if small_first else (x, h)
    expected = torch.from_numpy(fftconvolve(x.numpy(), h.numpy(), "valid"))
    factor = rivals._Factor(own, expected.shape)
    torch.testing.assert_close(factor.blur(other), expected)
    y = random(*expected.shape)
    left, right = (factor.blur(other) * y).sum(), (other * factor.correlate(y)).sum()
    torch.testing.assert_close(left, right)


def dots_on_black() -> torch.Tensor:
    """Points far from a black border, where circular and whole blurs are one."""
    sharp = torch.zeros(48, 48).double()
    at = np.random.default_rng(0).integers(16, 32, (6, 2))
    sharp[at[:, 0], at[:, 1]] = 1.0
    blurred = fftconvolve(sharp.numpy(), kernel(5).numpy(), "same")
    return torch.from_numpy(blurred).clamp(min=0) + 1e-3


def test_blind_psf_is_deepinv_s_where_borders_do_not_matter():
    pytest.importorskip("deepinv")
    from deepinv.optim import BlindRL

    y = dots_on_black()
    ours, _ = rivals.blind_psf(y, size_px=5, rounds=8, steps=1)
    start = y[None, None], rivals.start_psf(5)[None, None]
    with torch.no_grad():
        _, theirs = BlindRL(max_iter=8, init=start, use_fft=True, eps=1e-12)(y[None, None])
    assert float((ours - rivals.start_psf(5)).abs().max()) > 0.02  # it has left its start
    torch.testing.assert_close(ours, theirs[0, 0], atol=2e-3, rtol=0)


def test_blind_steps_raise_the_likelihood_and_keep_sum_and_sign():
    y = dots_on_black()

    def minus_likelihood(rounds: int) -> float:
        h, x = rivals.blind_psf(y, size_px=5, rounds=rounds, steps=2)
        assert float(h.min()) >= 0 and float(h.sum()) == pytest.approx(1)
        mean = rivals._Factor(h, y.shape).blur(x)
        return float((mean - y * mean.log()).sum())

    values = [minus_likelihood(rounds) for rounds in (1, 2, 4, 8)]
    assert values == sorted(values, reverse=True)


def test_deepinv_psf_has_our_orientation():
    pytest.importorskip("deepinv")
    psf = rivals.deepinv_psf(dots_on_black().float(), size_px=5).double()
    distance = [float((psf - kernel(5, turned)).norm()) for turned in (False, True)]
    assert distance[0] < distance[1]


def test_without_deepinv_the_method_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    rivals.check_installed(["blind", "wiener"])
    with pytest.raises(UserError, match="deepinv-blind needs deepinv"):
        rivals.check_installed(["deepinv-blind"])


def test_wiener_undoes_a_blur_in_place_and_by_its_seed():
    sharp = np.kron(np.random.default_rng(0).random((8, 8)), np.ones((6, 6)))
    psf = np.outer(np.hanning(9)[1:-1], np.hanning(9)[1:-1])
    psf /= psf.sum()
    blurred = fftconvolve(np.pad(sharp, 3, mode="edge"), psf, "valid")
    restored = rivals.wiener(blurred, psf, seed=1)
    assert restored.shape == sharp.shape
    error = {s: ((np.roll(restored, s, (0, 1)) - sharp) ** 2).mean() for s in (-1, 0, 1)}
    assert error[0] < ((blurred - sharp) ** 2).mean() and error[0] == min(error.values())
    np.testing.assert_array_equal(restored, rivals.wiener(blurred, psf, seed=1))


def test_unsharp_sharpens_an_edge():
    edge = np.repeat([[0.2, 0.2, 0.4, 0.6, 0.6]], 5, axis=0)
    assert rivals.unsharp(edge)[2, 1] < 0.2 and rivals.unsharp(edge)[2, 3] > 0.6
