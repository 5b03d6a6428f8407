"""Cells, shards and halos."""

import numpy as np
import pytest
from isoplan.mosaic.tiles import cell_grid, centre_px, inside, shards, with_halo


@pytest.mark.parametrize(
    ("length", "stride", "cells"), [(1, 64, 1), (64, 64, 1), (65, 64, 2), (640, 64, 10)]
)
def test_cells_cover_the_whole_length(length, stride, cells):
    assert cell_grid(length, stride) == cells
    assert (cells - 1) * stride < length <= cells * stride


@pytest.mark.parametrize(("length", "stride"), [(0, 8), (8, 0), (8, -1)])
def test_impossible_grids_are_refused(length, stride):
    with pytest.raises(ValueError, match="at least 1"):
        cell_grid(length, stride)


def test_centre_is_in_edge_coordinates():
    # Cell 1 of stride 4 covers pixels 4 to 7, the edges 4.0 to 8.0.
    assert centre_px(1, 4) == 6.0
    assert centre_px(1, 4) - 0.5 == np.mean([4, 5, 6, 7])


@pytest.mark.parametrize("shard", [7, (4, 9), 100])
def test_shards_are_a_partition_in_row_major_order(shard):
    shape = (3, 20, 23)  # leading axes do not matter
    count = np.zeros(shape[1:], int)
    units = shards(shape, shard)
    for unit in units:
        count[unit] += 1
    assert (count == 1).all()
    assert units == sorted(units, key=lambda unit: (unit[0].start, unit[1].start))


def test_halo_is_clipped_and_the_core_is_found_again():
    picture = np.arange(30 * 40).reshape(30, 40)
    for core in shards(picture.shape, 16):
        outer = with_halo(core, 5, picture.shape)
        assert outer[0].start >= 0
        assert outer[1].stop <= 40
        np.testing.assert_array_equal(picture[outer][inside(core, outer)], picture[core])
    assert with_halo((slice(16, 30), slice(0, 16)), 5, (30, 40)) == (slice(11, 30), slice(0, 21))
