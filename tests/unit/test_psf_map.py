"""The PSF map: cells over the whole mosaic, by units as in one piece, filled rightly."""

import math

import numpy as np
import pytest
import tifffile
import torch
from isoplan.base.errors import UserError
from isoplan.mosaic import ngff
from isoplan.mosaic.reader import open_mosaic
from isoplan.networks.onepass import OnePass
from isoplan.optics.exposure import Exposure
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map import estimate
from isoplan.psf_map.estimate import estimate_cells, map_unit
from isoplan.psf_map.fill import fill_invalid, map_errors, mean_parameters
from isoplan.psf_map.layout import (
    ALARM,
    FILLED,
    OTHER_BLUR,
    SHARD_CELLS,
    USABLE,
    VALIDITY,
    MapLayout,
    at_cutoff,
    channels,
    check_window,
)
from tile_folders import own

CPU = torch.device("cpu")
SHAPES = [(96, 96), (560, 300), (541, 101), (20, 700), (1, 1)]


@pytest.fixture(scope="module")
def model(gaussian):
    return make_psf_model(gaussian)


@pytest.fixture(scope="module")
def zernike(settings):
    return make_psf_model(settings("psfs", model="zernike-3", size_px=63))


@pytest.fixture(scope="module")
def network(model):
    torch.manual_seed(0)
    return OnePass(96, model, 8).eval()


def layout(shape, window=96, stride=32, edges="reflect") -> MapLayout:
    return MapLayout(shape, window, stride, edges)


@pytest.fixture
def mosaic_of(tmp_path):
    """mosaic_of(picture): the picture opened from a file, as the workflow does."""
    opened = []

    def make(picture):
        tifffile.imwrite(tmp_path / "picture.tif", picture)
        opened.append(open_mosaic(tmp_path / "picture.tif"))
        return opened[-1]

    yield make
    for mosaic in opened:
        mosaic.close()


def textured(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2, 100, shape).astype(np.float32)


# Where cells lie -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("window", "stride"), [(96, 16), (128, 64), (96, 96)])
def test_cells_cover_the_mosaic(shape, window, stride):
    cells = layout(shape, window, stride)
    for axis, length in enumerate(shape):
        centres = cells.centres_px(axis)
        assert len(centres) == cells.cells[axis]
        # Cells are stride wide: the first begins at 0, the last one ends at the edge or beyond.
        assert centres[0] == stride / 2
        assert centres[-1] - stride / 2 < length <= centres[-1] + stride / 2
    seen = np.zeros(cells.cells, int)
    for rows, columns in cells.units:
        seen[rows, columns] += 1
        assert rows.stop - rows.start <= SHARD_CELLS
    assert (seen == 1).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_are_centred_on_their_cells(shape):
    cells = layout(shape)
    for unit, (rows, columns) in enumerate(cells.units):
        y0, y1, x0, x1 = cells.window_of(unit)
        for axis, part, start, stop in ((0, rows, y0, y1), (1, columns, x0, x1)):
            first = start + cells.window_px / 2
            assert first == cells.centres_px(axis)[part.start]
            outputs = (stop - start - cells.window_px) // cells.stride_px + 1
            assert outputs == cells.block_cells[axis] >= part.stop - part.start
    assert len({(y1 - y0, x1 - x0) for y0, y1, x0, x1 in map(cells.window_of, range(len(cells.units)))}) == 1  # fmt: skip


def test_windows_beyond_the_edge():
    cells = layout((300, 96))
    # Windows of 96 px around 16 and 48: the second is the first inside.
    assert cells.crosses_edge(0)[:2].tolist() == [True, False]
    # The last inside ends at 288: around 240, cell 7 of 10.
    assert cells.crosses_edge(0)[7:].tolist() == [False, True, True]
    assert layout((64, 64)).crosses_edge(1).all()


