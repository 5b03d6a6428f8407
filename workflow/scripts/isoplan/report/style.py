"""Colours, names and number formats: one place, so that a method looks the same in every figure and table."""

import math

METHOD_ORDER = ("none", "measured", "constant", "estimated", "oracle", "truth")
METHOD_LABELS = {
    "none": "Nothing done",
    "measured": "Measured PSF",
    "constant": "One constant PSF",
    "estimated": "Estimated map",
    "oracle": "True map (oracle)",
    "truth": "Sharp truth",
}
# Distinct under the common colour-vision deficiencies, and in lightness when printed in grey.
METHOD_COLOURS = {
    "none": "#8C9199",
    "measured": "#B0468C",
    "constant": "#D98200",
    "estimated": "#005EA8",
    "oracle": "#12956E",
    "truth": "#1B1F24",
}
# For what is not a method (parameters, other methods): none of these is a method's colour.
OTHER_COLOURS = ("#332288", "#AA4499", "#6E9F2E", "#882255", "#56B4E9", "#999933", "#661100")

INK, QUIET, RULE = "#1B1F24", "#5B636E", "#D9DDE2"
FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")

# One perceptually uniform map per quantity; a turning axis needs a cyclic one.
PARAMETER_MAPS = {"focus": "cividis", "cylinder": "plasma", "axis": "twilight"}
DEFAULT_MAP = "viridis"
DIFFERENCE_MAP = "PuOr"
GAIN_MAP = "RdBu"
PSF_MAP = "magma"

PARAMETER_LABELS = {
    "width": "PSF width",
    "width_x": "PSF width along x",
    "width_y": "PSF width along y",
    "focus": "Defocus",
    "cylinder": "Astigmatism",
    "axis": "Astigmatism axis",
}

# +1: higher is better, -1: lower is better, 0: nearer to the truth is better.
METRIC_DIRECTION = {
    "SNR": 1,
    "PSNR": 1,
    "SSIM": 1,
    "MSE": -1,
    "gradient-MSE": -1,
    "CV": 0,
    "Sharpness": 0,
}
METRIC_UNITS = {"SNR": "dB", "PSNR": "dB"}
METRIC_DECIMALS = {"SNR": 2, "PSNR": 2, "SSIM": 3, "CV": 3}


def method_label(method: str) -> str:
    return METHOD_LABELS.get(method, method)


def method_colour(method: str) -> str:
    if method in METHOD_COLOURS:
        return METHOD_COLOURS[method]
    return OTHER_COLOURS[sum(map(ord, method)) % len(OTHER_COLOURS)]


def sort_methods(methods) -> list[str]:
    """The usual methods in their usual order, then any other by name."""
    known = [method for method in METHOD_ORDER if method in set(methods)]
    return known + sorted(set(methods) - set(METHOD_ORDER))


def parameter_label(name: str) -> str:
    return PARAMETER_LABELS.get(name, name.replace("_", " ").capitalize())


def with_unit(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def is_number(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def minus(text: str) -> str:
    """A real minus sign, which lines up with the digits."""
    return text.replace("-", "\u2212")


def fixed(value, decimals: int = 2) -> str:
    return minus(f"{value:,.{decimals}f}") if is_number(value) else "\u2013"


def significant(value, digits: int = 3) -> str:
    """Three significant digits, thousands apart; powers of ten only where zeros would bury the number."""
    if not is_number(value):
        return "\u2013"
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if power < -4 or power > 8:
        return minus(f"{value:.{digits - 1}e}")
    return minus(f"{value:,.{max(0, digits - 1 - power)}f}")


def signed(value, decimals: int = 2) -> str:
    return minus(f"{value:+,.{decimals}f}") if is_number(value) else "\u2013"


def percent(share) -> str:
    """A share of 1 as a whole per cent; small shares do not round to nothing."""
    if not is_number(share):
        return "\u2013"
    if 0 < share < 0.005:
        return "under 1 %"
    if 0.995 < share < 1:
        return "over 99 %"
    return minus(f"{100 * share:.0f} %")


def metric_text(metric: str, value) -> str:
    if metric in METRIC_DECIMALS:
        return fixed(value, METRIC_DECIMALS[metric])
    return significant(value)


def duration(seconds) -> str:
    if not is_number(seconds):
        return "\u2013"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    if minutes < 60:
        return f"{minutes:.1f} min"
    return f"{minutes / 60:.1f} h"


def memory(mebibytes) -> str:
    if not is_number(mebibytes):
        return "\u2013"
    return f"{mebibytes / 1024:.2f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"


def bar_length(width: float, share: float = 0.22) -> float:
    """The longest 1-2-5 length that takes at most `share` of a picture `width` long (same unit)."""
    limit = width * share
    power = 10 ** math.floor(math.log10(limit))
    return max(step * power for step in (1, 2, 5) if step * power <= limit)


def bar_label(length: float, unit: str) -> str:
    return f"{length:,.0f} {unit}" if length >= 1 else f"{length:g} {unit}"
