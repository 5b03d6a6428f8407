"""What the report says of texture."""

from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Part, Section, StudyFigure
from isoplan.report.tables import Cell, Table
from matplotlib.figure import Figure

TABLE = "texture.csv"


def parts(study: Study) -> list[Part]:
    rows = study.table(TABLE)
    if rows.empty:
        return []

    def draw() -> Figure:
        figure = Figure((3, 2))
        figure.subplots().bar(rows["mosaic"], rows["detail"])
        return figure

    words = "Detail of every mosaic"
    shown = StudyFigure("texture", "texture", rows, draw, "", "Detail", words, width_px=300)
    cells = [[Cell(row.mosaic), Cell(f"{row.detail:.3g}")] for row in rows.itertuples()]
    table = Table(["Mosaic", "Detail (counts/px)"], cells)
    return [Part(words=[words], figures=[shown], tables=[("", table)], data=[TABLE])]


COLUMNS = ("mosaic", "texture", "detail", "n")
TABLES = (ResultTable(TABLE, "detail of every mosaic", COLUMNS),)
SECTIONS = [Section("texture", "Texture", "How much detail there is", parts, TABLES)]
