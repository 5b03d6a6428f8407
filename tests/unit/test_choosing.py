"""How much to restore, chosen by held-out photons: statistics, known answers, and what cannot be judged."""

import numpy as np
import pytest
import torch
from isoplan.base.config import left_open
from isoplan.choosing import (
    FALLBACK,
    HELD_OUT,
    LARGEST_WEIGHT,
    Piece,
    beyond,
    candidates,
    choose,
    pieces_of,
    weights_for,
)
from isoplan.deconvolution import richardson_lucy
from isoplan.exposure import Exposure
from isoplan.halo import MOST_ITERATIONS, halo_of, settled
from isoplan.metrics.image import snr
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map import MapLayout
from isoplan.restoration import LocalPsfs
from skimage import data, transform

SIDE = 64
ALL = np.s_[0:SIDE, 0:SIDE]
CAMERA = Exposure(gain=2.0)


@pytest.fixture(scope="module")
def model(gaussian):
    return make_psf_model(gaussian)


@pytest.fixture(scope="module")
def psfs(model):
    return model.psf(torch.tensor([[2.5, 3.5]]))[0][None], torch.zeros(1), torch.zeros(1)


@pytest.fixture(scope="module")
def auto(settings) -> dict:
    return settings("restoration", iterations="auto", tv_weight="auto")


def scene() -> np.ndarray:
    """A piece of the cameraman, halved so that it is sharp, with the PSF's margin of 7 px all round."""
    half = transform.downscale_local_mean(data.camera().astype(np.float32), (2, 2))
    return half[40 : 40 + SIDE + 14, 80 : 80 + SIDE + 14] / 255


def exposed(psfs, photons: float, gain: float = 2.0, object_=None) -> np.ndarray:
    """Counts above the offset of the blurred scene."""
    blur = SpaceVariantBlur(*psfs, (SIDE, SIDE))
    light = blur.forward(torch.from_numpy(scene() if object_ is None else object_)).numpy()
    return (gain * np.random.default_rng(1).poisson(photons * light.clip(0))).astype(np.float32)


def levels_of(counts: np.ndarray) -> dict:
    return {
        "start": float(counts.mean()) or 1e-6,
        "scale": float(np.quantile(counts, 0.999)) or 1e-6,
    }


def chosen(counts, psfs, settings, camera=CAMERA, seed=1, **known) -> dict:
    how = {"exposure": camera, "seed": seed, "stream": "test"} | levels_of(counts) | known
    pieces = [] if psfs is None else [Piece(counts, SpaceVariantBlur(*psfs, counts.shape), ALL)]
    return choose(pieces, settings, **how)


# Choosing ------------------------------------------------------------------------------------------


def snr_of(counts, psfs, photons: float, *, tv_weight: float, iterations: int) -> list[float]:
    """SNR in dB after each iteration on all photons, by the truth."""
    blur, found = SpaceVariantBlur(*psfs, counts.shape), []
    truth = CAMERA.gain * photons * scene()[7:-7, 7:-7]
    richardson_lucy(
        torch.from_numpy(counts),
        blur,
        iterations=iterations,
        tv_weight=tv_weight,
        **levels_of(counts),
        callback=lambda _, x: found.append(snr(x[7:-7, 7:-7].numpy(), truth)),
    )
    return found


@pytest.mark.parametrize("photons", [100, 10_000])
def test_the_choice_comes_near_the_best_and_far_above_the_worst(psfs, auto, photons):
    counts = exposed(psfs, photons)
    choice = chosen(counts, psfs, auto)
    last = MOST_ITERATIONS["momentum"]
    best, worst = -np.inf, np.inf
    for tv_weight in weights_for(auto, choice["photons"]):
        found = snr_of(counts, psfs, photons, tv_weight=tv_weight, iterations=last)
        best, worst = max(best, *found), min(worst, *found)
        if tv_weight == choice["tv_weight"]:
            ours = found[choice["iterations"] - 1]
    assert ours > best - 0.5 and ours > worst + 2


def test_brighter_pictures_are_restored_further(psfs, auto):
    dark, bright = (chosen(exposed(psfs, photons), psfs, auto) for photons in (100, 100_000))
    assert dark["iterations"] < bright["iterations"]
    assert dark["tv_weight"] > bright["tv_weight"]


