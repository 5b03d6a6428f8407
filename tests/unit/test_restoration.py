"""Restoration by cores: tiles as the whole, PSFs at their places, and what cannot be restored."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import tifffile
import torch
import zarr
from isoplan.base.errors import UserError
from isoplan.metrics.image import snr
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.measure import measure
from isoplan.mosaic.reader import open_mosaic
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.exposure import Exposure, exposure_of, sort_pixels
from isoplan.optics.plain import PlainPsf
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.layout import MapLayout, channels
from isoplan.restoration import trust
from isoplan.restoration.cores import (
    RestoredCore,
    blurred_again,
    restore_block,
    restore_core,
    restore_with_trust,
    seam_error,
)
from isoplan.restoration.halo import halo_of
from isoplan.restoration.psfs import LocalPsfs, local_psfs
from isoplan.restoration.trust import RestoredStore, create_trust
from scipy import ndimage
from tile_folders import own, write_tiles

CPU = torch.device("cpu")
SHAPE, OFFSET = (530, 390), 50.0
BRIGHTNESS = {"start": 6e3, "scale": 2e4}


@pytest.fixture(scope="module")
def model(gaussian):
    return make_psf_model(gaussian)


@pytest.fixture(scope="module")
def local(model) -> LocalPsfs:
    """A field that changes along both axes, by cells of 48 px."""
    layout = MapLayout(SHAPE, 96, 48, "reflect")
    v, u = np.meshgrid(*(np.linspace(0, 1, n) for n in layout.cells), indexing="ij")
    none = 0 * u
    cells = [1.5 + 3 * u, 2 + 3 * u * v, none, none, none + 1, none, none, none + 1, none]
    cells = np.stack(cells).astype(np.float32)
    return LocalPsfs(model, layout=layout, cells=cells)


@pytest.fixture(scope="module")
def block_settings(settings, model) -> dict:
    made = settings("restoration", iterations=6, core_px=256)
    return made | {"halo_px": halo_of(made, model.size_px), "offset": OFFSET}


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Points on waves, with a margin of 7 px all round."""
    height, width = (length + 14 for length in SHAPE)
    dots = np.random.default_rng(0).random((height, width)) > 0.97
    return (4e3 + 1.4e4 * dots + 2e3 * np.sin(np.arange(width) / 9)).astype(np.float32)


@pytest.fixture(scope="module")
def counts(local, scene) -> np.ndarray:
    blur = SpaceVariantBlur(*local.around(0, SHAPE[0], 0, SHAPE[1]), SHAPE)
    light = blur.forward(torch.from_numpy(scene)).numpy()
    return (np.random.default_rng(1).poisson(light) + OFFSET).astype(np.float32)


# Where the PSFs are ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window",
    [(0, 530, 0, 390), (200, 300, 100, 131), (0, 20, 370, 390), (518, 530, 0, 390)],
)
def test_a_block_sees_the_psfs_that_the_whole_sees(local, model, window):
    """The blur of a block is the whole mosaic's, cut out: PSFs at their places, none missing."""
    y0, y1, x0, x1 = window
    rng = torch.Generator().manual_seed(0)
    margin = model.size_px // 2
    scene = torch.rand(SHAPE[0] + 2 * margin, SHAPE[1] + 2 * margin, generator=rng)
    params = torch.from_numpy(local.cells[:2].reshape(2, -1).T.copy())
    psfs = model.psf(params)[0].reshape(*local.layout.cells, 15, 15)
    # By hand: cell k of 48 px has its centre on sample 48 k + 23.5.
    centres = [48 * torch.arange(n) + 23.5 for n in local.layout.cells]
    whole = SpaceVariantBlur(psfs, *centres, SHAPE).forward(scene)
    part = SpaceVariantBlur(*local.around(*window), (y1 - y0, x1 - x0))
    seen = part.forward(scene[y0 : y1 + 2 * margin, x0 : x1 + 2 * margin])
    # PSFs are put together from modes, others for the block than for the whole.
    torch.testing.assert_close(seen, whole[y0:y1, x0:x1], atol=1e-4, rtol=0)


