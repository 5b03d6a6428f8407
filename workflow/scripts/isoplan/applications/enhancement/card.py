"""Writes the card of a released network that enhances, only from the card in its file."""

from isoplan.applications.enhancement.judging import RAW, RESULT, RIVAL, SHOWN, TRUE

NAMES = {
    RAW: "the input",
    RIVAL: "a Gaussian, its width chosen on training fields",
    RESULT: "**this network**",
}
NAMES[TRUE] = "the noise-free truth"


def limits(card: dict) -> list[str]:
    """Sentences on what the network cannot do."""
    pairs = card["enhancement"]
    return [
        "It learnt from simulated specimens alone. Real tissue, and any other detector, objects or magnification, it may take "
        "for what it knows: pairs of your own teach a better one.",
        f"The detectors: quantum efficiencies of {pairs['low_efficiency']:g} and {pairs['high_efficiency']:g}, "
        f"{pairs['photons']:g} photons at the brightest pixels, a PSF of {pairs['blur_fwhm_px']:g} px.",
        "Its result is a mean of what may have been: what is as faint as the noise it smooths away or invents. `isoplan enhance` "
        "maps where a picture's own counts speak against the result.",
        "Noise is taken to differ from pixel to pixel. Noise that neighbours share stays in the result.",
    ]


def markdown(card: dict) -> str:
    """The whole card as Markdown; the same card always gives the same text."""
    pairs, made, network = card["enhancement"], card["released"], card["network"]
    title = f"enhancement/{pairs['name']}"
    parts = [
        f"# {title}",
        "<!-- Written by `python -m isoplan release` from the card in the .safetensors file. -->",
        "Takes a picture of a poor detector, and gives what a good one would have shown, without its noise.",
        f"    python -m isoplan enhance PICTURE --network resources/models/{title}.safetensors -o OUT.ome.zarr",
        "## How well",
        "Means over test fields of mosaics that it did not learn from, with 95 % intervals; PSNR in dB, of the target's range of "
        "values. The target's own noise caps both: the truth's row is the most to expect.",
        _figures(card),
        "## Training",
        f"{card['samples']} squares of {card['fields']} fields of {card['mosaics']} mosaics ({', '.join(pairs['kinds'])}); "
        f"architecture {network['architecture']}, {card['parameters']} parameters, seed {card['seed']}, torch {card['torch']} on "
        f"{card['device']}. Best epoch {card['best']['epoch']}.",
        f"Made by `{made['command']}`, isoplan {made['isoplan']}, commit {made['commit']}.",
        "## Known limits",
        "\n".join(f"- {text}" for text in card["limits"]),
    ]
    return "\n\n".join(parts) + "\n"


def _figures(card: dict) -> str:
    lines = ["| test fields | | " + " | ".join(SHOWN) + " | n |", "| --- | --- | --- | --- | --- |"]
    for test in card["tests"]:
        by = {(row["parameter"], row["metric"]): row for row in test["figures"]}
        for method in dict.fromkeys(row["parameter"] for row in test["figures"]):
            cells = [_cell(by[method, metric], 2 if metric == "PSNR" else 3) for metric in SHOWN]
            count = by[method, SHOWN[0]]["n"]
            lines.append(
                f"| {test['test_set']} | {NAMES[method]} | {' | '.join(cells)} | {count} |"
            )
    return "\n".join(lines)


def _cell(row: dict, decimals: int) -> str:
    value, low, high = (f"{row[key]:.{decimals}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
