"""Judging a network for PSF regression on a test set: errors with intervals, calibration, abstention.

The published robustness test (thesis 2.3.3) degrades the patches of one test set further and further.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from isoplan.base.seeds import torch_rng
from isoplan.metrics.regression import abstention, calibration, share, summarise
from isoplan.networks import store
from isoplan.networks.outputs import CHECK_BLOCK, Estimate, predict, to_estimate
from isoplan.optics.camera import degrade
from isoplan.training.samples import INVALID, VALID, Batch, Recipe, load_set, make_set
from isoplan.training.task import Judgement

SHOWN = 2000  # samples that predictions.csv keeps
COLUMNS = {
    "calibration": ["parameter", "group", "level", "coverage", "n"],
    "abstention": ["parameter", "kept_share", "metric", "value", "n"],
}


class PsfJudge:
    """A network for PSF regression and how it is judged; a `training.task.Judge`."""

    compared: ClassVar = {
        "R2": (0.002, 1.0),
        "circular-median": (math.radians(0.1), math.degrees(1)),
    }

    def __init__(self, file: str | Path, device, recipe: dict | None = None):
        self.network, self.model, self.card = store.load(file, device)
        self.device = device
        if recipe is not None:
            store.check_fits(file, self.card, recipe["psf"], recipe["window_px"])

    @staticmethod
    def stored(path: str | Path) -> Batch:
        """Test samples of a store."""
        return load_set(path)

    @staticmethod
    def samples(asked: dict, count: int) -> Batch:
        """The first samples of a test set, the same on every machine of one kind."""
        return make_set(
            Recipe(**asked["recipe"]),
            count,
            seed=asked["seed"],
            stream=f"test/{asked['test_set']}",
            split="test",
        )

    def judge(self, samples: Batch) -> Judgement:
        """Judges it on samples as they are."""
        return judge(self.network, self.model, samples, self.device)

    def judge_test(self, samples: Batch, test: dict, *, train_set: str, seed: int) -> Judgement:
        """Judges it as an entry of the config's `tests` asks."""
        return judge_test(
            self.network, self.model, samples, self.device, test, train_set=train_set, seed=seed
        )


def judge(
    network,
    model,
    batch: Batch,
    device,
    degradation: str = "none",
    strength: float = 0.0,
    seed: int = 0,
) -> Judgement:
    """Judges a network on a test set whose patches are degraded, or left as they are ("none").

    Intervals are by bootstrap over scenes; predictions are of up to SHOWN samples.
    degradation, strength: of `camera.degrade`. seed: of the noise that it adds; the same noise at every
    strength, only more of it, so that curves over strengths are smooth. The samples that count have
    usable texture before they are degraded. Beside R2 and errors of the PSF's parameters, regression
    has for parameter "validity" the share of patches judged rightly, for "alarm" the share of raw
    patches that raise it (false-alarms) and that of processed ones which do (found), and for
    "other_blur" the like of patches with texture.
    """
    found = estimate(network, model, batch, device, degradation, strength, seed)
    true, estimated = batch.params.numpy(), found.params.numpy()
    half, photons = found.half_width.numpy(), batch.photons.numpy()
    scene = batch.scene.numpy()
    usable = batch.measurable.numpy() & np.isfinite(estimated).all(1) & np.isfinite(half).all(1)
    rows = summarise(true, estimated, usable, model.parameters, scene)
    if degradation == "none":  # else the labels of texture and processing hold no more
        rows += _flags(found, batch)

    kept = slice(0, SHOWN)
    predictions = pd.concat(
        pd.DataFrame(
            {
                "parameter": parameter.name,
                "true": true[kept, k],
                "estimated": estimated[kept, k],
                "half_width": half[kept, k],
                "photons": photons[kept],
                "valid": usable[kept].astype(int),
            }
        )
        for k, parameter in enumerate(model.parameters)
    )
    judged = true[usable], estimated[usable], half[usable]
    held = calibration(*judged, photons[usable], model.parameters)
    return Judgement(
        pd.DataFrame(rows),
        predictions,
        pd.DataFrame(held, columns=COLUMNS["calibration"]),
        pd.DataFrame(abstention(*judged, model.parameters), columns=COLUMNS["abstention"]),
    )


