"""How much to restore, chosen by held-out photons: statistics, known answers, and what cannot be judged."""

import numpy as np
import pytest
import torch
from isoplan.config.entries import CHOSEN, left_open
from isoplan.metrics.image import snr
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.exposure import Exposure
from isoplan.optics.model import equivalent_width_px
from isoplan.optics.plain import PlainPsf
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.fill import summarise_map
from isoplan.psf_map.layout import MapLayout
from isoplan.restoration import choosing, search
from isoplan.restoration.candidates import (
    LARGEST_WEIGHT,
    beyond,
    candidates,
    resolution_for,
    weights_for,
)
from isoplan.restoration.choice_words import RIVALLED, describe_choice
from isoplan.restoration.choosing import UNJUDGED_WEIGHT, choose, choose_for
from isoplan.restoration.halo import MOST_RESOLUTION_PX, halo_of, with_choice
from isoplan.restoration.held_out import HELD_OUT, Trial
from isoplan.restoration.in_memory import Measured, restored
from isoplan.restoration.pieces import Piece, pieces_of
from isoplan.restoration.psfs import LocalPsfs
from isoplan.restoration.richardson_lucy import richardson_lucy
from isoplan.restoration.search import COMPARED, FACTORS, LEAST_PX, MOST_OTHER, Search, mean_factor
from isoplan.restoration.tv_richardson_lucy import MOST_ITERATIONS
from scipy import ndimage
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
    left = dict.fromkeys(CHOSEN, "auto")
    return settings("restoration", **left)


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
    if psfs is None:
        return choose([], settings, **how)
    blur = SpaceVariantBlur(*psfs, counts.shape)
    return choose([Piece(counts, lambda factor: blur, ALL, lambda factor: 3.0)], settings, **how)


def doubted(model, counts, widths, settings, doubt=0.15, camera=CAMERA, **known) -> dict:
    """What is chosen where PSFs of some widths were estimated."""

    def psfs(factor):
        psf = model.psf(factor * torch.tensor([widths]))[0]
        return psf[None], torch.zeros(1), torch.zeros(1)

    def blur_by(factor):
        return SpaceVariantBlur(*psfs(factor), counts.shape)

    piece = Piece(
        counts, blur_by, ALL, lambda f: float(equivalent_width_px(psfs(f)[0])[0, 0]), doubt
    )
    how = {"exposure": camera, "seed": 1, "stream": "test"} | levels_of(counts) | known
    return choose([piece], settings, **how)


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


def test_what_ends_at_the_end_of_its_range_is_said(psfs, auto):
    choice = chosen(exposed(psfs, 0.3), psfs, auto)
    assert choice["tv_weight"] == LARGEST_WEIGHT
    assert choice["ends"] == {"tv_weight": "a TV weight of 3 is the largest allowed"}
    assert "At the end of its range: a TV weight of 3 is the largest" in describe_choice(choice)
    given = chosen(exposed(psfs, 0.3), psfs, auto | {"tv_weight": LARGEST_WEIGHT})
    assert given["ends"] == {} and "end of its range" not in describe_choice(given)
    few = chosen(exposed(psfs, 10_000), psfs, auto | {"tv_weight": 5e-4, "acceleration": "none"})
    last = MOST_ITERATIONS["none"]
    assert ("iterations" in few["ends"]) == (few["iterations"] == last)


@pytest.mark.parametrize(("gain", "taken"), [(-0.1, 0.3), (0.1, 0.3), (3.0, 1.2)])
def test_weights_beyond_the_first_ones_have_to_be_clearly_better(gain, taken):
    """Not only as good as the best, by `gain` standard errors."""
    base, apart = np.full(100, 50.0), np.tile([-1.0, 1.0], 50)
    search = Search.__new__(Search)
    errors = {0.1: base + 1 + apart, 0.3: base, 1.2: base - gain / 10 + apart}
    search.trials = {(1.0, w): Trial(w, e[None], e[None]) for w, e in errors.items()}
    assert search.smoothest(1.0).tv_weight == taken


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
    place = curve["iterations"].index(choice["iterations"])
    # The fewest iterations that do as well as any.
    assert least <= curve["error"][place] < 1.001 * least and place <= np.argmin(curve["error"])
    # A model that is right leaves the variance of the held-out photons, which is their number.
    assert least == pytest.approx(HELD_OUT * counts.mean() / CAMERA.gain, rel=0.1)


