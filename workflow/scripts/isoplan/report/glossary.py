"""The words of the report, explained once."""

from isoplan.report.section import Part, Section

TERMS = (
    (
        "PSF",
        "Point-spread function: the picture that the microscope makes of a point. It differs from place to place.",
    ),
    ("window", "The square of pixels from which one PSF is estimated."),
    ("cell", "The square of the PSF map around a window's centre, as wide as the stride."),
    (
        "validity",
        "The probability that a window has enough texture for its PSF to be found. Below the threshold, the cell takes "
        "the PSF of its neighbours.",
    ),
    (
        "alarm",
        "The probability that a window is not from a raw camera picture of a thin sample: denoised, compressed, "
        "resampled, saturated or hazy. Above the threshold, the cell takes the PSF of its neighbours.",
    ),
    (
        "other blur",
        "The probability that a window's blur is not of the PSF model's kind, such as motion under a Gaussian model.",
    ),
    (
        "filled",
        "A cell whose PSF was not measured but taken from its neighbours. Do not read it as a measurement.",
    ),
    (
        "± (90 % interval)",
        "Half the width of an interval that should hold the true value in 90 of 100 cells. Calibration says what it held.",
    ),
    (
        "doubt",
        "Where not to trust a restored cell: 1 without a sure PSF of its own, 2 where the restoration, blurred again, does "
        "not agree with what the camera saw, 3 both.",
    ),
    (
        "SNR gain",
        "How many decibels closer to the truth a picture came by restoring. It takes a known truth: that of a simulated "
        "mosaic, or a reference frame.",
    ),
    (
        "held-out photons",
        "A share of the photons that is set aside. What predicts them best is taken: how wide the PSFs, how many "
        "iterations, how smooth.",
    ),
    ("oracle", "Restored with the true PSFs, which nobody has: what a perfect map would gain."),
    ("constant", "Restored with one PSF for the whole mosaic, the mean of its map."),
    (
        "TV weight",
        "Weight of total variation: how much smoothness counts against agreement with the data.",
    ),
)


SECTION = Section(
    "words",
    "Words",
    "What the words mean",
    lambda study: [Part(items=[f"{term}\t{meaning}" for term, meaning in TERMS])],
    template="glossary.html",
)
