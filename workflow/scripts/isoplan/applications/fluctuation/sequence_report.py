"""What the report says of a user's own sequences: whether each is finer than its mean, and what is to be told of it."""

from functools import partial

import pandas as pd

from isoplan.report import plots, style
from isoplan.report.own_files import OwnFiles
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Part, Score, Section, StudyFigure

TABLE = "sequences.csv"
WIDTH_PX, BARS = 1040, 12  # of the page; sequences on the first screen
FINER = "#005EA8"
INTRO = (
    "Each sequence of frames is made into one picture on a finer grid. Where its pixels do not fluctuate together in the "
    "shape of the PSF, the picture is the deconvolved mean, and nothing finer is claimed. Pictures are in electrons per "
    "frame; sequences/<name>.ome.zarr opens in napari."
)
FACTS = {
    "kappa_e": "Variance that fluctuates together (electrons)",
    "kappa_error_e": "Its standard error (electrons)",
    "emission_e": "Emission in all (electrons per frame)",
    "emission_low_e": "its interval (95 %), from",
    "emission_high_e": "to",
    "amplitude_e": "(1 - p) I (electrons per frame)",
    "amplitude_low_e": "its interval (95 %), from",
    "amplitude_high_e": "to",
    "rate": "k_on + k_off (per frame)",
    "rate_low": "its interval (95 %), from",
    "rate_high": "to",
    "halves": "Correlation of the two halves",
    "halves_deconvolved": "Correlation of their deconvolved means",
    "mean_agreement": "Mean, formed again (reduced chi-square)",
    "covariance_agreement": "Covariance, formed again (reduced chi-square)",
    "covariance_alone": "Covariance, had nothing fluctuated (reduced chi-square)",
    "explained": "Share of the mean's structure that fluctuates alike",
    "psf_fwhm_px": "FWHM of the PSF (px)",
    "gain": "Gain (counts per electron)",
    "offset": "Offset (counts)",
    "read_noise_e": "Read noise (electrons)",
    "excess": "Excess of the camera's noise",
    "parts": "Parts of the sequence, by drift",
}


OWN = OwnFiles("sequences", FACTS, "Sequence", "sequences")


def parts(study: Study) -> list[Part]:
    known = OWN.told(study)
    if not known:
        return []
    first = Part(words=[INTRO], data=[TABLE])
    return [first, *(OWN.part(name, one, _figures(study, name)) for name, one in known.items())]


def _figures(study: Study, name: str) -> list[StudyFigure]:
    folder = OWN.folder(study, name)
    if not (folder / "overview.png").is_file():
        return []
    title = f"{name}: its mean, a part of it in three forms, and what fluctuates"
    draw = partial(plots.page_of, folder / "overview.png", WIDTH_PX)
    table, file = pd.read_csv(folder / "lags.csv"), f"sequence_{name}"
    return [StudyFigure(file, file, table, draw, "", title, title, WIDTH_PX, "jpg")]


def score(study: Study) -> Score | None:
    """How many are super-resolved; None without sequences."""
    known = OWN.told(study)
    if not known:
        return None
    facts = {name: found["facts"] for name, found in known.items()}
    sure = {name: one["kappa_e"] / max(one["kappa_error_e"], 1e-12) for name, one in facts.items()}
    finer = sum(one["superresolved"] for one in facts.values())
    bars = [
        Bar(
            name,
            FINER if facts[name]["superresolved"] else style.QUIET,
            value / max(*sure.values(), 1e-9),
            f"{value:.0f}{'' if facts[name]['superresolved'] else ', NOT super-resolved'}",
        )
        for name, value in sure.items()
    ]
    short = f"{finer} of {style.count(len(known), 'sequence')} super-resolved"
    lead = "Neighbouring pixels fluctuate together in the shape of the PSF."
    if finer < len(known):
        lead = "The others do not fluctuate in the PSF's shape: theirs is the deconvolved mean."
    return Score(
        *("plain", short, lead),
        title="How surely neighbouring pixels fluctuate together, in standard errors",
        bars=bars[:BARS],
        data=TABLE,
        question="Which are finer than their mean",
    )


TABLES = (ResultTable(TABLE, "what was found of every sequence", ("sequence", "fact", "value")),)
SECTIONS = [
    Section("sequences", "Sequences", "Sequences, made finer", parts, TABLES, OWN.cautions, score)
]
