"""Generated frames have the moments of their closed forms, and the critic's penalty acts."""

import numpy as np
import pytest
import torch
from isoplan.applications.fluctuation import critic, fluogan, moments
from isoplan.applications.fluctuation.camera import Camera
from isoplan.applications.fluctuation.formation import Formation, Psf
from isoplan.applications.fluctuation.likelihood import BORDER_PX

PSF, CAMERA, RATE, KAPPA = Psf(2.6), Camera(), 0.75, 30.0
ADVERSARIAL, ALONE = fluogan.Weights(0.005, 1.0, 0.005), fluogan.Weights(0.005, 1.0)
PSI = Formation.of((12, 12), PSF, factor=2, border=BORDER_PX)


@pytest.fixture(scope="module")
def emission():
    x = np.zeros(PSI.fine_shape)
    x[18:22, 10:30] = 20
    return x


def generator(physics: str, x: np.ndarray, kappa: float = KAPPA) -> fluogan.Generator:
    mean = PSI.forward(x) + 5
    signal = kappa * np.diag(moments.covariance(PSI, x, 1.0)).sum()
    seen = fluogan.Seen(np.zeros((1, 12, 12)), mean, 3 * mean, signal, RATE)
    return fluogan.Generator(PSI, x, np.full(mean.shape, 5.0), seen, CAMERA, physics)


def frames_of(made: fluogan.Generator, runs: int) -> np.ndarray:
    with torch.no_grad():
        return made.draw(runs, torch.Generator().manual_seed(0)).numpy().astype(float)


@pytest.fixture(scope="module")
def sequence(emission):
    """Switching emission of independent pixels, as electrons."""
    rng = np.random.default_rng(0)
    blinking = emission * 3 * (rng.random((200, *emission.shape)) < 1 / 3)
    return CAMERA.electrons(CAMERA.expose(PSI.forward(blinking) + 5, rng))


def test_generalised_frames_have_the_closed_forms(emission):
    frames = frames_of(generator("generalised", emission), 6000)
    mean = PSI.forward(emission) + 5
    seen = frames.mean((0, 1))
    assert np.abs(seen - mean).max() < 6 * np.sqrt((frames.var((0, 1)) * 3 / 18000).max())
    within = _covariance(frames[:, 0], frames[:, 0])
    full = moments.covariance(PSI, emission, KAPPA, CAMERA.variance(mean))
    for lag in (0, 1, 2):
        if lag:
            seen = _covariance(frames[:, 0], frames[:, lag])
            right = fluogan.correlation(RATE, 3)[0, lag] * moments.covariance(PSI, emission, KAPPA)
        else:
            seen, right = within, full
        error = np.sqrt((np.outer(np.diag(full), np.diag(full)) + full**2) / len(frames))
        assert np.abs((seen - right) / error).max() < 6
        assert np.linalg.norm(seen - right) < 0.2 * np.linalg.norm(right)


def _covariance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    flat = [(one - one.mean(0)).reshape(len(one), -1) for one in (first, second)]
    return flat[0].T @ flat[1] / len(first)


def test_published_frames_are_independent(emission):
    made = generator("published", emission)
    frames = frames_of(made, 4000)
    mean = PSI.forward(emission) + 5
    assert frames.shape[1] == 1 and made.alpha == pytest.approx(3)
    seen, right = _covariance(frames[:, 0], frames[:, 0]), np.diag(3 * mean.ravel())
    error = np.sqrt(3 * mean.ravel())[:, None] * np.sqrt(3 * mean.ravel()) * np.sqrt(2 / 4000)
    assert np.abs((seen - right) / error).max() < 6
    assert frames.mean((0, 1)) == pytest.approx(mean, abs=6 * np.sqrt(3 * mean.max() / 4000))


def test_what_a_sequence_tells(emission):
    # Emitters that switch from frame to frame anew have no correlation; p = 1/3 with three times the mean: kappa = 2 x.
    rng = np.random.default_rng(1)
    blinking = emission * 3 * (rng.random((2000, *emission.shape)) < 1 / 3)
    seen = fluogan.Seen.of(CAMERA.electrons(CAMERA.expose(PSI.forward(blinking) + 5, rng)), CAMERA)
    assert seen.above == pytest.approx(
        np.diag(moments.covariance(PSI, emission, 40)).sum(), rel=0.1
    )
    assert seen.rate > 4
    made = fluogan.Generator(PSI, emission, np.full((12, 12), 5.0), seen, CAMERA, "generalised")
    assert made.kappa == pytest.approx(40, rel=0.1)


