"""The camera's view of emitters on a finer grid, against direct sums."""

import numpy as np
import pytest
from isoplan.applications.fluctuation.formation import SIGMA, Formation, Psf, airy_fwhm
from scipy.special import j1
from scipy.stats import norm

SHAPES = ("gaussian", "airy")


def place(psi: Formation, y: int, x: int) -> np.ndarray:
    """The picture of one emitter in a fine pixel."""
    at = np.zeros(psi.fine_shape)
    at[y, x] = 1
    return psi.forward(at)


@pytest.mark.parametrize("factor", [1, 3, 4])
def test_a_gaussian_is_the_integral_over_the_pixel(factor):
    shift, border, fwhm = (0.3, -0.2), 2, 2.5
    psi = Formation.of((7, 9), Psf(fwhm), factor=factor, border=border, shift_px=shift)
    assert len(psi.rows) == 1
    y, x = 4 * factor, 5 * factor + factor // 2
    seen = place(psi, y, x)
    at = [(k + 0.5) / factor - border + s for k, s in zip((y, x), shift, strict=True)]
    sides = [
        np.diff(norm.cdf(np.arange(n + 1), loc=c, scale=fwhm * SIGMA))
        for n, c in zip((7, 9), at, strict=True)
    ]
    np.testing.assert_allclose(seen, np.outer(*sides), atol=2e-4)


@pytest.mark.parametrize("factor", [2, 3])
def test_an_airy_pattern_is_the_integral_over_the_pixel(factor):
    border, fwhm, shift = 2, 2.2, (0.25, 0.4)
    psi = Formation.of((9, 9), Psf(fwhm, "airy"), factor=factor, border=border, shift_px=shift)
    y, x = 6 * factor, 6 * factor + 1
    centre = [(k + 0.5) / factor - border + s for k, s in zip((y, x), shift, strict=True)]
    axis = (np.arange(9 * 40) + 0.5) / 40
    radius = np.hypot(axis[:, None] - centre[0], axis[None, :] - centre[1])
    v = 2 * 1.61633995 * radius / fwhm
    pattern = (2 * j1(v) / v) ** 2
    direct = pattern.reshape(9, 40, 9, 40).sum(axis=(1, 3)) / pattern.sum()
    np.testing.assert_allclose(place(psi, y, x), direct, atol=0.05 * direct.max())
    assert np.corrcoef(place(psi, y, x).ravel(), direct.ravel())[0, 1] > 0.9995


@pytest.mark.parametrize("shape", SHAPES)
def test_light_is_kept(shape):
    psi = Formation.of((40, 40), Psf(2.4, shape), factor=4, border=1)
    seen = psi.adjoint(np.ones(psi.shape))
    assert seen[80:90, 80:90] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_adjoint_is_the_transpose(shape):
    psi = Formation.of((6, 5), Psf(2.4, shape), factor=3, border=2, shift_px=(0.1, 0.4))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=psi.fine_shape), rng.normal(size=(4, *psi.shape))
    assert (psi.forward(x) * y).sum((1, 2)) == pytest.approx((psi.adjoint(y) * x).sum((1, 2)))
    assert psi.inner(psi.adjoint(y)).shape == (4, 18, 15)


def test_few_products_make_an_airy_pattern():
    psi = Formation.of((20, 20), Psf(2.4, "airy"), factor=4, border=4)
    assert 2 <= len(psi.rows) <= 5
    kernel = Psf(2.4, "airy").kernel(4)
    made = np.zeros_like(kernel)
    reach = (len(kernel) // 4 - 1) // 2
    for a, b in zip(psi.rows, psi.columns, strict=True):
        start = (4 + 10 - reach) * 4
        made += np.outer(a[10, start : start + len(kernel)], b[10, start : start + len(kernel)])
    assert np.linalg.norm(made - kernel) <= 1.1e-3 * np.linalg.norm(kernel)


def test_width_of_an_airy_pattern():
    fwhm = airy_fwhm(1.4, 0.5)
    v = np.pi * fwhm * 1.4 / 0.5
    assert (2 * j1(v) / v) ** 2 == pytest.approx(0.5, abs=1e-3)