def test_the_unit_of_counts_changes_nothing(psfs, auto):
    counts = exposed(psfs, 1000, gain=1.0)
    plain = chosen(counts, psfs, auto, Exposure(gain=1.0))
    scaled = chosen(8 * counts, psfs, auto, Exposure(gain=8.0))
    assert scaled == plain


def test_the_same_seed_chooses_the_same(psfs, auto):
    counts = exposed(psfs, 300)
    first = chosen(counts, psfs, auto)
    assert first == chosen(counts, psfs, auto)
    assert first["curves"] != chosen(counts, psfs, auto, seed=2)["curves"]


def test_what_is_given_stays(psfs, settings):
    counts = exposed(psfs, 1000)
    weight_alone = settings("restoration", iterations=3, tv_weight="auto")
    choice = chosen(counts, psfs, weight_alone)
    assert choice["iterations"] == 3 and len(choice["curves"]) > 1
    iterations_alone = settings("restoration", iterations="auto", tv_weight=0.02)
    choice = chosen(counts, psfs, iterations_alone)
    assert choice["tv_weight"] == 0.02 and len(choice["curves"]) == 1
    assert with_choice(iterations_alone, choice)["iterations"] == choice["iterations"]
    assert left_open(iterations_alone) == ["iterations"]
    assert left_open(with_choice(iterations_alone, choice)) == []


def test_plain_richardson_lucy_stops_early_in_the_dark(psfs, settings):
    none = settings("restoration", iterations="auto", tv_step="none")
    choice = chosen(exposed(psfs, 50), psfs, none)
    assert choice["tv_weight"] == 0 and choice["iterations"] <= 10


def test_candidates_reach_the_most(auto, settings):
    found = candidates(auto)
    assert found[:9] == list(range(1, 10)) and found[-1] == MOST_ITERATIONS["momentum"]
    assert found == sorted(set(found))
    plain = settings("restoration", iterations="auto", acceleration="none")
    assert candidates(plain)[-1] == MOST_ITERATIONS["none"]


def test_a_halo_is_wide_enough_for_any_choice(auto, settings):
    most = {"iterations": MOST_ITERATIONS["momentum"], "resolution_px": MOST_RESOLUTION_PX}
    most = settings("restoration", **most)
    assert halo_of(auto, 31) == halo_of(most, 31) > halo_of(settings("restoration"), 31)
    shown = settings("restoration", resolution_px=2)
    assert halo_of(shown, 31) == halo_of(settings("restoration"), 31) + 4


# PSFs in doubt ------------------------------------------------------------------------------------


def test_psfs_that_are_too_wide_are_narrowed(model, psfs, auto):
    """Estimated 1.35 times too wide: what comes of it is nearer to the truth than by the PSFs as they are."""
    counts = exposed(psfs, 10_000)
    choice = doubted(model, counts, [2.5 * 1.35, 3.5 * 1.35], auto, doubt=0.3)
    assert 0.6 < choice["psf_scale"] < 0.9
    scales = [width["psf_scale"] for width in choice["widths"]]
    assert scales == sorted(scales, reverse=True) and 1.0 in scales
    worse = {width["psf_scale"]: width["worse"] for width in choice["widths"]}
    assert worse[1.0] > 2.5 and min(worse.values()) == 0
    assert "finer than" in choice["reason"] and "times as wide as estimated" in describe_choice(
        choice
    )


def test_psfs_that_are_right_stay(model, psfs, auto):
    choice = doubted(model, exposed(psfs, 10_000), [2.5, 3.5], auto)
    assert 0.9 < choice["psf_scale"] < 1.1
    assert choice["resolution_px"] == resolution_for(choice["photons"]) > 0


