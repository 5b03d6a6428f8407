"""Judging a network on a stored test set: errors with intervals, calibration, abstention.

The published robustness test (thesis 2.3.3) degrades the patches of one test set further and further.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from isoplan.base.seeds import torch_rng
from isoplan.metrics.regression import abstention, calibration, share, summarise
from isoplan.networks.outputs import Estimate, read
from isoplan.optics.camera import degrade
from isoplan.training.loop import CHECK_BLOCK, predict
from isoplan.training.samples import INVALID, VALID, Batch

SHOWN = 2000  # samples that predictions.csv keeps


@dataclass
class Judgement:
    """What is found of one network on one test set, as tables.

    regression: (parameter, metric, value, low, high, n), low to high a 95 % interval by bootstrap over
    scenes. predictions: (parameter, true, estimated, half_width, photons, valid) of up to SHOWN samples.
    calibration: (parameter, group, level, coverage, n). abstention: (parameter, kept_share, metric,
    value, n). Widths and errors in the parameters' units.
    """

    regression: pd.DataFrame
    predictions: pd.DataFrame
    calibration: pd.DataFrame
    abstention: pd.DataFrame


COLUMNS = {
    "calibration": ["parameter", "group", "level", "coverage", "n"],
    "abstention": ["parameter", "kept_share", "metric", "value", "n"],
}


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
    return read(torch.cat(outputs).float(), model)


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
