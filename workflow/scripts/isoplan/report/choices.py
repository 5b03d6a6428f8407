"""How much was restored: what was chosen for each mosaic and method, and why."""

from functools import partial

import pandas as pd

from isoplan.optics.plain import PlainPsf
from isoplan.report import choice_plots, style
from isoplan.report.results import Study
from isoplan.report.section import Caution, Part, Section, StudyFigure
from isoplan.restoration.choice_words import describe_choice, how_much

# By whether the algorithm has iterations, and total variation.
CHOSEN = {
    (True, True): "Iterations and TV weight were",
    (True, False): "Iterations were",
    (False, True): "The TV weight was",
    (False, False): "The PSFs were",
}
INTRO = (
    "{} chosen from the pictures alone. Three tenths of the photons were held out, the others were restored, and what "
    "the restoration says the camera would see was compared with those held out: the smaller the error, the better. "
)
ITERATED = (
    "Too few iterations miss detail; too many bring out noise that does not come again. The ring marks what was chosen; "
    "all photons were then restored with it."
)
AT_ONCE = "All photons were then restored with what was chosen."


def choice_figures(study: Study, mosaic: str) -> list[StudyFigure]:
    """How held-out photons judged iterations and TV weights, and PSFs, method by method."""
    choices, figures = study.choices.get(mosaic, {}), []
    for method in style.sort_methods(choices):
        choice = choices[method]
        if choice["curves"] and "iterations" not in choice.get("fixed", ()):
            figures.append(_held_out(mosaic, method, choices))
        if len(choice["widths"]) > 1:
            figures.append(_widths(mosaic, method, choice))
    return figures


def _held_out(mosaic: str, method: str, choices: dict[str, dict]) -> StudyFigure:
    """How held-out photons judged iterations and TV weights of one method; the table is of all."""
    rows = [
        (method, curve["tv_weight"], *point)
        for method, choice in choices.items()
        for curve in choice["curves"]
        for point in zip(curve["iterations"], curve["error"], strict=True)
    ]
    table = pd.DataFrame(rows, columns=["method", "tv_weight", "iterations", "error_e2"])
    choice = choices[method]
    table, ends = table.drop(columns=choice.get("fixed", [])), choice.get("ends", {})
    draw = partial(
        choice_plots.held_out, choice["curves"], choice["iterations"], "iterations" in ends
    )
    title = style.method_label(method)
    alt = (
        f"Error of held-out photons over iterations for {mosaic} restored by {title}: least after "
        f"{how_much(choice)}."
    )
    alt += " ".join(f" At the end of its range: {words}." for words in ends.values())
    names = f"choice_{mosaic}_{method}", f"choice_{mosaic}"
    return StudyFigure(*names, table, draw, "", title, alt, 460)


def _widths(mosaic: str, method: str, choice: dict) -> StudyFigure:
    """How well narrower PSFs predict held-out photons."""
    table = pd.DataFrame(choice["widths"])
    at_end = "psf_scale" in choice.get("ends", {})
    draw = partial(choice_plots.narrowed, choice["widths"], choice["psf_scale"], at_end)
    title = f"{style.method_label(method)}: PSFs narrower than estimated"
    alt = (
        f"How much worse PSFs of some widths predict held-out photons of {mosaic}, in standard errors; those "
        f"{choice['psf_scale']:g} times as wide as estimated were taken."
    )
    name = f"narrowed_{mosaic}_{method}"
    return StudyFigure(name, name, table, draw, "", title, alt, 460)


def choice_words(study: Study, mosaic: str) -> list[str]:
    """What was chosen for each method of a mosaic, and why."""
    choices = study.choices.get(mosaic, {})
    return [
        f"{style.method_label(method)}: {describe_choice(choices[method])}."
        for method in style.sort_methods(choices)
    ]


def _narrowed(study: Study, mosaic: str) -> list[str]:
    """Where the restoration does not take the PSFs of the map as they are."""
    choice = study.choices.get(mosaic, {}).get("estimated")
    if choice and not choice["iterations"]:
        return [f"{mosaic} was left as it is: {choice['reason']}."]
    if choice and choice["psf_shape"] != "map":
        return [
            f"{mosaic}: restored by a {PlainPsf.read(choice['psf_shape']).words}, the same everywhere, in place of "
            "the map's PSFs, as it predicts photons held out better."
        ]
    if not choice or choice["psf_scale"] >= 1:
        return []
    if not choice["psf_scale"]:
        return [f"{mosaic}: only noise was removed, no blur: {choice['reason']}."]
    return [
        f"{mosaic}: restored by PSFs {choice['psf_scale']:g} times as wide as the map's: detail in the picture is "
        "finer than the map's PSFs allow, or may be: the specimen is soft itself, or the blur is another."
    ]


def _wary(study: Study, mosaic: str) -> list[str]:
    """Where the map says that its blur is none of those that restore."""
    choice = study.choices.get(mosaic, {}).get("estimated", {})
    return [f"{mosaic}: {choice['caution']}."] if "caution" in choice else []


def parts(study: Study) -> list[Part]:
    found = [
        Part(m.name, items=words, figures=choice_figures(study, m.name), mosaic=m.name)
        for m in study.mosaics
        if (words := choice_words(study, m.name))
    ]
    if not found:
        return []
    iterated, weighed = (key not in study.fixed for key in ("iterations", "tv_weight"))
    intro = INTRO.format(CHOSEN[iterated, weighed])
    return [Part(words=[intro + (ITERATED if iterated else AT_ONCE)]), *found]


def cautions(study: Study) -> list[Caution]:
    names = [mosaic.name for mosaic in study.mosaics]
    told = [
        (name, words) for name in names for words in [*_narrowed(study, name), *_wary(study, name)]
    ]
    return [Caution(words, name) for name, words in told]


SECTION = Section("choices", "How much", "How much was restored", parts, cautions=cautions)