def test_where_nothing_was_blurred_noise_alone_is_taken_away(model, auto):
    sharp = model.psf(torch.tensor([[0.0, 0.0]]))[0][None], torch.zeros(1), torch.zeros(1)
    counts = exposed(sharp, 1000)
    for width in (LEAST_PX - 0.5, 3.0):
        choice = doubted(model, counts, [width, width], auto, doubt=0.5)
        assert choice["psf_scale"] == 0 and choice["resolution_px"] == 0
        assert "only noise" in describe_choice(choice)


def test_known_psfs_are_taken_as_they_are(psfs, auto):
    choice = chosen(exposed(psfs, 1000), psfs, auto)
    assert choice["psf_scale"] == 1 and choice["resolution_px"] == 0 and choice["widths"] == []


def test_a_given_scale_and_resolution_stay(model, psfs, auto):
    counts = exposed(psfs, 1000)
    choice = doubted(model, counts, [2.5, 3.5], auto | {"psf_scale": 0.8, "resolution_px": 2})
    assert (choice["psf_scale"], choice["resolution_px"]) == (0.8, 2)
    assert with_choice(auto, choice)["psf_scale"] == 0.8


def test_the_mean_factor_is_that_of_what_does_nearly_as_well():
    assert mean_factor({0.5: 0, 1.0: 0, 1.5: 0}) == 1.0  # photons tell nothing
    assert mean_factor({0.5: 9, 0.7: 4, 0.8: 0, 0.9: 4, 1.0: 9}) == pytest.approx(0.8, abs=0.02)
    assert 0.8 < mean_factor({0.5: 9, 0.7: 4, 0.8: 0, 0.9: 0.5, 1.0: 9}) < 0.9


def test_widths_are_compared_with_one_weight(model, psfs, auto, monkeypatch):
    """With the weight that each wants, PSFs that are too narrow may do best."""
    seen = []
    widths = Search.worse_by_squares

    def watched(self):
        found = widths(self)
        seen.append({weight for factor, weight in self.trials if factor in found})
        return found

    monkeypatch.setattr(Search, "worse_by_squares", watched)
    choice = doubted(model, exposed(psfs, 1000), [2.5, 3.5], auto)
    (alone,) = seen[len(FACTORS) - 1]  # before weights are tried
    assert alone == pytest.approx(COMPARED / choice["photons"], rel=0.05)


def test_the_fewer_the_photons_the_coarser_it_is_shown():
    widths = [resolution_for(photons) for photons in (0.1, 1e2, 1e3, 1e4, 1e5, 1e9)]
    assert widths == sorted(widths, reverse=True) and widths[-1] == 0 and widths[0] < 3
    assert widths[3] == 0.5


# What cannot be judged, or hardly ------------------------------------------------------------------


def test_nothing_is_known(psfs, auto):
    counts = exposed(psfs, 1000)
    for case, words in (
        ((counts, psfs, Exposure(gain=None)), "gain is not known"),
        ((counts, psfs, Exposure(gain=0.0)), "gain is not known"),
        ((counts, None, CAMERA), "no light was found"),
        ((0 * counts, psfs, CAMERA), "no light was found"),
        ((np.full_like(counts, np.nan), psfs, CAMERA), "no light was found"),
    ):
        choice = chosen(*case[:2], auto, case[2], start=1.0, scale=100.0)
        assert choice["iterations"] == 0 and choice["curves"] == choice["widths"] == []
        assert words in choice["reason"] and "iterations and a TV weight" in choice["reason"]
        assert ("give the gain if the picture is a raw one" in choice["reason"]) == (
            "gain" in words
        )
        assert describe_choice(choice).startswith("left as it is")
    given = auto | {"iterations": 7}
    choice = chosen(counts, psfs, given, Exposure(gain=None), start=1.0, scale=100.0)
    assert (choice["iterations"], choice["tv_weight"]) == (7, UNJUDGED_WEIGHT)


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


def mapped(model, shape, width=2.0, **flags) -> LocalPsfs:
    """A map of a width in px, the 90 % interval of +- 0.6 px; flags: values of its last channels."""
    layout = MapLayout(shape, 96, 48, "reflect")
    flags = {"validity": 1.0, "alarm": 0.0, "other_blur": 0.0, "usable": 1.0, "filled": 0.0} | flags
    cells = np.array([width, width, 0.6, 0.6, *flags.values()], np.float32)
    return LocalPsfs(
        model,
        layout=layout,
        cells=np.tile(cells[:, None, None], (1, *layout.cells)),
    )