def test_a_block_reads_only_the_cells_near_it(local):
    psfs, centres_y, centres_x = local.around(200, 230, 100, 131)
    assert psfs.shape == (len(centres_y), len(centres_x), 15, 15)
    assert len(centres_y) <= 5 and len(centres_x) <= 5


def test_psfs_are_narrowed_down_to_none(local, model):
    """Widths by the factor; 0 is one pixel, through which a restoration is the picture less its noise."""
    window = 200, 230, 100, 131
    half = local.by(0.5).around(*window)[0]
    narrow = LocalPsfs(model, layout=local.layout, cells=local.cells / 2).around(*window)[0]
    torch.testing.assert_close(half, narrow)
    none = local.by(0).around(*window)[0]
    assert none.shape == (1, 1, 3, 3) and none[0, 0, 1, 1] == none.sum() == 1
    known = LocalPsfs(known=(half, torch.arange(5.0), torch.arange(5.0)))
    assert torch.equal(known.by(0.3).around(0, 9, 0, 9)[0], half)


def test_what_was_chosen_restores(local):
    window = 200, 230, 100, 131
    for settings in ({}, {"psf_scale": 1.0, "psf_shape": "auto"}, {"psf_shape": "map"}):
        assert torch.equal(local.chosen(settings).around(*window)[0], local.around(*window)[0])
    half = local.chosen({"psf_scale": 0.5, "psf_shape": "map"})
    assert torch.equal(half.around(*window)[0], local.by(0.5).around(*window)[0])
    disk = local.chosen({"psf_scale": 1.0, "psf_shape": "disk 4"})
    assert disk.size_px == local.size_px and not disk.estimated
    with pytest.raises(UserError, match="larger than the PSFs' square of 15 px"):
        local.chosen({"psf_shape": "disk 9"})
    known = LocalPsfs(known=local.around(*window))
    assert known.chosen({"psf_shape": "disk 4", "psf_scale": 1.0}).known is known.known
    psfs, *centres = disk.around(*window)
    assert torch.equal(psfs[0, 0], PlainPsf("disk", 4.0).psf(local.size_px))
    assert [len(c) for c in centres] == [1, 1]


def test_intervals_say_how_sure_the_width_is(local, model):
    """That of the median cell nearby, of its larger width; of PSFs that are known nothing."""
    cells = local.cells.copy()
    cells[2:4] = 0.1 * cells[:2].max(0)
    unsure = LocalPsfs(model, layout=local.layout, cells=cells)
    assert unsure.doubt(200, 230, 100, 131) == pytest.approx(0.1 / 1.645)
    assert unsure.sums["doubt"] == pytest.approx(0.1 / 1.645)
    widths = cells[:2].max(0)
    assert unsure.sums["spread"] == pytest.approx(widths.std() / widths.mean())
    assert (unsure.sums["cells"], unsure.sums["alarm_cells"]) == (108, 0)
    for known in (
        LocalPsfs(model, constant=(2.0, 4.0)),
        LocalPsfs(model, layout=local.layout, cells=cells[:2]),
        LocalPsfs(known=local.around(0, 9, 0, 9)),
    ):
        assert known.doubt(0, 9, 0, 9) is None and known.sums is None


def test_a_constant_psf_is_everywhere(model):
    psfs, _, _ = LocalPsfs(model, constant=(2.0, 4.0)).around(0, 9, 0, 9)
    torch.testing.assert_close(psfs[0, 0], model.psf(torch.tensor([[2.0, 4.0]]))[0][0])


def test_no_psf_is_known(model, local, counts, block_settings):
    nothing = LocalPsfs(model, constant=None)
    blank = LocalPsfs(model, layout=local.layout, cells=np.full_like(local.cells, np.nan))
    for known in (nothing, blank):
        assert known.around(0, 100, 0, 100) is None
    block = counts[:50, :60]
    same = restore_block(block, None, block_settings, **BRIGHTNESS, device=CPU)
    np.testing.assert_array_equal(same, block)


# Restoring -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(local, counts, block_settings):
    psfs = local.around(0, SHAPE[0], 0, SHAPE[1])
    return restore_block(counts - OFFSET, psfs, block_settings, **BRIGHTNESS, device=CPU)


