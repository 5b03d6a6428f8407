"""Evaluates a network for PSF regression on a test set: errors, calibration, abstention.

The published robustness test (thesis, 2.3.3) degrades the patches of a test set more and more.
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
from isoplan.training.psf_regression import MIRROR_WAVES
from isoplan.training.samples import INVALID, VALID, Batch, Recipe, load_set, make_set
from isoplan.training.task import Judgement

KEPT_PREDICTIONS = 2000  # number of samples in predictions.csv
SURE = 0.9  # probability from which a network is sure of a mirror image
COLUMNS = {
    "calibration": ["parameter", "group", "level", "coverage", "n"],
    "abstention": ["parameter", "kept_share", "metric", "value", "n"],
}


class PsfJudge:
    """A network for PSF regression and its evaluation; a `training.task.Judge`."""

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
        """Load the test samples of a store."""
        return load_set(path)

    @staticmethod
    def samples(asked: dict, count: int) -> Batch:
        """Make the first samples of a test set, which are the same on every machine of one kind."""
        return make_set(
            Recipe(**asked["recipe"]),
            count,
            seed=asked["seed"],
            stream=f"test/{asked['test_set']}",
            split="test",
        )

    def judge(self, samples: Batch) -> Judgement:
        """Evaluate the network on samples as they are."""
        return judge(self.network, self.model, samples, self.device)

    def judge_test(self, samples: Batch, test: dict, *, train_set: str, seed: int) -> Judgement:
        """Evaluate the network by an entry of the config's `tests`."""
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
    """Evaluate a network on a test set, with patches degraded or left as they are ("none").

    Only samples that have usable texture before they are degraded count. Intervals come from a
    bootstrap over scenes.

    Parameters
    ----------
    network, model
        The network and its PSF model.
    batch
        The test set.
    device
        Where the network lies.
    degradation, strength
        Arguments of `camera.degrade`.
    seed
        Seed of the noise that is added. The same noise is scaled for every strength, so that curves
        over strengths are smooth.

    Returns
    -------
    Judgement
        Besides R2 and errors of the PSF's parameters, `regression` has further rows. "validity": the
        share of patches that are classified correctly. "alarm": the share of raw patches that raise it
        (false-alarms) and of processed patches that do (found). "other_blur": the same for patches with
        texture.
    """
    found = estimate(network, model, batch, device, degradation, strength, seed)
    true, estimated = batch.params.numpy(), model.nearest(found.params, batch.params).numpy()
    half, photons = found.half_width.numpy(), batch.photons.numpy()
    scene = batch.scene.numpy()
    usable = batch.measurable.numpy() & np.isfinite(estimated).all(1) & np.isfinite(half).all(1)
    rows = summarise(true, estimated, usable, model.parameters, scene)
    if degradation == "none":  # a degradation makes the labels of texture and processing wrong
        rows += _flag_rows(found, batch)
        if model.mirrors:
            rows += _mirror_rows(found, batch, model, usable)

    kept = slice(0, KEPT_PREDICTIONS)
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
    """Evaluate a network by an entry of the config's `tests`, in the form of a study's tables.

    All tables have the columns network and test_set. `regression` also has psf_model, train_set,
    degradation and level (the strength). The other three tables describe samples as they are, so they
    are empty for any degradation except "none".

    Parameters
    ----------
    network, model, batch, device, seed
        As in `judge`.
    test
        The entry: network, test_set, degradation, strengths.
    train_set
        Name of the objects that the network was trained on.
    """
    degradation = test["degradation"]
    named = {"network": test["network"], "test_set": test["test_set"]}
    more = {"psf_model": model.spec["model"], "train_set": train_set, "degradation": degradation}
    levels = [
        judge(network, model, batch, device, degradation, strength, seed)
        for strength in test["strengths"]
    ]
    rows = [
        _with_leading_columns({**named, **more, "level": strength}, found.regression)
        for strength, found in zip(test["strengths"], levels, strict=True)
    ]
    kept = slice(None if degradation == "none" else 0)
    others = levels[0].predictions, levels[0].calibration, levels[0].abstention
    return Judgement(
        pd.concat(rows, ignore_index=True),
        *(_with_leading_columns(named, table.iloc[kept]) for table in others),
    )


def _with_leading_columns(named: dict, table: pd.DataFrame) -> pd.DataFrame:
    """The table, preceded by columns of one value each."""
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
    """Estimates for the patches, degraded as in `judge`, on the CPU.

    Patches are processed in blocks. A patch gets the same noise in a shorter or a longer set.
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


def _mirror_rows(found: Estimate, batch: Batch, model, usable: np.ndarray) -> list[dict]:
    """Rows of the regression table for how often a PSF is told from its mirror image, where they differ."""
    side = model.same_side(found.params, batch.params).numpy()
    differ = usable & (batch.params[:, model.odd].norm(dim=1).numpy() >= MIRROR_WAVES)
    sure = differ & (found.mirror.numpy() > SURE)
    return [
        {"parameter": "mirror", "metric": metric, **share(side[use] > 0, batch.scene.numpy()[use])}
        for metric, use in (("accuracy", differ), ("accuracy-if-sure", sure))
        if use.any()
    ]


def _scaled(patches: torch.Tensor) -> torch.Tensor:
    """Patches (n, h, w), each scaled to [0, 1] by its own maximum, as published."""
    patches = patches.clamp_min(0)
    return patches / patches.amax((1, 2), keepdim=True).clamp_min(1e-12)


def _flag_rows(found: Estimate, batch: Batch) -> list[dict]:
    """Rows of the regression table for validity, alarm and other blurs."""
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
