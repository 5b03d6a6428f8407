"""Writes the report: one HTML file that needs nothing beside it."""

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path

import jinja2
from markupsafe import Markup

from isoplan.report import (
    cost,
    harm,
    network_figures,
    pictures,
    plots,
    published,
    restoration_tests,
    style,
    sweeps,
    tables,
)
from isoplan.report.figures import choice_words, held_words, study_figures
from isoplan.report.results import Study, read_study
from isoplan.report.study_figure import StudyFigure
from isoplan.report.verdict import Verdict, judge
from isoplan.report.viewer import viewer_data

TEMPLATES = Path(__file__).parent / "templates"
# Of a study with more mosaics these many are pictured; figures/ has all of them.
PICTURED_LIMIT = 8
# Of a study with more networks these many figures of each kind are shown.
FIGURE_LIMITS = {
    "accuracy": 12,
    "scatter": 24,
    "calibration": 30,
    "abstention": 16,
    "robustness": 40,
    "learning": 24,
    "training": 24,
}
# Small enough for a mail; what figures and tables leave goes to the viewer's pictures.
PAGE_BYTES = 13_000_000
EMBED_LIMIT_BYTES = 300_000


@dataclass
class Data:
    """A CSV: its name, the relative link where the file lies there, and a copy inside the page."""

    name: str
    link: str | None
    copy: str | None


@dataclass
class Group:
    """Figures that stand side by side and share one CSV."""

    title: str
    figures: list[dict]
    data: list[Data] = field(default_factory=list)


