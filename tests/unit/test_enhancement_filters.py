"""Filters choose on training fields alone, beat the input, and are scored as they should be."""

import numpy as np
import pandas as pd
import pytest
from isoplan.applications.enhancement import fields, report, scores, trials
from isoplan.applications.enhancement.detectors import detector
from isoplan.applications.enhancement.filters import (
    FILTERS,
    RAW,
    Camera,
    noise_deviation,
    stabilised,
    unstabilised,
)
from isoplan.base.errors import UserError
from isoplan.config.schema import schema
from isoplan.config.validation import validate
from isoplan.metrics import frc

OWN = [name for name in FILTERS if name != "bm3d-stabilised"]  # an extra: see test_bm3d
ENTRY = {
    "name": "a",
    "mosaic_px": 128,
    "field_px": 64,
    "kinds": ["filaments"],
    "train_mosaics": 2,
    "test_mosaics": 2,
}


def entry(**changes) -> dict:
    return validate({"enhancements": [ENTRY | changes]})["enhancements"][0]


@pytest.fixture(scope="module")
def trial() -> trials.Trial:
    return trials.Trial(entry(), 0, trials.prepared(entry(), 0))


@pytest.fixture(scope="module")
def rows(trial) -> pd.DataFrame:
    units = [trial.unit(number) for number in range(len(trial.places))]
    return trials.table([trial], [np.concatenate(units)])


def test_the_schema_names_every_filter():
    known = schema()["properties"]["enhancements"]["items"]["properties"]["methods"]
    assert known["items"]["enum"] == list(FILTERS) and known["default"] == OWN


def test_every_filter_beats_the_input(rows):
    for metric in ("PSNR", "PSNR-truth"):
        means = report.wide(rows, metric).mean()
        assert all(means[name] > means[RAW] + 0.3 for name in OWN), metric
    # The target's own noise is in no method's reach.
    psnr = report.wide(rows, "PSNR").mean()
    assert psnr["truth"] > psnr.drop("truth").max()


def test_settings_are_chosen_on_training_fields_alone(trial, monkeypatch):
    read, seen = fields.read, set()

    def watched(entry, layout, place, seed):
        seen.add(place.mosaic)
        return read(entry, layout, place, seed)

    monkeypatch.setattr(fields, "read", watched)
    own = entry(methods=["gaussian", "mean"], choice_fields=3)
    found = trials.prepared(own, 0)
    assert seen == {"train-0", "train-1"} and found["chosen_on"] == 3
    for method in found["methods"].values():
        assert method["error"] == min(value for _, value in method["tried"])
    table = trials.settings_table([trial])
    assert list(table) == trials.SETTINGS and table["chosen"].sum() == len(OWN)


@pytest.mark.parametrize("light", [1.0, 5.0, 100.0])
def test_stabilised_noise_and_its_inverse(light):
    camera, rng = Camera(3.0, 20.0, 0.5), np.random.default_rng(0)
    counts = 3 * (rng.poisson(light, (400, 400)) + rng.normal(0, 0.5, (400, 400))) + 20
    values = stabilised(counts, camera)
    assert values.std() == pytest.approx(1, abs=0.15 if light < 2 else 0.05)
    back = unstabilised(np.array([[values.mean()]]), camera)
    assert back[0, 0] == pytest.approx(3 * light + 20, abs=0.03 * 3 * light + 0.5)


@pytest.mark.parametrize("name", OWN)
def test_noise_without_light_falls_and_the_level_stays(name):
    rng = np.random.default_rng(0)
    counts = 2.0 * rng.poisson(30, (64, 64)) + 10
    one = FILTERS[name]
    found = one.run(counts, one.grid[2], Camera(2.0, 10.0))
    assert found.shape == counts.shape and found.std() < 0.6 * counts.std()
    assert found.mean() == pytest.approx(70, abs=1)


def test_the_noise_is_measured():
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(100.0), np.arange(100.0))
    assert noise_deviation(slope + rng.normal(0, 4, (100, 100))) == pytest.approx(4, rel=0.05)
    assert noise_deviation(np.zeros((9, 9))) > 0


def test_scores_do_not_depend_on_brightness():
    rng = np.random.default_rng(0)
    target = rng.random((40, 40))
    result = target + rng.normal(0, 0.1, (40, 40))
    one, other = scores.against(result, target), scores.against(-50 * result + 3, target)
    assert one == pytest.approx(other)
    assert one["MSE"] == pytest.approx(scores.error(result, target))
    peak = np.ptp(target)
    assert one["PSNR"] == pytest.approx(10 * np.log10(peak**2 / one["MSE"]))
    told = set(trials.METRICS) - set(trials.PLANTED)
    assert {name.removesuffix(scores.TRUTH) for name in told} <= set(scores.known())
    flat = scores.against(np.ones((40, 40)), target)
    assert flat["MSE"] == pytest.approx(target.var())


