"""Judging: figures by hand, degraded patches, and test sets that share nothing with training."""

import math

import numpy as np
import pytest
import torch
from isoplan.networks import outputs, store
from isoplan.networks.outputs import CHECK_BLOCK
from isoplan.objects import pictures, scenes
from isoplan.optics.psf import make_psf_model
from isoplan.training.psf_judging import KEPT_PREDICTIONS, estimate, judge, judge_test
from isoplan.training.samples import Batch, blur_patches, make_set

CPU = torch.device("cpu")
TEST = {"network": "net", "test_set": "set", "degradation": "none", "strengths": [0]}


class Known(torch.nn.Module):
    """A network that gives fixed outputs, block by block, and keeps the patches that it sees."""

    def __init__(self, outputs):
        super().__init__()
        self.known, self.seen = outputs, []

    def forward(self, patches, stride_px=None, cutoff=None):
        assert len(cutoff) == len(patches) <= CHECK_BLOCK and len(patches) % 64 == 0
        blocks = -(-len(self.known) // CHECK_BLOCK)
        first = len(self.seen) % blocks * CHECK_BLOCK
        self.seen.append(patches)
        index = torch.arange(first, first + len(patches)).clamp_max(len(self.known) - 1)
        return self.known[index][:, :, None, None]


def batch_of(model, count, **fields) -> Batch:
    """`count` samples, two of a scene."""
    rng = torch.Generator().manual_seed(0)
    given = {
        "patches": torch.rand(count, 1, 8, 8, generator=rng) * 50 - 1,
        "params": model.sample(count, rng),
        "invalid": torch.zeros(count),
        "cutoff": torch.full((count,), 0.25),
        "photons": torch.full((count,), 1e4),
        "scene": torch.arange(count) // 2,
        "processed": torch.zeros(count),
        "other_blur": torch.zeros(count),
    }
    return Batch(**given | fields)


def answers(model, batch, off=0.0, half=1.0) -> torch.Tensor:
    """Outputs of a network that errs by `off` (n, P) in the parameters' units and says `half`."""
    count = len(batch.params)
    spread = (torch.as_tensor(half) / outputs.interval_units(model, batch.params)).log()
    spread = spread.expand(count, len(model.parameters))
    flags = torch.stack([batch.invalid == 1, batch.processed == 1, batch.other_blur == 1], 1)
    flags = 20.0 * flags - 10
    return torch.cat([model.encode(batch.params + off), spread, flags], 1)


def rows_of(table) -> dict:
    return {(row["parameter"], row["metric"]): row for row in table.to_dict("records")}


def test_judged_by_hand(gaussian):
    model = make_psf_model(gaussian)
    count = 2100
    params = 2 + 2 * torch.rand(count, 2, generator=torch.Generator().manual_seed(1))
    invalid = torch.tensor([0.0, 0.0, 1.0, -1.0]).repeat(count // 4)
    processed = torch.zeros(count)
    processed[3::8] = 1
    batch = batch_of(model, count, params=params, invalid=invalid, processed=processed)
    off = torch.tensor([0.5, -0.25]) * torch.tensor([1.0, -1.0, 1.0, 1.0]).repeat(525)[:, None]
    off[2::4] = 9  # what is invalid may be estimated wrongly
    made = answers(model, batch, off, torch.tensor([0.6, 0.2]))
    made[1::4, -3] = 10.0  # every second valid one is taken for invalid
    made[0, -2] = 10.0  # and one for processed, one for blurred otherwise
    made[4, -1] = 10.0
    found = judge(Known(made), model, batch, CPU)

    rows = rows_of(found.regression)
    assert rows["width_y", "RMSE"]["value"] == pytest.approx(0.5, rel=1e-5)
    assert rows["width_x", "RMSE"]["value"] == pytest.approx(0.25, rel=1e-5)
    assert rows["width_y", "RMSE"]["n"] == count // 2
    r2 = [1 - e**2 / float(params[invalid == 0, k].var()) for k, e in ((0, 0.5), (1, 0.25))]
    assert rows["width_y", "R2"]["value"] == pytest.approx(r2[0], abs=2e-3)
    assert rows["mean", "R2"]["value"] == pytest.approx(np.mean(r2), abs=2e-3)
    assert rows["mean", "R2"]["low"] < rows["mean", "R2"]["value"] < rows["mean", "R2"]["high"]
    assert rows["validity", "accuracy"]["value"] == pytest.approx(2 / 3)
    assert rows["validity", "accuracy"]["n"] == count * 3 // 4
    assert rows["alarm", "found"]["value"] == 1
    assert rows["alarm", "false-alarms"]["value"] == pytest.approx(1 / (~(processed > 0)).sum())
    assert rows["other_blur", "false-alarms"]["value"] == pytest.approx(1 / (count // 2))
    assert ("other_blur", "found") not in rows

    held = {r["parameter"]: r for r in found.calibration.to_dict("records") if r["group"] == "all"}
    assert held["width_y"]["coverage"] == 1 and held["width_x"]["coverage"] == 0
    assert {r["n"] for r in held.values()} == {count // 2}
    decades = found.calibration[found.calibration["group"] == "photons decade"]
    assert set(decades["level"]) == {4}
    first = found.abstention[found.abstention["kept_share"] == 1].set_index("parameter")
    assert first.loc["width_y", "value"] == pytest.approx(0.5, rel=1e-5)

    shown = found.predictions
    assert list(shown) == ["parameter", "true", "estimated", "half_width", "photons", "valid"]
    assert len(shown) == 2 * KEPT_PREDICTIONS and shown["valid"].mean() == 0.5
    np.testing.assert_allclose(shown["half_width"][:KEPT_PREDICTIONS], 0.6, rtol=1e-5)


def test_an_axis_counts_where_it_means_something(settings):
    psf = settings("psfs", model="zernike-2", cylinder_waves=[0, 0.2], size_px=31)
    model = make_psf_model(psf)
    batch = batch_of(model, 400)
    found = judge(Known(answers(model, batch, half=0.1)), model, batch, CPU)
    enough = int((batch.params[:, 0] >= 0.1).sum())
    rows = rows_of(found.regression)
    assert rows["axis", "circular-median"]["n"] == enough
    assert rows["axis", "circular-median"]["value"] < 1e-3
    counts = found.calibration[found.calibration["group"] == "all"].set_index("parameter")["n"]
    assert counts.to_dict() == {"cylinder": 400, "axis": enough}
    axis = found.abstention[found.abstention["parameter"] == "axis"]
    assert set(axis["metric"]) == {"circular-median"} and axis["n"].max() == enough


def test_degraded_patches_are_scaled_and_their_noise_depends_on_nothing_else(gaussian):
    model = make_psf_model(gaussian)
    batch = batch_of(model, CHECK_BLOCK + 20)
    known = Known(answers(model, batch))
    judge(known, model, batch, CPU, "poisson", 0.5, seed=3)
    seen = torch.cat(known.seen)[: len(batch.patches)]
    assert seen.min() >= 0 and seen.max() <= 1
    assert torch.equal(2 * seen, (2 * seen).round())  # two photons at the peak
    # The same in a longer set, and other noise of another seed.
    longer = batch_of(model, 2 * CHECK_BLOCK)
    longer.patches[: len(seen)] = batch.patches
    known = Known(answers(model, longer))
    judge(known, model, longer, CPU, "poisson", 0.5, seed=3)
    assert torch.equal(torch.cat(known.seen)[: len(seen)], seen)
    known.seen.clear()
    judge(known, model, longer, CPU, "poisson", 0.5, seed=4)
    assert not torch.equal(known.seen[0], seen[:CHECK_BLOCK])


def test_a_sweep_over_strengths(gaussian):
    model = make_psf_model(gaussian)
    batch = batch_of(model, 200)
    known = Known(answers(model, batch))
    entry = TEST | {"degradation": "gaussian", "strengths": [0, 0.1, 0.5]}
    keys = {"train_set": "scenes", "seed": 1}
    swept = judge_test(known, model, batch, CPU, entry, **keys)
    assert list(swept.regression)[:7] == [
        *("network", "test_set", "psf_model", "train_set", "degradation", "level", "parameter")
    ]
    assert set(swept.regression["level"]) == {0, 0.1, 0.5}
    assert set(swept.regression["degradation"]) == {"gaussian"}
    # Of samples as they are alone; labels of texture hold for those alone, too.
    others = (swept.predictions, swept.calibration, swept.abstention)
    assert all(table.empty and list(table)[:2] == ["network", "test_set"] for table in others)
    assert set(swept.regression["parameter"]) == {"width_y", "width_x", "mean"}
    scaled = [patches[:200] for patches in known.seen]
    noise = [float((patches - scaled[0]).std()) for patches in scaled]
    assert noise[0] == 0 < noise[1] < noise[2]
    plain = judge_test(known, model, batch, CPU, TEST, **keys)
    assert not plain.calibration.empty and set(plain.regression["level"]) == {0}


def test_nothing_usable_gives_nan_and_no_error(gaussian):
    model = make_psf_model(gaussian)
    batch = batch_of(model, 10, invalid=torch.ones(10))
    found = judge(Known(answers(model, batch)), model, batch, CPU)
    rows = rows_of(found.regression)
    assert math.isnan(rows["mean", "R2"]["value"]) and rows["mean", "R2"]["n"] == 0
    assert found.calibration.empty and not found.predictions["valid"].any()


@pytest.mark.parametrize("size", [1, 7, 50])
def test_estimates_do_not_depend_on_the_size_of_batches(size, recipe, settings):
    spec = settings("networks", width=8)
    torch.manual_seed(0)
    network = store.build(spec, recipe.window_px, recipe.model).eval()
    batch = make_set(recipe, 70, seed=1, stream="test/x", split="test")
    whole = estimate(network, recipe.model, batch, CPU)
    for first in range(0, 70, size)[:10]:
        block = slice(first, first + size)
        part = Batch(*(getattr(batch, field)[block] for field in vars(batch)))
        found = estimate(network, recipe.model, part, CPU)
        for field, values in vars(found).items():
            if values is None:  # of models without mirror images
                continue
            torch.testing.assert_close(values, getattr(whole, field)[block], rtol=1e-6, atol=1e-6)


def test_a_test_set_is_the_same_in_any_order_of_making(recipe):
    keys = {"seed": 1, "split": "test"}
    first = make_set(recipe, 70, stream="test/a", **keys)
    make_set(recipe, 70, stream="test/b", **keys)
    torch.rand(3)
    again = make_set(recipe, 70, stream="test/a", **keys)
    for one, other in zip(vars(first).values(), vars(again).values(), strict=True):
        assert torch.equal(one, other)


def test_samples_are_blurred_alike_in_any_number_at_a_time(recipe):
    rng = torch.Generator().manual_seed(0)
    scenes = torch.rand(20, 110, 110, generator=rng)
    psfs, _ = recipe.model.psf(recipe.model.sample(20, rng))
    whole = blur_patches(scenes, psfs)
    for size in (1, 3, 7):
        pairs = zip(scenes.split(size), psfs.split(size), strict=True)
        parts = torch.cat([blur_patches(*pair) for pair in pairs])
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def test_no_test_patch_shares_a_source_picture_with_training(settings, tmp_path, monkeypatch):
    """What is opened for each split, bundled pictures and a user's folder alike."""
    from skimage.io import imsave

    for i in range(60):
        noise = np.random.default_rng(i).integers(0, 256, (40, 40), dtype=np.uint8)
        imsave(tmp_path / f"{i}.png", noise, check_contrast=False)
    opened, read = {}, pictures.read_grey

    def spy(path):
        opened[split].add(str(path))
        return read(path)

    monkeypatch.setattr(pictures, "read_grey", spy)
    objects = settings("objects", kinds=["pictures", "folder"], folder=str(tmp_path), reduce=1)
    for split in ("train", "validation", "test"):
        opened[split] = set()
        for cached in (pictures.bundled, pictures.folder_files, pictures.folder_picture):
            cached.cache_clear()
        scenes.draw_scenes(objects, 80, 32, seed=1, stream="s", split=split)
        assert any(str(tmp_path) in path for path in opened[split])
        assert any("skimage" in path for path in opened[split])
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not opened[one] & opened[other]
