"""Gains of published networks that enhance (T. Bon, Tables 2 to 7) beside those of a study's."""

import pandas as pd

from isoplan.applications.enhancement.filters import RAW
from isoplan.report import style
from isoplan.report.published import FOLDER
from isoplan.report.results import Study
from isoplan.report.section import Part
from isoplan.report.tables import Cell, Table

NAME = "tables_2_to_7"
LABELS = {"autoencoder": "Convolutional autoencoder", "perceptual": "The same with perceptual loss"}
LABELS |= {"pix2pix": "Pix2Pix", "cyclegan": "CycleGAN"}
DECIMALS = {"PSNR": 2, "SSIM": 3}
WORDS = (
    "Gains over the input, means over the pictures of each: published ones of kidney and convallaria under a multi-alkali and "
    "a GaAsP detector, and ours on the test fields of {}. The pictures differ, the published ones are not public, and the "
    "printed formulas cannot give them on one scale of 8 bits: they are context and no bar. Ours are after a line that fits "
    "brightness and contrast best; theirs are as printed."
)


def kind_of(network: dict) -> str | None:
    """The published network that an entry of `enhancers` is of the kind of.

    Examples
    --------
    >>> kind_of({"learns_from": "unpaired"}), kind_of({"adversarial": 0.1}), kind_of({"architecture": "unet"})
    ('cyclegan', 'pix2pix', None)
    """
    if network.get("learns_from", "pairs") == "unpaired":
        return "cyclegan"
    if network.get("learns_from", "pairs") != "pairs":
        return None
    if network.get("adversarial"):
        return "pix2pix"
    if network.get("architecture") != "autoencoder":
        return None
    return "perceptual" if network.get("perceptual") else "autoencoder"


def part(study: Study, name: str, rows: pd.DataFrame) -> list[Part]:
    """rows: enhancement.csv of the entry `name`. [] where the study does not ask for it."""
    if (study.config.get("report") or {}).get("published") != NAME:
        return []
    table = pd.read_csv(FOLDER / f"{NAME}.csv").drop(columns="table")
    theirs = table.set_index(["method", "metric"])
    means = rows.groupby(["method", "metric"])["value"].mean()
    cells = []
    for kind, label in LABELS.items():
        own = [one["name"] for one in study.config["enhancers"] if kind_of(one) == kind]
        own = [one for one in own if (one, "PSNR") in means.index]
        line = [Cell(label)]
        for metric, decimals in DECIMALS.items():
            gain = (theirs.loc[(kind, metric)] - theirs.loc[("input", metric)]).mean()
            line.append(Cell(style.signed(gain, decimals)))
        for metric, decimals in DECIMALS.items():
            gains = [means[one, metric] - means[RAW, metric] for one in own]
            shown = (style.signed(gain, decimals) for gain in gains)
            line.append(Cell(", ".join(shown) or style.fixed(None)))
        cells.append([*line, Cell(", ".join(own) or style.fixed(None))])
    head = [
        "",
        "PSNR, published (dB)",
        "SSIM, published",
        "PSNR, ours (dB)",
        "SSIM, ours",
        "Network",
    ]
    return [
        Part("Published figures", words=[WORDS.format(name)], tables=[("", Table(head, cells))])
    ]
