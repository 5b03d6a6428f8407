"""What holds for every PSF model and both orders: the operator's identities, the restoration's, and borders."""

import numpy as np
import pytest
import torch
from isoplan.optics.blur import ORDERS, SpaceVariantBlur
from isoplan.optics.psf import make_psf_model
from isoplan.restoration.richardson_lucy import ACCELERATIONS, TV_STEPS, richardson_lucy

# Small arrays: a second thread would only wait.
torch.set_num_threads(1)

MODELS = {
    "gaussian-1": {"width_px": [1.5, 5], "size_px": 15},
    "gaussian-2": {"width_px": [1.5, 5], "size_px": 15},
    "zernike-1": {"focus_waves": [0, 0.3], "size_px": 31},
    "zernike-2": {"cylinder_waves": [0, 0.2], "size_px": 31},
    "zernike-3": {"focus_waves": [0, 0.3], "cylinder_waves": [0, 0.2], "size_px": 31},
    "confocal": {"focus_waves": [0, 0.3], "excitation_cutoff": 0.3, "size_px": 31},
    "measured": {"size_px": 15},
}
SHAPE = (56, 50)
CENTRES = [4.0, 27.0, 49.0], [2.0, 24.0, 47.0]


@pytest.fixture(scope="module")
def kernels(settings, tmp_path_factory):
    """kernels(name): (3, 3, s, s) PSFs of a model from end to end of its ranges, float64."""

    def make(name: str) -> torch.Tensor:
        entry = {"model": "zernike-1" if name == "confocal" else name, **MODELS[name]}
        if name == "measured":
            y, x = np.mgrid[-7:8, -7:8]
            bead = np.exp(-(y**2) / 9 - (x - 0.5) ** 2 / 4) + 0.2 * np.exp(-((y - 3) ** 2) - x**2)
            entry["file"] = str(tmp_path_factory.mktemp("bead") / "bead.npy")
            np.save(entry["file"], bead)
        model = make_psf_model(settings("psfs", **entry))
        share = torch.linspace(0, 1, 9)[:, None]
        low = torch.tensor([p.low for p in model.parameters])
        high = torch.tensor([p.high for p in model.parameters])
        psfs = model.psf(low + share * (high - low))[0]
        return psfs.double().reshape(3, 3, *psfs.shape[1:])

    return make


@pytest.fixture(scope="module", params=MODELS)
def psfs(request, kernels) -> torch.Tensor:
    return kernels(request.param)


@pytest.fixture(scope="module", params=ORDERS)
def blur(request, psfs) -> SpaceVariantBlur:
    return SpaceVariantBlur(psfs, *CENTRES, SHAPE, order=request.param)


