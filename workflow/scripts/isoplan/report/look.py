"""The section with the viewer, and warnings of the pictures themselves."""

from isoplan.report.results import Study
from isoplan.report.section import Caution, Part, Section

UNUSABLE = {
    "nonfinite_pixels": "They stay empty in the restored picture.",
    "saturated_pixels": "Do not measure brightness there; use a shorter exposure next time.",
}


def parts(study: Study) -> list[Part]:
    return [Part()] if study.mosaics else []


def cautions(study: Study) -> list[Caution]:
    """Warnings of the original pictures: references that fit badly, and unusable pixels."""
    words = []
    for mosaic in study.mosaics:
        words += [f"{mosaic.name}: {note}." for note in mosaic.registration.get("notes", ())]
        for key, what in (("nonfinite_pixels", "not numbers"), ("saturated_pixels", "saturated")):
            count = mosaic.facts.get(key) or 0
            pixels = (mosaic.facts.get("height_px") or 0) * (mosaic.facts.get("width_px") or 0)
            if count and (pixels == 0 or key == "nonfinite_pixels" or count > pixels / 1000):
                words.append(f"{mosaic.name}: {count:,} pixels are {what}. {UNUSABLE[key]}")
        if mosaic.facts.get("constant"):
            words.append(
                f"{mosaic.name}: all pixels have the same value, so there is nothing to map. Check the file, the slice "
                "and the channel."
            )
    return [Caution(text) for text in words]


SECTION = Section(
    "look", "Before and after", "Before and after", parts, cautions=cautions, template="look.html"
)
