"""The report room: verdicts, tables, figures, and a page that stands alone."""

import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import pytest
import yaml
import zarr
from isoplan.base.errors import UserError
from isoplan.mosaic import ngff
from isoplan.mosaic.reader import open_mosaic
from isoplan.psf_map.layout import ALARM, FILLED, USABLE
from isoplan.report import accuracy, how, lineup, pictures, plots, published, style, sureness
from isoplan.report.image_metrics import SEAM_LIMIT, metric_table
from isoplan.report.map_stores import read_map
from isoplan.report.mosaic_verdict import snr_gains
from isoplan.report.network import flag_table, regression_table
from isoplan.report.places import choose_places
from isoplan.report.psfs import model_parameters
from isoplan.report.results import read_study
from isoplan.restoration import trust
from report_fixture import (
    NetworkStudy,
    build_figure_2_6,
    build_learning_curve,
    build_regression_only,
    build_study,
    build_table_2_3,
    build_table_2_4,
    draw,
    figures_of,
    judge,
    keep_channels,
    lose_map,
    write_card,
    write_config,
    write_page,
    write_picture,
    write_trust,
)
from tile_folders import own, write_tiles


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_study(tmp_path_factory.mktemp("report") / "demo")


@pytest.fixture(scope="module")
def page(folder):
    return write_page(folder, title="Demo <study>", crop_px=128, figures=folder / "figures")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return build_study(tmp_path_factory.mktemp("small") / "demo", size_px=256)


@pytest.fixture
def study(small, tmp_path):
    """A small study of the test's own."""
    return shutil.copytree(small, tmp_path / "study")


@pytest.fixture
def narrowed(study):
    """The same folder after a run with fewer mosaics, methods and tests: what came of the former stays there."""
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["restoration"]["methods"] = ["constant", "none"]
    write_config(study, config | {"mosaics": None, "tests": []})
    metrics = pd.read_csv(study / "metrics.csv")
    kept = (metrics["mosaic"] == "tissue") & metrics["method"].isin(["constant", "none", "truth"])
    metrics[kept].to_csv(study / "metrics.csv", index=False)
    (study / "harm.csv").write_text("test,model,picture,blur,kind,photons,method,gain\n")
    for job in (
        "restore_mosaic/tissue/estimated/0",
        "restore_mosaic/tissue/constant/0",
        "restore_mosaic/tissue/constant/7",
        "assess_harm/t/0",
        "measure_mosaic/retina",
    ):
        file = study / "benchmarks" / f"{job}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("s\tmax_rss\n10\t500\n")
    return study


def test_what_the_config_names_no_longer_is_not_in_the_report(narrowed):
    study = read_study(narrowed)
    assert [mosaic.name for mosaic in study.mosaics] == ["tissue"] and "retina" in study.aside
    assert study.table("refused.csv").empty and study.table("harm.csv").empty
    assert study.trusts == {}
    found = pictures.open_pictures(study.folder, "tissue", study.mosaics[0].facts, study.methods)
    assert set(found) == {"none", "constant", "truth"}
    jobs = set(zip(study.benchmarks["rule"], study.benchmarks["job"], strict=True))
    assert ("restore_mosaic", "tissue/constant/0") in jobs
    assert not {
        job for rule, job in jobs if "estimated" in job or "retina" in job or rule == "assess_harm"
    }
    verdict = judge(study)
    assert "not restored with the estimated map" in verdict.score.headline
    assert "`estimated` is not among the study's methods" in verdict.score.lead
    assert "not restored with the estimated map" in verdict.score.mosaics[0].headline


def test_a_page_of_it_has_nothing_of_the_former_run(narrowed):
    text = write_page(narrowed, drawn=False)
    assert "retina" not in text and "harm.csv" not in text


def test_a_study_that_tested_no_network_does_not_praise_any(tmp_path):
    write_config(tmp_path, {"study": "x", "simulations": [], "mosaics": None, "tests": []})
    assert "Every network estimates" not in write_page(tmp_path)


