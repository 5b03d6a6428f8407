"""PSFs of a few numbers: as they are written and drawn, and found from what is said of each."""

import math

import numpy as np
import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.config.validation import validate
from isoplan.optics import other_blurs
from isoplan.optics.gaussian import gaussian_psfs
from isoplan.optics.plain import PlainPsf
from isoplan.restoration.other_psfs import GRID, NARROWEST, find


@pytest.mark.parametrize(
    "text", ["gaussian 4.5", "disk 4", "motion 6.5 34", "motion 10 0", "moffat 2.5 1.2"]
)
def test_a_psf_is_read_as_it_is_written(text):
    psf = PlainPsf.read(text)
    assert str(psf) == text and PlainPsf.read(str(psf.resized(1.07))) == psf.resized(1.07)
    made = psf.psf(31)
    assert made.shape == (31, 31) and float(made.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "square 4",
        "disk",
        "disk 0",
        "disk -1",
        "disk 4 5",
        "motion 6",
        "gaussian x",
        "disk nan",
        "moffat 2",
        "moffat 2 0.9",
    ],
)
def test_what_is_no_psf_is_refused(text):
    with pytest.raises(UserError, match="psf_shape"):
        validate({"restoration": {"psf_shape": text}})
    with pytest.raises(ValueError):
        PlainPsf.read(text)


def test_they_are_what_they_say():
    size = torch.tensor([5.0])
    assert torch.equal(PlainPsf("disk", 5.0).psf(31), other_blurs.disk(size, 31)[0])
    assert torch.equal(PlainPsf("gaussian", 5.0).psf(31), gaussian_psfs(size.expand(1, 2), 31)[0])
    line = other_blurs.motion(size, torch.tensor([math.pi / 2]), 31)[0]
    assert torch.equal(PlainPsf("motion", 5.0, 90.0).psf(31), line)
    assert PlainPsf("motion", 5.0, 170.0).turned(15).angle_deg == 5
    wings = PlainPsf("moffat", 5.0, exponent=1.5)
    assert torch.equal(wings.psf(31), other_blurs.moffat(size, torch.tensor([1.5]), 31)[0])
    assert wings.winged(2.0).exponent == 2 and "wings" in wings.words
    assert PlainPsf("disk", 5.0).fits(11) and not PlainPsf("disk", 6.0).fits(11)


def far_from(true: PlainPsf, weight: float):
    """What is said of each PSF: worse in every square the further it is from the truth."""
    seen = []
    ground = np.random.default_rng(0).random(64)

    def look(psf: PlainPsf, tv_weight: float) -> np.ndarray:
        seen.append(psf)
        apart = math.log(psf.size_px / true.size_px) ** 2 + math.log(tv_weight / weight) ** 2 / 50
        turn = (psf.angle_deg - true.angle_deg + 90) % 180 - 90
        apart += (turn / 45) ** 2 + (psf.kind != true.kind)
        if psf.kind == true.kind == "moffat":
            apart += math.log((psf.exponent - 1) / (true.exponent - 1)) ** 2 / 5
        return ground + apart * (1 + 0.1 * np.cos(np.arange(64)))

    return look, seen


@pytest.mark.parametrize(
    "text", ["gaussian 3.6", "disk 4.7", "motion 7.7 171", "motion 3.3 17", "moffat 2.4 1.4"]
)
def test_the_nearest_one_is_found(text):
    true = PlainPsf.read(text)
    look, seen = far_from(true, 0.01)
    psf, weight = find(look, GRID, 31, 0.002, (1e-4, 0.3))
    assert psf.kind == true.kind and psf.size_px == pytest.approx(true.size_px, rel=0.04)
    assert abs((psf.angle_deg - true.angle_deg + 90) % 180 - 90) <= 2.5
    assert psf.exponent == pytest.approx(true.exponent, abs=0.1)
    assert 0.005 < weight < 0.02
    assert len(seen) == len({(p, n) for n, p in enumerate(seen)}) < 400


def test_bounds_are_kept():
    look, seen = far_from(PlainPsf("disk", 1.0), 1.0)
    psf, weight = find(look, [p for p in GRID if p.kind == "disk"], 11, 0.002, (0.001, 0.01))
    assert 0.001 <= weight <= 0.01 and psf.size_px >= NARROWEST["disk"]
    assert all(p.fits(11) and p.kind == "disk" for p in seen)
