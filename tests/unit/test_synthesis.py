"""Samples: pure functions of their numbers, blurred rightly, judged rightly."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.base.seeds import torch_rng
from isoplan.training.samples import (
    INVALID,
    UNDECIDED,
    VALID,
    Recipe,
    SceneBank,
    _rotated_or_flipped,
    blur_patches,
    load_set,
    make_batch,
    make_set,
    save_set,
    texture_over_noise,
    training_batch,
)
from scipy.signal import convolve2d


def bank(recipe, seed=1, **over) -> SceneBank:
    keys = {"size": 6, "fresh": 2, "split": "train", "device": "cpu"} | over
    return SceneBank(recipe, seed, "training/x", **keys)


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_a_training_batch_is_a_function_of_seed_and_step(recipe):
    walked, jumped = bank(recipe), bank(recipe)
    for step in range(4):
        batch = training_batch(recipe, recipe.model, walked, step // 2, step, 5)
    again = training_batch(recipe, recipe.model, jumped, 1, 3, 5)
    assert equal(batch, again)
    assert batch.patches.shape == (5, 1, 96, 96) and batch.patches.dtype == torch.float32
    assert batch.params.shape == (5, 2)
    assert not equal(batch, training_batch(recipe, recipe.model, jumped, 1, 4, 5))
    other = bank(recipe, seed=2)
    assert not equal(batch, training_batch(recipe, recipe.model, other, 1, 3, 5))


def test_the_bank_of_an_epoch_does_not_depend_on_the_way_there(recipe):
    walked = bank(recipe)
    for epoch in range(4):
        scenes = walked.at_epoch(epoch)
        assert torch.equal(scenes, bank(recipe).at_epoch(epoch))
    assert torch.equal(scenes, walked.at_epoch(3))
    assert torch.equal(walked.at_epoch(0), bank(recipe).at_epoch(0))  # and backwards
    assert torch.equal(walked.at_epoch(9), bank(recipe).at_epoch(9))  # beyond its own scenes


def test_a_bank_forgets_the_oldest_scenes(recipe):
    scenes = bank(recipe)
    first, second = scenes.at_epoch(0), scenes.at_epoch(1)
    assert torch.equal(first[2:], second[:4])
    assert not torch.equal(first[:2], second[4:])


@pytest.mark.parametrize(("shape", "size"), [((40, 37), 7), ((20, 20), 15), ((9, 31), 9)])
def test_blur_patches_is_the_valid_convolution(shape, size):
    rng = np.random.default_rng(0)
    scenes = rng.random((3, *shape)).astype(np.float32)
    psfs = rng.random((3, size, size)).astype(np.float32)
    blurred = blur_patches(torch.from_numpy(scenes), torch.from_numpy(psfs)).numpy()
    for result, scene, psf in zip(blurred, scenes, psfs, strict=True):
        np.testing.assert_allclose(result, convolve2d(scene, psf, mode="valid"), rtol=1e-4)


def test_the_eight_turns():
    picture = torch.arange(6.0).reshape(1, 2, 3)[:, :, :2].expand(8, 2, 2)
    turned = _rotated_or_flipped(picture, torch.arange(8))
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8


def test_texture_over_noise_by_hand():
    flat = torch.full((1, 96, 96), 100.0)
    assert texture_over_noise(flat, flat).item() < 1e-3
    # A checkerboard of +-4 over noise of variance 4: four over two.
    board = torch.ones(96, 96)
    board[::2, ::2], board[1::2, 1::2] = -1, -1
    ratio = texture_over_noise(flat + 4 * board, torch.full_like(flat, 4.0))
    assert ratio.item() == pytest.approx(2, rel=0.01)


def batch_of(recipe, scenes, count=24, **camera):
    if camera:
        recipe = dataclasses.replace(recipe, camera=recipe.camera | camera)
    return make_batch(recipe, recipe.model, scenes, count, torch_rng(0, "test"))


def test_workers_draw_the_same_scenes(recipe):
    keys = {"size": 3, "fresh": 2, "split": "train", "device": "cpu"}
    alone = SceneBank(recipe, 1, "s", **keys)
    helped = SceneBank(recipe, 1, "s", workers=2, **keys)
    try:
        for epoch in (0, 1, 2, 5, 4):
            assert torch.equal(helped.at_epoch(epoch), alone.at_epoch(epoch))
    finally:
        helped.close()


def test_validity_labels(recipe):
    rng = torch.Generator().manual_seed(0)
    sharp = (torch.rand(2, 256, 256, generator=rng) > 0.9).float()
    plain = dataclasses.replace(recipe, black_share=0.0)
    assert (batch_of(plain, sharp).invalid == VALID).all()
    assert (batch_of(plain, 0 * sharp + 0.5).invalid == INVALID).all()
    # So little light that texture drowns; in between nobody can say.
    assert (batch_of(plain, sharp, photons=[0.01, 0.01]).invalid == INVALID).all()
    assert (batch_of(plain, sharp, photons=[1e-2, 1e3]).invalid == UNDECIDED).any()
    blacked = dataclasses.replace(recipe, black_share=1.0)
    batch = batch_of(blacked, sharp)
    assert (batch.invalid == INVALID).all()
    # Black means without texture, at the brightness of the scene: noise alone is left.
    relative = batch.patches.std(dim=(1, 2, 3)) / batch.patches.mean(dim=(1, 2, 3)).sqrt()
    assert relative.max() < 1.2


def test_the_camera_s_offset_is_taken_off(recipe):
    scenes = torch.ones(1, 256, 256)
    base = batch_of(recipe, scenes).patches
    with_offset = batch_of(recipe, scenes, offset=100.0).patches
    torch.testing.assert_close(base, with_offset, atol=1e-2, rtol=0)


def test_a_set_is_made_of_pure_blocks(recipe):
    keys = {"seed": 3, "stream": "test/x", "split": "test"}
    long, short = make_set(recipe, 66, **keys), make_set(recipe, 5, **keys)
    assert len(long.patches) == 66 and len(short.patches) == 5
    assert torch.equal(long.patches[:5], short.patches)
    assert torch.equal(long.params[:5], short.params)
    other = make_set(recipe, 5, **(keys | {"stream": "test/y"}))
    assert not torch.equal(short.params, other.params)


def test_samples_of_one_picture_are_told_from_each_other(recipe):
    """Intervals are over pictures: all patches of one picture are one of them."""
    kinds = recipe.objects | {"kinds": ["pictures", "fractals"], "name": "x"}
    made = make_set(
        dataclasses.replace(recipe, objects=kinds), 128, seed=3, stream="test/x", split="test"
    )
    pictures = made.scene[made.scene < 0]
    assert set(pictures.tolist()) <= {-1, -2, -3, -4} and 30 < len(pictures) < 100
    assert len(set(made.scene[made.scene >= 0].tolist())) > 20


@pytest.fixture
def stored(recipe, tmp_path):
    batch = batch_of(recipe, torch.rand(2, 256, 256), count=70)
    save_set(tmp_path / "set.zarr", batch, recipe, name="x", seed=1)
    return tmp_path / "set.zarr", batch


def test_a_set_comes_back_as_it_was(stored, recipe):
    path, batch = stored
    assert equal(load_set(path), batch)
    save_set(path, batch, recipe, name="y", seed=1)  # replaces
    assert equal(load_set(path), batch)


def test_a_missing_or_damaged_set_is_refused(stored):
    path, _ = stored
    chunk = next(file for file in (path / "patches" / "c").rglob("*") if file.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(UserError, match="remove it and run again"):
        load_set(path)
    shutil.rmtree(path)
    with pytest.raises(UserError, match=r"set\.zarr"):
        load_set(path)


def test_a_camera_that_clips_its_own_picture_is_refused(settings):
    camera = settings("cameras", photons=[1e3, 1e5], gain=[2.0, 2.0], bits=16)
    recipe = Recipe(settings("psfs"), settings("objects"), camera, 128, 0.0)
    with pytest.raises(UserError, match="bits end at 65535"):
        recipe.check()


def test_what_a_processing_left_as_it_was_counts_as_raw(recipe, monkeypatch):
    def every_other(counts, kinds, rng):
        out = counts.clone()
        out[::2] += 1
        return out

    monkeypatch.setattr("isoplan.training.samples.process", every_other)
    all_of_them = dataclasses.replace(recipe, processed_share=1.0)
    batch = training_batch(all_of_them, recipe.model, bank(recipe), 0, 0, 8)
    assert batch.processed.tolist() == [1, 0] * 4
    assert not (batch.invalid[batch.processed == 1] == VALID).any()