# Estimating ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gaussian-2", "zernike-1"])
def test_units_give_the_map_of_one_piece(settings, mosaic_of, name):
    model = make_psf_model(settings("psfs", model=name, size_px=31))
    torch.manual_seed(0)
    network = OnePass(96, model, 8).eval()
    shape = (1100, 300)
    mosaic, cells = mosaic_of(textured(shape)), layout(shape)
    assert len(cells.units) == 2
    count = len(model.parameters)
    whole = np.full((len(channels(model)), *cells.cells), np.nan, np.float32)
    for unit, (rows, columns) in enumerate(cells.units):
        whole[:, rows, columns] = map_unit(
            network, model, mosaic, cells, unit, offset=100.0, device=CPU
        )
    reach = [((n - 1) * 32 + 96) for n in cells.cells]
    block = mosaic.read_reflected(-32, reach[0] - 32, -32, reach[1] - 32) - 100
    one = estimate_cells(network, model, block, 32, CPU)
    assert one.shape == whole.shape == (len(channels(model)), 35, 10)
    widths = np.array([p.high - p.low for p in model.parameters] * 2)[:, None, None]
    assert (np.abs(one - whole)[: 2 * count] < 1e-5 * widths).all()
    assert np.abs(one - whole)[2 * count :].max() < 1e-5
    assert one[:count].std() > 1e-3