@pytest.mark.parametrize("side", [64, 128, 256])
def test_the_cutoff_is_where_signal_ends(side):
    rng = np.random.default_rng(0)
    spectrum = np.fft.fft2(rng.normal(size=(side, side)))
    lines = np.fft.fftfreq(side)
    spectrum[np.hypot(lines[:, None], lines) > 0.2] = 0
    light = 10 * np.fft.ifft2(spectrum).real
    one, other = (light + rng.normal(size=light.shape) for _ in range(2))
    assert scores.cutoff(one, other) == pytest.approx(0.2, abs=3 / side)
    # A linear filter takes nothing of what a ring tells; noise that both share tells nothing of light.
    blurred = FILTERS["gaussian"].apply(one, 1.0, Camera())
    assert scores.cutoff(blurred, other) == pytest.approx(0.2, abs=3 / side)
    shared = rng.normal(size=light.shape)
    assert scores.cutoff(light + shared, other + 9 * shared) == 0.5


def test_the_cutoff_is_that_of_mosaics():
    rng = np.random.default_rng(0)
    target = FILTERS["gaussian"].apply(rng.normal(size=(256, 256)), 1.5, Camera())
    noisy = target + 0.2 * rng.normal(size=target.shape)
    curve = frc.curve(frc.ring_sums(noisy, target))
    assert scores.cutoff(noisy, target) == pytest.approx(1 / frc.resolution_px(curve))


def test_noise_is_less_homogeneous():
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(64.0), np.zeros(64))
    noisy = slope + rng.normal(0, 3, slope.shape)
    # Neighbours are equal along the rows, and one level apart elsewhere.
    assert scores.homogeneity(slope, np.array([0.0, 64.0])) == pytest.approx(0.625)
    assert scores.homogeneity(noisy, slope) < 0.4


def test_the_camera_of_a_folder_is_estimated_or_given():
    own = entry(folder="x", offset=10.0)
    rng = np.random.default_rng(0)
    light = np.broadcast_to(np.linspace(20, 400, 256), (256, 256))
    counts = (2.0 * rng.poisson(light) + 10).astype(np.float32)
    assert trials.camera_of(own, [counts]).gain == pytest.approx(2, rel=0.1)
    given = trials.camera_of(own | {"gain": 3.0, "read_noise_e": 1.0}, [])
    assert given == Camera(3.0, 10.0, 1.0)
    with pytest.raises(UserError, match="give gain and read_noise_e, or leave out"):
        trials.camera_of(own, [np.ones((32, 32), np.float32)])


def test_a_multiplier_s_noise_is_stabilised_too():
    camera = trials.camera_of(entry(low_excess=1.5), [])
    low = detector(entry(low_excess=1.5, bits=16), "low")
    counts = low.expose(np.full((300, 300), 100.0), np.random.default_rng(0))
    assert stabilised(counts, camera).std() == pytest.approx(1, abs=0.04)


def test_the_report_marks_the_best_and_gives_intervals(trial, rows):
    settings = trials.settings_table([trial])
    chosen = settings[settings["chosen"]].set_index("method")
    table = report.method_table(rows, chosen)
    assert table.head[1] == "PSNR (dB)" and len(table.rows) == len(OWN) + 2
    beside = report.picture_table(rows)
    assert len(beside.rows) == len(OWN) + 3 and "PSNR, to the truth (dB)" in beside.head
    assert {len(row) for row in table.rows} == {len(table.head)}
    marked = [row[0].text for row in table.rows if row[1].best]
    best = report.wide(rows, "PSNR")[OWN].mean().idxmax()
    assert marked == [report.LABELS[best]]
    found = report.gain(rows, best)
    assert 0 < found.low < found.value < found.high
    made = trial.pictures(0, 32)
    assert set(made["pictures"]) == {RAW, *OWN, "target"}
    assert set(made["doubts"]) == set(OWN) and made["doubts"][OWN[0]].shape == (32, 32)
    names, abreast = len(made["pictures"]), report.ABREAST
    bands = -(-names // abreast)
    assert bands > 1  # the last band is not full
    figure = report.picture_figure(**made)
    assert len(figure.axes) == 3 * abreast * bands
    assert sum(bool(axes.get_images()) for axes in figure.axes) == 3 * names - 3
