"""Colours, names and number formats, which are the same in all figures and tables."""

import math

from isoplan.comparison import STANDARDS
from isoplan.metrics.catalogue import Metric

METHOD_ORDER = (
    "none",
    "denoised",
    "measured",
    "constant",
    "estimated",
    "oracle",
    "truth",
    "reference",
)
# Methods of restoration tests, from those that need the truth to those that need nothing.
TEST_METHODS = (
    *("true-noise-free", "true", "true-grid", "best-of-model", "estimated", "estimated-all"),
    *("constant", "blind", "deepinv-blind", "wiener", "unsharp"),
)
METHOD_LABELS = {
    "none": "Nothing done",
    "denoised": "Only denoised",
    "measured": "Measured PSF",
    "constant": "One constant PSF",
    "estimated": "Estimated map",
    "oracle": "True map (oracle)",
    "truth": "Sharp truth",
    "reference": "Reference frame",
    "true-noise-free": "Known PSFs, no noise",
    "true": "Known PSFs",
    "true-grid": "Known PSFs on the map's grid",
    "best-of-model": "Nearest PSFs of the model",
    "estimated-all": "Estimated, no abstention",
    "blind": "Blind RL (Fish 1995)",
    "deepinv-blind": "Blind RL (deepinv)",
    "wiener": "Wiener, our mean PSF",
    "unsharp": "Unsharp mask",
    "true-best": "Known PSFs, best choice",
    "denoised-best": "Only denoised, best choice",
    "richardson-lucy": "Plain Richardson-Lucy",
}
# These differ for people with the common colour-vision deficiencies, and in lightness when printed in grey.
METHOD_COLOURS = {
    "none": "#8C9199",
    "denoised": "#661100",
    "measured": "#B0468C",
    "constant": "#D98200",
    "estimated": "#005EA8",
    "oracle": "#12956E",
    "truth": "#1B1F24",
    "reference": "#1B1F24",
    "true-noise-free": "#0B5B43",
    "true": "#12956E",
    "true-grid": "#5FBFA0",
    "best-of-model": "#6E9F2E",
    "estimated-all": "#56B4E9",
    "blind": "#882255",
    "deepinv-blind": "#AA4499",
    "wiener": "#B0468C",
    "unsharp": "#661100",
    "true-best": "#0B5B43",
    "denoised-best": "#D98200",
    "richardson-lucy": "#AA4499",
}
# Dashed, so that a line below still shows where both coincide.
DASHED = {"oracle", "true", "reference"}
# Colours of networks; isoplan's has that of the estimated map.
NETWORK_COLOURS = {
    "isoplan": "#005EA8",
    "resnet34": "#AA4499",
    "resnet34-pretrained": "#882255",
    "resnext50": "#6E9F2E",
    "spectrum-fit": "#B26A00",
}
NETWORK_LABELS = {
    "isoplan": "isoplan",
    "resnet34": "ResNet-34",
    "resnet34-pretrained": "ResNet-34, ImageNet weights",
    "resnext50": "ResNeXt-50",
    "spectrum-fit": "Spectrum fit (no network)",
}
DEGRADATION_LABELS = {
    "none": "No degradation",
    "illumination": "Global illumination",
    "vignette": "Non-uniform illumination",
    "gaussian": "Gaussian noise",
    "poisson": "Poisson noise",
    "mixed": "Gaussian and Poisson noise",
}
# Colours of parameters, lines of networks, and names that are unknown here.
OTHER_COLOURS = ("#332288", "#AA4499", "#6E9F2E", "#882255", "#56B4E9", "#999933", "#661100")

INK, QUIET, RULE = "#1B1F24", "#5B636E", "#D9DDE2"
FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")

# One perceptually uniform map per quantity; the axis needs a cyclic one.
PARAMETER_MAPS = {"focus": "cividis", "cylinder": "plasma", "axis": "twilight"}
DEFAULT_MAP = "viridis"
# Parameters of either sign, with 0 in the middle.
SIGNED_MAP = "PRGn"
# Uncertain cells are bright.
UNCERTAINTY_MAP = "inferno"
DIFFERENCE_MAP = "PuOr"
# Coverage of a 90 % interval that counts as calibrated.
CALIBRATED = (0.85, 0.95)
# Cells of a map that are not measurements: hatch, colour, words.
CELL_FLAGS = {
    "untrusted": ("/////", "#5B636E", "no texture, border: filled or doubtful"),
    "out_of_domain": ("xxxx", "#B3261E", "out of domain: filled in"),
    "no_psf": ("/////", "#5B636E", "no certain PSF of its own"),
    "disagrees": ("....", "#B3261E", "disagrees with the data"),
}
GAIN_MAP = "RdBu"
# Map of residuals; pure noise is in the middle.
RESIDUAL_MAP = "PuOr_r"
PSF_MAP = "magma"

PARAMETER_LABELS = {
    "width": "PSF width",
    "width_x": "PSF width along x",
    "width_y": "PSF width along y",
    "focus": "Defocus",
    "cylinder": "Astigmatism",
    "axis": "Astigmatism axis",
    "astigmatism_45": "Astigmatism at 45°",
    "astigmatism_0": "Astigmatism at 0°",
    "coma_y": "Coma along y",
    "coma_x": "Coma along x",
    "trefoil_y": "Trefoil along y",
    "trefoil_x": "Trefoil along x",
    "spherical": "Spherical aberration",
    "astigmatism2_0": "Secondary astigmatism at 0°",
    "astigmatism2_45": "Secondary astigmatism at 45°",
    "quadrafoil_0": "Quadrafoil at 0°",
    "quadrafoil_45": "Quadrafoil at 45°",
    "mirror": "Told from its mirror image",
    "mean": "Mean over the parameters",
}


