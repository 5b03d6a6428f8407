"""`train` and `evaluate`: train or evaluate one network of a study, with samples made in memory."""

import argparse
from pathlib import Path

import pandas as pd

from isoplan import tasks
from isoplan.base.device import pick_device
from isoplan.base.errors import UserError
from isoplan.base.fingerprint import library_hashes
from isoplan.base.imports import load_named
from isoplan.base.resources import ROOT
from isoplan.cli.outputs import Outputs, refuse_foreign
from isoplan.config.entries import code_of_network, entry, recipe_of, told
from isoplan.config.validation import load
from isoplan.training import loop as training
from isoplan.training.task import Task

UNFINISHED = 3  # exit code of a training that stopped for time
# Tables that are written beside the regression table, and the first columns of all of them.
EXTRA_TABLES, REGRESSION_HEADER = (
    ("calibration", "abstention"),
    "network,psf_model,train_set,test_set,",
)
TRAINING_FILES = ("network.safetensors", "checkpoint.pt", "card.json", "history.csv")  # by training
FINGERPRINTED = (".safetensors", ".pt", ".json")  # of these, what bears a training's fingerprint
SCRIPTS = ROOT / "workflow" / "scripts"


def train(args: argparse.Namespace) -> int:
    """Train one network; validation samples are made in memory."""
    study, spec = _network_of(args)
    task = task_of(study, spec, pick_device(args.device))
    refuse_other_training(args, args.folder, task, study)
    finished = training.train(
        task,
        args.folder,
        library=library("train_network", study, spec, tasks.of(spec).task),
        stop_after_s=60 * (args.stop_after_minutes or float("inf")),
    )
    if not finished:
        print(
            f"time is up; run the same command again to continue from {args.folder}/checkpoint.pt"
        )
        return UNFINISHED
    weights = args.folder / "network.safetensors"
    print(f"network: {weights}")
    print(f"next: isoplan evaluate {args.config} {args.network} {weights} --out FILE.csv")
    return 0


def task_of(study: dict, spec: dict, device) -> Task:
    """The training task of an entry of `networks`; it makes its validation samples in memory."""
    make = load_named(tasks.of(spec).task).of_config
    return make(_recipe(study, spec), spec, seed=study["seed"], device=device)


def _recipe(study: dict, spec: dict) -> dict:
    """Recipe of the whole entry, which a network that is not trained here must fit, too."""
    return recipe_of(study, entry(study, "networks", spec["name"]))


def refuse_other_training(
    args: argparse.Namespace, folder: Path, task: Task, study: dict, *released: Path
) -> None:
    """Refuse to overwrite foreign files or, without --overwrite, the results of another training.

    A training takes hours. released: further files that would be written.
    """
    places = [*(folder / name for name in TRAINING_FILES), *released]
    refuse_foreign(*places)
    part = tasks.of(task.spec).task
    mark = training.training_fingerprint(task, library("train_network", study, task.spec, part))
    for place in places:
        if (
            place.suffix in FINGERPRINTED
            and not args.overwrite
            and training.is_of_other_training(place, mark)
        ):
            raise UserError(
                f"{place}: comes from a training with other settings or code and would be overwritten; give another "
                "folder, or --overwrite"
            )


def library(rule: str, study: dict, spec: dict, part: str) -> dict[str, str]:
    """Code hashes as in the workflow's rule, so that each can continue from the other's checkpoints.

    Parameters
    ----------
    rule
        Name of the rule and its script.
    study
        The checked config.
    spec
        The network's entry.
    part
        What the script loads of the network's task, as "module:name".

    Returns
    -------
    dict
        Hash of the code by module.
    """
    chosen = code_of_network(study, entry(study, "networks", spec["name"]))
    return library_hashes(SCRIPTS / f"{rule}.py", part, *chosen)


def evaluate(args: argparse.Namespace) -> int:
    """Write a network's regression metrics, as the rule `evaluate_network` does."""
    study, spec = _network_of(args)
    beside = [args.out.with_suffix(f".{name}.csv") for name in EXTRA_TABLES]
    read = [args.config, args.weights]
    if args.out.suffix.lower() != ".csv":
        raise UserError(f"{args.out}: the name must end in .csv")
    with Outputs(
        args.out, *beside, sources=read, overwrite=args.overwrite, header=REGRESSION_HEADER
    ) as found:
        _evaluate(args, study, spec, found)
        found.deliver()
    print(
        f"all metrics: {args.out}; beside it, {args.out.stem}.calibration.csv and .abstention.csv"
    )
    return 0


def _evaluate(args: argparse.Namespace, study: dict, spec: dict, outputs: Outputs) -> None:
    tests = [test for test in study["tests"] if test["network"] == args.network]
    if not tests:
        raise UserError(f"{args.config}: tests names no test set for {args.network}; add one")
    recipe = _recipe(study, spec)
    judge = load_named(tasks.of(spec).judge)(args.weights, pick_device(args.device), recipe)
    parts, samples = [], {}
    for test in tests:
        name = test["test_set"]
        if name not in samples:
            item = entry(study, "test_sets", name)
            asked = {"test_set": name, "seed": study["seed"], "recipe": recipe_of(study, item)}
            samples[name] = judge.samples(asked, item["samples"])
        parts.append(
            judge.judge_test(samples[name], test, train_set=spec["objects"], seed=study["seed"])
        )
    regression = pd.concat([part.regression for part in parts])
    regression.to_csv(outputs[args.out], index=False)
    for name in EXTRA_TABLES:
        table = pd.concat([getattr(part, name) for part in parts])
        table.to_csv(outputs[args.out.with_suffix(f".{name}.csv")], index=False)
    shown = regression[regression["metric"].isin(judge.compared)]
    columns = ["test_set", "degradation", "level", "parameter", "metric", "value", "low", "high"]
    print(shown[columns].to_string(index=False))


def _network_of(args: argparse.Namespace) -> tuple[dict, dict]:
    study = load(args.config)
    names = [item["name"] for item in study["networks"]]
    if args.network not in names:
        raise UserError(f"{args.config}: has no network {args.network}; known: {', '.join(names)}")
    return study, told(study, "networks", args.network)