def test_pieces_are_drawn_where_there_is_detail(model):
    """Of noise alone and of what no tile covers there is nothing; margins end with the mosaic."""
    rng = np.random.default_rng(0)
    mean = np.full((512, 1280), 100.0)
    mean[:, 512:1024] += 80 * np.sin(np.arange(512) / 5)
    picture = (2.0 * rng.poisson(mean) + 10).astype(np.float32)
    picture[:, 1024:] = np.nan
    local = mapped(model, picture.shape)
    facts = {"offset": 10.0, "gain": 2.0, "read_noise_e": 0.0}
    pieces = pieces_of(InMemory(picture), local, facts, order="mask-blur")
    assert len(pieces) == 4
    for piece in pieces:
        assert piece.counts[piece.judged].shape == (256, 256)
        assert piece.counts.shape[0] == 263  # the margin of 7 px beyond the mosaic is not there
        assert np.isfinite(piece.counts[piece.judged]).all()
        assert piece.counts[piece.judged].std() > 100
        blur = piece.blur_by(1.0)
        assert blur.shape == piece.counts.shape and blur.margin == 7
        assert piece.blur_by(0.0).margin == 1 and piece.doubt == pytest.approx(0.3 / 1.645)
        assert piece.width_by(1.0) == pytest.approx(2.2, abs=0.1)
        assert piece.width_by(0.5) < 0.7 * piece.width_by(1.0)
    dark, even = (InMemory(np.full((300, 300), light, np.float32)) for light in (7.0, 40.0))
    assert pieces_of(dark, local, facts, order="mask-blur") == []
    assert len(pieces_of(even, local, facts, order="mask-blur")) == 2  # by its light
    unknown = LocalPsfs(model, constant=None)
    pieces = pieces_of(InMemory(picture), unknown, facts, order="mask-blur")
    assert len(pieces) == 4 and pieces[0].width_by(1.0) == 0  # noise can be taken away all the same


# Maps and noise that cannot be believed ------------------------------------------------------------


@pytest.fixture
def thinned_once(monkeypatch):
    """Of one small piece four thinnings are judged; one takes a quarter of the time, and makes it harder to choose."""
    monkeypatch.setattr(choosing, "PIECES", 1)


@pytest.fixture(scope="module")
def waves() -> np.ndarray:
    """Fine waves in 1000 photons, blurred by what is between the pixels: 500 counts and an offset of 10."""
    y, x = np.mgrid[:256, :256]
    light = 250 * (1 + 0.8 * np.sin(y / 7) * np.sin(x / 5))
    return (2.0 * np.random.default_rng(3).poisson(light) + 10).astype(np.float32)


def chosen_for(counts, local, auto, gain=2.0, **settings) -> dict:
    known = Measured.of(counts, offset=10.0, gain=gain, read_noise_e=0.0)
    how = {"seed": 1, "stream": "test"}
    return choose_for(known.counts, local, known.facts, auto | settings, **how)


def test_an_alarm_in_most_cells_leaves_the_picture_alone(waves, model, auto):
    local = mapped(model, waves.shape, width=4.0, alarm=0.9, filled=1.0)
    choice = chosen_for(waves, local, auto)
    assert choice["iterations"] == 0 and "raises the alarm" in choice["reason"]
    forced = chosen_for(waves, local, auto, psf_scale=1)
    assert forced["psf_scale"] == 1 and forced["iterations"] > 0


@pytest.mark.usefixtures("thinned_once")
def test_a_sharp_picture_of_raw_noise_loses_it_in_spite_of_an_alarm(waves, model, auto):
    local = mapped(model, waves.shape, width=0.8, alarm=0.9, filled=1.0)
    choice = chosen_for(waves, local, auto)
    assert choice["psf_scale"] == 0 < choice["iterations"] and "the alarm" in choice["reason"]
    # A picture without any noise has none.
    y, x = np.mgrid[:256, :256]
    smooth = (500 * (1 + 0.8 * np.sin(y / 7) * np.sin(x / 5)) + 10).round().astype(np.float32)
    assert chosen_for(smooth, local, auto)["iterations"] == 0