def random(shape, seed=0) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scene(shape) -> torch.Tensor:
    """Blocks and points up to the border, over a background."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    picture = 0.2 + 0.5 * ((y // 9 + x // 7) % 3 == 0)
    picture[::13, ::11] += 1
    return torch.as_tensor(picture, dtype=torch.float64)


def seen(blur, photons=200.0) -> torch.Tensor:
    mean = blur.forward(scene(blur.object_shape)).clamp(min=0)
    return torch.poisson(mean * photons, generator=torch.Generator().manual_seed(1)) / photons


def restore(y, blur, **how) -> torch.Tensor:
    return richardson_lucy(y, blur, **{"start": float(y.mean()), "scale": 1.0, **how})


def inner(x, blur) -> torch.Tensor:
    return x[blur.margin : -blur.margin, blur.margin : -blur.margin]


def test_adjoint(blur):
    x, y = random(blur.object_shape), random(blur.shape, 1)
    left = (blur.forward(x) * y).sum()
    assert abs(left - (x * blur.adjoint(y)).sum()) < 1e-10 * abs(left)


def test_flux_of_the_operator(blur):
    """Light well inside arrives whole (mask-blur), and a flat field stays flat (blur-mask)."""
    m = blur.margin
    if blur.order == "blur-mask":
        flat = blur.forward(torch.ones(blur.object_shape, dtype=torch.float64))
        torch.testing.assert_close(flat, torch.ones_like(flat), rtol=0, atol=1e-6)
    else:
        x = torch.zeros(blur.object_shape, dtype=torch.float64)
        x[2 * m : -2 * m, 2 * m : -2 * m] = random((SHAPE[0] - 2 * m, SHAPE[1] - 2 * m))
        assert blur.forward(x).sum() == pytest.approx(float(x.sum()), rel=1e-6)


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_flux_of_the_restoration(blur, acceleration):
    """At lambda 0 and without background, after every plain iteration: sum x (A'1) = sum y.

    An extrapolated step keeps it as well, since each step ends in one of Richardson-Lucy.
    """
    y, weight = seen(blur), blur.adjoint(torch.ones(blur.shape, dtype=torch.float64))
    sums = []
    restore(
        *(y, blur),
        tv_weight=0.0,
        acceleration=acceleration,
        iterations=6,
        callback=lambda _, x: sums.append(float((x * weight).sum())),
    )
    np.testing.assert_allclose(sums, float(y.sum()), rtol=1e-5)


@pytest.mark.parametrize("tv_step", TV_STEPS)
def test_restoring_a1_returns_1(psfs, tv_step):
    """In the single precision of all restorations, up to the borders, within 1e-4."""
    for order in ORDERS:
        blur = SpaceVariantBlur(psfs.float(), *CENTRES, SHAPE, order=order)
        y = blur.forward(torch.ones(blur.object_shape))
        x = inner(restore(y, blur, tv_step=tv_step, start=1.0), blur)
        torch.testing.assert_close(x, torch.ones_like(x), rtol=0, atol=1e-4)


def test_positive_and_monotone(blur):
    """At lambda 0 without acceleration the likelihood falls in every step, and no pixel below 0."""
    y, values = seen(blur, photons=20), []

    def watch(_, x):
        mean = blur.forward(x)
        assert torch.isfinite(x).all() and (x >= 0).all()
        values.append(float((mean - torch.special.xlogy(y, mean.clamp(min=1e-12))).sum()))

    restore(y, blur, tv_weight=0.0, acceleration="none", iterations=12, callback=watch)
    assert (np.diff(values) <= 1e-9 * abs(values[0])).all() and values[-1] < values[0]


@pytest.mark.parametrize("how", [{}, {"tv_weight": 0.01}, {"tv_step": "explicit"}])
def test_positive_with_tv_and_momentum(blur, how):
    x = restore(seen(blur, photons=20), blur, **how)
    assert torch.isfinite(x).all() and (x >= 0).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["gaussian-2", "zernike-1"])
def test_borders_do_not_ring(kernels, name, order):
    """A picture cut out of a larger one, things of its own size right beyond its border: along the
    border it is restored nearly as well as where there is no border, and no worse than it was."""
    psfs, cut = kernels(name), 40
    shape = tuple(length + 2 * cut for length in SHAPE)
    whole = SpaceVariantBlur(
        psfs, *([c + cut for c in line] for line in CENTRES), shape, order=order
    )
    part = SpaceVariantBlur(psfs, *CENTRES, SHAPE, order=order)
    sharp = scene(whole.object_shape)
    y = whole.forward(sharp).clamp(min=0)
    there = np.s_[cut:-cut, cut:-cut]
    truth = inner(sharp, whole)[there]
    how = {"start": 0.4, "iterations": 20}
    far = inner(restore(y, whole, **how), whole)[there]
    near = inner(restore(y[there].contiguous(), part, **how), part)
    border = torch.ones(SHAPE, dtype=torch.bool)
    border[4:-4, 4:-4] = False
    errors = [float((x - truth)[border].square().mean().sqrt()) for x in (near, far, y[there])]
    assert errors[0] < 1.5 * errors[1] and errors[0] < errors[2]
    assert near.max() < 1.3 * truth.max()
