"""Total variation: denoising solves its problem, in compiled tiles as in whole arrays."""

import numpy as np
import pytest
import torch
from isoplan.base import compiled as compiling
from isoplan.restoration.total_variation import _denoise_whole, denoise, divergence, gradient

torch.set_num_threads(1)


def random(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_divergence_is_minus_the_transpose_of_the_gradient():
    x, field = random(17, 12), random(2, 17, 12, seed=1)
    assert (gradient(x) * field).sum().item() == pytest.approx(
        -(x * divergence(field)).sum().item()
    )
    assert (gradient(torch.full((5, 6), 3.0)) == 0).all()


def test_denoising_solves_its_problem():
    """Few steps come near a long run, whose dual field proves it optimal (duality gap)."""
    y, x = np.mgrid[:40, :40]
    z = torch.from_numpy(0.1 + 0.5 * ((y // 9 + x // 7) % 3 == 0)) + 0.05 * random(40, 40)
    strength = 0.05 * (0.2 + random(40, 40, seed=1))

    def primal(u):
        return float(((u - z) ** 2 / (2 * strength)).sum() + gradient(u).norm(dim=0).sum())

    none = torch.zeros(2, 40, 40, dtype=torch.float64)
    best, dual = denoise(z, strength, none, 5000)
    inner = -(0.5 * strength * divergence(dual) ** 2 + z * divergence(dual)).sum().item()
    assert dual.square().sum(0).max() <= 1 + 1e-12
    assert 0 <= primal(best) - inner < 1e-4 * primal(best)
    quick, _ = denoise(z, strength, none, 30)
    assert primal(quick) - primal(best) < 0.05 * (primal(z) - primal(best))


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (64, 512), (131, 530)])
def test_tiles_are_as_the_whole(shape, bounded):
    """Shapes of less than a tile, of one, and of several with rests; 0 strength here and there."""
    z = 3 * random(*shape)
    strength = (z * random(*shape, seed=1)).where(random(*shape, seed=2) > 0.1, 0)
    bound = random(*shape, seed=3) if bounded else None
    tiled = whole = torch.zeros(2, *shape, dtype=z.dtype)
    for steps in (3, 3, 1):
        u, tiled = denoise(z, strength, tiled, steps, bound)
        expected, whole = _denoise_whole(z, strength, whole, steps, bound)
        torch.testing.assert_close(u, expected, rtol=0, atol=1e-13)
        torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-13)


def test_threads_make_no_difference_to_tiles():
    z, strength = random(150, 1100, dtype=torch.float32), random(150, 1100, seed=1).float()
    made = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        made.append(denoise(z, strength, torch.zeros(2, 150, 1100), 3))
    torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(*made, strict=True))


def test_compiles_where_no_folder_may_be_written(monkeypatch):
    njit = compiling.numba.njit

    def without_cache(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(compiling.numba, "njit", without_cache)

    @compiling.compiled
    def twice(x):
        return 2 * x

    assert twice(3) == 6