def test_the_slope_of_x_is_that_of_differences(emission):
    made, step = generator("generalised", emission + 1), 1e-2

    def total() -> torch.Tensor:
        return (made.draw(2, torch.Generator().manual_seed(3)) ** 2).mean()

    total().backward()
    kappa = made.kappa
    place = (20, 20)
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            made.u[place] += sign * step
            # kappa follows x, and is held while it is differentiated
            made.above = kappa * float((made.power * made.emission).sum())
            ends.append(float(total()))
            made.u[place] -= sign * step
    assert float(made.u.grad[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.05)


def learned(judge, frames, made, steps: int, rate: float, weight: float) -> float:
    """Mean slope at the end."""
    rng = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(judge.parameters(), rate)
    for _ in range(steps):
        at = torch.randint(len(frames), (16,), generator=rng)
        real = judge.standard(frames[at])
        other = judge.standard(made[torch.randint(len(made), (16,), generator=rng)])
        slope = critic.teach(judge, optimiser, real, other, rng, weight)[1]
    return slope


def test_the_penalty_acts_in_ours_and_not_as_published(emission, sequence):
    made = torch.from_numpy(frames_of(generator("published", emission), 200)).float()
    real = torch.from_numpy(sequence)[:, None]
    torch.manual_seed(0)
    mean, std = real.mean(0), real.std(0)
    ours = critic.Critic(std[0], 1)
    assert abs(learned(ours, real - mean, made - mean, 150, critic.RATE, critic.WEIGHT) - 1) < 0.3
    torch.manual_seed(0)
    published = critic.PublishedCritic((12, 12))
    gain = CAMERA.gain  # it reads counts
    slope = learned(published, gain * real, gain * made, 150, 1e-6, critic.PUBLISHED_WEIGHT)
    assert slope < 1e-3


@pytest.mark.parametrize("size", [12, 32, 50])
def test_the_published_critic_fits_frames_of_any_size(size):
    judge = critic.PublishedCritic((size, size + 4))
    rated = judge(torch.rand(2, 1, size, size + 4))
    assert rated.shape == (2,) and ((rated > 0) & (rated < 1)).all()


@pytest.mark.parametrize("physics", fluogan.RUNS)
def test_a_fit_lowers_the_mean_term_and_is_the_same_again(sequence, physics, monkeypatch):
    monkeypatch.setattr(fluogan, "MEAN_STEPS", 30)

    def made(seed: int) -> fluogan.Estimate:
        return fluogan.fit(
            sequence, PSF, CAMERA, ADVERSARIAL, physics=physics, factor=2, steps=5, seed=seed
        )

    first, again, other = made(0), made(0), made(1)
    assert first.history["mean"][-1] < 0.5 * first.history["mean"][0]
    assert first.emission.min() >= 0 and first.background.min() >= 0
    assert len(first.history["slope"]) == 5 and np.isfinite(first.history["gap"]).all()
    assert np.array_equal(first.emission, again.emission)
    assert not np.array_equal(first.emission, other.emission)


def test_without_critic_the_physics_does_not_matter(sequence, emission):
    made = [
        fluogan.fit(
            sequence,
            PSF,
            CAMERA,
            ALONE,
            physics=physics,
            factor=2,
            steps=20,
            start=emission,
        )
        for physics in fluogan.RUNS
    ]
    assert np.array_equal(made[0].emission, made[1].emission)
    assert list(made[0].history) == ["mean"]


def test_without_critic_no_steps_are_made_before(sequence):
    made = fluogan.fit(sequence, PSF, CAMERA, ALONE, factor=2, steps=7)
    assert len(made.history["mean"]) == 7


@pytest.mark.parametrize("heavier", [fluogan.Weights(0.5, 1.0), fluogan.Weights(0.005, 100.0)])
def test_weights_act(sequence, heavier):
    def made(weights: fluogan.Weights) -> fluogan.Estimate:
        return fluogan.fit(sequence, PSF, CAMERA, weights, factor=2, steps=200)

    light, heavy = made(ALONE), made(heavier)
    if heavier.light > ALONE.light:
        assert heavy.emission.sum() < 0.8 * light.emission.sum()
    else:
        assert np.ptp(heavy.background) < 0.5 * np.ptp(light.background)


def test_unknown_physics(sequence):
    with pytest.raises(ValueError, match="physics honest: must be one of published, generalised"):
        fluogan.fit(sequence, PSF, CAMERA, ALONE, physics="honest", factor=2)
