"""Before and after: the viewer, and what is wrong with the pictures themselves."""

from isoplan.report.results import Study
from isoplan.report.section import Caution, Part, Section


def parts(study: Study) -> list[Part]:
    return [Part()] if study.mosaics else []


def cautions(study: Study) -> list[Caution]:
    """Of the pictures as they came: references that fit badly, pixels that show nothing."""
    words = []
    for mosaic in study.mosaics:
        words += [f"{mosaic.name}: {note}." for note in mosaic.registration.get("notes", ())]
        for key, what in (("nonfinite_pixels", "not numbers"), ("saturated_pixels", "saturated")):
            count = mosaic.facts.get(key) or 0
            pixels = (mosaic.facts.get("height_px") or 0) * (mosaic.facts.get("width_px") or 0)
            if count and (pixels == 0 or key == "nonfinite_pixels" or count > pixels / 1000):
                words.append(f"{mosaic.name}: {count:,} pixels are {what}.")
        if mosaic.facts.get("constant"):
            words.append(f"{mosaic.name}: every pixel has the same value; there is nothing to map.")
    return [Caution(text) for text in words]


SECTION = Section(
    "look", "Before and after", "Before and after", parts, cautions=cautions, template="look.html"
)
