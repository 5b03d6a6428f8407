"""Writes the card of a released network for PSF regression as Markdown, only from the card in its file."""

import math

from isoplan.optics.model import of_unit
from isoplan.optics.psf import make_psf_model

NO_FIGURE = "none"
LEAST = 100  # samples; the share of a smaller group says little


def limits(card: dict) -> list[str]:
    """Sentences on what the network cannot do, according to its card."""
    model, camera = make_psf_model(card["psf"]), card["camera"]
    ranges = ", ".join(f"{p.name} {p.span}" for p in model.parameters if p.period is None)
    low, high = camera["photons"]
    found = [
        f"Range: {ranges}. Beyond it the estimate is the nearest end of the range.",
        f"Light: it saw {low:g} to {high:g} photons at the brightest pixel, read noise of "
        f"{camera['read_noise_e'][0]:g} to {camera['read_noise_e'][1]:g} electrons. Give the camera's "
        "offset: counts without light are no light.",
        "Contrast and texture: a window without structure has no PSF to be found (validity below one "
        "half); smooth structure looks like blur. Read each estimate with its uncertainty.",
        "A real picture's own softness (specimen, thickness, printing) counts as blur: differences "
        "within one picture can be relied on, absolute values less.",
        "One plane of a thin sample, raw from a linear camera. Denoised, compressed, resampled, "
        "saturated or hazy pictures raise the alarm where the network knows them; others may not.",
        f"The PSF is taken as one over a window of {card['window_px']} px.",
    ]
    if not camera["bits"]:
        found.append(
            "Whole counts: it was trained on counts that are not rounded. Raw pictures whose noise is only "
            "a count or two (low light at a gain near 1) show equal neighbours and raise the alarm without "
            "cause; --alarm-threshold 1 takes them as they are."
        )
    names = {p.name for p in model.parameters}
    if model.knows_cutoff:
        cutoffs = card["psf"].get("cutoff_range") or [card["psf"]["cutoff"]]
        span = " to ".join(f"{value:g}" for value in cutoffs)
        found.append(
            f"Optics: cut-off (NA * pixel size / wavelength) {span} cycles/px, which must be given. No "
            "aberrations but these; "
            + (
                "a PSF does not tell the common sign of its even modes (focus, astigmatism, spherical)."
                if model.mirrors
                else "focus and astigmatism carry no sign."
            )
        )
    if model.mirrors:
        found.append(
            "Mirror images: a PSF and its mirror image (coma and trefoil with the other sign) have the same "
            "power spectrum. Which it is, is told by the sharper picture, with a probability; errors "
            "above are modulo the mirror image."
        )
    if "axis" in names:
        found.append("The axis means little where the astigmatism is below 0.1 waves.")
    return found