@pytest.mark.parametrize("room", [1, 4, 30])
def test_a_full_gpu_halves_the_bands_and_changes_nothing(network, model, room):
    """A stand-in for a device that holds no more than some rows of cells at a time."""
    picture, heights = textured((96 + 32 * 10, 96 + 32 * 3)), []

    class Full(torch.nn.Module):
        window_px = network.window_px

        def forward(self, block, stride, cutoff):
            heights.append((block.shape[2] - self.window_px) // stride + 1)
            if heights[-1] > room:
                raise torch.OutOfMemoryError("faked")
            return network(block, stride, cutoff)

    cells = estimate_cells(Full(), model, picture, 32, CPU)
    assert heights[0] == 11 and sum(h for h in heights if h <= room) == 11
    np.testing.assert_allclose(
        cells, estimate_cells(network, model, picture, 32, CPU), rtol=1e-5, atol=1e-5
    )


def test_a_row_that_does_not_fit_is_an_error(model):
    class Full(torch.nn.Module):
        window_px = 96

        def forward(self, block, stride, cutoff):
            raise torch.OutOfMemoryError("faked")

    with pytest.raises(torch.OutOfMemoryError):
        estimate_cells(Full(), model, textured((160, 96)), 32, CPU)


def test_bands_of_the_processor_change_nothing(network, model, monkeypatch):
    picture = textured((96 + 32 * 6, 200))
    one = estimate_cells(network, model, picture, 32, CPU)
    monkeypatch.setattr(estimate, "BAND_BYTES", 1)
    np.testing.assert_allclose(
        estimate_cells(network, model, picture, 32, CPU), one, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("edges", ["reflect", "valid"])
def test_tiles_by_position_are_estimated_one_by_one(network, model, mosaic_of, tmp_path, edges):
    """Each cell as in the tile alone, whatever its neighbours hold, and none across a seam."""
    boxes = [(y, y + 160, x, x + 192) for y in (0, 96) for x in (0, 128)]
    rng = np.random.default_rng(1)
    pictures = [(100 + 10**n * rng.gamma(2, 1, (160, 192))).astype(np.float32) for n in range(4)]
    pictures[3][100, 100] = np.nan
    for number, picture in enumerate(pictures):
        tifffile.imwrite(tmp_path / f"tile{number}.tif", picture)
    names = [f"tile{number}.tif" for number in range(4)]
    (tmp_path / "where.tsv").write_text(own(names, [(y0, x0) for y0, _, x0, _ in boxes]))
    cells = layout((256, 320), edges=edges)
    with open_mosaic(tmp_path) as mosaic:
        assert mosaic.shape == cells.shape_px
        found, again = (
            map_unit(network, model, mosaic, cells, 0, offset=100.0, device=CPU) for _ in range(2)
        )
    np.testing.assert_array_equal(found, again)
    y, x = cells.starts_px(0), cells.starts_px(1)
    expected = np.full((9, *cells.cells), np.nan, np.float32)
    expected[4:] = 0
    expected[USABLE] = np.nan
    nearest = np.full(cells.cells, np.inf)
    for (y0, y1, x0, x1), picture in zip(boxes, pictures, strict=True):
        alone = estimate_cells(network, model, picture - 100, 32, CPU)
        for row, column in np.ndindex(cells.cells):
            inside = y0 <= y[row] <= y1 - 96 and x0 <= x[column] <= x1 - 96
            far = (2 * y[row] + 96 - y0 - y1) ** 2 + (2 * x[column] + 96 - x0 - x1) ** 2
            if inside and far < nearest[row, column]:
                nearest[row, column] = far
                place = (y[row] - y0) // 32, (x[column] - x0) // 32
                expected[:, row, column] = alone[:, *place]
    assert np.isinf(nearest).any() and np.isnan(expected[0][np.isfinite(nearest)]).any()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_hot_pixels_leave_the_map_as_it_is(network, model, mosaic_of):
    rng = np.random.default_rng(0)
    counts = rng.poisson(400 + 200 * np.sin(np.arange(300) / 9), (300, 300)).astype(np.float32)
    hot = counts.copy()
    hot[20::60, 30::60] = 9000
    cells, how = layout(counts.shape), {"offset": 0.0, "device": CPU}
    clean = map_unit(network, model, mosaic_of(counts), cells, 0, **how)
    spoilt = map_unit(network, model, mosaic_of(hot), cells, 0, **how)
    replaced = map_unit(
        network, model, mosaic_of(hot), cells, 0, exposure=Exposure(gain=1.0), **how
    )
    error, before = (np.nanmax(np.abs(one - clean)) for one in (replaced, spoilt))
    assert error < 0.1 * before


def test_a_cell_says_how_much_of_its_window_was_used(network, model, mosaic_of):
    """Not the saturated, missing and replaced pixels, nor in cells that they make invalid."""
    counts = np.random.default_rng(0).poisson(400, (300, 300)).astype(np.float32)
    counts[:40, :50] = 4095
    counts[200:, 250:] = np.nan
    unusable = ~(counts < 4095)  # True of NaN
    counts[150, 150], unusable[150, 150] = 3000, True
    cells = layout(counts.shape)
    camera = Exposure(gain=1.0, saturation=4095.0 - 100)
    how = {"offset": 100.0, "exposure": camera, "device": CPU}
    found = map_unit(network, model, mosaic_of(counts), cells, 0, **how)
    mirrored = np.pad(unusable, 96, mode="symmetric")
    for row, column in np.ndindex(cells.cells):
        y, x = (cells.starts_px(axis)[k] + 96 for axis, k in enumerate((row, column)))
        share = 1 - mirrored[y : y + 96, x : x + 96].mean()
        assert found[USABLE, row, column] == pytest.approx(share, abs=1e-6)
    assert (np.isnan(found[0]) == (found[VALIDITY] == 0)).all()
    assert found[USABLE].min() < 0.6 and found[USABLE].max() == 1
    assert (estimate_cells(network, model, counts[60:190, 60:190], 32, CPU)[USABLE] == 1).all()


def test_bad_pixels_and_constant_windows_are_invalid(network, model):
    picture = textured((96 + 32 * 8, 96 + 32 * 8))
    picture[10, 150] = np.nan
    picture[330, 20] = np.inf
    picture[200:, 220:] = 7  # the window at row 7, column 7 sees nothing else
    cells = estimate_cells(network, model, picture, 32, CPU)
    expected = np.zeros((9, 9), bool)
    for j, i in np.ndindex(9, 9):
        window = picture[32 * j : 32 * j + 96, 32 * i : 32 * i + 96]
        expected[j, i] = not np.isfinite(window).all() or np.ptp(window) == 0
    assert expected[7, 7] and 3 < expected.sum() < 60
    for channel in range(4):
        assert np.array_equal(np.isnan(cells[channel]), expected)
    assert np.array_equal(cells[VALIDITY] == 0, expected)
    assert (cells[FILLED] == 0).all()


@pytest.mark.parametrize("value", [0, 5, np.nan])
def test_a_constant_mosaic_has_no_valid_cell(network, model, mosaic_of, value):
    mosaic, cells = mosaic_of(np.full((60, 130), value, np.float32)), layout((60, 130))
    raw = map_unit(network, model, mosaic, cells, 0, offset=0.0, device=CPU)
    assert raw.shape == (9, 2, 5)
    assert np.isnan(raw[:4]).all() and (raw[VALIDITY] == 0).all()
    filled = fill_invalid(raw, model, threshold=0.5, neighbours=4)
    assert np.isnan(filled[:4]).all() and (filled[FILLED] == 1).all()
    assert mean_parameters(filled, model) is None


def test_valid_edges_leave_what_crosses_invalid(network, model, mosaic_of):
    shape = (200, 230)
    mosaic = mosaic_of(textured(shape))
    reflected, valid = (
        map_unit(network, model, mosaic, layout(shape, edges=e), 0, offset=0.0, device=CPU)
        for e in ("reflect", "valid")
    )
    cells = layout(shape)
    inside = ~(cells.crosses_edge(0)[:, None] | cells.crosses_edge(1)[None])
    assert inside.sum() == 4 * 5  # windows that begin at 0, 32, ... and end within the picture
    assert np.array_equal(valid[:, inside], reflected[:, inside])
    assert (valid[VALIDITY, ~inside] == 0).all() and (reflected[VALIDITY, ~inside] > 0).all()
    assert np.isnan(
        valid[:4, ~inside]
    ).all()  # so that they are never used, even if no other cell is valid


def test_channels(model):
    names = [c["name"] for c in channels(model)]
    assert names[:4] == ["width_y", "width_x", "width_y_uncertainty", "width_x_uncertainty"]
    assert [names[k] for k in (VALIDITY, ALARM, OTHER_BLUR)] == ["validity", "alarm", "other_blur"]
    assert (names[USABLE], names[FILLED]) == ("usable", "filled")
    assert [c["unit"] for c in channels(model)][:4] == ["px"] * 4


# Filling ---------------------------------------------------------------------------------------


def raw_map(parameters, validity, uncertainty=0.5, alarm=0.0) -> np.ndarray:
    """(P, ny, nx) and (ny, nx) -> a raw map."""
    last = [np.broadcast_to(v, validity.shape)[None] for v in (validity, alarm, 0.0, 1.0, 0.0)]
    half = np.broadcast_to(uncertainty, parameters.shape)
    return np.concatenate([parameters, half, *last]).astype(np.float32)


def test_filling_by_hand(model):
    values = np.array([[[2.0, 4.9, 4.0]], [[3.0, 1.6, 5.0]]])
    raw = raw_map(values, np.array([[0.9, 0.2, 0.6]]))
    filled = fill_invalid(raw, model, threshold=0.5, neighbours=4)
    # As far from both, which weigh by their validity.
    np.testing.assert_allclose(
        filled[:2, 0, 1], [(9 * 2 + 6 * 4) / 15, (9 * 3 + 6 * 5) / 15], rtol=1e-5
    )
    assert filled[FILLED].tolist() == [[0, 1, 0]]
    np.testing.assert_array_equal(filled[:2, 0, [0, 2]], raw[:2, 0, [0, 2]])
    np.testing.assert_array_equal(filled[VALIDITY], raw[VALIDITY])  # as estimated
    np.testing.assert_allclose(mean_parameters(filled, model), [3, 4], rtol=1e-5)


def test_weights_are_inverse_distances(model):
    # Valid: at distance 1, 2 and sqrt(8) of the empty cell (0, 0); only two neighbours count.
    values = np.full((2, 3, 3), 4.5)
    validity = np.zeros((3, 3))
    for (y, x), width in {(0, 1): 2.0, (2, 0): 3.5, (2, 2): 5.0}.items():
        values[:, y, x], validity[y, x] = width, 1
    raw = raw_map(values, validity)
    two = fill_invalid(raw, model, threshold=0.5, neighbours=2)
    assert two[0, 0, 0] == pytest.approx((2 / 1 + 3.5 / 2) / (1 + 1 / 2), rel=1e-5)
    many = fill_invalid(raw, model, threshold=0.5, neighbours=9)  # more than there are
    weights = 1 + 1 / 2 + 1 / math.sqrt(8)
    expected = (2 + 3.5 / 2 + 5 / math.sqrt(8)) / weights
    assert many[0, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_parameters_that_are_not_finite_are_not_valid(model):
    raw = raw_map(np.array([[[2.0, np.nan]], [[3.0, 3.0]]]), np.array([[0.9, 0.9]]))
    filled = fill_invalid(raw, model, threshold=0.5, neighbours=4)
    np.testing.assert_allclose(filled[:, 0, 1], [2, 3, 0.5, 0.5, 0.9, 0, 0, 1, 1], rtol=1e-6)


def test_a_map_without_gaps_stays(model):
    raw = raw_map(np.random.default_rng(0).uniform(2, 4, (2, 3, 4)), np.ones((3, 4)))
    filled = fill_invalid(raw, model, threshold=0.5, neighbours=4)
    np.testing.assert_array_equal(filled, raw)


def test_smooth_cells_are_the_likeliest_ones(model):
    """A field that rises evenly stays, up to its border cells, which were filled; PSFs that are the same but
    for their errors become one; and what is said of a cell stays."""
    v, u = np.meshgrid(np.linspace(0, 1, 20), np.linspace(0, 1, 24), indexing="ij")
    rising = np.stack([2 + 2 * u, 2.2 + 1.5 * v])
    border = np.ones(v.shape)
    border[1:-1, 1:-1] = 0
    how = {"threshold": 0.5, "neighbours": 4}
    errors = {}
    for name, true in (("rising", rising), ("even", np.full_like(rising, 3.0))):
        noise = np.random.default_rng(0).normal(0, 0.25, true.shape)
        raw = raw_map(true + noise, 1 - border, uncertainty=0.4)
        plain, smooth = (fill_invalid(raw, model, **how, smooth=s) for s in (False, True))
        np.testing.assert_array_equal(smooth[2:], plain[2:])
        errors[name] = [np.sqrt(((f[:2] - true) ** 2).mean()) for f in (plain, smooth)]
    assert errors["rising"][1] < 0.4 * errors["rising"][0]
    assert errors["even"][1] < 0.15 * errors["even"][0]


def test_wide_gaps_are_filled_all_the_same(model):
    """Far from any valid cell the nearest ones are used, be it only one of them."""
    values = np.full((2, 60, 50), 4.9)
    values[:, 3, 4] = 2.0, 3.0
    validity = np.zeros((60, 50))
    validity[3, 4] = 1
    filled = fill_invalid(
        raw_map(values, validity), model, threshold=0.5, neighbours=4, smooth=True
    )
    np.testing.assert_allclose(filled[0], 2, rtol=1e-4)
    np.testing.assert_allclose(filled[1], 3, rtol=1e-4)


def test_uncertain_cells_weigh_less(model):
    """Of two neighbours the surer one counts more, by the inverse square of its uncertainty."""
    values = np.array([[[2.0, 4.9, 4.0]], [[2.0, 1.6, 4.0]]])
    half = np.array([[[0.5, 0.5, 1.0]]])
    raw = raw_map(values, np.array([[1.0, 0.0, 1.0]]), uncertainty=half)
    filled = fill_invalid(raw, model, threshold=0.5, neighbours=2)
    np.testing.assert_allclose(filled[:2, 0, 1], (4 * 2 + 4) / 5, rtol=1e-5)
    np.testing.assert_allclose(filled[2:4, 0, 1], 1.0)  # as uncertain as the more uncertain one


def test_cells_with_an_alarm_are_filled(model):
    values = np.array([[[2.0, 4.9, 2.0]], [[3.0, 1.6, 3.0]]])
    raw = raw_map(values, np.ones((1, 3)), alarm=np.array([[0.1, 0.9, 0.2]]))
    filled = fill_invalid(raw, model, threshold=0.5, neighbours=2, alarm_threshold=0.5)
    np.testing.assert_allclose(filled[:2, 0, 1], [2, 3], rtol=1e-5)
    assert filled[FILLED].tolist() == [[0, 1, 0]]
    kept = fill_invalid(raw, model, threshold=0.5, neighbours=2)
    np.testing.assert_array_equal(kept, raw)


def test_without_a_valid_cell_the_doubtful_serve(model):
    """Each by its own estimate, those with an alarm or none by theirs; and all stay marked."""
    values = np.array([[[2.0, 4.9, 3.0, np.nan]], [[3.0, 1.6, 4.0, 1.7]]])
    raw = raw_map(values, np.array([[0.3, 0.6, 0.1, 0.0]]), alarm=np.array([[0, 0.9, 0, 0]]))
    how = {"threshold": 0.65, "neighbours": 2, "alarm_threshold": 0.5}
    filled = fill_invalid(raw, model, **how)
    assert (filled[FILLED] == 1).all()
    np.testing.assert_array_equal(filled[:2, 0, [0, 2]], raw[:2, 0, [0, 2]])
    np.testing.assert_allclose(filled[:2, 0, 1], [(3 * 2 + 3) / 4, (3 * 3 + 4) / 4], rtol=1e-5)
    assert np.isfinite(filled[:2]).all() and 2 < filled[0, 0, 3] < 3
    assert mean_parameters(filled, model)[0] == pytest.approx(filled[0].mean(), rel=1e-5)
    raw[VALIDITY] = 0
    np.testing.assert_array_equal(fill_invalid(raw, model, **how)[:2, 0, 0], [2, 3])
    raw[ALARM] = 0.9
    assert np.isnan(fill_invalid(raw, model, **how)[:4]).all()


def test_a_gap_between_axes_on_both_sides_of_zero(zernike):
    """Axes of 0.1 and pi - 0.1 are 0.2 apart: between them lies 0, not pi / 2."""
    values = np.array([[[0.4, 0.1, 0.4]], [[0.2, 0.0, 0.2]], [[0.1, 1.0, math.pi - 0.1]]])
    filled = fill_invalid(
        raw_map(values, np.array([[1.0, 0.0, 1.0]])), zernike, threshold=0.5, neighbours=2
    )
    focus, cylinder, axis = filled[:3, 0, 1]
    assert min(axis, math.pi - axis) < 0.02
    assert focus == pytest.approx(0.4, abs=0.02) and cylinder == pytest.approx(0.2, abs=0.02)
    mean = mean_parameters(filled, zernike)
    assert min(mean[2], math.pi - mean[2]) < 0.02


# Optics ----------------------------------------------------------------------------------------


def test_a_released_network_serves_its_cut_offs_and_whole_fractions(settings):
    wide = make_psf_model(settings("psfs", model="zernike-1", size_px=79, cutoff_range=[0.2, 0.4]))
    model, binning = at_cutoff(wide, 0.3)
    assert (model.cutoff, model.cutoff_range, model.size_px, binning) == (0.3, (0.3, 0.3), 79, 1)
    model, binning = at_cutoff(wide, 0.08)
    assert (model.cutoff, model.size_px, binning) == (0.08, 79 * 3, 3)
    for beyond in (0.45, None):
        with pytest.raises(UserError, match=r"0\.2 to 0\.4"):
            at_cutoff(wide, beyond)


def test_pixels_are_not_taken_together_beyond_the_picture():
    check_window(96, 3, (288, 400))
    check_window(96, 1, (50, 400))
    with pytest.raises(
        UserError, match="window of 96 px would be 384 px of the picture, which has"
    ):
        check_window(96, 4, (383, 2000))


def test_a_gaussian_needs_no_optics(model):
    assert at_cutoff(model, 0.9) == (model, 1) == at_cutoff(model, None)


def test_pixels_taken_together_are_a_larger_pixel(settings):
    wide = make_psf_model(settings("psfs", model="zernike-1", size_px=79, cutoff_range=[0.2, 0.4]))
    torch.manual_seed(0)
    network = OnePass(96, wide, 8).eval()
    picture = textured((192, 256))
    (fine, two), (coarse, one) = at_cutoff(wide, 0.15), at_cutoff(wide, 0.3)
    assert (two, one) == (2, 1)
    cells = estimate_cells(network, fine, picture, 64, CPU, binning=two)
    binned = picture.reshape(96, 2, 128, 2).mean((1, 3))
    expected = estimate_cells(network, coarse, binned, 32, CPU)
    assert cells.shape == expected.shape == (7, 1, 2)
    np.testing.assert_allclose(cells, expected, rtol=1e-4, atol=1e-5)


def test_map_errors(gaussian, tmp_path):
    model = make_psf_model(gaussian)
    true = np.zeros((9, 6, 7), np.float32)
    true[:2] = np.random.default_rng(0).uniform(2, 4, (2, 6, 7))
    estimated = true.copy()
    estimated[0] += 0.5
    estimated[1, 0, 0], estimated[FILLED, 0, 0] = 100, 1  # filled: not judged
    for name, values in (("true", true), ("estimated", estimated)):
        path = tmp_path / f"{name}.zarr"
        ngff.create_map(
            path,
            channels(model),
            (6, 7),
            stride_px=16,
            pixel_size_um=1.0,
            attributes={"psf": gaussian},
        )
        ngff.write_shards(ngff.open_array(path, "0", "r+"), (slice(None),) * 3, values)
    rows = map_errors(tmp_path / "estimated.zarr", tmp_path / "true.zarr")
    found = {(row["parameter"], row["metric"]): row["value"] for row in rows}
    assert found["width_y", "bias"] == pytest.approx(0.5, abs=1e-5)
    assert found["width_x", "R2"] == pytest.approx(1)
    assert found["validity", "valid_share"] == pytest.approx(41 / 42)
    assert all(row["n"] == (42 if row["parameter"] == "validity" else 41) for row in rows)
