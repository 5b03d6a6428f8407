"""The first screen: which section's score leads, and where not to trust the result, most serious first."""

from dataclasses import dataclass

from isoplan.report.results import Study
from isoplan.report.section import NO_MOSAIC, Caution, Score, Section

EMPTY = Score(
    "empty",
    "Nothing here was scored",
    "No mosaic was scored and no network was tested: the study asks for neither, or has not run yet.",
    data="regression.csv",
    note=NO_MOSAIC,
    sound="Nothing was measured, so nothing can be trusted.",
)


@dataclass
class Verdict:
    """score: the one that the page opens with. others: whose bars stand below. sound: what to say where
    there are no warnings."""

    score: Score
    others: list[Score]
    warnings: list[str]
    alarms: list[str]
    sound: str


def rank(study: Study, sections: list[Section]) -> Verdict:
    """Rank what the sections say: the first score leads; of cautions harm comes first, then what is about one
    mosaic, mosaic by mosaic, then the others in the order of the page."""
    scores = [score for section in sections if (score := section.score(study))] or [EMPTY]
    first, *others = scores
    sound = [score.sound for score in scores if score.sound]
    return Verdict(
        first,
        [score for score in others if score.beside],
        _ranked([one for section in sections for one in section.cautions(study)], study),
        [alarm for score in scores for alarm in score.alarms],
        sound[0] if sound else "No check found anything.",
    )


def _ranked(cautions: list[Caution], study: Study) -> list[str]:
    order = {mosaic.name: k for k, mosaic in enumerate(study.mosaics)}

    def place(caution: Caution) -> tuple:
        return not caution.harm, order.get(caution.mosaic, len(order))

    return [caution.text for caution in sorted(cautions, key=place)]