def markdown(card: dict) -> str:
    """The whole card as Markdown; the same card always gives the same text."""
    psf, made = card["psf"], card["released"]
    title = psf["model"]
    parts = [
        f"# {title}",
        "<!-- Written by `python -m isoplan release` from the card in the .safetensors file. -->",
        f"Estimates {_parameters(card)} of the local PSF of one picture, window by window of "
        f"{card['window_px']} px, each with the half-width of its 90 % interval, a validity and an alarm.",
        _command(f"map PICTURE --psf-model {title}{_optics_options(card)}"),
        "## How well",
        "R² as in eq. 2.13 of the thesis, with 95 % intervals by bootstrap over the scenes, of real pictures "
        "over the pictures; samples with usable texture."
        + (
            " The axis' error is wrapped, where focus is at least 0.05 and the astigmatism at least 0.1 waves."
            if _has_axis(card)
            else ""
        ),
        _accuracy(card),
        "## How sure",
        "Share of the true values that the 90 % intervals hold: of all samples, and the lowest and the "
        f"highest of the groups of {LEAST} samples or more; then the error of all samples, and of the "
        "surest 80 %.",
        _calibration(card),
        "## Validity and alarm",
        _flags(card),
        "## Test sets",
        _test_sets(card),
        "## Training",
        _training(card),
        "## Known limits",
        "\n".join(f"- {text}" for text in card["limits"]),
        "## Made by",
        _table(
            ["", ""],
            [
                ["command", f"`{made['command']}`"],
                ["isoplan", made["isoplan"]],
                ["commit", made["commit"] or "not known"],
                ["device", f"{card['device']}, torch {card['torch']}"],
                ["proof", "`make verify-models`"],
            ],
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(text: str) -> str:
    return f"    python -m isoplan {text}"


def _optics_options(card: dict) -> str:
    if not make_psf_model(card["psf"]).knows_cutoff:
        return ""
    return " --na NA --wavelength-um UM --pixel-size-um UM"


def _parameters(card: dict) -> str:
    model = make_psf_model(card["psf"])
    parameters = model.parameters
    if model.mirrors:
        names = [p.name for p in parameters]
        span = f"{parameters[0].unit}, {parameters[0].low:g} to {parameters[0].high:.4g}"
        return f"{', '.join(names[:-1])} and {names[-1]} ({span} each)"
    told = [", ".join(filter(None, (p.unit, f"{p.low:g} to {p.high:.4g}"))) for p in parameters]
    return " and ".join(f"{p.name} ({words})" for p, words in zip(parameters, told, strict=True))


def _has_axis(card: dict) -> bool:
    return any(p.period is not None for p in make_psf_model(card["psf"]).parameters)


def _tests_only_flags(test: dict) -> bool:
    """Whether a test set only tests the flags."""
    recipe = test["recipe"]
    return bool(recipe["processed_share"] or recipe.get("other_blur_share"))


def _accuracy(card: dict) -> str:
    rows = []
    for test in card["tests"]:
        if _tests_only_flags(test):
            continue  # its raw half is tested elsewhere
        names = dict.fromkeys(row["parameter"] for row in test["figures"] if row["metric"] == "R2")
        for name in names:
            of = {row["metric"]: row for row in test["figures"] if row["parameter"] == name}
            axis = "circular-median" in of
            unit = _unit(card, name)
            rows.append(
                [
                    test["test_set"],
                    name,
                    _with_interval(of["R2"], 3),
                    "" if name == "mean" else _error(of["RMSE"]["value"], unit),
                    _with_interval(of["circular-median"], 2, math.degrees(1)) if axis else "",
                    str(of["R2"]["n"]),
                ]
            )
    head = ["test set", "parameter", "R²", "RMSE", "median axis error (degrees)", "n"]
    if not _has_axis(card):
        head, rows = head[:4] + head[5:], [row[:4] + row[5:] for row in rows]
    return _table(head, rows)


def _calibration(card: dict) -> str:
    groups = ["all", "spread fifth", "photons decade", "axis region"]
    rows = []
    for test in card["tests"]:
        if _tests_only_flags(test):
            continue
        for name in dict.fromkeys(row["parameter"] for row in test["calibration"]):
            of = [row for row in test["calibration"] if row["parameter"] == name]
            cells = []
            for group in groups:
                held = [
                    row["coverage"]
                    for row in of
                    if row["group"] == group and (row["n"] >= LEAST or group == "all")
                ]
                ends = sorted({f"{min(held):.3f}", f"{max(held):.3f}"}) if held else [""]
                cells.append(" to ".join(ends))
            kept = {
                row["kept_share"]: row["value"]
                for row in test["abstention"]
                if row["parameter"] == name
            }
            unit = _unit(card, name)
            errors = [_error(kept.get(share), unit) for share in (1, 0.8)]
            rows.append([test["test_set"], name, *cells, *errors])
    head = [
        *("test set", "parameter", "all", "fifths of spread", "decades of photons", "axis regions"),
        *("error of all", "of the surest 80 %"),
    ]
    if not _has_axis(card):
        head, rows = head[:5] + head[6:], [row[:5] + row[6:] for row in rows]
    text = _table(head, rows)
    return f"{text}\n\nErrors are RMSE; an axis' is the median." if _has_axis(card) else text


def _flags(card: dict) -> str:
    words = {
        ("validity", "accuracy"): "texture judged rightly",
        ("alarm", "false-alarms"): "raw patches that raise the alarm",
        ("alarm", "found"): "processed patches that raise the alarm",
        ("other_blur", "false-alarms"): "patches said to be blurred by another PSF",
        ("other_blur", "found"): "patches blurred by another PSF that are said to be",
        ("mirror", "accuracy"): "PSFs told from their mirror images, where they differ",
        ("mirror", "accuracy-if-sure"): "the same, where the network is sure (above 0.9)",
    }
    rows = [
        [
            test["test_set"],
            words[row["parameter"], row["metric"]],
            _with_interval(row, 3),
            str(row["n"]),
        ]
        for test in card["tests"]
        for row in test["figures"]
        if (row["parameter"], row["metric"]) in words
    ]
    return _table(["test set", "share of", "value", "n"], rows)


def _test_sets(card: dict) -> str:
    rows = []
    for test in card["tests"]:
        recipe = test["recipe"]
        rows.append(
            [
                test["test_set"],
                ", ".join(recipe["objects"]["kinds"]),
                _camera(recipe["camera"]),
                _ranges(recipe["psf"]),
                f"{test['samples']}",
                f"{test['seed']}",
            ]
        )
    note = "Real pictures are of the `test` split of `isoplan/objects/pictures.py`, which trains nothing."
    return _table(["name", "scenes", "camera", "PSF", "samples", "seed"], rows) + f"\n\n{note}"


def _training(card: dict) -> str:
    spec, objects = card["network"], card["objects"]
    return _table(
        ["", ""],
        [
            ["network", f"{spec['architecture']}, {card['parameters']:,} parameters"],
            ["scenes", f"{', '.join(objects['kinds'])}; zoom {_span(objects['zoom'])}"],
            ["PSF", _ranges(card["psf"])],
            ["camera", _camera(card["camera"])],
            ["showing nothing", f"{100 * card['black_share']:g} %"],
            ["processed after exposure", f"{100 * card.get('processed_share', 0):g} %"],
            ["blurred by another PSF", f"{100 * card.get('other_blur_share', 0):g} %"],
            ["samples", f"{card['samples']:,}" + _passes(spec)],
            ["seed", str(card["seed"])],
        ],
    )


def _passes(spec: dict) -> str:
    return f", each learnt from {spec['passes']} times" if spec.get("passes", 1) > 1 else ""


def _camera(camera: dict) -> str:
    words = [f"{_span(camera['photons'])} photons", f"read noise {_span(camera['read_noise_e'])} e"]
    if camera["bits"]:
        words.append(f"{_span(camera['gain'])} counts/e, rounded")
    return ", ".join(words)


def _ranges(psf: dict) -> str:
    """Ranges of the model's parameters, its cut-off and the side of its window."""
    model = make_psf_model(psf)
    words = [f"{p.name} {p.span}" for p in model.parameters]
    if model.mirrors:
        words = [f"{len(words)} modes {model.parameters[0].span} each"]
    if model.knows_cutoff:
        words.append(f"cut-off {_span(psf.get('cutoff_range') or [psf['cutoff']])} cycles/px")
    form = "" if psf["form"] == "isoplan" else f", {psf['form']} form"
    return f"{', '.join(words)}; {psf['size_px']} px{form}"


def _span(values: list) -> str:
    ends = dict.fromkeys(f"{value:g}" for value in values)
    return " to ".join(ends)


def _unit(card: dict, name: str) -> str:
    return next((p.unit for p in make_psf_model(card["psf"]).parameters if p.name == name), "")


def _error(value: float | None, unit: str) -> str:
    if value is None:
        return NO_FIGURE
    return f"{math.degrees(value):.2f} degrees" if unit == "rad" else of_unit(f"{value:.3g}", unit)


def _with_interval(row: dict, digits: int, scale: float = 1) -> str:
    if row["value"] is None:
        return NO_FIGURE
    text = f"{scale * row['value']:.{digits}f}"
    if row["low"] is None:
        return text
    return f"{text} ({scale * row['low']:.{digits}f} to {scale * row['high']:.{digits}f})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
