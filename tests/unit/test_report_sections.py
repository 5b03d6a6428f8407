"""The report is a list of sections: one from outside the room is in all that the page and the folder show."""

from functools import partial
from html.parser import HTMLParser
from types import SimpleNamespace

import pandas as pd
import pytest
from isoplan.report import sections
from isoplan.report.results import Mosaic, ResultTable
from isoplan.report.section import Bar, Caution, Part, Score, Section, StudyFigure
from isoplan.report.tables import Cell, Table
from isoplan.report.verdict import rank
from matplotlib.figure import Figure
from report_fixture import build_regression_only, build_study, write_page

CREEPS = ResultTable("creep.csv", "creep of every cell", ("mosaic", "creep_um"))


def parts(study):
    creeps = study.table("creep.csv")
    if creeps.empty:
        return []
    figure = StudyFigure(
        *("creep_spread", "creep", creeps, lambda: Figure((2, 1)), "", "Creeps", "Creeps of cells"),
        width_px=200,
    )
    table = Table(["Mosaic", "Creep (µm)"], [[Cell("tissue"), Cell("3.25")]])
    words = ["The creep was read from the blur."]
    return [Part(words=words, figures=[figure], tables=[("", table)], data=["creep.csv"])]


def cautions(study):
    return [Caution("Creep is doubtful in 12 cells.")] if len(study.table("creep.csv")) else []


def score(study):
    if study.table("creep.csv").empty:
        return None
    bars = [Bar("creep-net", "#005EA8", 0.75)]
    return Score("good", "Creep to 0.3 µm", "Over all cells.", "Creep found", bars, "creep.csv")


CREEP = Section("creep", "Creep", "How far it went", parts, (CREEPS,), cautions, score)


class Anchors(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs and tag == "section":
            self.ids.append(attrs["id"])
        if tag == "a" and attrs.get("href", "").startswith("#"):
            self.links.append(attrs["href"][1:])


@pytest.mark.parametrize("build", [partial(build_study, size_px=128), build_regression_only])
def test_a_section_from_outside_is_everywhere_and_without_its_table_nowhere(tmp_path, build):
    folder, figures = build(tmp_path / "study"), tmp_path / "study/figures"
    settings = {"more": [CREEP], "figures": figures, "drawn": False}
    page = write_page(folder, **settings)
    assert "reep" not in page and not list(figures.glob("creep*"))
    pd.DataFrame({"mosaic": ["tissue"], "creep_um": [3.25]}).to_csv(
        folder / "creep.csv", index=False
    )
    page = write_page(folder, **settings)
    anchors = Anchors(page)
    assert "creep" in anchors.links and anchors.ids == anchors.links[1:]  # the first skips
    assert anchors.ids.index("creep") < anchors.ids.index("network")
    for words in (
        *("How far it went", "The creep was read from the blur.", "3.25", "Creeps of cells"),
        *("Creep is doubtful in 12 cells.", "Creep found", "75 %", "creep of every cell"),
    ):
        assert words in page, words
    assert page.count('href="figures/creep.csv"') == 1 and 'href="creep.csv"' in page
    assert {path.name for path in figures.glob("creep*")} == {
        *("creep_spread.png", "creep_spread.svg", "creep.csv"),
    }
    # Mosaics lead where there are any, else the section: it stands before networks.
    assert ('<h2 id="verdict">Creep to 0.3 µm' in page) == (build is build_regression_only)


def test_cautions_are_ranked():
    """Harm first, then mosaic by mosaic, then the rest in the order of the page."""
    told = [
        [Caution("of all"), Caution("of b", "b"), Caution("of a", "a")],
        [Caution("of a again", "a"), Caution("harm to b", "b", harm=True), Caution("last")],
    ]
    sections = [
        Section(str(place), "", "", lambda study: [], cautions=lambda study, own=own: own)
        for place, own in enumerate(told)
    ]
    study = SimpleNamespace(mosaics=[Mosaic("a"), Mosaic("b")])
    verdict = rank(study, sections)
    assert verdict.warnings == ["harm to b", "of a", "of a again", "of b", "of all", "last"]
    assert verdict.score.level == "empty"


def test_a_figure_is_drawn_once(tmp_path):
    """Though it lies in figures/ in two formats and in the page."""
    drawn = []

    def figure(study):
        draw = lambda: drawn.append(1) or Figure((1, 1))  # noqa: E731
        one = StudyFigure("one", "one", pd.DataFrame({"a": [1]}), draw, "", "", "", 100)
        return [Part(figures=[one])]

    folder = tmp_path / "study"
    folder.mkdir()
    write_page(folder, more=[Section("one", "One", "One", figure)], figures=folder / "figures")
    assert drawn == [1]


def test_keys_are_anchors_that_are_given_once():
    keys = [section.key for section in sections.in_order()]
    assert len(keys) == len(set(keys)) and keys[0] == "summary"
