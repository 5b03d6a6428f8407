"""Restoration by a map of weights: against another solver of convex problems, and gradients for training."""

import cvxpy
import numpy as np
import pytest
import torch
from isoplan.applications.weight_maps import primal_dual
from isoplan.applications.weight_maps.primal_dual import objective, restored
from isoplan.applications.weight_maps.regularisers import Regulariser, gradient
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.gaussian import gaussian_psfs
from isoplan.restoration.richardson_lucy import richardson_lucy

torch.set_num_threads(1)
BACKGROUND = 2.0


def matrix(linear, shape) -> np.ndarray:
    """Of a linear map of pictures."""
    ones = torch.eye(int(np.prod(shape)), dtype=torch.float64)
    return np.array([linear(one.reshape(shape)).ravel().numpy() for one in ones]).T


@pytest.fixture(scope="module")
def blur() -> SpaceVariantBlur:
    psfs = gaussian_psfs(torch.tensor([[2.0, 2.0], [3.5, 2.5]]), 3).double()[None]
    return SpaceVariantBlur(psfs, [0.0], [2.0, 10.0], (12, 14))


def scene(blur: SpaceVariantBlur, peak: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts, and a map of weights."""
    chance = torch.Generator().manual_seed(0)
    x, weights = torch.rand((2, *blur.object_shape), generator=chance, dtype=torch.float64)
    x = peak * x.square()
    x[4:9, 5:9] += peak
    return torch.poisson(blur.forward(x) + BACKGROUND, generator=chance), 6 / peak * weights


@pytest.mark.parametrize(
    ("peak", "noise", "tv"),
    [
        (10.0, "poisson", "isotropic"),
        (300.0, "poisson", "isotropic"),
        (300.0, "poisson", "anisotropic"),
        (300.0, "poisson", "directional"),
        (300.0, "poisson", "huber"),
        (10.0, "gaussian", "anisotropic"),
        (300.0, "gaussian", "isotropic"),
        (300.0, "gaussian map", "huber"),
    ],
)
def test_the_limit_is_the_minimum(blur, noise, tv, peak):
    y, weights = scene(blur, peak)
    variance = torch.full_like(y, float(y.mean()))
    if noise == "gaussian map":
        variance *= torch.linspace(0.5, 2, y.shape[1])
    angle, along = weights / weights.max() * 3, (weights / weights.max()).flip(0)
    regulariser = {
        "isotropic": Regulariser(),
        "anisotropic": Regulariser("anisotropic"),
        "directional": Regulariser(
            lines=(1 - along) * torch.stack([(2 * angle).cos(), (2 * angle).sin()])
        ),
        "huber": Regulariser(huber=0.1 * peak),
    }[tv]
    data = primal_dual.poisson() if noise == "poisson" else primal_dual.gaussian(variance)
    shape = blur.object_shape
    forward, steps = matrix(blur.forward, shape), matrix(gradient, shape)
    if tv == "directional":
        turns = np.stack([[angle.cos(), -angle.sin()], [along * angle.sin(), along * angle.cos()]])
        n = angle.numel()
        turn = np.block([[np.diag(one.ravel()) for one in row] for row in turns])
        steps = turn @ steps
        assert steps.shape == (2 * n, n)
    x = cvxpy.Variable(int(np.prod(shape)), nonneg=True)
    mean, seen = forward @ x + BACKGROUND, y.numpy().ravel()
    if noise == "poisson":
        loss = cvxpy.sum(mean) - seen @ cvxpy.log(mean)
    else:
        apart = cvxpy.multiply(1 / variance.numpy().ravel() ** 0.5, mean - seen)
        loss = cvxpy.sum_squares(apart) / 2
    steps_of = cvxpy.reshape(steps @ x, (2, x.size), order="C")
    length = cvxpy.norm(steps_of, 1 if tv == "anisotropic" else 2, axis=0)
    if tv == "huber":  # cvxpy's is t^2 up to 1 and 2 t - 1 beyond
        width = regulariser.huber
        length = cvxpy.huber(length / width) * width / 2
    cvxpy.Problem(cvxpy.Minimize(loss + weights.numpy().ravel() @ length)).solve("CLARABEL")
    theirs = torch.tensor(x.value.reshape(shape))
    how = {"background": BACKGROUND, "regulariser": regulariser}
    ours = restored(y, blur, weights, data, iterations=2000, start=float(y.mean()), **how)
    values = [float(objective(one, y, blur, weights, data, **how)) for one in (ours, theirs)]
    assert values[0] - values[1] < 1e-4
    assert (ours - theirs).abs().max() < 2e-3 * ours.max()


def test_the_products_restoration_lowers_the_same(blur):
    """EM-TV, with the same map, comes near the minimum from above."""
    y, weights = scene(blur, 100.0)
    data, start = primal_dual.poisson(), float(y.mean())
    best = restored(y, blur, weights, data, iterations=1000, start=start, background=BACKGROUND)
    how = {"tv_weight": weights, "start": start, "scale": float(y.max()), "background": BACKGROUND}
    found = {
        n: richardson_lucy(y, blur, iterations=n, acceleration="none", **how) for n in (10, 500)
    }
    least, few, many = (
        float(objective(x, y, blur, weights, data, background=BACKGROUND))
        for x in (best, *found.values())
    )
    assert least < many < least + 0.15 * (few - least)


def test_gradients_reach_the_map(blur):
    y, weights = scene(blur, 50.0)
    data = primal_dual.poisson()

    def loss(map_):
        x = restored(y, blur, map_, data, iterations=20, start=20.0, background=BACKGROUND)
        return x.square().mean()

    weights.requires_grad_()
    loss(weights).backward()
    assert weights.grad.isfinite().all() and weights.grad.abs().max() > 0
    chance = torch.Generator().manual_seed(1)
    step = 1e-6 * torch.rand(weights.shape, generator=chance, dtype=torch.float64)
    with torch.no_grad():
        apart = float(loss(weights + step) - loss(weights - step)) / 2
    assert apart == pytest.approx(float((weights.grad * step).sum()), rel=1e-3)


def test_bad_input_is_refused(blur):
    y, weights = scene(blur, 50.0)
    for map_, start, words in (
        (weights[1:], 1.0, "is not the object's"),
        (-weights, 1.0, "are negative"),
        (weights, 0.0, "above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            restored(y, blur, map_, primal_dual.poisson(), iterations=1, start=start)
