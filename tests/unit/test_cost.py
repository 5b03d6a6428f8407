"""What a study cost, from benchmarks and ledgers made by hand, and what it suggests."""

import json
import math

import pytest
import yaml
from isoplan.config.validation import validate
from isoplan.report import cost
from isoplan.report.cost_section import cost_table
from isoplan.report.results import read_study
from report_fixture import write_benchmark, write_page

START_MB, PEAK_MB = 600.0, 848.0
# Seconds of each unit: of a picture of 4096 x 4096 px, 4 units of 32 x 32 cells or 16 cores of 1024 px.
MAP_S, RESTORE_S = 4.0, 2.0
START_S = 5.0


def entry(make_s: float, **more) -> str:
    facts = {"fingerprint": "now", "checksum": 1, "make_s": 0.95 * make_s, "all_s": make_s}
    return json.dumps(facts | {"start_mb": START_MB, "peak_mb": PEAK_MB} | more)


@pytest.fixture
def folder(tmp_path):
    """A finished study of one mosaic in two jobs a stage, the second of which was killed once."""
    folder = tmp_path / "big"
    (folder / "mosaics").mkdir(parents=True)
    facts = {"mosaic": "m", "height_px": 4096, "width_px": 4096, "pixel_size_um": 0.5}
    (folder / "mosaics/m.json").write_text(json.dumps(facts))
    config = {
        "study": "big",
        "jobs_per_mosaic": 2,
        "map": {"stride_px": 64},
        "restoration": {"core_px": 1024, "methods": ["estimated", "constant", "none"]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for rule, place, count, unit_s in (
        ("map_psf", "psf_map/m/net", 4, MAP_S),
        ("restore_mosaic", "restored/m/estimated", 16, RESTORE_S),
        ("restore_mosaic", "restored/m/constant", 16, RESTORE_S / 2),
        ("evaluate_mosaic", "evaluation/m", 16, 1.0),
    ):
        ledger = folder / "ledgers" / place
        ledger.mkdir(parents=True)
        for unit in range(count):
            (ledger / f"{unit}.json").write_text(entry(unit_s))
        variant = place.split("/", 1)[1]
        write_benchmark(folder, f"{rule}/{variant}/0", START_S + unit_s * count / 2, 700)
        write_benchmark(folder, f"{rule}/{variant}/1", START_S + unit_s, 700)  # its last unit
    write_benchmark(folder, "measure_mosaic/m", 10.0, 650)
    write_benchmark(folder, "fill_psf_map/m/net", 6.0, 650)
    write_benchmark(folder, "train_network/net", 100.0, 900)
    return folder


def test_units_count_whole_whatever_was_killed(folder):
    table = cost.costs(read_study(folder)).set_index(["rule", "variant"])
    estimated = table.loc["restore_mosaic", "estimated"]
    assert estimated["jobs"] == 2
    assert estimated["units"] == 16
    assert estimated["units_s"] == pytest.approx(16 * RESTORE_S)
    # Of the killed job Snakemake knows 5 + 2 s, of its units the ledger knows 16 s.
    assert estimated["start_s"] == pytest.approx(START_S)
    assert estimated["seconds"] == pytest.approx(16 * RESTORE_S + 2 * START_S)
    assert estimated["peak_mb"] == PEAK_MB  # the ledger's, where Snakemake looked too seldom
    assert table.loc["measure_mosaic", ""]["seconds"] == 10
    assert math.isnan(table.loc["train_network", "net"]["megapixels"])


def test_units_of_older_settings_do_not_count(folder):
    before = cost.costs(read_study(folder))
    stale = folder / "ledgers/restored/m/estimated/99.json"
    stale.write_text(entry(1000, fingerprint="before"))
    assert cost.costs(read_study(folder)).equals(before)


def test_jobs_of_older_settings_do_not_count(folder):
    before = cost.costs(read_study(folder))
    write_benchmark(folder, "map_psf/m/net/2", 1000, 5000)  # of a run with three jobs a mosaic
    write_benchmark(folder, "evaluate_mosaic/m", 1000, 5000)  # of one that did not share it
    assert cost.costs(read_study(folder)).equals(before)


def test_ledgers_that_know_no_seconds_leave_the_benchmarks(folder):
    for file in (folder / "ledgers/psf_map/m/net").glob("*.json"):
        file.write_text('{"fingerprint": "now", "checksum": 1}')
    table = cost.costs(read_study(folder)).set_index("rule")
    assert table.loc["map_psf", "seconds"] == pytest.approx(2 * START_S + 3 * MAP_S)
    assert math.isnan(table.loc["map_psf", "units"])
    assert not cost.suggestions(read_study(folder), cost.by_rule(cost.costs(read_study(folder))))


def test_cost_by_rule(folder):
    rules = cost.by_rule(cost.costs(read_study(folder))).set_index("rule")
    megapixels = 4096**2 / 1e6
    assert rules.loc["map_psf", "seconds_per_megapixel"] == pytest.approx(4 * MAP_S / megapixels)
    restored = 16 * RESTORE_S / megapixels
    assert rules.loc["restore_mosaic", "seconds_per_megapixel"] == pytest.approx(0.75 * restored)
    assert rules.loc["restore_mosaic", "dearest"] == pytest.approx(restored)
    assert rules.loc["map_psf", "overhead"] == pytest.approx(0.05)
    assert rules.loc["map_psf", "mb_per_megapixel"] == pytest.approx(248 / 2.048**2)
    assert rules.loc["restore_mosaic", "mb_per_megapixel"] == pytest.approx(248 / 1.024**2)
    # Measuring has no units: a job's usual start comes off its time.
    assert rules.loc["measure_mosaic", "seconds_per_megapixel"] == pytest.approx(5 / megapixels)


def test_memory_of_a_gpu(folder):
    ledger = folder / "ledgers/restored/m/estimated"
    for unit in range(16):
        (ledger / f"{unit}.json").write_text(entry(RESTORE_S, gpu_mb=1024.0 * (1 + unit % 2)))
    study = read_study(folder)
    table = cost_table(study, cost.by_rule(cost.costs(study)))
    notes = {row[0].text: row[-2].notes for row in table.rows}
    assert notes["restore_mosaic"] == ["GPU 2.00 GiB"]
    assert notes["map_psf"] == []
    assert "On a GPU" in table.note


def test_suggested_settings(folder):
    study = read_study(folder)
    small, _, middle, large = cost.suggestions(study, cost.by_rule(cost.costs(study)))
    assert (small.height_px, small.width_px) == (4096, 4096)
    assert small.jobs_per_mosaic == 1
    assert small.resources["restore_minutes"] == cost.LEAST_MINUTES  # 2 * (32 + 5) s
    assert small.resources["restore_mem_mb"] == 1300  # 1.5 * 848
    assert middle.width_px == 20_000
    seconds = 400 * 16 * RESTORE_S / (4096**2 / 1e6)  # 763 s: two jobs
    assert middle.jobs_per_mosaic == 2
    assert middle.resources["restore_minutes"] == math.ceil(2 * (seconds / 2 + START_S) / 60)
    assert large.resources["restore_mem_mb"] == small.resources["restore_mem_mb"]
    # With two methods a mosaic has 5 + 2 * 2 + 4 * jobs_per_mosaic jobs.
    assert large.jobs_per_mosaic == 12
    filled_mb = 300 * 1563**2 / 2**20
    assert large.resources["other_mem_mb"] == math.ceil(1.5 * (650 + filled_mb) / 100) * 100


def test_what_pairs_take_is_advised_too(folder):
    """Registration and correlation look at so many squares, however large the mosaic."""
    write_benchmark(folder, "register_reference/m", 700.0, 3000)
    write_benchmark(folder, "correlate_mosaic/m", 300.0, 5000)
    write_benchmark(folder, "check_seams/m/estimated", 400.0, 2000)
    study = read_study(folder)
    small, *_, large = cost.suggestions(study, cost.by_rule(cost.costs(study)))
    for suggestion in (small, large):
        assert suggestion.resources["other_mem_mb"] == 7500
        assert suggestion.resources["restore_mem_mb"] == 3000  # seams ask for what restoring does
        assert suggestion.resources["other_minutes"] >= math.ceil(2 * 700 / 60)


@pytest.mark.parametrize(
    ("seconds", "methods", "jobs"),
    [
        (10, 2, 1),
        (1201, 2, 3),
        (12_000, 2, 12),  # 20 jobs of 10 minutes would be 89 in all: 12, of 17
        (100_000, 2, 28),  # of an hour
        (640_000, 3, 178),  # 100,000 px a side
        (1, 60, 1),
    ],
)
def test_jobs_last_ten_minutes_or_an_hour_where_they_would_be_many(seconds, methods, jobs):
    assert cost.jobs_for(seconds, methods) == jobs
    assert seconds / jobs <= cost.LONGEST_S
    assert jobs == 1 or cost.jobs_of(methods, jobs) <= cost.JOBS_A_MOSAIC or seconds / jobs > 1800


def test_choosing_takes_as_long_for_every_size(folder):
    def suggested():
        study = read_study(folder)
        return cost.suggestions(study, cost.by_rule(cost.costs(study)))

    plain, *_, far = suggested()
    for method in ("estimated", "constant"):
        write_benchmark(folder, f"choose_restoration/m/{method}", 400.0, 1500)
    small, *_, large = suggested()
    assert small.seconds - plain.seconds == pytest.approx(2 * 400)
    assert small.resources["restore_minutes"] == math.ceil(2 * 400 / 60)
    assert small.resources["restore_mem_mb"] == math.ceil(1.5 * 1500 / 100) * 100
    assert small.resources["other_mem_mb"] == plain.resources["other_mem_mb"]
    # Two jobs more a mosaic: 5 + 2 * 3 + 4 * jobs_per_mosaic.
    assert large.jobs_per_mosaic == 12 == far.jobs_per_mosaic


def test_small_mosaics_suggest_nothing(folder):
    facts = {"mosaic": "m", "height_px": 512, "width_px": 512, "pixel_size_um": 0.5}
    (folder / "mosaics/m.json").write_text(json.dumps(facts))
    study = read_study(folder)
    assert not cost.suggestions(study, cost.by_rule(cost.costs(study)))
    assert "has 0.26 megapixels: run one of 16 or more" in write_page(folder)


def test_suggestions_are_a_valid_config(folder):
    study = read_study(folder)
    for suggestion in cost.suggestions(study, cost.by_rule(cost.costs(study))):
        config = validate(yaml.safe_load(suggestion.yaml))
        assert config["jobs_per_mosaic"] == suggestion.jobs_per_mosaic
        assert suggestion.resources.items() <= config["resources"].items()


def test_the_report_shows_cost_and_suggestion(folder):
    page = write_page(folder)
    assert "What to request from a cluster" in page
    assert "jobs_per_mosaic: 12" in page
    assert "run one of 16 or more" not in page  # this one has 16.8 megapixels
