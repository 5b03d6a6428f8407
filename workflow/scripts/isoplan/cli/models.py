"""`release` and `verify`: release a study's networks with their cards, and check the cards."""

import argparse
import json
import math
import subprocess
import time
from importlib import import_module
from pathlib import Path

import pandas as pd

from isoplan import __version__, tasks
from isoplan.base.device import pick_device
from isoplan.base.errors import UserError
from isoplan.base.fingerprint import fingerprint
from isoplan.base.imports import load_named
from isoplan.base.resources import ROOT
from isoplan.cli.network import UNFINISHED, Candidate, candidates, refuse_other_training
from isoplan.cli.options import PSF_MODELS
from isoplan.cli.outputs import Outputs, is_file, refuse_foreign
from isoplan.config import entries
from isoplan.config.validation import load
from isoplan.networks import store
from isoplan.networks.bioimageio import export
from isoplan.training import loop as training
from isoplan.training import psf_card
from isoplan.training.task import Judge, Judgement

LARGEST_BYTES = 8_000_000
# The first samples of a test set are also evaluated on their own, so that a card can be checked quickly.
QUICK_SAMPLES = 2000


def release(args: argparse.Namespace) -> int:
    """Train, evaluate and document networks of a study, one after the other."""
    known = candidates(load(args.config))
    # A study whose networks are all given releases nothing unless it is told what.
    names = args.network or [name for name, one in known.items() if one.row.listed == "networks"]
    for name in names:
        if name not in known:
            raise UserError(f"{args.config}: has no network {name}; known: {', '.join(known)}")
    networks = [known[name] for name in names]
    files = [_released_file(args, network) for network in networks]
    if twice := {str(file) for file in files if files.count(file) > 1}:
        raise UserError(f"{args.config}: two networks would be written to {', '.join(twice)}")
    end = time.monotonic() + 60 * (args.stop_after_minutes or math.inf)
    for network, file in zip(networks, files, strict=True):
        if time.monotonic() >= end or not _release(args, network, file, end):
            print("time is up; run the same command again to continue")
            return UNFINISHED
        print(f"released: {file} ({file.stat().st_size / 1e6:.1f} MB), card: {_card_of(file)}")
    print("next: make verify-models")
    return 0


def _released_file(args, network: Candidate) -> Path:
    """The file that a network will be released as. Raises UserError if the release is bound to fail."""
    if network.spec.get("weights"):
        raise UserError(
            f"{args.config}: {network.name} has weights; only networks that are trained here are released"
        )
    if not network.asked:
        raise UserError(
            f"{args.config}: tests names no test set for {network.name}; add one"
            if network.row.listed == "networks"
            else f"{args.config}: no simulated test set names {network.name}, so that nothing judges it; add one"
        )
    task = network.task(pick_device("cpu"))
    _to_half_precision(network.name, task.network)
    file, folder = args.out / f"{task.released_as}.safetensors", _folder(args, network)
    refuse_foreign(_card_of(file), folder / "released.safetensors")
    refuse_other_training(args, folder, task, network, file)
    return file


def _folder(args, network: Candidate) -> Path:
    results = Path("results") / network.study["study"] / network.row.listed
    return (args.folder or results) / network.name


def _to_half_precision(name: str, network):
    """Convert weights of two and more dimensions to 16 bits; the few others, such as variances, stay.

    Raises UserError if the file would be too large or a weight exceeds the range of 16-bit floats.
    """
    for weight in network.parameters():
        if weight.ndim > 1:
            weight.data = weight.data.half()
            if not weight.isfinite().all():
                raise UserError(
                    f"networks {name}: has weights beyond 65504, the limit of 16-bit floats"
                )
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size > LARGEST_BYTES:
        raise UserError(
            f"networks {name}: {size / 1e6:.1f} MB in 16 bits exceed the "
            f"{LARGEST_BYTES / 1e6:.0f} MB that a released network may have; lower width"
        )
    return network


def _release(args, network: Candidate, file: Path, end: float) -> bool:
    """Train and evaluate one network as far as time allows; True if it is released."""
    device, folder, row = pick_device(args.device), _folder(args, network), network.row
    finished = training.train(
        network.task(device),
        folder,
        library=network.library("train_network", row.task),
        stop_after_s=end - time.monotonic(),
    )
    if not finished:
        return False
    # The weights are evaluated as they are released, in 16 bits.
    trained = load_named(row.judge)(folder / "network.safetensors", pick_device("cpu"))
    halved, card = _to_half_precision(network.name, trained.network), trained.card
    draft = folder / "released.safetensors"
    store.save(draft, halved, card)
    judge, judged = load_named(row.judge)(draft, device), []
    for asked in network.asked:
        if time.monotonic() >= end:
            return False
        judged.append(_judge_once(folder, judge, network, asked))
    card |= {"released": _origin(args, network.name), "tests": judged}
    words = import_module(row.words)
    card["limits"] = words.limits(card)
    store.save(file, halved, card)
    _card_of(file).write_text(words.markdown(card))
    return True


