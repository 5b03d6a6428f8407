"""Intervals of what a sequence tells of its emitters hold the truth as often as they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from isoplan.applications.fluctuation import blinking, certainty, likelihood, moments, simulator
from isoplan.applications.fluctuation.tiles import BORDER_PX

BASE = simulator.Settings(shape=(20, 20), frames=300, factor=2)
EDGES = list(likelihood.BANDS)


def of_sequence(seed: int, settings: simulator.Settings = BASE, **keys):
    made = simulator.simulate(settings, seed)
    electrons = settings.camera.electrons(made.counts)
    seen = likelihood.moments(electrons, read_noise_e=settings.camera.variance(0.0) ** 0.5, **keys)
    found = likelihood.fit(seen, settings.psf, factor=2, covariance_steps=15, joint_steps=15)
    segments = certainty.of_segments(electrons, seen, found, settings.psf, factor=2)
    scale = certainty.of_scale(seen, found, settings.psf, factor=2)
    return made, found, segments, scale


@pytest.fixture(scope="module")
def told():
    """Of eight sequences: the intervals, and the estimate in them."""
    found = []
    for seed in range(8):
        _, estimate, segments, scale = of_sequence(seed)
        cut = 2 * BORDER_PX
        light = float(estimate.emission[cut:-cut, cut:-cut].sum())
        seen = {"emission": light, "light": 2 * light, "length": BASE.frames}
        kappa = np.array(estimate.kappa)
        sure = certainty.intervals(kappa, segments, scale, EDGES, BASE.frames, **seen)
        found.append((sure, blinking.fit(kappa, EDGES, BASE.frames)))
    return found


def test_intervals_of_the_rate_hold_the_truth(told):
    """Those of the amplitude do too in larger fields (`fluctuation.full`); here the edges' light biases it."""
    right = moments.rate(BASE.on_frames, BASE.off_frames)
    assert np.mean([sure["rate_low"] < right < sure["rate_high"] for sure, _ in told]) >= 0.75
    # They are not so wide that they say nothing.
    assert np.mean([sure["rate_high"] / sure["rate_low"] for sure, _ in told]) < 1.5


def test_intervals_hold_the_estimate_and_are_as_wide_as_estimates_scatter(told):
    for sure, found in told:
        assert sure["amplitude_low_e"] < found.amplitude_e < sure["amplitude_high_e"]
        assert sure["rate_low"] < found.rate < sure["rate_high"]
    rates = np.log([found.rate for _, found in told])
    width = np.mean([np.log(sure["rate_high"] / sure["rate_low"]) for sure, _ in told])
    assert 0.4 < width / (2 * 2.26 * rates.std(ddof=1)) < 2.5


def test_segments_of_the_whole_are_one():
    _, _, segments, _ = of_sequence(0)
    assert segments.shape == (10, 3)
    assert segments.mean(0) == pytest.approx([1, 1, 1], abs=0.2)


def test_users_have_several_threads():
    """Some libraries' inverse of many matrices fails with more than one thread, as tests have."""
    torch.set_num_threads(2)
    try:
        _, _, segments, _ = of_sequence(0)
    finally:
        torch.set_num_threads(1)
    assert np.isfinite(segments).all()


def test_parts_that_drift_have_segments_of_their_own():
    parts = ((150, (-0.2, 0.1)), (150, (0.2, -0.1)))
    _, found, segments, _ = of_sequence(1, replace(BASE, drift_px=0.4), parts=parts)
    assert len(found.kappa) == 6 and segments.shape == (10, 3)


def test_a_background_that_may_take_the_light_makes_the_scale_uncertain():
    *_, dark = of_sequence(2, replace(BASE, background_e=1.0))
    *_, bright = of_sequence(2, replace(BASE, background_e=300.0))
    assert 0 < dark < bright < 0.5


def test_few_segments_tell_no_interval():
    kappa, known = np.array([70.0, 60, 30]), {"emission": 5e3, "light": 9e3, "length": 60}
    assert certainty.intervals(kappa, np.ones((2, 3)), 0.01, EDGES, 60, **known) == {}


def test_emitters_do_not_send_more_than_there_is():
    kappa, segments = (
        np.array([70.0, 60, 30]),
        1 + 0.05 * np.random.default_rng(0).normal(size=(10, 3)),
    )
    known = {"emission": 5e3, "light": 6e3, "length": 500}
    sure = certainty.intervals(kappa, segments, 10.0, EDGES, 500, **known)
    assert sure["emission_high_e"] == 6e3 and sure["emission_low_e"] < 1
    told = blinking.fit(kappa, EDGES, 500)
    assert sure["amplitude_low_e"] == pytest.approx(told.amplitude_e * 5 / 6)
