"""Signs of a map's modes are brought into line before anything is interpolated."""

import numpy as np
import torch
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.fill import fill_invalid
from isoplan.psf_map.layout import channels
from isoplan.psf_map.mirror_images import even_in_line, in_line

MODEL = make_psf_model(
    {
        "name": "test",
        "model": "zernike-8",
        "form": "isoplan",
        "size_px": 31,
        "cutoff": 0.25,
        "cutoff_range": None,
        "excitation_cutoff": None,
        "modes_waves": [-0.15, 0.15],
    }
)
SHAPE = (6, 8)
MIRROR = 16


def field(noise=0.01, chance=0.75, wrong=0.2, seed=0):
    """A true map and a raw one: noisy, with signs drawn per cell and mirror images that are often wrong."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-1, 1, SHAPE[1])[None, :] + np.zeros(SHAPE)
    true = np.stack([0.08 + 0.02 * x, 0.03 * x, 0.05 + 0 * x, 0.08 + 0.03 * x,
                     -0.06 + 0 * x, 0.04 * x, 0.02 + 0 * x, 0.04 + 0 * x]).astype(np.float32)  # fmt: skip
    raw = np.zeros((len(channels(MODEL)), *SHAPE), np.float32)
    raw[:8] = true + noise * rng.standard_normal(true.shape)
    raw[8:16] = 1.645 * noise
    turned = rng.random(SHAPE) < wrong
    raw[MODEL.odd] *= np.where(turned, -1, 1)
    raw[MODEL.even] *= np.where(rng.random(SHAPE) < 0.5, -1, 1)
    raw[MIRROR] = chance
    raw[-5] = 1  # validity
    return true, raw, turned


def like(cells, true):
    flat = [torch.from_numpy(v[:8].reshape(8, -1).T.copy()) for v in (cells, true)]
    return MODEL.nearest(*flat, mirror=False).numpy().T.reshape(8, *SHAPE)


def test_the_majority_turns_the_few_and_is_surer_than_each():
    true, raw, turned = field()
    out = in_line(raw, MODEL, np.ones(SHAPE, bool), 1.0)
    assert turned.any()
    assert np.abs(like(out, true) - true).max() < 0.05
    assert (out[MIRROR] > 0.99).all()
    # Windows that overlap are not independent witnesses.
    assert out[MIRROR].mean() > in_line(raw, MODEL, np.ones(SHAPE, bool), 4.0)[MIRROR].mean()


def test_cells_that_say_nothing_of_one_another_keep_their_own_sign():
    _, raw, _ = field(noise=0.5)
    out = in_line(raw, MODEL, np.ones(SHAPE, bool), 1.0)
    assert np.allclose(np.abs(out[MODEL.odd]), np.abs(raw[MODEL.odd]))
    assert (out[MODEL.odd] == raw[MODEL.odd]).mean() > 0.8


def test_a_filled_map_has_one_mirror_image_and_one_even_sign():
    true, raw, _ = field()
    raw[-5, 2, 3] = 0  # no texture
    raw[:16, 2, 3] = np.nan
    for smooth in (False, True):
        out = fill_invalid(raw, MODEL, threshold=0.5, neighbours=8, smooth=smooth)
        assert (
            np.abs(out[:8] - true).max() < 0.06
        )  # without any sign to be chosen: focus is positive
        assert np.isfinite(out[:8]).all()


def test_without_signs_in_line_the_mean_of_neighbours_is_no_psf_of_theirs():
    true, raw, _ = field(wrong=0.5)
    plain = raw[MODEL.odd].mean((1, 2))
    mean = true[MODEL.odd].mean((1, 2))
    out = in_line(raw, MODEL, np.ones(SHAPE, bool), 1.0)
    kept = np.abs(out[MODEL.odd].mean((1, 2)))
    assert np.abs(plain).max() < 0.5 * np.abs(mean).max()
    assert np.allclose(kept, np.abs(mean), atol=0.01)


def test_even_signs_in_line_show_the_same_psfs():
    _, raw, _ = field()
    out = even_in_line(raw, MODEL)
    flat = [torch.from_numpy(v[:8].reshape(8, -1).T.copy()) for v in (raw, out)]
    assert torch.allclose(*(MODEL.encode(values) for values in flat), atol=1e-6)
    assert (out[0] > 0).all()


def test_maps_of_other_models_are_not_touched():
    other = make_psf_model(
        {"name": "g", "model": "gaussian-2", "form": "isoplan", "size_px": 31, "width_px": [1, 9]}
    )
    raw = np.random.default_rng(0).random((len(channels(other)), *SHAPE)).astype(np.float32)
    assert in_line(raw, other, np.ones(SHAPE, bool), 2.0) is raw
    assert even_in_line(raw, other) is raw