def test_few_points_in_the_dark_want_smaller_weights(psfs, auto):
    """What the blur has spread is far darker than the points are, and so says too much of the weight."""
    points = np.zeros_like(scene())
    places = np.random.default_rng(0).integers(10, SIDE, (2, 30))
    points[tuple(places)] = 30.0
    counts = exposed(psfs, 1000, object_=points)
    choice = chosen(counts, psfs, auto)
    assert choice["tv_weight"] < 0.5 / choice["photons"]
    weights = [curve["tv_weight"] for curve in choice["curves"]]
    assert weights == sorted(weights) and len(weights) > 5
    least = {c["tv_weight"]: min(c["error"]) for c in choice["curves"]}
    assert least[choice["tv_weight"]] == min(least.values())
    alone = chosen(counts, psfs, auto | {"tv_weight": weights[-5]})
    assert [c["tv_weight"] for c in alone["curves"]] == weights[-5:-4]


def test_a_mosaic_of_few_bright_beads_is_judged_by_their_own_light(psfs, auto):
    """Where the mosaic's `scale` is that of its dark ground."""
    points = np.full_like(scene(), 0.001)
    points[40, 40] = 300.0
    counts = exposed(psfs, 1000, object_=points)
    choice = chosen(counts, psfs, auto, scale=4.0)
    assert choice["photons"] == 2
    assert choice["tv_weight"] < 1e-3


@pytest.mark.parametrize("photons", 10.0 ** np.arange(-9, 31, 4))
@pytest.mark.parametrize("end", [min, max])
def test_looking_beyond_comes_to_an_end(auto, photons, end):
    found = dict.fromkeys(weights_for(auto, photons))
    while weight := beyond(end(found), found, photons):
        assert weight not in found and weight <= LARGEST_WEIGHT
        found[weight] = None
    assert len(found) < 70


def test_the_curves_hold_what_was_chosen(psfs, auto):
    counts = exposed(psfs, 1000)
    choice = chosen(counts, psfs, auto)
    least = min(min(curve["error"]) for curve in choice["curves"])
    curve = next(c for c in choice["curves"] if c["tv_weight"] == choice["tv_weight"])
    assert curve["error"][curve["iterations"].index(choice["iterations"])] == least
    # A model that is right leaves the variance of the held-out photons, which is their number.
    assert least == pytest.approx(HELD_OUT * counts.mean() / CAMERA.gain, rel=0.1)


def test_the_unit_of_counts_changes_nothing(psfs, auto):
    counts = exposed(psfs, 1000, gain=1.0)
    plain = chosen(counts, psfs, auto, Exposure(gain=1.0))
    scaled = chosen(8 * counts, psfs, auto, Exposure(gain=8.0))
    assert scaled == plain


def test_the_same_seed_chooses_the_same(psfs, auto):
    counts = exposed(psfs, 300)
    assert chosen(counts, psfs, auto) == chosen(counts, psfs, auto)
    assert chosen(counts, psfs, auto)["curves"] != chosen(counts, psfs, auto, seed=2)["curves"]


def test_what_is_given_stays(psfs, settings):
    counts = exposed(psfs, 1000)
    weight_alone = settings("restoration", iterations=3, tv_weight="auto")
    choice = chosen(counts, psfs, weight_alone)
    assert choice["iterations"] == 3 and len(choice["curves"]) > 1
    iterations_alone = settings("restoration", iterations="auto", tv_weight=0.02)
    choice = chosen(counts, psfs, iterations_alone)
    assert choice["tv_weight"] == 0.02 and len(choice["curves"]) == 1
    assert settled(iterations_alone, choice)["iterations"] == choice["iterations"]
    assert left_open(iterations_alone) == ["iterations"]
    assert left_open(settled(iterations_alone, choice)) == []


def test_plain_richardson_lucy_stops_early_in_the_dark(psfs, settings):
    none = settings("restoration", iterations="auto", tv_step="none")
    choice = chosen(exposed(psfs, 50), psfs, none)
    assert choice["tv_weight"] == 0 and choice["iterations"] <= 10


def test_candidates_reach_the_most(auto, settings):
    found = candidates(auto)
    assert found[:10] == list(range(1, 11)) and found[-1] == MOST_ITERATIONS["momentum"]
    assert found == sorted(set(found))
    plain = settings("restoration", iterations="auto", acceleration="none")
    assert candidates(plain)[-1] == MOST_ITERATIONS["none"]


def test_a_halo_is_wide_enough_for_any_choice(auto, settings):
    most = settings("restoration", iterations=MOST_ITERATIONS["momentum"])
    assert halo_of(auto, 31) == halo_of(most, 31) > halo_of(settings("restoration"), 31)