def test_tiles_equal_the_whole(local, counts, block_settings, whole, tmp_path):
    assert 0 < block_settings["halo_px"] < 100  # a tile must not see the whole mosaic
    tifffile.imwrite(tmp_path / "m.tif", counts)
    tiled = np.full(SHAPE, np.nan, np.float32)
    with open_mosaic(tmp_path / "m.tif") as mosaic:
        for core in tiles.shards(SHAPE, block_settings["core_px"]):
            tiled[core] = restore_core(
                mosaic, local, core, block_settings, brightness=BRIGHTNESS, device=CPU
            )
    assert np.abs(tiled - whole).max() < 1e-4 * np.ptp(whole)


def test_the_seam_error_shows_seams(local, counts, block_settings, whole, tmp_path):
    """Next to nothing with the halo that is asked for, more without; with one core none."""
    tifffile.imwrite(tmp_path / "m.tif", counts)
    found = []
    with open_mosaic(tmp_path / "m.tif") as mosaic:
        cores = tiles.shards(SHAPE, block_settings["core_px"])
        for halo in (block_settings["halo_px"], 4):
            chosen = block_settings | {"halo_px": halo}
            tiled = np.empty(SHAPE, np.float32)
            for core in cores:
                tiled[core] = restore_core(
                    mosaic, local, core, chosen, brightness=BRIGHTNESS, device=CPU
                )
            error = seam_error(
                mosaic, tiled, local, cores, chosen, brightness=BRIGHTNESS, device=CPU
            )
            found.append(error)
            # What it says of borders is not more than the whole shows.
            assert error < 4 * np.abs(tiled - whole).max() / BRIGHTNESS["scale"]
        everything = [(slice(0, SHAPE[0]), slice(0, SHAPE[1]))]
        alone = seam_error(
            mosaic, whole, local, everything, block_settings, brightness=BRIGHTNESS, device=CPU
        )
    assert found[0] < 1e-4 < 1e-3 < found[1]
    assert alone == 0


@pytest.mark.slow
@pytest.mark.parametrize("iterations, tv_weight, limit", [(10, 0.001, 1e-4), (40, 0.0005, 1e-3)])
def test_cores_of_the_default_size_show_no_seam(settings, tmp_path, iterations, tv_weight, limit):
    """127 px PSFs whose focus changes from .1 to .7 waves, cores of 1024 px, the default halo; also after
    as many iterations as may be chosen. Two cores side by side, which one border divides."""
    shape = (512, 1536)
    model = make_psf_model(
        settings("psfs", model="zernike-1", size_px=127, focus_waves=[0, 0.8], cutoff=0.25)
    )
    layout = MapLayout(shape, 128, 64, "reflect")
    v, u = np.meshgrid(*(np.linspace(0, 1, n) for n in layout.cells), indexing="ij")
    focus = (0.1 + 0.6 * (u + v) / 2)[None].astype(np.float32)
    local = LocalPsfs(model, layout=layout, cells=focus)
    chosen = settings("restoration", iterations=iterations, tv_weight=tv_weight)
    chosen |= {"halo_px": halo_of(chosen, model.size_px), "offset": 0.0}
    assert chosen["core_px"] == 1024 and chosen["halo_px"] == 256
    rng = np.random.default_rng(0)
    light = 4e3 + 1.4e4 * (rng.random((638, 1662)) > 0.97).astype(np.float32)
    blur = SpaceVariantBlur(*local.around(0, shape[0], 0, shape[1]), shape)
    mean = blur.forward(torch.from_numpy(light)).clamp(min=0).numpy()
    counts = rng.poisson(mean).astype(np.float32)
    tifffile.imwrite(tmp_path / "m.tif", counts)
    psfs = local.around(0, shape[0], 0, shape[1])
    whole = restore_block(counts, psfs, chosen, **BRIGHTNESS, device=CPU)
    with open_mosaic(tmp_path / "m.tif") as mosaic:
        for core in tiles.shards(shape, 1024):
            part = restore_core(mosaic, local, core, chosen, brightness=BRIGHTNESS, device=CPU)
            assert np.abs(part - whole[core]).max() < limit * np.ptp(whole)


