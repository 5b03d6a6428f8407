"""COL0RME against dense matrices on small pictures, and on emitters that are known."""

import numpy as np
import pytest
from fluctuation_frames import PSF, filaments, scene
from isoplan.applications.fluctuation import baselines, colorme, cumulants, scores
from isoplan.applications.fluctuation.banded import Banded
from isoplan.applications.fluctuation.formation import Formation, Psf
from scipy.optimize import nnls
from skimage.restoration import denoise_tv_chambolle

SHAPES = ("gaussian", "airy")


def small(shape: str = "gaussian") -> Formation:
    return Formation.of((8, 7), Psf(2.4, shape), factor=2, border=2)


def dense(psi: Formation) -> np.ndarray:
    """(pixels, fine pixels)."""
    each = np.eye(int(np.prod(psi.fine_shape))).reshape(-1, *psi.fine_shape)
    return psi.forward(each).reshape(len(each), -1).T


def some_frames(psi: Formation, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.gamma(0.2, 20, psi.fine_shape) * (rng.random((90, *psi.fine_shape)) < 0.3)
    return rng.poisson(psi.forward(x) + 4).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_gram_and_squares_are_the_dense_ones(shape):
    psi = small(shape)
    matrix = dense(psi)
    x = np.random.default_rng(0).gamma(0.3, 1, psi.fine_shape)
    found = colorme.gram_of(psi).forward(x)
    expected = ((matrix.T @ matrix) ** 2 @ x.ravel()).reshape(x.shape)
    np.testing.assert_allclose(found, expected, atol=5e-3 * expected.max())
    found = colorme.squares_of(psi).forward(x)
    expected = (matrix**2 @ x.ravel()).reshape(psi.shape)
    np.testing.assert_allclose(found, expected, atol=5e-3 * expected.max())
    if shape == "gaussian":
        assert len(colorme.gram_of(psi).rows) == 1
    else:
        assert len(colorme.gram_of(psi).rows) < len(psi.rows) ** 2


@pytest.mark.parametrize("shape", SHAPES)
def test_bands_are_the_whole(shape):
    psi = Formation.of((60, 31), Psf(2.4, shape), factor=3, border=1)
    for whole in (psi, colorme.gram_of(psi)):
        bands = Banded.of(whole)
        x = np.random.default_rng(0).random((2, *whole.fine_shape))
        assert bands.forward(x) == pytest.approx(whole.forward(x), rel=1e-4)
        y = bands.forward(x)
        assert bands.adjoint(y) == pytest.approx(whole.adjoint(y), rel=1e-4)
    assert sum(each.values.size for each in Banded.of(psi).rows[0]) < 0.9 * psi.rows[0].size


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_are_those_of_the_covariance(shape):
    psi = small(shape)
    frames = some_frames(psi)
    seen = colorme.moments(frames, psi, block=90)
    covariance = np.cov(frames.reshape(90, -1).T)
    matrix = dense(psi)
    assert seen.mean == pytest.approx(frames.mean(axis=0), rel=1e-5)
    assert seen.variance.ravel() == pytest.approx(np.diag(covariance), rel=1e-5)
    expected = np.einsum("ik,ij,jk->k", matrix, covariance, matrix, optimize=True)
    assert seen.matched.ravel() == pytest.approx(expected, rel=1e-4, abs=1e-4 * expected.max())


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_the_dense_objective(shape, known):
    psi = small(shape)
    frames = some_frames(psi)
    noise = np.random.default_rng(1).uniform(1, 5, psi.shape) if known else None
    fit = colorme.CovarianceFit.of(colorme.moments(frames, psi, block=90), psi, noise)
    covariance = np.cov(frames.reshape(90, -1).T)
    matrix = dense(psi)

    def objective(x):
        rest = covariance - (matrix * x.ravel()) @ matrix.T
        variance = max(np.trace(rest) / len(rest), 0) if noise is None else noise.ravel()
        return ((rest - np.diag(variance * np.ones(len(rest)))) ** 2).sum() / 4

    rng = np.random.default_rng(2)
    x = rng.gamma(0.3, 10, psi.fine_shape)
    found = fit.gradient(x.astype(np.float32))
    for _ in range(5):
        along = rng.normal(size=x.shape)
        slope = (objective(x + 1e-3 * along) - objective(x - 1e-3 * along)) / 2e-3
        scale = np.linalg.norm(found) * np.linalg.norm(along)
        assert (found * along).sum() == pytest.approx(slope, abs=2e-3 * scale)
    if noise is None:
        rest = covariance - (matrix * x.ravel()) @ matrix.T
        assert fit.left(x) == pytest.approx(max(np.trace(rest) / len(rest), 0), rel=1e-3)


def test_l1_ends_where_the_gradient_says():
    """x > 0 where the slope is -weight, x = 0 where it is not below."""
    psi = small()
    seen = colorme.moments(some_frames(psi), psi)
    x, _ = colorme.support(seen, psi, share=0.02, iterations=5000)
    fit = colorme.CovarianceFit.of(seen, psi)
    largest = -fit.gradient(np.zeros_like(x)).min()
    slope = fit.gradient(x) / largest
    assert slope.min() > -0.02 - 1e-3
    assert abs(slope[x > 0.05 * x.max()] + 0.02).max() < 1e-3
    nothing, _ = colorme.support(seen, psi, share=1.01)
    assert not nothing.any()


def test_fista_solves_least_squares():
    rng = np.random.default_rng(3)
    a, d = rng.random((12, 6)), rng.normal(size=12)
    step = 1 / np.linalg.norm(a, 2) ** 2
    found = colorme.fista(
        np.zeros(6), lambda x: a.T @ (a @ x - d), lambda v: np.maximum(v, 0), step, 3000
    )
    assert found == pytest.approx(nnls(a, d)[0], abs=1e-5)


def test_tv_steps_are_those_of_chambolle():
    rng = np.random.default_rng(4)
    v = 10 + np.pad(np.full((6, 6), 5.0), 5) + rng.normal(size=(16, 16))
    step = colorme.TvStep(1.5)
    for _ in range(2000):
        found = step(v)
    expected = denoise_tv_chambolle(v, weight=1.5, eps=1e-9, max_num_iter=3000)
    assert found == pytest.approx(expected, abs=0.01)
    assert (colorme.TvStep(1.5)(v - 14) >= 0).all()
    assert colorme.TvStep(0)(v - 14) == pytest.approx(np.maximum(v - 14, 0))


@pytest.mark.parametrize("penalty", colorme.SHARES)
def test_two_emitters_are_found(penalty):
    two = np.array([[8.1, 6.6], [8.1, 9.1]])  # 250 nm apart at 100 nm a pixel; the PSF has 259 nm
    made = scene(two, 16, np.random.default_rng(5), background=5)
    found = colorme.colorme(made.frames, made.psi, penalty=penalty, read_noise_e=1.6)
    assert found.picture.shape == (64, 64) and found.picture.dtype == np.float32
    for picture in (found.variance, found.picture):
        profile = picture[28:37].sum(axis=0)
        assert abs(profile[20:32].argmax() + 20 - 26) <= 1
        assert abs(profile[32:44].argmax() + 32 - 36) <= 1
        assert profile[30:33].sum() < 0.1 * profile.sum()
    assert found.picture.sum() == pytest.approx(made.truth.sum(), rel=0.1)
    assert np.median(found.background) == pytest.approx(5, abs=1)


def test_light_and_background_of_a_known_support():
    psi = Formation.of((16, 16), PSF, factor=4, border=3)
    x = np.zeros(psi.fine_shape)
    x[30, 34], x[52, 50] = 200, 100
    rng = np.random.default_rng(6)
    mean = psi.forward(x) + np.linspace(9, 11, 16) + rng.normal(0, 0.05, (16, 16))
    found, background = colorme.intensity(
        mean, psi, 1.0 * (x > 0), noise=256 * 0.05**2, iterations=500
    )
    assert found[x > 0] == pytest.approx([200, 100], rel=0.05)
    assert not found[x == 0].any()
    assert background.mean() == pytest.approx(10, abs=0.3)


def test_the_residual_meets_its_noise():
    rng = np.random.default_rng(7)
    made = scene(filaments(16, 4, rng), 16, rng)
    seen = colorme.moments(made.frames, made.psi)
    x, _ = colorme.support(seen, made.psi)
    residuals = []
    for noise in (30.0, 300.0):
        bright, background = colorme.intensity(seen.mean, made.psi, x, noise=noise)
        rest = ((made.psi.forward(bright) + background - seen.mean) ** 2).sum()
        assert rest <= 1.01 * noise
        residuals.append(rest)
    assert residuals[1] > 3 * residuals[0]  # as smooth as the noise allows


def test_it_beats_what_the_mean_tells():
    rng = np.random.default_rng(8)
    made = scene(filaments(24, 4, rng, count=2), 24, rng, drift=0.05, bleach=2000)
    pictures = {
        "spline": baselines.upsampled(colorme.moments(made.frames, made.psi).mean, 4),
        "sofi": cumulants.sofi(made.frames, PSF),
        "colorme": colorme.colorme(made.frames, made.psi).variance,
    }
    found = {name: scores.psnr(each, made.truth, pixel_nm=25) for name, each in pictures.items()}
    assert min(found["colorme"], found["sofi"]) > found["spline"] + 3


def test_an_oracle_chooses_by_the_truth():
    rng = np.random.default_rng(9)
    made = scene(filaments(16, 4, rng, count=1), 16, rng)
    seen = colorme.moments(made.frames, made.psi)

    def picture(share):
        return made.psi.inner(colorme.support(seen, made.psi, share=share, iterations=60)[0])

    shares = (1e-4, 1e-2, 0.9)
    values = [scores.psnr(picture(each), made.truth, pixel_nm=25) for each in shares]
    chosen, score = colorme.best_by_truth(
        shares, lambda each: scores.psnr(picture(each), made.truth, pixel_nm=25)
    )
    assert score == max(values) and chosen == shares[int(np.argmax(values))] != 0.9


def test_bad_input_is_refused():
    psi = small()
    seen = colorme.moments(some_frames(psi), psi)
    with pytest.raises(ValueError, match="'l2': known are l1, cel0, tv"):
        colorme.support(seen, psi, penalty="l2")
    with pytest.raises(ValueError, match="Psi of"):
        colorme.moments(np.zeros((9, 8, 8)), psi)
    with pytest.raises(ValueError, match="one frame"):
        colorme.moments(np.zeros((1, 8, 7)), psi)


def test_a_dark_sequence_gives_a_dark_picture():
    found = colorme.colorme(np.zeros((20, 8, 7), np.float32), small())
    assert not found.picture.any() and not found.variance.any()
