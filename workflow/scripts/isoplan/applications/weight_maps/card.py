"""Writes the card of a released network of weights, only from the card in its file."""

from isoplan.applications.weight_maps.judging import RESULT
from isoplan.applications.weight_maps.trials import BEST, MEAN, ONE, RAW

NAMES = {
    RAW: "the picture itself",
    ONE: "one weight for all (with the truth)",
    BEST: "the best weight of each picture (with the truth)",
    RESULT: "**this network**",
    RESULT + MEAN: "the mean of its map",
}


def limits(card: dict) -> list[str]:
    """Sentences on what the network cannot do."""
    own = card["network"]
    photons = " to ".join(f"{value:g}" for value in own["photons"])
    wrong = " to ".join(f"{100 * value:g}" for value in own["psf_error"])
    return [
        f"It learnt from simulated pictures with {photons} photons at the brightest pixels, and read noise of up to "
        f"{own['read_noise_e'][1]:g} electrons. The camera's gain has to be known.",
        f"Its PSFs were wrong by {wrong} % of their width, and it was told by how much. With PSFs of another kind or "
        "twice too wide it smooths too little.",
        f"Its weights go with {own['iterations']} iterations of {own['scheme']} and with isotropic total variation.",
        "Saturated and dead pixels are filled in before it sees them.",
    ]


def markdown(card: dict) -> str:
    """The whole card as Markdown; the same card always gives the same text."""
    made, network = card["released"], card["network"]
    title = f"weight-maps/{network['name']}"
    kinds = ", ".join(card["objects"]["kinds"])
    psfs = ", ".join(psf["model"] for psf in card["psfs"])
    parts = [
        f"# {title}",
        "<!-- Written by `python -m isoplan release` from the card in the .safetensors file. -->",
        "Tells from a picture and its PSFs the weight of total variation at each pixel.",
        "    python -m isoplan restore PICTURE --tv-weight learnt -o OUT.ome.zarr",
        "## How well",
        "Gain of PSNR in dB over the best weight for all pictures with as many photons, with 95 % intervals over pictures.",
        _figures(card),
        "## Training",
        f"{card['samples']} pictures ({kinds}), blurred by {psfs}; {card['parameters']} parameters, seed {card['seed']}, torch "
        f"{card['torch']} on {card['device']}. Best epoch {card['best']['epoch']}.",
        f"Made by `{made['command']}`, isoplan {made['isoplan']}, commit {made['commit']}.",
        "## Known limits",
        "\n".join(f"- {text}" for text in card["limits"]),
    ]
    return "\n\n".join(parts) + "\n"


def _figures(card: dict) -> str:
    lights = list(
        dict.fromkeys(
            row["parameter"].partition("/")[0] for test in card["tests"] for row in test["figures"]
        )
    )
    heads = ["all" if light == "all" else f"{light} photons" for light in lights]
    lines = [f"| test | | {' | '.join(heads)} | n |", "| --- " * (len(heads) + 3) + "|"]
    for test in card["tests"]:
        by = {(row["parameter"], row["metric"]): row for row in test["figures"]}
        for method in dict.fromkeys(row["parameter"].partition("/")[2] for row in test["figures"]):
            rows = [by.get((f"{light}/{method}", "gain")) for light in lights]
            cells = [_cell(row) for row in rows]
            count = next(row["n"] for row in rows if row)
            lines.append(
                f"| {test['test_set']} | {NAMES[method]} | {' | '.join(cells)} | {count} |"
            )
    return "\n".join(lines)


def _cell(row: dict | None) -> str:
    if row is None:
        return ""
    value, low, high = (f"{row[key]:+.2f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
