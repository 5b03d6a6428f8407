"""The section on choices: what was chosen for each mosaic and method, and why."""

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
    "{} chosen from the pictures alone. 30 % of the photons were held out and the others were restored. The picture that "
    "this restoration predicts was compared with the photons held out: the smaller the error, the better. "
)
ITERATED = (
    "Too few iterations miss detail, too many restore noise that does not occur again. The ring marks the choice, with "
    "which all photons were then restored."
)
AT_ONCE = "All photons were then restored with this choice."


def choice_figures(study: Study, mosaic: str) -> list[StudyFigure]:
    """How iterations, TV weights and PSFs were judged by held-out photons, for each method."""
    choices, figures = study.choices.get(mosaic, {}), []
    for method in style.sort_methods(choices):
        choice = choices[method]
        if choice["curves"] and "iterations" not in choice.get("fixed", ()):
            figures.append(_held_out(mosaic, method, choices))
        if len(choice["widths"]) > 1:
            figures.append(_widths(mosaic, method, choice))
    return figures


def _held_out(mosaic: str, method: str, choices: dict[str, dict]) -> StudyFigure:
    """How iterations and TV weights of a method were judged; the table has all methods."""
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
        f"Error of held-out photons over iterations for {mosaic} restored by {title}; chosen were "
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
        f"How much worse PSFs of several widths predict held-out photons of {mosaic}, in standard errors; those "
        f"{choice['psf_scale']:g} times as wide as estimated were chosen, the mean of those that predict alike."
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
    """Says if the restoration does not use the PSFs of the map as they are."""
    choice = study.choices.get(mosaic, {}).get("estimated")
    if choice and not choice["iterations"]:
        return [f"{mosaic} was left as it is: {choice['reason']}."]
    if choice and choice["psf_shape"] != "map":
        return [
            f"{mosaic}: restored by a {PlainPsf.read(choice['psf_shape']).words}, the same everywhere, instead of "
            "the map's PSFs, because it predicts held-out photons better. Take its PSF map as doubtful."
        ]
    if not choice or choice["psf_scale"] >= 1:
        return []
    if not choice["psf_scale"]:
        return [f"{mosaic}: only noise was removed, no blur: {choice['reason']}."]
    return [
        f"{mosaic}: restored by PSFs {choice['psf_scale']:g} times as wide as the map's, because detail in the picture "
        "is, or may be, finer than these allow. Either the specimen itself is soft, or the blur is of another kind, so "
        "the widths on the PSF map may be too large."
    ]


def _wary(study: Study, mosaic: str) -> list[str]:
    """The caution of the choice, if the map contradicts the PSFs that were used."""
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