@pytest.mark.usefixtures("thinned_once")
def test_without_a_valid_cell_noise_alone_is_taken_away(waves, model, auto):
    choice = chosen_for(waves, mapped(model, waves.shape, validity=0.1, filled=1.0), auto)
    assert choice["psf_scale"] == 0 < choice["iterations"] and "no cell" in choice["reason"]


@pytest.mark.usefixtures("thinned_once")
@pytest.mark.parametrize("gain", [4.0, 0.8])
def test_noise_corrects_the_gain(waves, model, auto, gain):
    """Photons are counted by it, where the PSFs pass nothing."""
    local = mapped(model, waves.shape, width=4.0)
    alone = {"psf_shape": "map"}  # the photons are the same whatever is searched
    choice = chosen_for(waves, local, auto, gain, **alone)
    right = chosen_for(waves, local, auto, **alone)
    assert "its noise corresponds to 2" in choice["reason"] and "its noise" not in right["reason"]
    assert choice["photons"] == pytest.approx(right["photons"], rel=0.1)


@pytest.mark.usefixtures("thinned_once")
def test_noise_that_is_none(waves, model, auto):
    """Far less of it than the gain makes: nothing can be judged. Far more: only noise is removed."""
    local = mapped(model, waves.shape, width=4.0)
    choice = chosen_for(waves, local, auto, gain=12.0)
    assert choice["iterations"] == 0 and "not a raw picture's" in choice["reason"]
    choice = chosen_for(waves, local, auto, gain=0.3)
    assert choice["psf_scale"] == 0 < choice["iterations"] and "times the noise" in choice["reason"]


def test_smoothed_noise_is_noticed(waves, model, auto):
    smooth = ndimage.gaussian_filter(waves, 0.7)
    choice = chosen_for(smooth, mapped(model, waves.shape, width=4.0), auto, gain=0.3)
    assert choice["iterations"] == 0 and "not a raw picture's" in choice["reason"]
    forced = chosen_for(smooth, mapped(model, waves.shape, width=4.0), auto, psf_scale=1)
    assert forced["iterations"] > 0


@pytest.mark.usefixtures("thinned_once")
def test_wrong_psfs_restore_by_few_iterations(model, auto):
    rng = np.random.default_rng(4)
    sharp = np.kron(rng.random((32, 32)) ** 4, np.ones((8, 8)))
    light = 4000 * ndimage.gaussian_filter(sharp, 4.0 / 2.355)
    counts = (2.0 * rng.poisson(light) + 10).astype(np.float32)
    flagged = mapped(model, counts.shape, width=4.0, other_blur=0.9)
    alone = {"tv_weight": 0.001, "psf_shape": "map"}  # whatever other kinds may do
    choice = chosen_for(counts, flagged, auto, **alone)
    assert 0 < choice["iterations"] <= MOST_OTHER and choice["psf_scale"]
    assert "hardly belongs to the PSF model" in choice["reason"]
    assert "CAUTION: 100 % of the map's valid cells say that the blur hardly" in describe_choice(
        choice
    )
    assert flagged.contradicted(choice) and not flagged.contradicted({"psf_shape": "disk 4"})
    usual = chosen_for(counts, mapped(model, counts.shape, width=4.0), auto, **alone)
    assert "CAUTION" not in describe_choice(usual)
    assert usual["iterations"] > MOST_OTHER
    assert usual["psf_scale"] == pytest.approx(choice["psf_scale"], abs=0.1)
    # So is one PSF that stands for some that differ.
    cells = mapped(model, counts.shape, width=4.0).cells
    cells[:2] *= np.linspace(0.7, 1.3, cells.shape[2])
    one = LocalPsfs(model, constant=(4.0, 4.0), mean_of=summarise_map(cells, model))
    choice = chosen_for(counts, one, auto, **alone)
    assert 0 < choice["iterations"] <= MOST_OTHER
    assert "a single PSF stands for different ones" in choice["reason"]
    forced = chosen_for(counts, flagged, auto, psf_scale=1, tv_weight=0.001)
    assert forced["iterations"] > MOST_OTHER