def judge_test(
    network, model, batch: Batch, device, test: dict, *, train_set: str, seed: int
) -> Judgement:
    """Judges a network as an entry of the config's `tests` asks for, in tables as a study keeps them.

    test: network, test_set, degradation, strengths. train_set: the objects that it was trained on. All
    tables name network and test set, regression also psf_model, train_set, degradation and level (the
    strength). The other three are of samples as they are: empty for any degradation but "none".
    """
    degradation = test["degradation"]
    named = {"network": test["network"], "test_set": test["test_set"]}
    more = {"psf_model": model.spec["model"], "train_set": train_set, "degradation": degradation}
    levels = [
        judge(network, model, batch, device, degradation, strength, seed)
        for strength in test["strengths"]
    ]
    rows = [
        _after({**named, **more, "level": strength}, found.regression)
        for strength, found in zip(test["strengths"], levels, strict=True)
    ]
    kept = slice(None if degradation == "none" else 0)
    others = levels[0].predictions, levels[0].calibration, levels[0].abstention
    return Judgement(
        pd.concat(rows, ignore_index=True), *(_after(named, table.iloc[kept]) for table in others)
    )


def _after(named: dict, table: pd.DataFrame) -> pd.DataFrame:
    """The table behind columns of one value each."""
    return table.assign(**named)[[*named, *table.columns]]


def estimate(
    network,
    model,
    batch: Batch,
    device,
    degradation: str = "none",
    strength: float = 0.0,
    seed: int = 0,
) -> Estimate:
    """What the network makes of the patches, degraded as `judge` says, on the CPU.

    A block of patches at a time. A patch's noise is the same in a shorter or a longer set.
    """
    outputs = []
    for number, first in enumerate(range(0, len(batch.patches), CHECK_BLOCK)):
        block = slice(first, first + CHECK_BLOCK)
        patches = batch.patches[block]
        if degradation != "none":
            rng = torch_rng(seed, f"degradation/{degradation}", number)
            patches = _scaled(patches[:, 0])
            full = torch.cat([patches, patches[-1:].expand(CHECK_BLOCK - len(patches), -1, -1)])
            patches = degrade(full, degradation, strength, rng)[: len(patches), None]
        part = replace(batch, patches=patches, cutoff=batch.cutoff[block])
        outputs.append(predict(network, part, device))
    return to_estimate(torch.cat(outputs).float(), model)


def _scaled(patches: torch.Tensor) -> torch.Tensor:
    """Patches (n, h, w) in [0, 1], each by its own maximum, as published."""
    patches = patches.clamp_min(0)
    return patches / patches.amax((1, 2), keepdim=True).clamp_min(1e-12)


def _flags(found: Estimate, batch: Batch) -> list[dict]:
    """Rows of validity, alarm and other blurs."""
    invalid, scene = batch.invalid.numpy(), batch.scene.numpy()
    decided = (invalid == VALID) | (invalid == INVALID)
    right = (found.validity.numpy() < 0.5) == (invalid == INVALID)
    alarm, processed = found.alarm.numpy() > 0.5, batch.processed.numpy() > 0
    other, other_blur = found.other_blur.numpy() > 0.5, batch.other_blur.numpy() > 0
    shown = (invalid == VALID) & ~processed
    rows = [
        ("validity", "accuracy", right, decided & ~processed),
        ("alarm", "false-alarms", alarm, ~processed),
        ("alarm", "found", alarm, processed),
        ("other_blur", "false-alarms", other, shown & ~other_blur),
        ("other_blur", "found", other, shown & other_blur),
    ]
    return [
        {"parameter": parameter, "metric": metric, **share(values[use], scene[use])}
        for parameter, metric, values, use in rows
        if use.any()
    ]
