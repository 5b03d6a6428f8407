"""The report room: verdicts, tables, figures, and a page that stands alone."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import pytest
import zarr
from isoplan.base.errors import UserError
from isoplan.report import pictures, style
from isoplan.report.figures import draw_figures, snr_gains
from isoplan.report.page import write_report
from isoplan.report.places import choose_places
from isoplan.report.results import read_study
from isoplan.report.tables import metric_table, regression_table
from isoplan.report.verdict import judge
from report_fixture import build_regression_only, build_study, write_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_study(tmp_path_factory.mktemp("report") / "demo")


@pytest.fixture(scope="module")
def page(folder):
    draw_figures(folder, folder / "figures")
    write_report(folder, folder / "report.html", title="Demo <study>", crop_px=128)
    return (folder / "report.html").read_text()


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
    assert all(cell.get("scope") in ("col", "row") for cell in tags.all("th"))
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_page_names_what_was_refused(page):
    assert "slide-7 was refused" in page and "3 of 12 strips" in page


def test_good_study(folder):
    verdict = judge(read_study(folder))
    assert verdict.level == "good" and not verdict.alarms
    tissue = next(m for m in verdict.mosaics if m.name == "tissue")
    assert 0.6 < tissue.oracle_share < 1
    assert tissue.gains["none"] == 0
    assert tissue.gains["constant"] < tissue.gains["estimated"] < tissue.gains["oracle"]
    retina = next(m for m in verdict.mosaics if m.name == "retina")
    assert retina.level == "open" and "no truth is known" in retina.headline


def test_harm_is_said_plainly(tmp_path):
    study = build_study(tmp_path / "worse", size_px=256, gain=-0.6)
    verdict = judge(read_study(study))
    assert verdict.level == "bad" and "worse than doing nothing" in verdict.headline
    write_report(study, study / "report.html", title="Worse", crop_px=64)
    assert 'class="alarm"' in (study / "report.html").read_text()


def test_map_without_a_valid_cell(tmp_path):
    study = build_study(tmp_path / "invalid", size_px=256, invalid=True)
    verdict = judge(read_study(study))
    assert verdict.level == "bad" and any("no cell" in alarm for alarm in verdict.alarms)
    draw_figures(study, study / "figures")
    write_report(study, study / "report.html", title="Invalid", crop_px=64)
    assert "every cell of the map is invalid" in (study / "report.html").read_text()


def test_study_without_mosaics(tmp_path):
    study = build_regression_only(tmp_path / "regression")
    assert [p.name for p in draw_figures(study, study / "figures")]
    write_report(study, study / "report.html", title="Regression")
    text = (study / "report.html").read_text()
    assert "No mosaic was restored" in text and "Median R²" in text


def test_empty_folder_gives_a_report_and_no_folder_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    write_report(tmp_path / "empty", tmp_path / "report.html", title="Empty")
    assert "no results yet" in (tmp_path / "report.html").read_text()
    with pytest.raises(UserError, match="no such results folder"):
        write_report(tmp_path / "nowhere", tmp_path / "report.html", title="None")


def test_any_result_may_be_absent(tmp_path):
    study = build_study(tmp_path / "part", size_px=256)
    for gone in ("cells.csv", "predictions.csv", "networks", "psf_map/tissue", "simulated"):
        (study / gone).rename(tmp_path / gone.replace("/", "-"))
    write_report(study, study / "report.html", title="Part", crop_px=64)
    assert judge(read_study(study)).level == "good"


def test_every_figure_has_its_csv(folder, page, tmp_path):
    paths = draw_figures(folder, tmp_path)
    names = {path.name for path in paths}
    assert {"gain.png", "gain.svg", "gain.csv", "map_tissue.csv"} <= names
    assert {path.suffix for path in paths} == {".png", ".svg", ".csv"}
    table = pd.read_csv(tmp_path / "map_tissue.csv")
    assert {"estimated_width_x_px", "true_width_x_px", "validity", "untrusted"} <= set(table)
    for path in paths:  # `page` drew them once before
        assert path.read_bytes() == (folder / "figures" / path.name).read_bytes(), path.name


def test_metric_table_marks_the_best_that_competes(folder):
    table = metric_table(read_study(folder), "tissue")
    by_method = {row[0].text: row[1:] for row in table.rows}
    assert all(cell.best for cell in by_method["Estimated map"])
    assert not any(cell.best for cell in by_method["True map (oracle)"])
    assert "SNR (dB) ↑" in table.head and "MSE ↓" in table.head
    plain = metric_table(read_study(folder), "retina")
    assert [head.split()[0] for head in plain.head] == ["Method", "CV", "Sharpness"]
    assert not any(cell.best for row in plain.rows for cell in row)


def test_regression_table_has_units(folder):
    table = regression_table(read_study(folder))
    assert table.rows[0][0].text == "PSF width along y (px)"
    assert table.head[:2] == ["Parameter", "R²"]


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


def test_maps_of_two_psf_models_are_drawn_side_by_side(tmp_path):
    """The network's model need not be the one that a simulation was blurred with."""
    study = build_study(tmp_path)
    np.save(tmp_path / "bead.npy", np.pad(np.ones((3, 3), np.float32), 9))
    group = zarr.open_group(study / "psf_map/tissue/true.zarr", mode="r+")
    notes = group.attrs["isoplan"]
    psf = notes["psf"] | {"model": "measured", "size_px": 5, "file": str(tmp_path / "bead.npy")}
    kept = [k for k, c in enumerate(notes["channels"]) if c["name"] in ("validity", "filled")]
    cells = group["0"][:][kept]
    group.attrs["isoplan"] = notes | {"psf": psf, "channels": [notes["channels"][k] for k in kept]}
    for name in ("0", "raw"):
        group.create_array(name, data=cells, overwrite=True)
    out = tmp_path / "report.html"
    write_report(study, out, title="two models")
    assert "True PSF" in out.read_text()
