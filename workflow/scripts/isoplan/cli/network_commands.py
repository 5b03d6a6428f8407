"""Arguments of the commands on networks: `train`, `evaluate`, `release`, `verify` and `export`."""

import argparse
from pathlib import Path

from isoplan.cli.options import PSF_MODELS, add_command, add_device, add_overwrite, positive_float
from isoplan.config.entries import MODELS


def add_train(commands) -> None:
    command = add_command(
        commands,
        "train",
        "isoplan.cli.network:train",
        "trains one network of a study's config",
        "Continues from FOLDER/checkpoint.pt if there is one. Exit code 3 means that the time ran out: run the same "
        "command again. With --folder results/<study>/networks/<network>, it continues a training that Snakemake "
        "began.",
    )
    _add_config(command)
    command.add_argument("--folder", required=True, type=Path, help="for network and checkpoint")
    _add_retrain(command)
    command.add_argument(
        "--stop-after-minutes",
        type=positive_float,
        metavar="M",
        help="stop after the current epoch",
    )
    add_device(command)


def add_evaluate(commands) -> None:
    command = add_command(
        commands,
        "evaluate",
        "isoplan.cli.network:evaluate",
        "evaluates a network on the study's test sets, made in memory",
        "Uses the test sets that the config's `tests` name for this network, and writes the rows of regression.csv.",
    )
    _add_config(command)
    command.add_argument("weights", help="the network's safetensors file")
    command.add_argument("--out", required=True, type=Path, metavar="FILE.csv", help="the result")
    add_overwrite(command)
    add_device(command)


def add_release(commands) -> None:
    command = add_command(
        commands,
        "release",
        "isoplan.cli.models:release",
        "trains, evaluates and documents networks for release",
        "For each of the study's networks: trains it (or continues from its checkpoint), evaluates it on the test sets "
        "that `tests` names, and writes <psf model>.safetensors (16-bit weights, with the card) and <psf model>.md. Exit "
        "code 3 means that the time ran out: run the same command again.",
    )
    command.add_argument("config", help="study file, such as config/studies/released.full.yaml")
    command.add_argument(
        "network", nargs="*", help="names of entries of its `networks`; all if none is given"
    )
    command.add_argument(
        "--folder",
        type=Path,
        help="for checkpoints, with a folder per network (default: results/<study>/networks)",
    )
    command.add_argument(
        "--stop-after-minutes",
        type=positive_float,
        metavar="M",
        help="stop after the current epoch or test set",
    )
    command.add_argument(
        "--out", type=Path, default=MODELS, help="folder for results (resources/models)"
    )
    _add_retrain(command)
    add_device(command)


def add_verify(commands) -> None:
    command = add_command(
        commands,
        "verify",
        "isoplan.cli.models:verify",
        "evaluates released networks again and compares the results with their cards",
        "Exit code 1 means that a figure differs.",
    )
    command.add_argument(
        "weights", nargs="*", type=Path, help="safetensors files (default: all of resources/models)"
    )
    command.add_argument(
        "--whole",
        action="store_true",
        help="use every sample of the test sets, not only the first 2000 of each; takes minutes per network",
    )
    add_device(command)


def add_export(commands) -> None:
    command = add_command(
        commands,
        "export",
        "isoplan.cli.models:export_network",
        "writes a network as a model of bioimage.io",
        "Its weights as a state dict, a tested example, the card as its documentation. Whoever runs it needs isoplan, which "
        "has the architecture.",
    )
    command.add_argument(
        "network",
        help=f"a released network ({', '.join(PSF_MODELS)}), or a safetensors file",
    )
    command.add_argument(
        *("-o", "--out"),
        type=Path,
        metavar="FOLDER",
        help="for the model (default: <network>-bioimageio)",
    )
    add_overwrite(command)


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", help="study file, such as config/config.yaml")
    command.add_argument("network", help="name of an entry of its `networks`")


def _add_retrain(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a network or checkpoint that isoplan trained with other settings or code",
    )
