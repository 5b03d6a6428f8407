"""What the report says of a user's own files that a study lists: facts, words and notes of each, and what is to be warned of."""

import json
from dataclasses import dataclass
from pathlib import Path

from isoplan.report.results import Study
from isoplan.report.section import SHOWN, Caution, Part, StudyFigure, Surface, and_more
from isoplan.report.tables import Cell, Table

CAUTION = "CAUTION"


@dataclass(frozen=True)
class OwnFiles:
    """The entries of a key of the config, whose results lie in a folder of the key's name.

    Attributes
    ----------
    key
        Of the config.
    facts
        What each figure of `facts.json` is called, in the order of the table.
    called
        What cautions call an entry.
    many
        What several of them are called.
    """

    key: str
    facts: dict[str, str]
    called: str
    many: str

    def folder(self, study: Study, name: str) -> Path:
        return Path(study.folder) / self.key / name

    def told(self, study: Study) -> dict[str, dict]:
        """Of each entry that is finished, its facts, words and notes."""
        names = [one["name"] for one in study.config.get(self.key) or []]
        files = {name: self.folder(study, name) / "facts.json" for name in names}
        return {
            name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()
        }

    def table(self, facts: dict) -> Table:
        """The figures of an entry, in words."""
        rows = [
            [Cell(words), Cell(_number(facts[key]))]
            for key, words in self.facts.items()
            if key in facts
        ]
        return Table(["Figure", "Value"], rows)

    def part(
        self,
        name: str,
        found: dict,
        figures: list[StudyFigure],
        surfaces: list[Surface] | None = None,
    ) -> Part:
        """What is said of an entry; found: of `told`."""
        return Part(
            name,
            items=found["words"],
            figures=figures,
            surfaces=surfaces or [],
            tables=[("", self.table(found["facts"]))],
            notes=[f"{'. '.join(map(_sentence, found['notes']))}."] if found["notes"] else [],
            link_figures=not surfaces,
        )

    def cautions(self, study: Study) -> list[Caution]:
        """The words of all entries that warn."""
        found = [
            Caution(f"{self.called} {name}: {word.removeprefix(f'{CAUTION}: ')}.")
            for name, one in self.told(study).items()
            for word in one["words"]
            if word.startswith(CAUTION)
        ]
        more = and_more(len(found), f"cautions of {self.many}")
        return [*found[:SHOWN], *map(Caution, more)]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