def blurred_by(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Counts of a part of the cameraman that a plain PSF blurred, and those of the sharp one without the offset."""
    half = transform.downscale_local_mean(data.camera().astype(np.float32), (2, 2)) / 255
    sharp = half[40:166, 70:196]
    psf = PlainPsf.read(shape).psf(15)[None, None], torch.zeros(1), torch.zeros(1)
    light = 2000 * SpaceVariantBlur(*psf, (112, 112)).forward(torch.from_numpy(sharp)).numpy()
    counts = (2.0 * np.random.default_rng(5).poisson(light.clip(0)) + 10).astype(np.float32)
    return counts, 4000 * sharp[7:-7, 7:-7]


@pytest.mark.parametrize(
    ("truth", "mapped_px", "hinted", "tv_weight"),
    [
        ("disk 4", 6.4, 0.0, "auto"),
        ("motion 6 34", 2.0, 0.9, 0.003),
        ("moffat 2.5 1.2", 3.5, 0.9, "auto"),
    ],
)
def test_a_blur_of_another_kind_is_found(model, auto, truth, mapped_px, hinted, tv_weight):
    """The PSF that is found gains most of what the true one does; a disk without a hint of the map's."""
    auto = auto | {"tv_weight": tv_weight}
    counts, sharp = blurred_by(truth)
    local = mapped(model, counts.shape, width=mapped_px, other_blur=hinted)

    def gain(choice) -> float:
        known = Measured.of(counts, offset=10.0, gain=2.0, read_noise_e=0.0)
        made = restored(known, local, auto, choice, "cpu")
        return snr(made, sharp) - snr(counts - 10, sharp)

    choice = chosen_for(counts, local, auto)
    found, true = PlainPsf.read(choice["psf_shape"]), PlainPsf.read(truth)
    assert found.kind == true.kind
    if true.kind != "moffat":  # whose width and exponent do much the same
        assert found.size_px == pytest.approx(true.size_px, rel=0.08)
    assert abs(found.angle_deg - true.angle_deg) < 5
    assert choice["psf_scale"] == 1 and choice["resolution_px"] > 0
    assert "CAUTION" not in describe_choice(choice)
    assert found.words in describe_choice(choice) and found.words in choice["reason"]
    best = gain(chosen_for(counts, local, auto, psf_shape=truth))
    assert best > 2 and gain(choice) > 0.8 * best


@pytest.mark.usefixtures("thinned_once")
def test_psfs_of_an_aberrated_pupil_are_compared_with_motions_in_any_case(model, auto, monkeypatch):
    """They may predict better than the few motions that are looked at first. What is not clear makes iterations few."""
    monkeypatch.setattr(Search, "flat_is_better", lambda *_: False)
    counts, _ = blurred_by("motion 6 34")
    local = mapped(model, counts.shape, width=2.0)
    usual = chosen_for(counts, local, auto, tv_weight=0.003)
    assert usual["psf_shape"] == "map" and usual["iterations"] > MOST_OTHER
    monkeypatch.setattr(type(model), "knows_cutoff", True)
    found = PlainPsf.read(chosen_for(counts, local, auto, tv_weight=0.003)["psf_shape"])
    assert found.kind == "motion" and found.angle_deg == pytest.approx(34, abs=5)
    monkeypatch.setattr(search, "SURE_OTHER", np.inf)
    unsure = chosen_for(counts, local, auto, tv_weight=0.003)
    assert unsure["psf_shape"] == "map" and 0 < unsure["iterations"] <= MOST_OTHER
    assert RIVALLED in unsure["reason"]


def test_a_given_psf_is_taken(waves, model, auto):
    local = mapped(model, waves.shape, width=4.0, alarm=0.9, filled=1.0)
    choice = chosen_for(waves, local, auto, psf_shape="gaussian 3")
    assert choice["psf_shape"] == "gaussian 3" and choice["psf_scale"] == 1
    assert choice["iterations"] > 0 and "Gaussian of 3 px" in describe_choice(choice)