def standard_in(methods) -> str | None:
    """The standard that the methods of a mosaic were compared with: "truth", "reference" or None."""
    return next((standard for standard in STANDARDS if standard in set(methods)), None)


def method_label(method: str) -> str:
    """Name of a method for users."""
    return METHOD_LABELS.get(method, method)


def method_line(method: str) -> str | tuple:
    """How a method's curve is drawn: dashes where another often coincides with it."""
    return (0, (4, 4)) if method in DASHED else "-"


def method_colour(method: str) -> str:
    """Colour of a method."""
    if method in METHOD_COLOURS:
        return METHOD_COLOURS[method]
    return OTHER_COLOURS[sum(map(ord, method)) % len(OTHER_COLOURS)]


def network_label(architecture: str) -> str:
    """Name of an architecture for users."""
    return NETWORK_LABELS.get(architecture, architecture)


def degradation_label(name: str) -> str:
    """Name of a degradation for users."""
    return DEGRADATION_LABELS.get(name, name.replace("_", " ").capitalize())


def psf_label(model: str) -> str:
    """Name of a PSF model for users, like `Gaussian-2`."""
    return model[:1].upper() + model[1:]


def psf_title(model: str, form: str) -> str:
    """Name of a PSF model and its form for users, like `Gaussian-2, published form`."""
    return psf_label(str(model)) + (", published form" if form == "published" else "")


def network_colours(lines: dict[str, str]) -> dict[str, str]:
    """Colours by label; several labels of one architecture get shades of its colour.

    lines: architectures by label.
    """
    found, others = {}, iter(OTHER_COLOURS * len(lines))
    for architecture in dict.fromkeys(lines.values()):
        base = NETWORK_COLOURS.get(architecture) or next(others)
        members = [label for label, own in lines.items() if own == architecture]
        for place, label in enumerate(members):
            found[label] = lighter(base, 0.62 * (len(members) - 1 - place) / max(1, len(members)))
    return found


def lighter(colour: str, share: float) -> str:
    """A colour mixed with a share of white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * share):02X}" for part in parts)


def in_order(values, order) -> list:
    """The different values, first those in `order`, in that order, then the others as given."""
    values = list(dict.fromkeys(values))
    known = [value for value in order if value in values]
    return known + [value for value in values if value not in known]


def sort_methods(methods) -> list[str]:
    """The usual methods in their usual order, then others by name."""
    known = [method for method in METHOD_ORDER if method in set(methods)]
    return known + sorted(set(methods) - set(METHOD_ORDER))


def parameter_label(name: str) -> str:
    """Name of a PSF parameter for users."""
    return PARAMETER_LABELS.get(name, name.replace("_", " ").capitalize())


def with_unit(label: str, unit: str) -> str:
    """A label with its unit in brackets, if it has one."""
    return f"{label} ({unit})" if unit else label


def is_number(value) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def minus(text: str) -> str:
    """A text with real minus signs, which have the width of digits."""
    return text.replace("-", "\u2212")


def fixed(value, decimals: int = 2) -> str:
    """A number with fixed decimals; a dash if it is not a number."""
    return minus(f"{value:,.{decimals}f}") if is_number(value) else "\u2013"


def significant(value, digits: int = 3) -> str:
    """A number with significant digits; powers of ten are used only for very small or large ones."""
    if not is_number(value):
        return "\u2013"
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if power < -4 or power > 8:
        return minus(f"{value:.{digits - 1}e}")
    return minus(f"{value:,.{max(0, digits - 1 - power)}f}")


def interval(low, high, decimals: int = 3) -> str:
    """An interval like `[0.948, 0.957]`; empty if a limit is not a number."""
    if not (is_number(low) and is_number(high)):
        return ""
    return f"[{fixed(low, decimals)}, {fixed(high, decimals)}]"


def signed(value, decimals: int = 2) -> str:
    """A number with its sign; a dash if it is not a number."""
    return minus(f"{value:+,.{decimals}f}") if is_number(value) else "\u2013"


def count(number: int, noun: str) -> str:
    """A number with its noun, like `1 mosaic` and `2 mosaics`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def percent(share) -> str:
    """A share in whole per cent; shares close to 0 or 1 are not rounded to these."""
    if not is_number(share):
        return "\u2013"
    if 0 < share < 0.005:
        return "under 1 %"
    if 0.995 < share < 1:
        return "over 99 %"
    return minus(f"{100 * share:.0f} %")


def large(value: float) -> str:
    """A count in short, like 500, 64k and 2.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def metric_text(metric: Metric, value) -> str:
    """A value of a metric with its decimals."""
    return significant(value) if metric.decimals is None else fixed(value, metric.decimals)


def duration(seconds) -> str:
    """A duration in s, min or h."""
    if not is_number(seconds):
        return "\u2013"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    if minutes < 60:
        return f"{minutes:.1f} min"
    return f"{minutes / 60:.1f} h"


def memory(mebibytes) -> str:
    """An amount of memory in MiB or GiB."""
    if not is_number(mebibytes):
        return "\u2013"
    return f"{mebibytes / 1024:.2f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"


def bar_length(width: float, share: float = 0.22) -> float:
    """Length of a scale bar: the largest of 1, 2, 5, 10, ... that is at most a share of the width."""
    limit = width * share
    power = 10 ** math.floor(math.log10(limit))
    return max(step * power for step in (1, 2, 5) if step * power <= limit)


def bar_label(length: float, unit: str) -> str:
    """Label of a scale bar."""
    return f"{length:,.0f} {unit}" if length >= 1 else f"{length:g} {unit}"