def write_report(study_folder: Path, out_html: Path, *, title: str, crop_px: int = 384) -> None:
    """Write the report of a study as one self-contained HTML file.

    Reads the result files only, any of which may be absent; pictures come from the pyramid and from
    crops of `crop_px`, never from a whole mosaic. Figures link to the CSVs of `draw_figures` where
    those lie in the study's figures/. Raises UserError where there is no such study folder.
    """
    study, out_html = read_study(study_folder), Path(out_html)
    verdict = judge(study)
    pictured = _pictured(study, verdict)
    figures = [f for f in study_figures(study) if _belongs(f, pictured)]
    writer = _Writer(study, out_html.parent)
    sections = {
        "cells": writer.per_mosaic(figures, "cells/", pictured),
        "trusts": writer.per_mosaic(figures, "trust/", pictured),
        "choices": writer.per_mosaic(figures, "choice/", pictured),
        "maps": writer.per_mosaic(figures, "map/", pictured),
        "psfs": writer.per_mosaic(figures, "psfs/", pictured),
        "published": writer.published(figures),
        "restoration": writer.restoration(figures),
        "harm": writer.harm(figures),
        **{section: writer.section(figures, section) for section in FIGURE_LIMITS},
        "left_out": {
            section: f"The first {limit} of {count} figures; all of them are in figures/."
            for section, limit in FIGURE_LIMITS.items()
            if (count := sum(f.section == section for f in figures)) > limit
        },
        "data": {name: writer.data(name, study.folder / name) for name in study.tables},
        "gain_data": writer.figure_data([f for f in figures if f.section == "gain"]),
    }
    rules = cost.by_rule(cost.costs(study))
    suggestions = cost.suggestions(study, rules)
    looked_at = [mosaic for mosaic in study.mosaics if mosaic.name in pictured]
    scenes = viewer_data(study, looked_at, crop_px, max(2_000_000, PAGE_BYTES - writer.bytes))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        percent=style.percent, signed=style.signed, method_label=style.method_label
    )
    environment.globals.update(bar=_bar_places, colour=style.method_colour)
    page = environment.get_template("report.html").render(
        title=title,
        study=study,
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        css=Markup((TEMPLATES / "report.css").read_text()),
        script=Markup((TEMPLATES / "report.js").read_text()),
        verdict=verdict,
        gain_span=_gain_span(verdict),
        methods=style.METHOD_LABELS,
        refused=study.table("refused.csv").fillna("").to_dict("records"),
        scenes=scenes,
        scenes_json=_json(scenes),
        n_pictured=len(pictured),
        metric_tables=[(m.name, tables.metric_table(study, m.name)) for m in study.mosaics],
        regression=tables.regression_table(study),
        doubted=any(m.uncertainty is not None for m in study.maps.values()),
        held=held_words(study),
        chosen=[(m.name, words) for m in looked_at if (words := choice_words(study, m.name))],
        flags=tables.flag_table(study),
        calibration_words=network_figures.calibration_words(study),
        abstention_words=network_figures.abstention_words(study),
        mosaic_table=tables.mosaic_table(study),
        costs=tables.cost_table(study, rules),
        data_of_costs=writer.data("cost.csv", study.folder / "cost.csv"),
        suggestions=suggestions,
        suggested=tables.suggestion_table(suggestions),
        measured_on=max(cost.megapixels(study).values(), default=0),
        cost=cost,
        versions=tables.version_table(),
        files=writer.files(),
        **sections,
    )
    out_html.parent.mkdir(parents=True, exist_ok=True)
    # A killed job must not leave half a page that looks like a report.
    partial = out_html.with_name(out_html.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(out_html)


def _pictured(study: Study, verdict: Verdict) -> list[str]:
    """The mosaics whose pictures the page holds: of many, the worst and the best first."""
    names = [mosaic.name for mosaic in study.mosaics]
    if len(names) <= PICTURED_LIMIT:
        return names
    known = [m for m in verdict.mosaics if "estimated" in m.gains]
    known = [m.name for m in sorted(known, key=lambda m: m.gains["estimated"])]
    ends = [name for pair in zip(known, known[::-1], strict=True) for name in pair]
    chosen = list(dict.fromkeys([*ends, *names]))[:PICTURED_LIMIT]
    return [name for name in names if name in chosen]


def _belongs(figure: StudyFigure, pictured: list[str]) -> bool:
    _, _, mosaic = figure.section.partition("/")
    return not mosaic or mosaic in pictured


def _json(content) -> Markup:
    """JSON that cannot end its script element early."""
    return Markup(json.dumps(content).replace("<", "\\u003c"))


def _gain_span(verdict: Verdict) -> tuple[float, float]:
    """Lowest and highest gain in dB over all bars, 0 included."""
    gains = [gain for mosaic in verdict.mosaics for gain in mosaic.gains.values()]
    low, high = min([0.0, *gains]), max([0.0, *gains])
    return (low, high) if high > low else (0.0, 1.0)


def _bar_places(gain: float, span: tuple[float, float]) -> tuple[float, float, float]:
    """Left edge, width and zero of a bar, in per cent of its track."""
    low, high = span
    zero, end = (100 * (value - low) / (high - low) for value in (0.0, gain))
    return min(zero, end), abs(end - zero), zero


class _Writer:
    """Turns figures and files into what the template shows: data URIs and relative links."""

    def __init__(self, study: Study, page_folder: Path):
        self.study, self.page_folder = study, page_folder
        self.bytes = 0

    def link(self, path: Path) -> str | None:
        """Relative to the page, so that the folder can be moved as a whole."""
        return Path(os.path.relpath(path, self.page_folder)).as_posix() if path.exists() else None

    def data(self, name: str, path: Path, content: bytes | None = None) -> Data | None:
        if content is None:
            if not path.exists():
                return None
            content = path.read_bytes() if path.stat().st_size <= EMBED_LIMIT_BYTES else b""
        small = 0 < len(content) <= EMBED_LIMIT_BYTES
        copy = pictures.data_uri(content, "text/csv") if small else None
        self.bytes += len(copy or "")
        return Data(name, self.link(path), copy)

    def figure_data(self, figures: list[StudyFigure]) -> list[Data]:
        found = {}
        for figure in figures:
            if figure.data not in found:
                path = self.study.folder / "figures" / f"{figure.data}.csv"
                content = figure.table.to_csv(index=False).encode()
                found[figure.data] = self.data(path.name, path, content)
        return list(found.values())

    def groups(self, figures: list[StudyFigure]) -> list[Group]:
        groups = []
        for title, members in groupby(figures, key=lambda figure: figure.group):
            members = list(members)
            shown = [
                {
                    "title": figure.title,
                    "alt": figure.alt,
                    "width": figure.width_px,
                    "uri": self.picture(figure),
                }
                for figure in members
            ]
            groups.append(Group(title, shown, self.figure_data(members)))
        return groups

    def picture(self, figure: StudyFigure) -> str:
        kind = {"png": "image/png", "jpg": "image/jpeg"}[figure.kind]
        uri = pictures.data_uri(plots.render(figure.draw, figure.kind), kind)
        self.bytes += len(uri)
        return uri

    def section(self, figures: list[StudyFigure], name: str) -> list[Group]:
        return self.groups([f for f in figures if f.section == name][: FIGURE_LIMITS[name]])

    def published(self, figures: list[StudyFigure]) -> dict | None:
        """What the section beside the published figures shows; None where nothing is compared."""
        comparison = published.compare(self.study)
        if comparison.empty:
            return None
        name = published.wanted(self.study)
        parts = [
            (part, self.groups([f for f in figures if f.section == f"published-{part.form}"]))
            for part in published.protocols(self.study, comparison)
        ]
        for _, groups in parts:
            for group in groups:
                group.data = []  # one CSV for all, below the tables
        content = comparison.to_csv(index=False).encode()
        path = self.study.folder / "figures" / f"published_{name}.csv"
        return {
            "title": published.TITLES[name],
            "intro": published.INTRO + published.REMARKS.get(name, ""),
            "parts": parts,
            "left_out": published.left_out(self.study, comparison),
            "data": [self.data(path.name, path, content)],
        }

    def restoration(self, figures: list[StudyFigure]) -> dict | None:
        """What the section on restoration tests shows; None where there are none."""
        tests = restoration_tests.read_tests(self.study)
        if not tests:
            return None

        def groups(section: str) -> list[Group]:
            return self.groups([f for f in figures if f.section == section])

        found = {
            "intro": restoration_tests.intro(tests),
            "published": len(restoration_tests.published(self.study)) > 0,
            "beside": restoration_tests.BESIDE_PUBLISHED,
            "table": restoration_tests.gain_table(self.study, tests),
            "gains": groups("restoration"),
            "budget": groups("restoration-budget"),
            "budget_table": restoration_tests.budget_table(self.study, tests),
            "sweeps": groups("restoration-sweeps"),
            "sweeps_intro": sweeps.INTRO,
            "choice_table": sweeps.choice_table(self.study),
            "pictures": groups("restoration-pictures")[:PICTURED_LIMIT],
            "data": [self.data("restoration.csv", self.study.folder / "restoration.csv")],
        }
        for group in found["pictures"]:
            group.data = []  # their gains stand above them
        return found

    def harm(self, figures: list[StudyFigure]) -> dict | None:
        """What the section on harm tests shows; None where there are none."""
        table = harm.harm_table(self.study)
        if table is None:
            return None
        found = {
            "intro": harm.INTRO,
            "table": table,
            **{
                name: self.groups([f for f in figures if f.section == section])
                for name, section in (("gains", "harm"), ("pictures", "harm-pictures"))
            },
            "data": [
                self.data(name, self.study.folder / name)
                for name in ("harm_summary.csv", "harm.csv")
            ],
        }
        for group in found["gains"] + found["pictures"]:
            group.data = []
        return found

    def per_mosaic(self, figures, prefix: str, names: list[str]) -> list[tuple[str, list[Group]]]:
        found = []
        for name in names:
            groups = self.groups([f for f in figures if f.section == prefix + name])
            # Groups that share one CSV name it once, below the last of them.
            for group, following in pairwise(groups):
                group.data = [
                    d for d in group.data if d.name not in {f.name for f in following.data}
                ]
            if groups:
                found.append((name, groups))
        return found

    def files(self) -> list[tuple[str, str]]:
        """Link and description of what else lies in the results folder."""
        known = (
            ("metrics.csv", "every metric of every mosaic and method"),
            ("cells.csv", "SNR gain of every cell"),
            ("frc.csv", "Fourier ring correlation with the truth or the reference"),
            ("regression.csv", "accuracy of the networks"),
            ("predictions.csv", "true and estimated parameters of test samples"),
            ("calibration.csv", "how often the 90 % intervals hold the truth"),
            ("abstention.csv", "error when the least certain samples are left out"),
            ("restoration.csv", "gain of every picture and method of the restoration tests"),
            ("restoration_summary.csv", "their means, differences and shares, with 95 % intervals"),
            (
                "restoration_budget.csv",
                "what each step from the true PSFs to the estimated ones costs",
            ),
            ("restoration_sweep.csv", "gain by iterations and TV weight of the sweeps"),
            ("restoration_choice.csv", "what rules that choose them gain and lose"),
            ("harm.csv", "gain of every picture, blur, light and method of the harm tests"),
            ("harm_summary.csv", "their means, and the worst"),
            ("refused.csv", "mosaics that could not be read"),
            ("choices", "how much to restore: what was chosen, and why"),
            ("cost.csv", "time and memory by rule, mosaic and method"),
            ("config.yaml", "the settings of this study, defaults filled in"),
            ("figures", "every figure as PNG and SVG, with its CSV"),
            ("restored", "restored mosaics (OME-Zarr, open in napari)"),
            ("psf_map", "PSF maps (OME-Zarr, lie over the mosaics in napari)"),
            ("networks", "trained networks, their cards and training curves"),
            ("benchmarks", "time and memory of every job"),
        )
        present = self.study.present
        known = [pair for pair in known if present is None or present.table(pair[0])]
        paths = [(name, self.link(self.study.folder / name), words) for name, words in known]
        return [(name, link, words) for name, link, words in paths if link]
