"""`train` and `evaluate`: one network of a study's config, its samples made in memory."""

import argparse
from pathlib import Path

import pandas as pd

from isoplan import judging
from isoplan.base.device import pick_device
from isoplan.base.errors import UserError
from isoplan.base.fingerprint import library_hashes
from isoplan.cli.outputs import Outputs, spare
from isoplan.config.entries import code_of_network, entry, recipe_of, told
from isoplan.config.validation import load
from isoplan.networks import store
from isoplan.training import loop as training
from isoplan.training.samples import Recipe, make_set

UNFINISHED = 3  # exit code of a training that stopped for time
# Tables beside the regression's, and how each of them begins.
BESIDE, HEADER = ("calibration", "abstention"), "network,psf_model,train_set,test_set,"
MADE = ("network.safetensors", "checkpoint.pt", "card.json", "history.csv")  # by training
TRAINED = (".safetensors", ".pt", ".json")  # of these, what bears a training's fingerprint
SCRIPTS = Path(__file__).resolve().parents[2]


def train(args: argparse.Namespace) -> int:
    """Trains one network; the validation samples are made in memory."""
    study, spec = _network_of(args)
    recipe = Recipe(**recipe_of(study, spec))
    recipe.check()
    spare_trained(args, args.folder, recipe, spec, study)
    finished = training.train(
        recipe,
        spec,
        args.folder,
        seed=study["seed"],
        device=pick_device(args.device),
        library=library(study, args.network),
        stop_after_s=60 * (args.stop_after_minutes or float("inf")),
    )
    if not finished:
        print(f"time is up; run the same command again to go on from {args.folder}/checkpoint.pt")
        return UNFINISHED
    weights = args.folder / "network.safetensors"
    print(f"network: {weights}")
    print(f"next: python -m isoplan evaluate {args.config} {args.network} {weights} --out FILE.csv")
    return 0


def spare_trained(
    args: argparse.Namespace, folder: Path, recipe: Recipe, spec: dict, study: dict, *released: Path
) -> None:
    """Refuses a folder, and files to be released, that hold what isoplan did not make, or without --overwrite
    what another training made: hours of work."""
    places = [*(folder / name for name in MADE), *released]
    spare(*places)
    mark = training.mark_of(recipe, spec, seed=study["seed"], library=library(study, spec["name"]))
    for place in places:
        if place.suffix in TRAINED and not args.overwrite and training.of_another(place, mark):
            raise UserError(
                f"{place}: is of a training with other settings or code, and would be written over; give another "
                "folder, or --overwrite"
            )


def library(study: dict, name: str) -> dict[str, str]:
    """Of the workflow's rule, so that each goes on from the other's checkpoints."""
    chosen = code_of_network(study, entry(study, "networks", name))
    return library_hashes(SCRIPTS / "train_network.py", *chosen)


def evaluate(args: argparse.Namespace) -> int:
    """Regression metrics of a network, as the rule evaluate_network writes them."""
    study, spec = _network_of(args)
    beside = [args.out.with_suffix(f".{name}.csv") for name in BESIDE]
    read = [args.config, args.weights]
    if args.out.suffix.lower() != ".csv":
        raise UserError(f"{args.out}: let its name end in .csv")
    with Outputs(args.out, *beside, sources=read, overwrite=args.overwrite, header=HEADER) as found:
        _evaluate(args, study, spec, found)
        found.deliver()
    print(f"all metrics: {args.out}; beside it {args.out.stem}.calibration.csv and .abstention.csv")
    return 0


def _evaluate(args: argparse.Namespace, study: dict, spec: dict, outputs: Outputs) -> None:
    tests = [test for test in study["tests"] if test["network"] == args.network]
    if not tests:
        raise UserError(f"{args.config}: tests names no test set for {args.network}; add one")
    device = pick_device(args.device)
    network, model, card = store.load(args.weights, device)
    store.check_fits(
        args.weights, card, told(study, "psfs", spec["psf"]), study["map"]["window_px"]
    )
    parts, batches = [], {}
    for test in tests:
        name = test["test_set"]
        if name not in batches:
            item = entry(study, "test_sets", name)
            batches[name] = make_set(
                Recipe(**recipe_of(study, item)),
                item["samples"],
                seed=study["seed"],
                stream=f"test/{name}",
                split="test",
            )
        parts.append(
            judging.judge_test(
                network, model, batches[name], device, test,
                train_set=spec["objects"], seed=study["seed"],
            )
        )  # fmt: skip
    regression = pd.concat([part.regression for part in parts])
    regression.to_csv(outputs[args.out], index=False)
    for name in BESIDE:
        table = pd.concat([getattr(part, name) for part in parts])
        table.to_csv(outputs[args.out.with_suffix(f".{name}.csv")], index=False)
    shown = regression[regression["metric"].isin(("R2", "circular-median"))]
    columns = ["test_set", "degradation", "level", "parameter", "metric", "value", "low", "high"]
    print(shown[columns].to_string(index=False))


def _network_of(args: argparse.Namespace) -> tuple[dict, dict]:
    study = load(args.config)
    names = [item["name"] for item in study["networks"]]
    if args.network not in names:
        raise UserError(f"{args.config}: has no network {args.network}; known: {', '.join(names)}")
    return study, told(study, "networks", args.network)