def test_restoration_restores(counts, scene, whole):
    """Nearer to the truth than before, and as bright."""
    assert whole.dtype == np.float32 and (whole >= 0).all()
    truth = scene[7:-7, 7:-7]
    assert snr(whole, truth) > snr(counts - OFFSET, truth) + 0.1
    assert whole.mean() == pytest.approx(counts.mean() - OFFSET, rel=0.01)


def test_a_flat_picture_stays_flat(model, block_settings):
    """With one PSF a flat picture is its own restoration, up to its borders."""
    psfs = LocalPsfs(model, constant=(3.0, 3.0)).around(0, 80, 0, 90)
    flat = np.full((80, 90), 40, np.float32)
    for start in (40.0, 10.0):
        restored = restore_block(
            flat, psfs, block_settings | {"iterations": 20}, start=start, scale=100.0, device=CPU
        )
        np.testing.assert_allclose(restored[20:-20, 20:-20], 40, rtol=0.02)


def test_a_black_picture_stays_black(model, block_settings):
    psfs = LocalPsfs(model, constant=(3.0, 3.0)).around(0, 80, 0, 90)
    black = np.zeros((80, 90), np.float32)
    facts = {"offset": 5.0, "mean": 5.0, "p999": 5.0}
    restored = restore_block(black, psfs, block_settings, **Facts(facts).brightness, device=CPU)
    assert np.abs(restored).max() < 1e-6


def test_pixels_that_are_not_finite_are_bridged(local, counts, block_settings, whole):
    bad = counts.copy()
    bad[100, 100:104] = np.nan
    bad[300, 50] = np.inf
    window = 0, 400, 0, 200
    restored = restore_block(
        bad[:400, :200] - OFFSET, local.around(*window), block_settings, **BRIGHTNESS, device=CPU
    )
    assert np.isfinite(restored).all()
    assert (restored[100, 100:104] > 0).all()
    # Away from them, and from the block's own borders, nothing changes.
    away = np.s_[160:250, 60:140]
    assert np.abs(restored[away] - whole[away]).max() < 1e-4 * np.ptp(whole)


def test_where_no_tile_is_nothing_is_made_up(model, block_settings, counts, tmp_path):
    boxes = [(0, 100, 0, 120), (60, 200, 130, 260)]
    picture = counts.copy()
    picture[50, 40:43] = np.nan  # what was not known stays so
    names = write_tiles(tmp_path, picture, boxes)
    (tmp_path / "where.tsv").write_text(own(names, [(y0, x0) for y0, _, x0, _ in boxes]))
    local = LocalPsfs(model, constant=(2.0, 2.0))
    covered = np.zeros((200, 260), bool)
    for y0, y1, x0, x1 in boxes:
        covered[y0:y1, x0:x1] = True
    covered[50, 40:43] = False
    with open_mosaic(tmp_path) as mosaic:
        for core in [np.s_[0:200, 0:260], np.s_[0:100, 120:130], np.s_[90:140, 100:200]]:
            restored = restore_core(
                mosaic, local, core, block_settings, brightness=BRIGHTNESS, device=CPU
            )
            assert restored.dtype == np.float32
            np.testing.assert_array_equal(np.isfinite(restored), covered[core])
            assert (restored[covered[core]] >= 0).all()


def test_the_offset_matters_not(model, block_settings, counts, tmp_path):
    local = LocalPsfs(model, constant=(2.0, 2.0))
    results = []
    for number, offset in enumerate((0.0, 100.0)):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, counts[:120, :120] + np.float32(offset))
        with open_mosaic(path) as mosaic:
            core = slice(0, 120), slice(0, 120)
            block = block_settings | {"offset": OFFSET + offset}
            results.append(
                restore_core(mosaic, local, core, block, brightness=BRIGHTNESS, device=CPU)
            )
    np.testing.assert_allclose(*results, rtol=1e-3, atol=1e-2)


# What the camera did ---------------------------------------------------------------------------


