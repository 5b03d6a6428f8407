"""`train` and `evaluate`: train or evaluate one network of a study, with samples made in memory."""

import argparse
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pandas as pd

from isoplan import tasks
from isoplan.base.device import pick_device
from isoplan.base.errors import UserError
from isoplan.base.fingerprint import library_hashes
from isoplan.base.imports import load_named
from isoplan.base.resources import ROOT
from isoplan.base.rows import TaskRow
from isoplan.cli.outputs import Outputs, refuse_foreign
from isoplan.config.entries import entry, recipe_of, told
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


@dataclass(frozen=True)
class Candidate:
    """An entry of a study that is a network, of any task."""

    study: dict
    name: str
    row: TaskRow

    @property
    def spec(self) -> dict:
        """The entry, with what counts of it alone."""
        return told(self.study, self.row.listed, self.name)

    @property
    def recipe(self) -> dict:
        return import_module(self.row.study).recipe(self.study, self.name)

    @property
    def asked(self) -> list[dict]:
        """The test sets that judge it for release."""
        return import_module(self.row.study).asked(self.study, self.name)

    def task(self, device) -> Task:
        """Its training; validation samples are made in memory."""
        make = load_named(self.row.task).of_config
        return make(self.recipe, self.spec, seed=self.study["seed"], device=device)

    def library(self, rule: str, part: str) -> dict[str, str]:
        """Hashes of the code by module, as in the workflow's rule, so that each can continue from the other's checkpoints.

        rule: name of the rule's script. part: what the script loads of the network's task, as "module:name".
        """
        chosen = import_module(self.row.study).code(self.study, self.name)
        return library_hashes(SCRIPTS / f"{rule}.py", part, *chosen)


def candidates(study: dict) -> dict[str, Candidate]:
    """All networks of a study by name; of two lists that have one name, `networks` first."""
    found: dict[str, Candidate] = {}
    for row in tasks.TASKS.values():
        for item in study[row.listed]:
            own = tasks.of(item) if row.listed == "networks" else row
            found.setdefault(item["name"], Candidate(study, item["name"], own))
    return found


def train(args: argparse.Namespace) -> int:
    """Train one network; validation samples are made in memory."""
    network = _network_of(args)
    task = network.task(pick_device(args.device))
    refuse_other_training(args, args.folder, task, network)
    finished = training.train(
        task,
        args.folder,
        library=network.library("train_network", network.row.task),
        stop_after_s=60 * (args.stop_after_minutes or float("inf")),
    )
    if not finished:
        print(
            f"time is up; run the same command again to continue from {args.folder}/checkpoint.pt"
        )
        return UNFINISHED
    weights = args.folder / "network.safetensors"
    print(f"network: {weights}")
    if network.row.listed == "networks":
        print(f"next: isoplan evaluate {args.config} {args.network} {weights} --out FILE.csv")
    return 0


def refuse_other_training(
    args: argparse.Namespace, folder: Path, task: Task, network: Candidate, *released: Path
) -> None:
    """Refuse to overwrite foreign files or, without --overwrite, the results of another training.

    A training takes hours. released: further files that would be written.
    """
    places = [*(folder / name for name in TRAINING_FILES), *released]
    refuse_foreign(*places)
    library = network.library("train_network", network.row.task)
    mark = training.training_fingerprint(task, library)
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


def evaluate(args: argparse.Namespace) -> int:
    """Write a network's regression metrics, as the rule `evaluate_network` does."""
    network = _network_of(args)
    if network.row.listed != "networks":
        raise UserError(
            f"{args.config}: {args.network} is an entry of {network.row.listed}, which a study's own tables judge; see its report"
        )
    beside = [args.out.with_suffix(f".{name}.csv") for name in EXTRA_TABLES]
    read = [args.config, args.weights]
    if args.out.suffix.lower() != ".csv":
        raise UserError(f"{args.out}: the name must end in .csv")
    with Outputs(
        args.out, *beside, sources=read, overwrite=args.overwrite, header=REGRESSION_HEADER
    ) as found:
        _evaluate(args, network, found)
        found.deliver()
    print(
        f"all metrics: {args.out}; beside it, {args.out.stem}.calibration.csv and .abstention.csv"
    )
    return 0


def _evaluate(args: argparse.Namespace, network: Candidate, outputs: Outputs) -> None:
    study = network.study
    tests = [test for test in study["tests"] if test["network"] == args.network]
    if not tests:
        raise UserError(f"{args.config}: tests names no test set for {args.network}; add one")
    make = load_named(network.row.judge)
    judge = make(args.weights, pick_device(args.device), network.recipe)
    parts, samples = [], {}
    for test in tests:
        name = test["test_set"]
        if name not in samples:
            item = entry(study, "test_sets", name)
            asked = {"test_set": name, "seed": study["seed"], "recipe": recipe_of(study, item)}
            samples[name] = judge.samples(asked, item["samples"])
        parts.append(
            judge.judge_test(
                samples[name], test, train_set=network.spec["objects"], seed=study["seed"]
            )
        )
    regression = pd.concat([part.regression for part in parts])
    regression.to_csv(outputs[args.out], index=False)
    for name in EXTRA_TABLES:
        table = pd.concat([getattr(part, name) for part in parts])
        table.to_csv(outputs[args.out.with_suffix(f".{name}.csv")], index=False)
    shown = regression[regression["metric"].isin(judge.compared)]
    columns = ["test_set", "degradation", "level", "parameter", "metric", "value", "low", "high"]
    print(shown[columns].to_string(index=False))


def _network_of(args: argparse.Namespace) -> Candidate:
    known = candidates(load(args.config))
    if args.network not in known:
        raise UserError(f"{args.config}: has no network {args.network}; known: {', '.join(known)}")
    return known[args.network]
