"""Writes the report as one self-contained HTML file, and every figure as separate files."""

import json
import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path

import jinja2
from markupsafe import Markup

from isoplan import __version__
from isoplan.report import pictures, plots, style
from isoplan.report.results import TABLES, Study
from isoplan.report.section import Part, Section, StudyFigure
from isoplan.report.verdict import Verdict, rank
from isoplan.report.viewer import viewer_data

TEMPLATES = Path(__file__).parent / "templates"
# At most this many mosaics are shown on the page; figures/ has all of them.
PICTURED_LIMIT = 8
# Small enough for a mail. The viewer's pictures get the space that figures and tables leave.
PAGE_BYTES = 13_000_000
EMBED_LIMIT_BYTES = 300_000
# Other contents of the results folder, besides the tables.
FILES = (
    ("choices", "how each mosaic was restored, and why"),
    ("cost.csv", "time and memory by rule, mosaic and method"),
    ("config.yaml", "the settings of this study, defaults filled in"),
    ("figures", "every figure as PNG and SVG, with its CSV"),
    ("restored", "restored mosaics (OME-Zarr, open in napari)"),
    ("psf_map", "PSF maps (OME-Zarr, lie over the mosaics in napari)"),
    ("networks", "trained networks, their cards and training curves"),
    ("benchmarks", "time and memory of every job"),
)


@dataclass
class Data:
    """A CSV: its name, a relative link if the file exists, and a copy inside the page if it is small."""

    name: str
    link: str | None
    copy: str | None


@dataclass
class Group:
    """Figures that are shown side by side."""

    title: str
    figures: list[dict]
    data: list[Data] = field(default_factory=list)


@dataclass
class Shown:
    """A part as the page shows it. left_out: says if not all of its figures are shown."""

    part: Part
    groups: list[Group]
    data: list[Data]
    left_out: str


