"""The first screen: the main score, and the warnings, with the most serious first."""

from dataclasses import dataclass

from isoplan.report.results import Study
from isoplan.report.section import NO_MOSAIC, Caution, Score, Section

EMPTY = Score(
    "empty",
    "Nothing was scored",
    "No mosaic was scored and no network was tested. Either the study asks for neither, or it has not run yet.",
    data="regression.csv",
    note=NO_MOSAIC,
    sound="Nothing was measured, so there is nothing to check.",
)


@dataclass
class Verdict:
    """The content of the first screen.

    Attributes
    ----------
    score
        The main score.
    others
        Scores whose bars are shown below.
    warnings
        Warnings, with the most serious first.
    alarms
        What must be read first.
    sound
        What to say if there are no warnings.
    """

    score: Score
    others: list[Score]
    warnings: list[str]
    alarms: list[str]
    sound: str


def rank(study: Study, sections: list[Section]) -> Verdict:
    """Rank scores and warnings of all sections.

    The first score is the main one. Warnings of harm come first, then those of single mosaics in the order of the
    mosaics, then all others in the order of the page.
    """
    scores = [score for section in sections if (score := section.score(study))] or [EMPTY]
    first, *others = scores
    sound = [score.sound for score in scores if score.sound]
    return Verdict(
        first,
        [score for score in others if score.beside],
        _ranked([one for section in sections for one in section.cautions(study)], study),
        [alarm for score in scores for alarm in score.alarms],
        sound[0] if sound else "All checks passed.",
    )


def _ranked(cautions: list[Caution], study: Study) -> list[str]:
    order = {mosaic.name: k for k, mosaic in enumerate(study.mosaics)}

    def place(caution: Caution) -> tuple:
        return not caution.harm, order.get(caution.mosaic, len(order))

    return [caution.text for caution in sorted(cautions, key=place)]