def of_mosaic(settings: dict, facts: dict, psf_px: int, stride_px: int) -> dict:
    """As `create_restoration` settles what holds for a whole mosaic."""
    settings = settings | {"halo_px": halo_of(settings, psf_px), "offset": facts["offset"]}
    settings["exposure"] = asdict(exposure_of(facts, settings["background"]))
    return settings | {"trust_px": trust.cell_px(stride_px, settings["core_px"])}


FACTS = {
    "offset": OFFSET,
    "gain": 1.0,
    "read_noise_e": 2.0,
    "dtype": "float32",
    "dark": OFFSET + 30,
}


def test_bad_pixels_and_saturated_spots_are_the_same_in_tiles_and_the_whole(
    local, counts, block_settings, whole, tmp_path
):
    """Dead and hot pixels do not show; spots at full scale do not ring, and leave no seam."""
    top = float(np.floor(np.quantile(counts, 0.99)))
    spoilt = np.minimum(counts, np.float32(top))
    bright = spoilt == spoilt.max()
    rng = np.random.default_rng(2)
    for y, x in rng.integers(2, 380, (200, 2)):
        if not bright[y - 1 : y + 2, x - 1 : x + 2].any():
            spoilt[y, x] = rng.choice([0, top])
    facts = FACTS | {"saturation": top}
    chosen = of_mosaic(block_settings, facts, local.model.size_px, 48)
    exposure = Exposure(**chosen["exposure"])
    assert exposure == exposure_of(facts, 0)
    pixels = sort_pixels(spoilt - OFFSET, exposure)
    assert pixels.lone.sum() > 100 and bright.sum() > 50
    assert not (pixels.lone & bright).any()
    full = spoilt == spoilt.max()
    np.testing.assert_array_equal(pixels.saturated, full & ~pixels.lone)
    tifffile.imwrite(tmp_path / "m.tif", spoilt)
    psfs = local.around(0, SHAPE[0], 0, SHAPE[1])
    light = spoilt - np.float32(OFFSET)
    how = {"device": CPU, **BRIGHTNESS}
    mended = restore_block(light, psfs, chosen, exposure=exposure, **how)
    with open_mosaic(tmp_path / "m.tif") as mosaic:
        for core in tiles.shards(SHAPE, block_settings["core_px"]):
            part = restore_core(mosaic, local, core, chosen, brightness=BRIGHTNESS, device=CPU)
            assert np.abs(part - mended[core]).max() < 1e-4 * np.ptp(whole)
            again = restore_core(mosaic, local, core, chosen, brightness=BRIGHTNESS, device=CPU)
            assert again.tobytes() == part.tobytes()
    # Nearer to what an unharmed picture gives, round the bad pixels and beside the spots.
    harmed = restore_block(light, psfs, chosen, **how)
    round_lone = ndimage.binary_dilation(pixels.lone, iterations=2)
    beside = ndimage.binary_dilation(bright, iterations=6) & ~bright & ~round_lone
    for near, share in ((round_lone, 0.5), (beside, 1.0), (bright, 1.0)):
        errors = [np.abs(found - whole)[near].mean() for found in (mended, harmed)]
        assert errors[0] < share * errors[1]


def test_exposure():
    assert exposure_of(FACTS, 0) == Exposure(0, 1.0, 4.0, None)
    assert exposure_of(FACTS, "auto").background == 30
    assert exposure_of(FACTS | {"dark": OFFSET - 1}, "auto").background == 0
    assert exposure_of(FACTS | {"dark": None}, "auto").background == 0
    assert exposure_of(FACTS | {"saturation": 255.0}, 7.5) == Exposure(7.5, 1.0, 4.0, 205)
    unknown = exposure_of(FACTS | {"gain": None}, 0)
    assert unknown.gain is None and unknown.shift == 0
    assert Exposure(0, 2.0, 36.0).shift == 18
    # Of nothing known, nothing is looked for.
    hot = np.zeros((9, 9), np.float32)
    hot[4, 4] = 1e4
    assert not sort_pixels(hot, unknown).lone.any()
    assert sort_pixels(hot, exposure_of(FACTS, 0)).lone.sum() == 1


