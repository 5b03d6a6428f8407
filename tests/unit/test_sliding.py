"""Sums over sliding windows and products against torch's own."""

import pytest
import torch
from isoplan.networks import sliding
from torch.nn import functional as F

SIZES = [((70, 91), 16, 8), ((64, 64), 64, 64), ((126, 160), 30, 32), ((33, 40), 7, 3)]


def whole_numbers(shape, most=9) -> torch.Tensor:
    """So that sums are exact and maxima shared by many."""
    return torch.randint(most, (2, 3, *shape), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize(("shape", "side", "step"), SIZES)
def test_sums_and_means(shape, side, step):
    values = whole_numbers(shape)
    expected = F.avg_pool2d(values, side, step, divisor_override=1)
    assert torch.equal(sliding.sums(values, side, step), expected)
    torch.testing.assert_close(sliding.means(values, side, step), F.avg_pool2d(values, side, step))
    assert torch.equal(sliding.strided_sums(values, side, step, (2, 3)), expected)


@pytest.mark.parametrize(("shape", "side", "step"), SIZES)
def test_highest_and_how_many(shape, side, step):
    values = whole_numbers(shape, most=200) - 100
    views = values.unfold(2, side, step).unfold(3, side, step)
    top = views.amax((-2, -1), keepdim=True)
    assert torch.equal(sliding.maxima(values, side, step), top[..., 0, 0])
    number = (views == top).sum((-2, -1)).float()
    assert number.max() > 1
    assert torch.equal(sliding.count_maxima(values, side, step), number)


def test_product():
    rng = torch.Generator().manual_seed(1)
    rows, columns = torch.randn(5, 40, 33, generator=rng), torch.randn(7, 33, generator=rng)
    expected = (rows.double() @ columns.double().T).float()
    assert sliding.product(rows, columns).shape == (5, 40, 7)
    torch.testing.assert_close(sliding.product(rows, columns), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sliding.product(rows.double(), columns.double()).float(), expected)
    assert sliding.product(rows[:0], columns).shape == (0, 40, 7)