# What cannot be judged, or hardly ------------------------------------------------------------------


def test_nothing_is_known(psfs, auto):
    counts = exposed(psfs, 1000)
    for case, words in (
        ((counts, psfs, Exposure(gain=None)), "gain is not known"),
        ((counts, psfs, Exposure(gain=0.0)), "gain is not known"),
        ((counts, None, CAMERA), "no PSF or no light"),
        ((0 * counts, psfs, CAMERA), "no PSF or no light"),
        ((np.full_like(counts, np.nan), psfs, CAMERA), "no PSF or no light"),
    ):
        choice = chosen(*case[:2], auto, case[2], start=1.0, scale=100.0)
        assert choice["iterations"] == FALLBACK["iterations"]["momentum"]
        assert choice["tv_weight"] == FALLBACK["tv_weight"] and choice["curves"] == []
        assert words in choice["reason"] and "often serves" in choice["reason"]


def test_a_picture_saturated_all_over_is_not_judged(psfs, auto):
    counts = exposed(psfs, 1000).clip(1)
    choice = chosen(counts, psfs, auto, Exposure(gain=2.0, saturation=0.5))
    assert choice["curves"] == [] and "no pixel is usable" in choice["reason"]


def test_without_noise_all_iterations_serve(psfs, auto):
    blur = SpaceVariantBlur(*psfs, (SIDE, SIDE))
    counts = blur.forward(torch.from_numpy(1000 * scene())).numpy()
    choice = chosen(counts, psfs, auto, Exposure(gain=1e-6))
    assert choice["iterations"] == MOST_ITERATIONS["momentum"] and choice["tv_weight"] < 1e-3


def test_an_even_picture_is_left_even(psfs, auto):
    """With nothing to sharpen the choice must not bring out noise."""
    flat = np.full((SIDE + 14, SIDE + 14), 1.0, np.float32)
    counts = exposed(psfs, 100, object_=flat)
    choice = chosen(counts, psfs, auto)
    blur = SpaceVariantBlur(*psfs, counts.shape)
    taken = {key: choice[key] for key in ("iterations", "tv_weight")}
    x = richardson_lucy(torch.from_numpy(counts), blur, **taken, **levels_of(counts))
    assert x[7:-7, 7:-7].std() < 0.5 * counts.std()


def test_pixels_that_are_not_finite_are_left_out(psfs, auto):
    counts = exposed(psfs, 1000)
    counts[30:40, 50:60] = np.nan
    choice = chosen(counts, psfs, auto, start=300.0, scale=2000.0)
    assert np.isfinite([curve["error"] for curve in choice["curves"]]).all()


# Pieces of a mosaic --------------------------------------------------------------------------------


class InMemory:
    """A mosaic that lies in memory."""

    def __init__(self, picture):
        self.picture, self.shape = picture, picture.shape

    def read(self, y0, y1, x0, x1):
        return self.picture[y0:y1, x0:x1]


def test_pieces_are_drawn_where_there_is_detail(model):
    """Of noise alone and of what no tile covers there is nothing; margins end with the mosaic."""
    rng = np.random.default_rng(0)
    mean = np.full((512, 1280), 100.0)
    mean[:, 512:1024] += 80 * np.sin(np.arange(512) / 5)
    picture = (2.0 * rng.poisson(mean) + 10).astype(np.float32)
    picture[:, 1024:] = np.nan
    layout = MapLayout(picture.shape, 96, 48, "reflect")
    local = LocalPsfs(model, layout=layout, cells=np.full((7, *layout.cells), 2.0, np.float32))
    facts = {"offset": 10.0, "gain": 2.0, "read_noise_e": 0.0}
    pieces = pieces_of(InMemory(picture), local, facts, order="mask-blur")
    assert len(pieces) == 4
    for piece in pieces:
        assert piece.counts[piece.judged].shape == (256, 256)
        assert piece.counts.shape[0] == 263  # the margin of 7 px beyond the mosaic is not there
        assert np.isfinite(piece.counts[piece.judged]).all()
        assert piece.counts[piece.judged].std() > 100
        assert piece.blur.shape == piece.counts.shape and piece.blur.margin == 7
    even = InMemory(np.full((300, 300), 7.0, np.float32))
    assert pieces_of(even, local, facts, order="mask-blur") == []
    unknown = LocalPsfs(model, constant=None)
    assert pieces_of(InMemory(picture), unknown, facts, order="mask-blur") == []