def _judge_once(folder: Path, judge: Judge, network: Candidate, asked: dict) -> dict:
    """Results on one test set for the card; stored in the folder, so that a restart does not repeat it."""
    code = network.library("evaluate_network", network.row.judge)
    mark = fingerprint(asked, QUICK_SAMPLES, judge.card["fingerprint"], code)
    kept = folder / "judged" / f"{asked['test_set']}.json"
    if kept.exists():
        found = json.loads(kept.read_text())
        if found.pop("mark") == mark:
            return found
    print(f"evaluating on {asked['test_set']}, {asked['samples']} samples", flush=True)
    whole = judge.judge(judge.samples(asked, asked["samples"]))
    found = asked | {
        "figures": _json_rows(whole.regression),
        "calibration": _json_rows(whole.calibration),
        "abstention": _json_rows(whole.abstention),
    }
    if asked["samples"] > QUICK_SAMPLES:
        first = judge.judge(judge.samples(asked, QUICK_SAMPLES))
        found["first"] = {"samples": QUICK_SAMPLES, "figures": _json_rows(first.regression)}
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(found | {"mark": mark}))
    return found


def _json_rows(table: pd.DataFrame) -> list[dict]:
    """Rows of a table for JSON: six significant digits, null for NaN."""
    return [
        {key: _json_value(value) for key, value in row.items()} for row in table.to_dict("records")
    ]


def _json_value(value):
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _origin(args, name: str) -> dict:
    """The command that made a network, and the version of the code."""
    path = Path(args.config).resolve()
    file = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    return {
        "command": f"isoplan release {file} {name}",
        "isoplan": __version__,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the code, with "-dirty" if files differ from it; None if git does not know."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _card_of(file: Path) -> Path:
    return file.with_suffix(".md")


# Verification ---------------------------------------------------------------------------------------------


def verify(args: argparse.Namespace) -> int:
    """Evaluate released networks again on their cards' test sets; returns 1 if a figure differs."""
    released = (sorted(entries.MODELS.glob(f"{depth}*.safetensors")) for depth in ("", "*/"))
    files = args.weights or [file for each in released for file in each]
    if not files:
        raise UserError("resources/models: has no released network; make models trains them")
    device, wrong = pick_device(args.device), 0
    for file in files:
        row = tasks.of(store.read(file)[0])
        judge, words = load_named(row.judge)(file, device), import_module(row.words)
        card = judge.card
        if "tests" not in card:
            raise UserError(
                f"{file}: its card names no test sets; only released networks have them"
            )
        if not _card_of(file).is_file() or _card_of(file).read_text() != words.markdown(card):
            print(f"{file.name}: {_card_of(file).name} beside it does not match its card")
            wrong += 1
        for asked in card["tests"]:
            said = asked if args.whole else asked.get("first", asked)
            found = judge.judge(judge.samples(asked, said["samples"]))
            title = f"{file.stem} on {asked['test_set']}, {said['samples']} samples"
            wrong += _compare(title, said["figures"], found, judge.compared)
    print("all figures match the cards" if not wrong else f"{wrong} figures differ from the cards")
    return 1 if wrong else 0


def _compare(title: str, said: list[dict], found: Judgement, compared: dict) -> int:
    """Print a card's figures beside those measured now, and return how many differ too much.

    compared: as in `training.task.Judge`.
    """
    print(title)
    now = {(row["parameter"], row["metric"]): row["value"] for row in _json_rows(found.regression)}
    wrong = 0
    for row in said:
        if row["metric"] not in compared:
            continue
        tolerance, scale = compared[row["metric"]]
        value, other = row["value"], now.get((row["parameter"], row["metric"]))
        if value is None or other is None:
            differs = value is not other
        else:
            differs = abs(value - other) > tolerance
        figures = [f"{scale * v:.4f}" if v is not None else "none" for v in (value, other)]
        note = "  DIFFERS" if differs else ""
        print(f"  {row['metric']} {row['parameter']}: card {figures[0]}, now {figures[1]}{note}")
        wrong += differs
    return wrong


# Export ------------------------------------------------------------------------------------------------


def export_network(args: argparse.Namespace) -> int:
    """Write a network as a model of bioimage.io."""
    file = entries.released(args.network) if args.network in PSF_MODELS else Path(args.network)
    folder = args.out or Path(f"{file.stem}-bioimageio")
    if is_file(folder) or folder.suffix.lower() == ".zarr":
        raise UserError(f"{folder}: is not the name of a folder; give one without an ending")
    card, _ = store.read(file, store.PSF_REGRESSION)
    with Outputs(folder, sources=[file], overwrite=args.overwrite) as outputs:
        outputs[folder].mkdir()
        page = psf_card.markdown(card) if "released" in card else json.dumps(card, indent=1)
        export(file, outputs[folder], card_page=page)
        outputs.deliver()
    print(
        f"model: {folder}/bioimageio.yaml; check it with bioimageio.core: bioimageio test {folder}/bioimageio.yaml"
    )
    return 0