def test_the_background_is_taken_off(model, block_settings, counts):
    """Restored with it as without it where there is none."""
    psfs = LocalPsfs(model, constant=(2.0, 2.0)).around(0, 120, 0, 120)
    light = counts[:120, :120] - np.float32(OFFSET)
    how = block_settings | {"iterations": 3}
    plain = restore_block(light, psfs, how, **BRIGHTNESS, device=CPU)
    hazy = restore_block(
        *(light + 500, psfs, how),
        **BRIGHTNESS | {"start": BRIGHTNESS["start"] + 500},
        device=CPU,
        exposure=Exposure(background=500.0),
    )
    assert hazy.mean() == pytest.approx(plain.mean(), rel=0.01)
    assert np.corrcoef(hazy.ravel(), plain.ravel())[0, 1] > 0.99


# How far to trust it ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judging(block_settings, model) -> dict:
    chosen = block_settings | {"iterations": 10, "halo_px": 0}
    return of_mosaic(chosen, FACTS, model.size_px, 48) | {"core_px": 240, "trust_px": 48}


def test_cells_of_trust_come_of_the_core_alone(local, counts, judging, tmp_path):
    """Bit-equal when redone, beside the very picture that is stored, within little of the whole's."""
    tifffile.imwrite(tmp_path / "m.tif", counts)
    how = {"brightness": BRIGHTNESS, "device": CPU}
    whole_core = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    parts = np.full((len(trust.CHANNELS), 12, 9), np.nan, np.float32)
    with open_mosaic(tmp_path / "m.tif") as mosaic:
        whole_cells = restore_with_trust(mosaic, local, whole_core, judging, **how).trust
        for core in tiles.shards(SHAPE, 240):
            restored, cells, _ = restore_with_trust(mosaic, local, core, judging, **how)
            again = restore_with_trust(mosaic, local, core, judging, **how)
            assert again[0].tobytes() == restored.tobytes()
            assert again[1].tobytes() == cells.tobytes()
            alone = restore_core(mosaic, local, core, judging, **how)
            np.testing.assert_array_equal(restored, alone)
            rows, columns = (slice(part.start // 48, -(-part.stop // 48)) for part in core)
            parts[:, rows, columns] = cells
    np.testing.assert_allclose(parts, whole_cells, rtol=2e-3, atol=2e-3, equal_nan=True)
    named = dict(zip(trust.NAMES, whole_cells, strict=True))
    assert (named["doubt"][:-1, :-1] == 0).mean() > 0.9
    assert 1 < np.nanmedian(named["chi_square"]) < 3  # ten iterations do not explain all
    assert not named["filled"].any() and not named["uncertainty"].any()


def test_a_wrong_map_is_doubted(local, counts, judging, tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", counts)
    cells = local.cells.copy()
    cells[:2] = np.minimum(2 * cells[:2], 9)
    cells[2:4, :, 4:] = 2.0  # of the widths' range of 3.5 px, an interval of 4
    cells[-1, 2] = 1
    wrong = LocalPsfs(local.model, layout=local.layout, cells=cells)
    core = slice(0, 240), slice(0, 240)
    with open_mosaic(tmp_path / "m.tif") as mosaic:
        found = restore_with_trust(
            mosaic, wrong, core, judging, brightness=BRIGHTNESS, device=CPU
        ).trust
    doubt = found[0].astype(int)
    expected = np.zeros((5, 5), bool)
    expected[2], expected[:, 4:] = True, True
    np.testing.assert_array_equal(doubt & trust.NO_PSF > 0, expected)
    assert (doubt & trust.DISAGREES > 0).mean() > 0.8


def test_nothing_is_said_where_nothing_is_known(local, model, counts, judging, tmp_path):
    """No PSF map, no PSF at all, no camera, no tile."""
    tifffile.imwrite(tmp_path / "m.tif", counts)
    core, how = (slice(0, 240), slice(0, 240)), {"brightness": BRIGHTNESS, "device": CPU}
    with open_mosaic(tmp_path / "m.tif") as mosaic:
        one = LocalPsfs(model, constant=(2.0, 2.0))
        cells = restore_with_trust(mosaic, one, core, judging, **how).trust
        named = dict(zip(trust.NAMES, cells, strict=True))
        assert np.isnan(named["filled"]).all() and np.isnan(named["uncertainty"]).all()
        assert np.isfinite(named["chi_square"]).all()
        blind = judging | {"exposure": {}}
        cells = restore_with_trust(mosaic, one, core, blind, **how).trust
        assert np.isnan(cells[1]).all() and not cells[0].any()
        restored, cells, _ = restore_with_trust(
            mosaic, LocalPsfs(model, constant=None), core, judging, **how
        )
        np.testing.assert_array_equal(restored, counts[core] - np.float32(OFFSET))
        assert (cells[0] == trust.NO_PSF).all() and np.isnan(cells[1:]).all()


def test_a_store_keeps_picture_and_trust(gaussian, judging, tmp_path):
    """Both are read back by units; trust lies over the picture, and a lost bit of either shows."""
    facts = {"height_px": 530, "width_px": 390, "pixel_size_um": 0.5}
    path = tmp_path / "m.ome.zarr"
    settings = judging | {"core_px": 256, "trust_px": 64}
    made = {"restoration": settings}
    ngff.create_image(path, SHAPE, dtype="uint16", pixel_size_um=0.5, shard_px=256, attributes=made)
    create_trust(path, settings, facts, {"psf": gaussian})
    store = RestoredStore(path, "r+")
    assert len(store.cores) == len(store.cells) == 6
    rng = np.random.default_rng(0)
    for unit, (core, cells) in enumerate(zip(store.cores, store.cells, strict=True)):
        picture = np.empty([part.stop - part.start for part in core], np.float32)
        picture[:] = rng.integers(0, 999, picture.shape)
        shape = [len(trust.CHANNELS), *(part.stop - part.start for part in cells[1:])]
        judged = rng.random(shape).astype(np.float32)
        store.write(unit, RestoredCore(picture, judged))
        expected = picture.astype(np.uint16).tobytes() + judged.tobytes()
        assert RestoredStore(path).read(unit).tobytes() == expected
    ngff.build_pyramid(path)
    assert ngff.read_attributes(path)["restoration"] == json.loads(json.dumps(settings))
    group = zarr.open_group(path / "trust", mode="r")
    names = [channel["name"] for channel in group.attrs["isoplan"]["channels"]]
    assert names == trust.NAMES
    scale, shift = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [1, 32, 32] and shift["translation"] == [0, 15.75, 15.75]
    shard = next(file for file in (path / "trust/0/c").rglob("*") if file.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(Exception):  # noqa: B017  zarr's, by codec
        for unit in range(6):
            RestoredStore(path).read(unit)
    (path / "trust/zarr.json").unlink()
    with pytest.raises(UserError):
        RestoredStore(path)


# What no camera should give --------------------------------------------------------------------


def restored_of(picture, local, block_settings, folder, **facts) -> np.ndarray:
    """A whole picture as a study restores it, with what is measured on it."""
    tifffile.imwrite(folder / "m.tif", picture)
    with open_mosaic(folder / "m.tif") as mosaic:
        facts = FACTS | measure(mosaic) | facts
        chosen = of_mosaic(block_settings, facts, local.model.size_px, 48)
        core = tuple(slice(0, length) for length in picture.shape)
        how = {"brightness": Facts(facts).brightness, "device": CPU}
        restored, cells, _ = restore_with_trust(mosaic, local, core, chosen, **how)
    assert restored.dtype == np.float32 and np.isfinite(restored).all()
    assert np.isfinite(cells[0]).all()
    return restored


def test_all_counts_below_the_offset_give_darkness(model, block_settings, tmp_path):
    picture = np.random.default_rng(0).integers(0, 20, (90, 100)).astype(np.uint16)
    one = LocalPsfs(model, constant=(2.0, 3.0))
    restored = restored_of(picture, one, block_settings, tmp_path, offset=1000.0)
    assert (restored >= 0).all() and restored.max() < 1e-3


@pytest.mark.parametrize("value", [0, 65535])
def test_one_value_everywhere_stays_so(model, block_settings, tmp_path, value):
    """Nothing but zeros, and nothing but saturated pixels."""
    picture = np.full((90, 100), value, np.uint16)
    one = LocalPsfs(model, constant=(2.0, 3.0))
    restored = restored_of(picture, one, block_settings, tmp_path, offset=0.0)
    np.testing.assert_allclose(restored, value, rtol=1e-3, atol=1e-3)


def test_a_psf_larger_than_the_picture(settings, block_settings, tmp_path):
    model = make_psf_model(settings("psfs", model="gaussian-2", size_px=63, width_px=[1.5, 15]))
    one = LocalPsfs(model, constant=(12.0, 12.0))
    flat = np.full((20, 17), 900, np.uint16)
    restored = restored_of(flat, one, block_settings, tmp_path)
    np.testing.assert_allclose(restored, 900 - OFFSET, rtol=1e-3)
    rng = np.random.default_rng(0)
    restored = restored_of(rng.poisson(flat).astype(np.uint16), one, block_settings, tmp_path)
    assert restored.mean() == pytest.approx(900 - OFFSET, rel=0.05)


def test_a_map_that_was_not_filled_is_an_error(local, block_settings):
    """With no value at all the picture comes back as it is (above); with some, its author is told."""
    cells = local.cells.copy()
    cells[0, 3, 4] = np.nan
    spoilt = LocalPsfs(local.model, layout=local.layout, cells=cells)
    with pytest.raises(UserError, match="no value in 1 of"):
        spoilt.around(100, 200, 150, 260)
    assert spoilt.around(400, 500, 0, 100) is not None


# Small parts -----------------------------------------------------------------------------------


def test_psfs_of_a_stored_map(model, gaussian, local, tmp_path):
    store = tmp_path / "map.zarr"
    ngff.create_map(
        store,
        channels(model),
        local.layout.cells,
        stride_px=48,
        pixel_size_um=1.0,
        attributes={"psf": gaussian, "window_px": 96, "edges": "reflect"},
    )
    ngff.write_shards(ngff.open_array(store, "0", "r+"), (slice(None),) * 3, local.cells)
    stored = local_psfs({"store": store}, SHAPE)
    for ours, theirs in zip(stored.around(10, 99, 5, 70), local.around(10, 99, 5, 70), strict=True):
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))
    sums = tmp_path / "map.json"
    sums.write_text('{"mean": {"width_x": 3.0, "width_y": 2.0}, "doubt": 0.2}')
    one = local_psfs({"store": store, "mean_of": sums}, SHAPE)
    assert one.constant == (2.0, 3.0) and one.doubt(0, 9, 0, 9) == 0.2
    sums.write_text('{"mean": null}')
    none = local_psfs({"store": store, "mean_of": sums}, SHAPE)
    assert none.around(0, 9, 0, 9) is None


# What is seen of it again ----------------------------------------------------------------------------


def test_blurred_again_the_scene_is_what_was_seen(local, scene, counts):
    """By window as in one piece, and all over: the camera's noise is all that is left."""
    margin = (scene.shape[0] - SHAPE[0]) // 2
    inner = scene[margin:-margin, margin:-margin].copy()
    inner[300, 200] = np.nan

    def read(y0, y1, x0, x1):
        return inner[y0:y1, x0:x1]

    seen = blurred_again(read, local, SHAPE, order="mask-blur", background=3.0)
    whole = seen(0, SHAPE[0], 0, SHAPE[1])
    assert np.isnan(whole[300, 200]) and np.isnan(whole).sum() == 1
    part = seen(100, 256, 80, 300)
    np.testing.assert_allclose(part, whole[100:256, 80:300], atol=1e-4 * BRIGHTNESS["scale"])
    away = whole[20:280, 20:-20] - 3 - (counts[20:280, 20:-20] - OFFSET)
    assert abs(away.mean()) < 10 and away.std() == pytest.approx(counts.mean() ** 0.5, rel=0.1)
    unknown = LocalPsfs(local.model)
    seen = blurred_again(read, unknown, SHAPE, order="mask-blur", background=0.0)
    np.testing.assert_array_equal(seen(0, 90, 0, 90), inner[:90, :90])