class Collector(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def test_page_is_self_contained(page):
    tags = Collector(page)
    assert not tags.all("link")[1:]  # the empty icon alone
    for image in tags.all("img"):
        assert image["src"].startswith("data:image/")
        assert "alt" in image
    assert all("src" not in script for script in tags.all("script"))
    assert not re.search(r"@import|url\((?!\"data:)", page)
    assert len(page) < 15e6


def test_links_lead_to_files(page, folder):
    links = [
        a["href"] for a in Collector(page).all("a") if not a["href"].startswith(("#", "data:"))
    ]
    assert "metrics.csv" in links and any(link.startswith("figures/") for link in links)
    for link in links:
        assert not urlparse(link).scheme
        assert (folder / link).exists(), link


def test_page_escapes_and_has_its_structure(page):
    assert "Demo &lt;study&gt;" in page and "<study>" not in page
    tags = Collector(page)
    assert len(tags.all("h1")) == 1
    assert all(cell.get("scope") in ("col", "row", "rowgroup") for cell in tags.all("th"))
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_page_names_what_was_refused(page):
    assert "slide-7 was refused" in page and "3 of 12 strips" in page


@pytest.mark.parametrize(("gain", "text"), [(None, "unknown"), (0.5, "0.5")])
def test_a_gain_that_is_not_known_is_called_unknown(gain, text):
    mosaic = SimpleNamespace(name="a", facts={"pixel_size_um": 1, "gain": gain, "offset": 0})
    table = how.mosaic_table(SimpleNamespace(mosaics=[mosaic], maps={}))
    assert [cell.text for cell in table.rows[0][4:6]] == [text, "0"]


def test_page_tells_what_was_chosen(page, folder):
    chosen = "12 iterations with a TV weight of 0.003, PSFs 0.82 times as wide as estimated, shown at 0.9 px: judged. At the end of its range: 12 iterations are the most that are tried; PSFs 0.82 times as wide are the narrowest that were tried."
    assert chosen in page and "left as it is: the camera&#39;s gain is not known, so" in page
    assert "tissue: restored by PSFs 0.82 times as wide as the map&#39;s" in page
    for name in ("narrowed", "choice"):  # and where the range ends is drawn
        drawn = (folder / f"figures/{name}_tissue_estimated.svg").read_text()
        assert "end of the range" in drawn
    assert (folder / "figures/narrowed_tissue_estimated.svg").exists()
    assert (folder / "figures/choice_tissue_estimated.svg").exists()
    assert not (folder / "figures/choice_tissue_constant.svg").exists()
    table = pd.read_csv(folder / "figures/choice_tissue.csv")
    assert len(table) == 3 * 40 and set(table["method"]) == {"estimated"}


def test_good_study(folder):
    verdict = judge(read_study(folder))
    assert verdict.score.level == "good" and not verdict.alarms
    tissue = next(m for m in verdict.score.mosaics if m.name == "tissue")
    assert 0.6 < tissue.oracle_share < 1
    assert tissue.gains["none"] == 0
    assert tissue.gains["constant"] < tissue.gains["estimated"] < tissue.gains["oracle"]
    retina = next(m for m in verdict.score.mosaics if m.name == "retina")
    assert retina.level == "open" and "no truth is known" in retina.headline


def test_what_was_left_alone_is_said(study):
    file = study / "choices/tissue/estimated.json"
    left = {"iterations": 0, "psf_scale": 1.0, "reason": "most of its map raises the alarm"}
    file.write_text(json.dumps(json.loads(file.read_text()) | left))
    said = "tissue was left as it is: most of its map raises the alarm."
    assert said in judge(read_study(study)).warnings


def test_intervals_that_hold_too_little_are_said(study):
    file = study / "calibration.csv"
    table = pd.read_csv(file)
    table.loc[table["group"] == "all", "coverage"] = [0.99, 0.8]  # more is no reason for distrust
    table.to_csv(file, index=False)
    (said,) = [w for w in judge(read_study(study)).warnings if "contains the truth" in w]
    assert "width along x" in said and "in 80.0 % of the patches" in said


def test_a_psf_of_another_kind_is_said(study):
    file = study / "choices/tissue/estimated.json"
    other = {"psf_scale": 1.0, "psf_shape": "motion 6.5 34", "caution": "look at it"}
    file.write_text(json.dumps(json.loads(file.read_text()) | other))
    assert "tissue: look at it." in judge(read_study(study)).warnings
    (said,) = [w for w in judge(read_study(study)).warnings if "motion" in w]
    assert said.startswith(
        "tissue: restored by a motion of 6.5 px at 34 degrees, the same everywhere"
    )


def test_harm_is_said_plainly(tmp_path):
    study = build_study(tmp_path / "worse", size_px=256, gain=-0.6)
    verdict = judge(read_study(study))
    assert verdict.score.level == "bad" and "worse than doing nothing" in verdict.score.headline
    assert 'class="alarm"' in write_page(study, drawn=False)


def beside_a_reference(small, folder, **changes):
    """Verdict on a study whose truth was a reference frame; changes: metrics of `estimated`, SNR in dB
    added, else times what nothing done has."""
    shutil.copytree(small, folder)
    file = folder / "metrics.csv"
    table = pd.read_csv(file, keep_default_na=False)
    table["method"] = table["method"].replace("truth", "reference")
    table = table[table["method"].isin(["none", "constant", "estimated", "reference"])]
    values = table.set_index(["method", "metric"])["value"].astype(float)
    for metric, change in changes.items():
        metric = metric.replace("_", "-")
        before = values["none", metric]
        after = before + change if metric == "SNR" else before * change
        here = (table["method"] == "estimated") & (table["metric"] == metric)
        table.loc[here, "value"] = after
    rows = [("none", 6.0, 0.3), ("constant", 6.0, 0.3), ("estimated", 5.0, 0.35)]
    for method, resolution, curve in rows:
        row = table.iloc[0].to_dict() | {"method": method}
        for metric, value in (("FRC-resolution", resolution), ("FRC", curve)):
            table.loc[len(table) + 1000] = row | {"metric": metric, "value": value}
    table.to_csv(file, index=False)
    verdict = judge(read_study(folder))
    return verdict, next(m for m in verdict.score.mosaics if m.name == "tissue")


def test_a_reference_frame_that_is_reached_in_every_metric(small, tmp_path):
    verdict, tissue = beside_a_reference(small, tmp_path / "s")
    assert verdict.score.level == tissue.level == "good" and not tissue.farther
    assert "Closer to the reference frame in 9 of 9 metrics." in tissue.headline
    assert "agrees down to 5.00 px (down to 6.00 px before)." in tissue.headline


def test_a_metric_that_a_reference_says_fell_is_on_the_first_screen(small, tmp_path):
    """SNR rose, and so it helped; but not in all that was measured."""
    verdict, tissue = beside_a_reference(small, tmp_path / "s", SSIM=0.9, PSNR=1.0)
    assert verdict.score.level == tissue.level == "fair" and tissue.farther == ["SSIM"]
    assert "in 7 of 9 metrics, equally close in PSNR, farther in SSIM." in tissue.headline
    assert verdict.score.headline.startswith("Better by some metrics, worse by others: +")
    assert "by at least one metric: tissue (SSIM)." in verdict.score.lead and not verdict.alarms


@pytest.mark.parametrize("again", [None, 19.0, 23.0])
def test_where_denoising_does_as_well_the_psfs_add_nothing(small, tmp_path, again):
    """Unless, blurred again, the restoration tells a reference as blurred as the picture better."""
    folder = tmp_path / "s"
    beside_a_reference(small, folder)
    table = pd.read_csv(folder / "metrics.csv", keep_default_na=False)
    own = table[(table["method"] == "estimated") & (table["mosaic"] == "tissue")]
    table = pd.concat([table, own.assign(method="denoised")], ignore_index=True)
    if again is not None:
        for method, value in (("denoised", 20.0), ("estimated", again)):
            row = own.iloc[0].to_dict() | {"method": method, "metric": "SNR-reblurred"}
            table.loc[len(table)] = row | {"value": value}
    table.to_csv(folder / "metrics.csv", index=False)
    verdict = judge(read_study(folder))
    tissue = next(m for m in verdict.score.mosaics if m.name == "tissue")
    assert verdict.score.level == tissue.level == "fair"
    assert "removing only noise is as good" in tissue.headline
    assert ("the PSFs do not help here" in tissue.headline) == (again != 23)
    assert ("better than that does, by 3.00 dB" in tissue.headline) == (again == 23)
    assert "Removing only noise gives" in verdict.score.lead


def test_farther_from_a_reference_than_doing_nothing_is_an_alarm(small, tmp_path):
    verdict, tissue = beside_a_reference(small, tmp_path / "s", SNR=-0.5)
    assert verdict.score.level == tissue.level == "bad" and "SNR" in tissue.farther
    assert "farther from the reference frame than doing nothing, by 0.50 dB" in verdict.alarms[0]


@pytest.mark.parametrize("level", ["fair", "bad"])
def test_a_reference_as_blurred_as_the_picture_is_no_judge_of_sharpening(small, tmp_path, level):
    """Unless what the restoration says of it is no better either."""
    folder = tmp_path / "s"
    beside_a_reference(small, folder, SNR=-0.5)
    table = pd.read_csv(folder / "metrics.csv", keep_default_na=False)
    for method, value in (("none", 20.0), ("estimated", 23.0 if level == "fair" else 19.0)):
        row = table.iloc[0].to_dict() | {"method": method, "metric": "SNR-reblurred"}
        table.loc[len(table)] = row | {"value": value}
    table.to_csv(folder / "metrics.csv", index=False)
    verdict = judge(read_study(folder))
    tissue = next(m for m in verdict.score.mosaics if m.name == "tissue")
    assert verdict.score.level == tissue.level == level
    assert ("predicts that frame better than the picture does, by 3.00 dB" in tissue.headline) == (
        level == "fair"
    )
    assert "SNR" in tissue.farther


def test_map_without_a_valid_cell(study):
    lose_map(study / "psf_map/tissue/net-small.zarr")
    verdict = judge(read_study(study))
    assert verdict.score.level == "bad" and any("no cell" in alarm for alarm in verdict.alarms)
    assert "every cell of the map is invalid, so" in write_page(study, drawn=False)
    draw(figures_of(read_study(study))["maps"])


def test_map_of_doubtful_cells_alone(study):
    """Those restored all the same: drawn under hatches, and said to be doubtful."""
    store = study / "psf_map/tissue/net-small.zarr"
    lose_map(store)
    zarr.open_group(store, mode="r+")["0"][:2] = 2.0
    verdict = judge(read_study(study))
    assert verdict.score.level == "bad" and any("PSFs are doubtful" in a for a in verdict.alarms)
    assert any("SNR changed by" in alarm for alarm in verdict.alarms)
    figures = figures_of(read_study(study))["maps"]
    assert any("map_tissue_width_x" in f.name for f in figures)
    draw(figures)
    text = write_page(study, drawn=False)
    assert "every cell of the map is invalid: its values are doubtful" in text


def test_study_without_mosaics(tmp_path):
    study = build_regression_only(tmp_path / "regression")
    text = write_page(study)
    assert "No mosaic was restored" in text and "Median R²" in text


def test_empty_folder_gives_a_report_and_no_folder_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "Nothing was scored" in write_page(tmp_path / "empty")
    with pytest.raises(UserError, match="no such results folder"):
        write_page(tmp_path / "nowhere")


def test_any_result_may_be_absent(study, tmp_path):
    gone = ["cells.csv", "predictions.csv", "calibration.csv", "abstention.csv", "config.yaml"]
    for name in (*gone, "networks", "psf_map/tissue", "simulated"):
        (study / name).rename(tmp_path / name.replace("/", "-"))
    write_page(study)
    assert judge(read_study(study)).score.level == "good"


def test_every_figure_has_its_csv(folder, page):
    paths = list((folder / "figures").iterdir())
    names = {path.name for path in paths}
    assert {"gain.png", "gain.svg", "gain.csv", "map_tissue.csv"} <= names
    assert {path.suffix for path in paths} == {".png", ".svg", ".csv"}
    table = pd.read_csv(folder / "figures/map_tissue.csv")
    assert {"estimated_width_x_px", "true_width_x_px", "validity", "untrusted"} <= set(table)
    assert {"half_width_width_x_px", "alarm", "usable"} <= set(table)
    assert {"map_tissue_width_x_uncertainty.png", "abstention_isoplan_gaussian-2.csv"} <= names


def test_figures_drawn_again_are_the_same(folder, page):
    """To the byte, the first of each section."""
    first = [figures[0] for figures in figures_of(read_study(folder)).values() if figures]
    assert len(first) > 5
    for figure in first:
        for kind, drawn in plots.render_all(figure.draw, ["png", "svg"]).items():
            assert drawn == (folder / f"figures/{figure.name}.{kind}").read_bytes(), figure.name


def test_metric_table_marks_the_best_that_competes(folder):
    table = metric_table(read_study(folder), "tissue")
    by_method = {row[0].text: row[1:] for row in table.rows}
    assert all(cell.best for cell in by_method["Estimated map"])
    assert not any(cell.best for cell in by_method["True map (oracle)"])
    assert "SNR (dB) ↑" in table.head and "MSE ↓" in table.head
    plain = metric_table(read_study(folder), "retina")
    assert [head.split()[0] for head in plain.head] == ["Method", "CV", "Sharpness"]
    assert not any(cell.best for row in plain.rows for cell in row)


@pytest.mark.parametrize("error", [3e-5, 2e-3, 5e-3])
def test_seams_are_told_and_warned_of(folder, tmp_path, error):
    folder = shutil.copytree(folder, tmp_path / "toy")
    assert metric_table(read_study(folder), "tissue").note == ""  # not measured
    with (folder / "metrics.csv").open("a") as handle:
        handle.write(f"toy,tissue,estimated,seam_error,{error}\n")
    study = read_study(folder)
    assert f"{error:.1e} of the range" in metric_table(study, "tissue").note
    warned = [text for text in judge(study).warnings if "seams" in text]
    assert len(warned) == (error > SEAM_LIMIT)


def test_the_report_says_where_not_to_trust(folder, page, tmp_path):
    """On its first screen, with a map; without a known camera that nothing was compared."""
    study = read_study(folder)
    assert list(study.trusts) == ["tissue"] and study.trusts["tissue"].method == "estimated"
    words = [text for text in judge(study).warnings if "disagree with the data" in text]
    doubted = study.trusts["tissue"].doubted(trust.DISAGREES)
    assert doubted.sum() == 6 and style.percent(float(doubted.mean())) in words[0]
    assert any("dead or hot pixels" in text for text in judge(study).warnings)
    assert words[0].split(":")[1].strip()[:20] in page and 'id="trust"' in page
    names = [figure.name for figure in figures_of(study)["trust"]]
    assert names == ["trust_tissue_chi_square", "trust_tissue_correlation"]
    blind = shutil.copytree(folder, tmp_path / "blind")
    bad = np.zeros(doubted.shape, bool)
    path = blind / "restored/tissue/estimated.ome.zarr"
    write_trust(path, bad, disagrees=np.s_[:0, :0], noise=False)
    study = read_study(blind)
    assert any(
        "it is unknown whether the restoration agrees" in text for text in judge(study).warnings
    )
    names = [figure.name for figure in figures_of(study)["trust"]]
    assert names == ["trust_tissue_correlation"]
    shutil.rmtree(path / trust.TRUST)
    study = read_study(blind)
    assert not study.trusts and not any("judged" in text for text in judge(study).warnings)


def test_regression_table_has_units(folder):
    table = regression_table(read_study(folder))
    assert table.rows[0][0].text == "PSF width along y (px)"
    assert table.head[:2] == ["Parameter", "R²"]


def test_regression_table_has_intervals(folder):
    study = read_study(folder)
    table = study.table("regression.csv")
    table.loc[table["metric"] == "bias", ["low", "high"]] = np.nan
    r2, rmse, bias = regression_table(study).rows[0][1:4]
    assert r2.text.startswith("0.9") and bias.notes == []
    for cell, row in ((r2, 0), (rmse, 1)):
        assert cell.notes == ["[{low:.3f}, {high:.3f}]".format(**table.loc[row])]


def test_flags_have_a_table_of_their_own(folder):
    study = read_study(folder)
    texts = [row[0].text for row in regression_table(study).rows]
    assert not any("larm" in text or "alidity" in text for text in texts)
    row = flag_table(study).rows[0]
    assert [cell.text for cell in row[1:]] == ["98 %", "2 %", "91 %"]


def test_gains_come_from_the_metrics(folder):
    gains = snr_gains(read_study(folder))
    table = pd.read_csv(folder / "metrics.csv", keep_default_na=False)
    written = table[(table["metric"] == "gain_dB") & (table["method"] == "estimated")]["value"]
    assert gains["tissue"]["estimated"] == pytest.approx(float(written.iloc[0]))


def test_places_are_inside_and_where_they_should_be(folder):
    study = read_study(folder)
    shape = (512, 384)
    places = {p.key: p for p in choose_places(study, "tissue", shape, 128)}
    assert list(places) == ["centre", "blurred", "gain", "loss"]
    for place in places.values():
        assert 0 <= place.y0 <= shape[0] - 128 and 0 <= place.x0 <= shape[1] - 128
    assert places["blurred"].y0 > 200 and places["blurred"].x0 > 150  # the widths grow that way
    grid = study.gain_grid("tissue")
    assert places["gain"].gain_db == pytest.approx(np.nanmax(grid))
    assert places["loss"].gain_db == pytest.approx(np.nanmin(grid))


def test_overview_comes_from_the_pyramid(tmp_path):
    write_picture(tmp_path / "picture.ome.zarr", np.ones((300, 200)), levels=3)
    picture = pictures.StorePicture(tmp_path / "picture.ome.zarr")
    # A full-resolution level that is not what it should be shows that nobody reads it.
    zarr.open_array(tmp_path / "picture.ome.zarr/0", mode="r+")[:] = 7
    assert picture.overview(160).shape == (150, 100)
    assert picture.overview(160).max() == 1
    assert picture.crop(290, 300, 0, 5).shape == (10, 5)
    assert max(picture.overview(20).shape) <= 20


def test_whole_numbers_are_shown_in_counts(tmp_path):
    path, values = tmp_path / "a.ome.zarr", np.linspace(0, 90, 64 * 64, dtype=np.float32)
    values = values.reshape(64, 64)
    ngff.create_image(
        path,
        (64, 64),
        dtype="uint8",
        pixel_size_um=1,
        scale=0.5,
        levels=2,
        shard_px=64,
        attributes={},
    )
    level = ngff.open_array(path, "0", "r+")
    ngff.write_shards(level, (slice(0, 64), slice(0, 64)), ngff.to_stored(values, level))
    ngff.build_pyramid(path)
    picture = pictures.StorePicture(path)
    assert np.abs(picture.crop(0, 64, 0, 64) - values).max() <= 0.25
    assert picture.overview(32).max() == pytest.approx(90, abs=1)


def test_an_overview_is_read_in_bands(monkeypatch):
    """Each row is read once, in bands of whole blocks; what is left at the edges belongs to no block."""
    picture, asked = np.random.default_rng(0).random((103, 61), np.float32), []

    class Mosaic:
        shape = picture.shape

        def read(self, y0, y1, x0, x1):
            asked.append((y0, y1))
            return picture[y0:y1, x0:x1]

    monkeypatch.setattr(pictures, "BAND_PX", 30 * 61)
    seen = pictures.SourcePicture(Mosaic()).overview(25)
    blocks = picture[:100, :60].reshape(20, 5, 12, 5).mean((1, 3))
    np.testing.assert_allclose(seen, blocks, rtol=1e-5)
    assert asked == [(0, 30), (30, 60), (60, 90), (90, 100)]


def test_an_overview_of_tiles_with_holes(tmp_path):
    boxes = [(0, 100, 0, 100), (0, 100, 150, 250)]
    names = write_tiles(tmp_path, np.full((100, 250), 7, np.uint16), boxes)
    (tmp_path / "where.tsv").write_text(own(names, [(y0, x0) for y0, _, x0, _ in boxes]))
    with open_mosaic(tmp_path) as mosaic:
        overview = pictures.SourcePicture(mosaic).overview(25)
    assert overview.shape == (10, 25)
    assert np.isnan(overview[:, 10:15]).all()
    assert (np.delete(overview, range(10, 15), axis=1) == 7).all()


def test_grey_survives_flat_and_broken_pictures():
    flat = np.full((4, 4), 3.0)
    assert pictures.to_grey(flat, *pictures.levels_of(flat)).std() == 0
    broken = np.array([[np.nan, np.inf], [0, 1]])
    assert np.isfinite(pictures.to_grey(broken, *pictures.levels_of(broken))).all()


def test_names_that_look_like_numbers_stay_names(tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    rows = [["s", "001", m, "SNR", v] for m, v in (("none", 10), ("estimated", 12))]
    columns = ["study", "mosaic", "method", "metric", "value"]
    pd.DataFrame(rows, columns=columns).to_csv(study / "metrics.csv", index=False)
    (study / "mosaics").mkdir()
    (study / "mosaics/NA.json").write_text(json.dumps({"name": "NA"}))
    assert [m.name for m in read_study(study).mosaics] == ["001", "NA"]


def test_missing_column_names_the_file(tmp_path):
    (tmp_path / "metrics.csv").write_text("study,mosaic\n")
    with pytest.raises(UserError, match=r"metrics\.csv: the columns method"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (style.signed(-1.234), "\u22121.23"),
        (style.significant(0.012345), "0.0123"),
        (style.significant(123456), "123,456"),
        (style.significant(float("nan")), "\u2013"),
        (style.percent(0.001), "under 1 %"),
        (style.percent(0.75), "75 %"),
        (style.duration(90), "1.5 min"),
        (style.memory(2048), "2.00 GiB"),
        (style.bar_label(style.bar_length(120), "µm"), "20 µm"),
    ],
)
def test_numbers_read_well(text, expected):
    assert text == expected


def test_maps_of_two_psf_models_are_drawn_side_by_side(study, tmp_path):
    """The network's model need not be the one that a simulation was blurred with."""
    np.save(tmp_path / "bead.npy", np.pad(np.ones((3, 3), np.float32), 9))
    store = study / "psf_map/tissue/true.zarr"
    psf = ngff.read_attributes(store)["psf"]
    psf |= {"model": "measured", "size_px": 5, "file": str(tmp_path / "bead.npy")}
    keep_channels(store, ("validity", "filled"), psf=psf)
    assert "True PSF" in write_page(study, drawn=False)
    draw(figures_of(read_study(study))["maps"])


def test_map_with_uncertainty_and_alarm(folder):
    psf_map = read_study(folder).maps["tissue"]
    assert psf_map.names == ["width_y", "width_x"] and psf_map.units == ["px", "px"]
    assert psf_map.uncertainty.shape == psf_map.values.shape
    assert psf_map.out_of_domain.sum() == 6 and psf_map.untrusted[psf_map.out_of_domain].all()
    uncertain = psf_map.uncertain(model_parameters(psf_map.spec))
    assert np.argwhere(uncertain).tolist() == [[1, 1]]
    # A threshold of 1 takes every cell as it comes.
    path = folder / "psf_map/tissue/net-small.zarr"
    assert not read_map(path, alarm_threshold=1.0).out_of_domain.any()
    true = read_study(folder).true_maps["tissue"]
    assert not true.uncertain(model_parameters(true.spec)).any() and not true.out_of_domain.any()


def test_doubts_are_counted_apart(folder):
    warnings = [w for w in judge(read_study(folder)).warnings if w.startswith("tissue")]
    cells = 16 * 12
    for count, what in (
        (6, "out of domain"),
        (20, "no PSF of their own"),
        (8, "of their window"),
        (1, "are uncertain"),
    ):
        share = style.percent(count / cells)
        assert any(share in words and what in words for words in warnings), what


def test_a_picture_that_is_all_out_of_domain_is_called_so(study):
    group = zarr.open_group(study / "psf_map/tissue/net-small.zarr", mode="r+")
    cells = group["0"][:]
    cells[:2], cells[[ALARM, USABLE, FILLED]] = np.nan, 1
    group["0"][:] = cells
    assert "raw camera picture" in judge(read_study(study)).score.headline + "".join(
        judge(read_study(study)).alarms
    )


def test_older_maps_are_read(study):
    """They know no intervals and no alarm."""
    for mosaic in ("tissue", "retina"):
        store = study / f"psf_map/{mosaic}/net-small.zarr"
        keep_channels(store, ("width_y", "width_x", "validity", "filled"))
    for name in ("calibration.csv", "abstention.csv"):
        (study / name).unlink()
    assert read_study(study).maps["tissue"].uncertainty is None
    assert "Cross-hatched" not in write_page(study, drawn=False)
    draw(figures_of(read_study(study))["maps"])


def test_calibration_and_abstention_are_in_the_page(page, folder):
    assert "Does the network know how sure it is?" in page
    table = pd.read_csv(folder / "abstention.csv")
    rows = table[table["parameter"] == "width_y"].set_index("kept_share")["value"]
    ends = [style.significant(rows[share]) for share in (1.0, 0.8)]
    assert (
        f"leaving out the least certain 20 % lowers the error from {ends[0]} to {ends[1]} px"
        in page
    )


def test_error_that_abstention_does_not_lower_is_said(study):
    table = pd.read_csv(study / "abstention.csv")
    table.assign(value=1.0).to_csv(study / "abstention.csv", index=False)
    words = sureness.abstention_words(read_study(study))
    assert all("does not lower the error, from 1.00 to 1.00 px" in text for text in words)


def test_published_files_are_there():
    assert [len(published.read_published(name)) for name in published.TITLES] == [90, 36, 6]
    table = published.read_published("table_2_3").set_index(["network", "psf_model", "test_set"])[
        "r2"
    ]
    assert table["resnet34", "zernike-3", "micrsm"] == 0.58
    assert table["resnet34-pretrained", "zernike-2", "nat"] == 0.94
    assert table["resnext50", "zernike-1", "micr-syn-poi"] == 0.65
    table = published.read_published("table_2_4").set_index(["train_set", "test_set"])["r2"]
    assert table["syn", "micr"] == 0.76 and table["poi", "syn"] == 0 and table["nat", "poi"] == 0.80
    bound = published.read_published("figure_2_6").query("below")
    assert bound[["psf_model", "level", "r2"]].values.tolist() == [["gaussian-1", 0.5, 0.6]]
    assert published.read_published("table_9_9").empty


def test_cells_are_set_against_the_right_published_figure(tmp_path):
    study = NetworkStudy(tmp_path / "cells", "table_2_3")
    for kind, lost in (("ours", 0.0), ("rn34", 0.34), ("pre", 0.5), ("fit", 0.5)):
        study.test(study.network(kind, "zernike-2", "published", "syn"), "syn", lost)
    study.test(study.network("ours", "zernike-2", "isoplan", "syn"), "syn", 0.0)
    study.test(study.network("ours", "zernike-2", "published", "scenes"), "syn", 0.0)
    study.test(study.network("ours", "zernike-2", "published", "scenes"), "scenes", 0.0)
    table = published.compare(read_study(study.write()))
    table = table.set_index(["form", "architecture", "train_set", "test_type"])
    of = lambda *key: table.loc[key, "published"]  # noqa: E731
    assert of("published", "isoplan", "syn", "syn") == 0.93  # the best of the cell
    assert of("published", "resnet34", "syn", "syn") == 0.67  # its own architecture
    assert of("published", "resnet34-pretrained", "syn", "syn") == 0.93
    assert of("published", "spectrum-fit", "syn", "syn") == 0.93
    assert np.isnan(of("published", "isoplan", "scenes", "scenes"))
    reached = table["reached"]
    assert reached["published", "isoplan", "scenes", "syn"]
    assert not reached["published", "spectrum-fit", "syn", "syn"]
    assert not reached["isoplan", "isoplan", "syn", "syn"]  # another task
    grid = published.protocols(
        read_study(study.folder), published.compare(read_study(study.folder))
    )
    assert [part.form for part in grid] == ["published", "isoplan"]
    rows = {row[0].text: row for row in grid[0].tables[0][1].rows}
    assert list(rows) == [
        *("Zernike-2", "isoplan", "ResNet-34", "ResNet-34, ImageNet weights"),
        *("Spectrum fit (no network)", "isoplan, trained on scenes"),
    ]
    assert rows["isoplan"][1].notes == ["[1.000, 1.000]", "published 0.93"]


@pytest.mark.parametrize(("ours", "reached"), [(0.985, True), (0.9849, False), (0.99, True)])
def test_published_figures_are_reached_at_their_two_decimals(tmp_path, ours, reached):
    study = NetworkStudy(tmp_path / "two", "table_2_3")
    study.test(study.network("ours", "gaussian-1", "published", "syn"), "syn", 0.0)
    file = study.write() / "regression.csv"
    pd.read_csv(file).assign(value=ours).to_csv(file, index=False)
    assert published.compare(read_study(study.folder))["reached"].tolist() == [reached]


def test_networks_of_one_kind_are_told_apart(tmp_path):
    study = NetworkStudy(tmp_path / "kinds", None)
    for more in ({"width": 32}, {"width": 64}, {"weights": "released"}):
        name = study.network("ours", "gaussian-2", "isoplan", "syn", **more)
        study.test(name, "syn", 0.1)
    write_card(study.folder, name, network={"architecture": "isoplan", "width": 64})
    study.test(study.network("rn34", "gaussian-2", "isoplan", "syn"), "syn", 0.1)
    read = read_study(study.write())
    table = lineup.scores(read)
    labels = lineup.labels(read, table, ["test_set", "parameter"])
    assert set(labels) == {
        *("isoplan, width 32", "isoplan, width 64", "isoplan, released, width 64", "ResNet-34"),
    }
    assert set(lineup.labels(read, table, ["network"])) == {"isoplan", "ResNet-34"}


def test_a_network_that_was_taken_over_is_what_its_card_says(tmp_path):
    study = NetworkStudy(tmp_path / "taken", None)
    name = study.network("ours", "gaussian-1", "isoplan", "syn", weights="mine.safetensors")
    study.test(name, "syn", 0.1)
    write_card(study.write(), name, network={"architecture": "resnet34", "pretrained": None})
    assert set(lineup.scores(read_study(study.folder))["architecture"]) == {"resnet34"}


@pytest.mark.parametrize(
    ("cameras", "labels"),
    [
        (("noisy", "clean"), {"isoplan, trained with noise", "isoplan, trained without noise"}),
        (
            ("noisy", "faint", "clean"),
            {"isoplan, camera noisy", "isoplan, camera faint", "isoplan, camera clean"},
        ),
    ],
)
def test_cameras_are_told_apart(tmp_path, cameras, labels):
    study = NetworkStudy(tmp_path / "cameras", None)
    for camera in cameras:
        name = study.network("ours", "gaussian-1", "isoplan", "syn", camera=camera)
        study.test(name, "syn", 0.1)
    read = read_study(study.write())
    assert set(lineup.labels(read, lineup.scores(read), ["test_set", "parameter"])) == labels


def test_mean_over_parameters_is_added_where_it_is_missing(tmp_path):
    study = read_study(build_regression_only(tmp_path / "old"))
    means = lineup.scores(study).query("parameter == 'mean'")
    assert len(means) == 8 and means["value"].max() == pytest.approx(0.94)


def _page(folder, **settings) -> str:
    text = write_page(folder, **settings)
    assert len(text) < 15e6
    for link in (a["href"] for a in Collector(text).all("a")):
        if not link.startswith(("#", "data:")):
            assert (folder / link).exists(), link
    return text


def test_page_beside_table_2_3(tmp_path):
    models = ("gaussian-2", "zernike-2")
    text = _page(build_table_2_3(tmp_path / "table_2_3", models=models, types=("syn", "nat")))
    assert "Comparison with published results" in text and "With the form of isoplan" in text
    assert "is at least equal to the published R²" in text and "published 0.99" in text
    assert "PSF models Gaussian-1, Zernike-1, Zernike-3; types of pictures poi, micr" in text


def test_page_beside_table_2_4(tmp_path):
    text = _page(build_table_2_4(tmp_path / "table_2_4", types=("syn", "poi")), drawn=False)
    assert "Gaussian-2, Spectrum fit (no network)" in text and "published 0.93" in text


def test_page_beside_figure_2_6(tmp_path):
    folder = build_figure_2_6(tmp_path / "figure_2_6")
    text = _page(folder, figures=folder / "figures")
    assert (folder / "figures/published_figure_2_6.csv").exists()
    assert "published below 0.60" in text and "isoplan is at least equal" in text
    study = read_study(tmp_path / "figure_2_6")
    table = published.compare(study)
    # Networks trained without noise have no published figure of their own at a stated strength.
    assert table["with_noise"].all()
    assert set(zip(table["degradation"], table["level"], strict=True)) == {
        *(("none", 0.0), ("mixed", 0.5)),
    }
    figures = accuracy.robustness_figures(study)
    assert [f.title for f in figures[:3]] == [
        *("Global illumination", "Gaussian noise", "Gaussian and Poisson noise"),
    ]
    assert len(figures) == 6


def test_learning_curve(tmp_path):
    folder = build_learning_curve(tmp_path / "learning")
    figures = accuracy.learning_figures(read_study(folder))
    assert {f.name.rpartition("_")[2] for f in figures} == {"samples", "weights"}
    assert {f.title.split(" against")[0] for f in figures} == {
        *("Astigmatism: R²", "Astigmatism axis: R²", "Median error of the axis (degrees)"),
    }
    # The card's count of samples, not the one that was asked for.
    assert 3800 in figures[0].table["samples"].to_numpy()
    draw(figures)
    assert "Learning curve" in _page(folder, drawn=False)


def test_no_learning_curve_without_a_series(folder, tmp_path):
    assert accuracy.learning_figures(read_study(folder)) == []
    study = build_table_2_4(tmp_path / "table_2_4", types=("syn", "poi"))
    assert accuracy.learning_figures(read_study(study)) == []