def write_report(
    study: Study,
    sections: list[Section],
    out_html: Path,
    *,
    title: str,
    crop_px: int = 384,
    figures: Path | None = None,
) -> None:
    """Write the report of a study as one self-contained HTML file, and its figures.

    Parameters
    ----------
    study : Study
        From `read_study`, with the tables that the sections need.
    sections : list of Section
        The sections of the page, in order.
    out_html : Path
        The page. Its pictures come from pyramids and crops, never from a whole mosaic.
    title : str
        Its heading.
    crop_px : int
        Side of the places in the viewer, in px.
    figures : Path, optional
        A folder for every figure as PNG and SVG, with its CSV. The page links to the CSVs in the study's figures/, and
        has copies of small ones.
    """
    out_html = Path(out_html)
    verdict = rank(study, sections)
    writer = _Writer(study, out_html.parent, _pictured(study, verdict), figures)
    shown = [(section, writer.parts(section)) for section in sections]
    shown = [(section, parts) for section, parts in shown if parts]
    scores = [(score, writer.score_data(score)) for score in (verdict.score, *verdict.others)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        percent=style.percent, signed=style.signed, method_label=style.method_label, json=_json
    )
    environment.globals.update(bar=_bar_places, colour=style.method_colour)
    page = environment.get_template("report.html").render(
        title=title,
        study=study,
        sections=shown,
        made=f"{datetime.now(UTC):%d %B %Y, %H:%M UTC}, by isoplan {__version__} on {platform.node()}",
        css=Markup((TEMPLATES / "report.css").read_text()),
        script=Markup((TEMPLATES / "report.js").read_text()),
        verdict=verdict,
        scores=scores,
        gain_span=_gain_span(verdict),
        refused=study.table("refused.csv").fillna("").to_dict("records"),
        scenes=writer.scenes(crop_px),
        n_pictured=len(writer.pictured),
        files=writer.files(sections),
    )
    out_html.parent.mkdir(parents=True, exist_ok=True)
    # A killed job must not leave an incomplete page that looks like a report.
    partial = out_html.with_name(out_html.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(out_html)


def _pictured(study: Study, verdict: Verdict) -> list[str]:
    """The mosaics that the page shows; of many, the worst and the best are preferred."""
    names = [mosaic.name for mosaic in study.mosaics]
    if len(names) <= PICTURED_LIMIT:
        return names
    known = [m for m in verdict.score.mosaics if "estimated" in m.gains]
    known = [m.name for m in sorted(known, key=lambda m: m.gains["estimated"])]
    ends = [name for pair in zip(known, known[::-1], strict=True) for name in pair]
    chosen = list(dict.fromkeys([*ends, *names]))[:PICTURED_LIMIT]
    return [name for name in names if name in chosen]


def _json(content) -> Markup:
    """JSON that cannot close its script element."""
    return Markup(json.dumps(content).replace("<", "\\u003c"))


def _gain_span(verdict: Verdict) -> tuple[float, float]:
    """Lowest and highest gain in dB over all bars, including 0."""
    gains = [gain for mosaic in verdict.score.mosaics for gain in mosaic.gains.values()]
    low, high = min([0.0, *gains]), max([0.0, *gains])
    return (low, high) if high > low else (0.0, 1.0)


def _bar_places(gain: float, span: tuple[float, float]) -> tuple[float, float, float]:
    """Left edge, width and zero of a bar, in per cent of its track."""
    low, high = span
    zero, end = (100 * (value - low) / (high - low) for value in (0.0, gain))
    return min(zero, end), abs(end - zero), zero


class _Writer:
    """Turns parts, figures and files into the content of the templates: data URIs and relative links.

    pictured: the mosaics on the page. figures: the folder for all figures, or None.
    """

    def __init__(self, study: Study, page_folder: Path, pictured: list[str], figures: Path | None):
        self.study, self.page_folder = study, page_folder
        self.pictured, self.figures = pictured, figures
        self.bytes = 0
        if figures:
            figures.mkdir(parents=True, exist_ok=True)

    def parts(self, section: Section) -> list[Shown]:
        """The parts of a section that the page shows."""
        return [
            shown for part in section.parts(self.study) if (shown := self.part(part)) is not None
        ]

    def part(self, part: Part) -> Shown | None:
        """A part as shown; None if its mosaic is not on the page. Its figures are drawn in any case."""
        on_page = not part.mosaic or part.mosaic in self.pictured
        limit = part.limit if part.limit is not None else len(part.figures)
        uris = [
            self.draw(figure, shown=on_page and place < limit)
            for place, figure in enumerate(part.figures)
        ]
        csvs = [self.csv(name, table) for name, table in part.csvs.items()]
        if not on_page:
            return None
        count = len(part.figures)
        return Shown(
            part,
            self.groups(part.figures[:limit], uris, linked=part.link_figures),
            [data for data in csvs + [self.data(name) for name in part.data] if data],
            f"These are the first {limit} of {count} figures; all of them are in figures/."
            if count > limit
            else "",
        )

    def draw(self, figure: StudyFigure, *, shown: bool) -> str:
        """Draw a figure as files and for the page. Returns its data URI, or "" if it is not shown."""
        kinds = ["png", "svg"] if self.figures else []
        if shown and figure.kind not in kinds:
            kinds.append(figure.kind)
        drawn = plots.render_all(figure.draw, kinds) if kinds else {}
        if self.figures:
            for kind in ("png", "svg"):
                (self.figures / f"{figure.name}.{kind}").write_bytes(drawn[kind])
            (self.figures / f"{figure.data}.csv").write_bytes(_csv(figure.table))
        if not shown:
            return ""
        media = {"png": "image/png", "jpg": "image/jpeg"}[figure.kind]
        uri = pictures.data_uri(drawn[figure.kind], media)
        self.bytes += len(uri)
        return uri

    def groups(self, figures: list[StudyFigure], uris: list[str], *, linked: bool) -> list[Group]:
        """Figures side by side. linked: whether their CSVs are linked."""
        groups = []
        for title, members in groupby(
            zip(figures, uris, strict=False), key=lambda pair: pair[0].group
        ):
            members = list(members)
            shown = [
                {"title": f.title, "alt": f.alt, "width": f.width_px, "uri": uri}
                for f, uri in members
            ]
            data = self.figure_data([figure for figure, _ in members]) if linked else []
            groups.append(Group(title, shown, data))
        # Consecutive groups that share a CSV link it once, below the last of them.
        for group, following in pairwise(groups):
            later = {data.name for data in following.data}
            group.data = [data for data in group.data if data.name not in later]
        return groups

    def figure_data(self, figures: list[StudyFigure]) -> list[Data]:
        """The CSVs of some figures, each once."""
        tables = {figure.data: figure.table for figure in figures}
        return [self.csv(name, table) for name, table in tables.items()]

    def score_data(self, score) -> list[Data]:
        """The CSVs of a score. Its figures are drawn as files; the page shows bars instead."""
        for figure in score.figures:
            self.draw(figure, shown=False)
        found = [self.data(score.data), *self.figure_data(score.figures)]
        return [data for data in found if data]

    def csv(self, name: str, table) -> Data:
        """A CSV in figures/, which is written if figures are."""
        path, content = self.study.folder / "figures" / f"{name}.csv", _csv(table)
        if self.figures:
            (self.figures / path.name).write_bytes(content)
        return self._data(path, content)

    def data(self, name: str) -> Data | None:
        """A CSV of the study's folder; None if it does not exist."""
        path = self.study.folder / name
        if not path.exists():
            return None
        large = path.stat().st_size > EMBED_LIMIT_BYTES
        return self._data(path, b"" if large else path.read_bytes())

    def _data(self, path: Path, content: bytes) -> Data:
        small = 0 < len(content) <= EMBED_LIMIT_BYTES
        copy = pictures.data_uri(content, "text/csv") if small else None
        self.bytes += len(copy or "")
        return Data(path.name, self.link(path), copy)

    def link(self, path: Path) -> str | None:
        """A link relative to the page, so that the folder can be moved."""
        return Path(os.path.relpath(path, self.page_folder)).as_posix() if path.exists() else None

    def scenes(self, crop_px: int) -> list[dict]:
        """The viewer's content, in the space that the rest of the page leaves."""
        looked_at = [mosaic for mosaic in self.study.mosaics if mosaic.name in self.pictured]
        left = max(2_000_000, PAGE_BYTES - self.bytes)
        return viewer_data(self.study, looked_at, crop_px, left)

    def files(self, sections: list[Section]) -> list[tuple[str, str, str]]:
        """Name, link and description of the contents of the results folder."""
        present = self.study.present
        tables = [*TABLES, *(table for section in sections for table in section.tables)]
        known = [(t.name, t.words) for t in tables if present is None or present.table(t.name)]
        paths = [(name, self.link(self.study.folder / name), words) for name, words in known]
        paths += [(name, self.link(self.study.folder / name), words) for name, words in FILES]
        return [(name, link, words) for name, link, words in paths if link]


def _csv(table) -> bytes:
    return table.to_csv(index=False).encode()
