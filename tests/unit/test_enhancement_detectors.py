"""A simulated detector counts as its closed forms say, and a pair of them sees the same light."""

import numpy as np
import pytest
from isoplan.applications.enhancement.detectors import Detector, detector, simulate
from isoplan.config.validation import validate

ENTRY = {"name": "a", "mosaic_px": 64, "field_px": 32, "kinds": ["filaments", "poi"]}


def entry(**changes) -> dict:
    return validate({"enhancements": [ENTRY | changes]})["enhancements"][0]


def test_mean_and_variance():
    made = Detector(0.22, gain=3.0, dark_e=4.0, read_noise_e=2.0, offset=100.0, bits=16)
    photons = np.full((400, 400), 50.0)
    counts = made.expose(photons, np.random.default_rng(0))
    assert counts.mean() == pytest.approx(3 * (11 + 4) + 100, rel=1e-3)
    assert counts.var() == pytest.approx(9 * (11 + 4 + 4) + 1 / 12, rel=0.02)
    assert made.mean(photons).mean() == pytest.approx(145)
    assert made.variance(photons).mean() == pytest.approx(171 + 1 / 12)


@pytest.mark.parametrize(("photons", "excess"), [(0.5, 1.3), (50.0, 1.3), (50.0, 2.0)])
def test_a_multiplier_adds_noise_and_keeps_the_mean(photons, excess):
    made = Detector(0.4, gain=3.0, dark_e=0.1, read_noise_e=0.5, offset=10.0, excess=excess)
    light = np.full((700, 700), photons)
    counts = made.expose(light, np.random.default_rng(0))
    electrons = 0.4 * photons + 0.1
    assert counts.mean() == pytest.approx(3 * electrons + 10, rel=3e-3)
    assert counts.var() == pytest.approx(9 * (excess * electrons + 0.25), rel=0.02)
    assert made.variance(light)[0, 0] == pytest.approx(9 * (excess * electrons + 0.25))


def test_no_electrons_are_multiplied_to_none():
    counts = Detector(0.4, excess=1.5).expose(np.zeros((9, 9)), np.random.default_rng(0))
    assert not counts.any()


def test_the_excess_is_of_its_own_detector():
    low, high = (detector(entry(low_excess=1.4), which) for which in ("low", "high"))
    assert (low.excess, high.excess) == (1.4, 1.0)
    # A key that has no effect stands in no job's settings.
    assert detector({k: v for k, v in entry().items() if "excess" not in k}, "low").excess == 1


def test_the_dark_level_drifts_along_the_scan():
    made = Detector(0.2, dark_e=100.0, drift=0.3)
    lines = made.expose(np.zeros((200, 400)), np.random.default_rng(1)).mean(1)
    phase = np.random.default_rng(1).uniform(0, 2 * np.pi)
    assert np.abs(lines - made.dark(200, phase)).max() < 5 * 10 / 20 + 1
    assert np.ptp(lines) > 30
    still = Detector(0.2, dark_e=100.0).expose(np.zeros((200, 400)), np.random.default_rng(1))
    assert np.ptp(still.mean(1)) < 5


def test_counts_are_whole_and_end():
    made = Detector(0.4, gain=5.0, bits=8)
    counts = made.expose(np.full((50, 50), 120.0), np.random.default_rng(0))
    assert counts.max() == 255 and np.array_equal(counts, counts.round())


def test_a_mosaic_is_a_function_of_its_number():
    one, again, other = (simulate(entry(), "test", number, 3) for number in (1, 1, 0))
    assert np.array_equal(one.low, again.low) and not np.array_equal(one.low, other.low)
    trained = simulate(entry(), "train", 1, 3)
    assert not np.array_equal(one.photons, trained.photons)
    # The noise of the two is independent.
    rests = [
        picture - detector(entry(low_drift=0), which).mean(one.photons)
        for picture, which in ((one.low, "low"), (one.high, "high"))
    ]
    assert abs(np.corrcoef(rests[0].ravel(), rests[1].ravel())[0, 1]) < 0.1


def test_specimens_are_bright_on_dark():
    for number in range(6):
        photons = simulate(entry(), "train", number, 0).photons
        assert np.median(photons) < photons.mean()
